# %% [markdown]
# # Lab 5. By which road?
#
# Truncation says until which layer the image is needed. It does not say how its content reaches the answer: straight from the image to the last
# token, or by way of the question's words. **Attention knockout** closes one road at a time, in a few layers, and looks at the answer.
#
# **You will** write the mask that closes a road, catch a published mask that closes none, measure what each road is worth, and find that
# different tasks take different roads.
#
# **You need** lab 1 and the mask and hook of lab 4.

# %%
import matplotlib.pyplot as plt
import torch

from infoflow import attention_knockout, load_lvlm, load_task, truncation_sweep
from infoflow.report import COLOURS

lvlm = load_lvlm("tiny-llava-1.5")
sample = load_task("pope")[0]
prompt = lvlm.prompt(sample.image, sample.question)
n, image, user = len(prompt), prompt.spans.image, prompt.spans.user
question, last = slice(user.start, n - 1), slice(n - 1, n)
print(sample.question, "| image:", image, "question:", question, "last:", last)

# %% [markdown]
# ## Close a road (10 minutes)
#
# A road leads from **sources** (the tokens that are read) to **targets** (those that read). To close it, add minus infinity to the scores of target rows at source
# columns. The mask replaces the model's own, so it must be causal, too. One more rule: a token always sees itself, or the softmax of its row would be undefined.


# %% [exercise]
def road_mask(n, sources, targets):
    """Additive mask (n, n) that closes the road from the slice sources to the slice targets."""
    # solution
    mask = torch.zeros(n, n)
    mask[targets, sources] = -torch.inf
    mask.fill_diagonal_(0)
    return mask + torch.full((n, n), -torch.inf).triu(1)
    # end


# %% [hint] three lines
# Begin with zeros, close the block `mask[targets, sources]`, open the diagonal again with `mask.fill_diagonal_(0)`, and add the causal mask,
# `torch.full((n, n), -torch.inf).triu(1)`.


# %% [check]
def check_mask():
    mask = road_mask(6, slice(1, 3), slice(4, 6))
    assert tuple(mask.shape) == (6, 6), f"shape {tuple(mask.shape)}; wanted (6, 6)."
    values = (
        "an additive mask holds 0.0 and minus infinity; True and False would be added as 1 and 0."
    )
    assert mask.dtype == torch.float32, f"{values} Yours is of {mask.dtype}."
    assert not mask.isnan().any(), "the mask holds NaN: 0 times minus infinity is no number."
    first = "token 0 sees nothing: .triu(1) leaves the diagonal open, .triu() does not."
    assert mask[0, 0] == 0, first
    weights = mask.softmax(-1)
    exchanged = "the targets still see the sources: rows are those that read, columns what is read."
    assert not weights[4:, 1:3].any(), exchanged
    assert not weights[0, 1:].any(), "the first token sees later ones: the mask is not causal."
    assert weights[3, 1] > 0, "token 3 is no target and must see the sources."
    assert weights[4, 3] > 0, "token 4 must see token 3: only the one road is closed."
    own = road_mask(6, slice(0, 6), slice(4, 6)).softmax(-1)
    assert not own.isnan().any(), "a row is shut altogether: a token always sees itself."
    print("road_mask is right.")


check_mask()


# %% [wrong] Rows and columns exchanged
# says: the targets still see the sources
def road_mask(n, sources, targets):
    mask = torch.full((n, n), -torch.inf).triu(1)
    mask[sources, targets] = -torch.inf
    return mask


# %% [wrong] False written into an additive mask
# says: the targets still see the sources
def road_mask(n, sources, targets):
    mask = torch.full((n, n), -torch.inf).triu(1)
    mask[targets, sources] = False
    return mask


# %% [wrong] Not causal
# says: the first token sees later ones
def road_mask(n, sources, targets):
    mask = torch.zeros(n, n)
    mask[targets, sources] = -torch.inf
    return mask


# %% [wrong] A mask of True and False
# says: an additive mask holds 0.0 and minus infinity
def road_mask(n, sources, targets):
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    mask[targets, sources] = False
    return mask


# %% [wrong] The sources hidden from all
# says: token 3 is no target
def road_mask(n, sources, targets):
    mask = torch.full((n, n), -torch.inf).triu(1)
    mask[:, sources] = -torch.inf
    return mask.fill_diagonal_(0)


# %% [wrong] A row without any token
# says: a row is shut altogether
def road_mask(n, sources, targets):
    mask = torch.full((n, n), -torch.inf).triu(1)
    mask[targets, sources] = -torch.inf
    return mask


# %% [markdown]
# ## The mask that hides nothing (8 minutes)
#
# Some published code writes `False` where a token must not look. In a mask of True and False that is right. In an additive mask `False` is 0, and adding 0 hides nothing:
# the knockout then "shows" that no road matters. A mask must be tested by what it **does**. Write that test: with all scores equal, does a target give a source any weight?


# %% [exercise]
def closes(mask, sources, targets):
    """Whether an additive mask gives the sources no weight at all in the targets' rows."""
    # solution
    return not mask.softmax(-1)[targets, sources].any()
    # end


# %% [hint] try it out
# `mask.softmax(-1)` is the attention of a model whose scores are all equal. `.any()` of a block is true if an entry is not zero; `not` makes a Python
# bool of it.


# %% [check]
def check_closes():
    sources, targets = slice(1, 3), slice(4, 6)
    right = road_mask(6, sources, targets)
    published = road_mask(6, slice(0, 0), slice(0, 0))
    published[targets, sources] = False
    found = closes(right, sources, targets)
    assert found is True, f"your own mask closes the road: True, a Python bool; you say {found!r}."
    assert closes(published, sources, targets) is False, (
        "the mask with False hides nothing; say False."
    )
    part = right.clone()
    part[4, 1] = 0
    some = "one target still sees one source: the road is closed only if all of it is."
    assert closes(part, sources, targets) is False, some
    small = right.clone()
    small[targets, sources] = -3.0
    weak = "minus 3 makes the weight small, not zero: look at the softmax, not at the sign."
    assert closes(small, sources, targets) is False, weak
    print("closes is right.")


check_closes()


# %% [wrong] Asks what was written, not what it does
# says: your own mask closes the road
def closes(mask, sources, targets):
    return bool((mask[targets, sources] == False).all())  # noqa: E712


# %% [wrong] Any negative number will do
# says: minus 3 makes the weight small
def closes(mask, sources, targets):
    return bool((mask[targets, sources] < 0).all())


# %% [wrong] One closed entry is enough
# says: one target still sees one source
def closes(mask, sources, targets):
    return bool((mask.softmax(-1)[targets, sources] == 0).any())


# %% [markdown]
# ## Knock out (12 minutes)
#
# Run the model with the road closed **in some layers only**: register a hook on each of them, as in lab 4, and remove it again. Return the logits of the last token.


# %%
def put_in(mask):
    """Make a hook that calls a decoder layer with this mask."""

    def hook(layer, args, kwargs):
        return args, {**kwargs, "attention_mask": mask[None, None]}

    return hook


# %% [exercise]
def knockout(prompt, sources, targets, layers):
    """The last token's logits (V,) with a road closed in these layers, counted from 0."""
    # solution
    hook = put_in(road_mask(len(prompt), sources, targets))
    chosen = [lvlm.layers[layer] for layer in layers]
    handles = [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in chosen]
    try:
        with torch.no_grad():
            return lvlm.logits(prompt)[0, -1]
    finally:
        for handle in handles:
            handle.remove()
    # end


# %% [hint] almost lab 4
# Make the hook once, `put_in(road_mask(...))`, register it on `lvlm.layers[layer]` for each chosen layer, run, and remove the handles in `finally`.


# %% [check]
def check_knockout():
    global lvlm, prompt
    with torch.no_grad():
        intact = lvlm.logits(prompt)[0, -1]
    right = truncation_sweep(lvlm, prompt, cuts=[0, 5]).logits
    found = knockout(prompt, image, user, range(12))
    nothing = knockout(prompt, image, user, [])
    deep = knockout(prompt, image, user, range(5, 12))
    with torch.no_grad():
        after = lvlm.logits(prompt)[0, -1]
    if not torch.equal(after, intact):
        lvlm = load_lvlm("tiny-llava-1.5")
        prompt = lvlm.prompt(sample.image, sample.question)
        raise AssertionError(
            "your hooks are still there after your run. The model was loaded anew."
        )
    assert found.shape == intact.shape, "return one row of logits: those of the last token."
    assert torch.allclose(nothing, intact, atol=1e-3), "with no layer chosen nothing is closed."
    open_still = (
        "image to all of the user's text, closed everywhere, leaves the logits as they are: "
    )
    open_still += "are sources and targets in their places?"
    assert not torch.allclose(found, intact, atol=1e-3), open_still
    same = "closing image to user in all layers is truncation at cut 0, and the logits must agree."
    assert torch.allclose(found, right[0], atol=1e-3), same
    some = "closed in layers 5 to 11 it is truncation at cut 5: are only the chosen layers hooked?"
    assert torch.allclose(deep, right[1], atol=1e-3), some
    print("knockout is right: with all roads from the image closed it is truncation.")


check_knockout()


# %% [wrong] Closed in all layers, whatever was chosen
# says: with no layer chosen nothing is closed
def knockout(prompt, sources, targets, layers):
    hook = put_in(road_mask(len(prompt), sources, targets))
    handles = [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in lvlm.layers]
    with torch.no_grad():
        logits = lvlm.logits(prompt)[0, -1]
    [handle.remove() for handle in handles]
    return logits


# %% [wrong] Sources and targets exchanged
# says: image to all of the user's text, closed everywhere
def knockout(prompt, sources, targets, layers):
    hook = put_in(road_mask(len(prompt), targets, sources))
    chosen = [lvlm.layers[layer] for layer in layers]
    handles = [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in chosen]
    with torch.no_grad():
        logits = lvlm.logits(prompt)[0, -1]
    [handle.remove() for handle in handles]
    return logits


# %% [wrong] Hooks that stay
# says: your hooks are still there
def knockout(prompt, sources, targets, layers):
    for layer in layers:
        hook = put_in(road_mask(len(prompt), sources, targets))
        lvlm.layers[layer].register_forward_pre_hook(hook, with_kwargs=True)
    with torch.no_grad():
        return lvlm.logits(prompt)[0, -1]


# %% [markdown]
# ## What a road is worth (12 minutes)
#
# One layer alone is rarely missed, as its neighbours do the same. So a road is closed in a **window** of w layers around a layer, from l - w // 2 to l + w // 2,
# as far as there are such layers. The effect is the change of the probability p of the answer that the intact model gives, in per cent of p:
# 100 (p' - p) / p. 0 means that the road is not needed there, -100 that all depends on it.


# %% [exercise]
def effect(prompt, sources, targets, layer, window=3):
    """Change of the intact answer's probability, in per cent, with a road closed around a layer."""
    # solution
    start, stop = max(0, layer - window // 2), min(lvlm.n_layers, layer + window // 2 + 1)
    with torch.no_grad():
        before = lvlm.logits(prompt)[0, -1].softmax(-1)
    answer = before.argmax()
    after = knockout(prompt, sources, targets, range(start, stop)).softmax(-1)
    return float(100 * (after[answer] - before[answer]) / before[answer])
    # end


# %% [hint] the window
# `range(max(0, layer - window // 2), min(lvlm.n_layers, layer + window // 2 + 1))`. The answer is the intact model's: `logits.argmax()`.


# %% [check]
def check_effect():
    global knockout
    own, asked = knockout, []

    def watched(prompt, sources, targets, layers):
        asked.append(list(layers))
        return own(prompt, sources, targets, [n for n in layers if 0 <= n < lvlm.n_layers])

    knockout = watched
    try:
        for layer in (2, 0, 11):
            effect(prompt, image, question, layer)
    finally:
        knockout = own
    assert len(asked) == 3, "call your own knockout, once for each effect."
    begins = "the window begins at the layer; it lies around it, from l - w // 2 on."
    assert asked[0] != [2, 3, 4], begins
    assert asked[0] != [1, 2], "the window is one layer short: range ends one before its stop."
    assert asked[0] == [1, 2, 3], f"around layer 2 the window is 1, 2, 3; yours is {asked[0]}."
    ends = "around layer 0 the window is 0, 1 and around 11 it is 10, 11: there are no layers -1 and 12."
    assert asked[1:] == [[0, 1], [10, 11]], ends
    doubtful = load_task("scienceqa")[7]
    asked_of = lvlm.prompt(doubtful.image, doubtful.question)
    seen, said = asked_of.spans.image, asked_of.spans.user
    with torch.no_grad():
        p = lvlm.logits(asked_of)[0, -1].softmax(-1)
    q = knockout(asked_of, seen, said, range(7)).softmax(-1)
    right, found = float(100 * (q[p.argmax()] / p.max() - 1)), effect(asked_of, seen, said, 3, 7)
    parts = (
        f"an effect is in per cent of p: for a doubtful answer it is {right:.1f} around layer 3, "
    )
    parts += f"window 7; you say {found:.1f}."
    assert abs(found - right) < 0.1, parts
    print("effect is right.")


check_effect()


# %% [wrong] The window begins at the layer
# says: the window begins at the layer
def effect(prompt, sources, targets, layer, window=3):
    before = lvlm.logits(prompt)[0, -1].softmax(-1)
    layers = range(layer, min(12, layer + window))
    after = knockout(prompt, sources, targets, layers).softmax(-1)
    return float(100 * (after[before.argmax()] / before.max() - 1))


# %% [wrong] In points of probability
# says: an effect is in per cent of p
def effect(prompt, sources, targets, layer, window=3):
    before = lvlm.logits(prompt)[0, -1].softmax(-1)
    layers = range(max(0, layer - window // 2), min(12, layer + window // 2 + 1))
    after = knockout(prompt, sources, targets, layers).softmax(-1)
    return float(100 * (after[before.argmax()] - before.max()))


# %% [wrong] A window of three, whatever is asked
# says: an effect is in per cent of p
def effect(prompt, sources, targets, layer, window=3):
    before = lvlm.logits(prompt)[0, -1].softmax(-1)
    layers = range(max(0, layer - 1), min(12, layer + 2))
    after = knockout(prompt, sources, targets, layers).softmax(-1)
    return float(100 * (after[before.argmax()] / before.max() - 1))


# %% [wrong] The window is one layer short
# says: the window is one layer short
def effect(prompt, sources, targets, layer, window=3):
    before = lvlm.logits(prompt)[0, -1].softmax(-1)
    layers = range(max(0, layer - window // 2), min(12, layer + window // 2))
    after = knockout(prompt, sources, targets, layers).softmax(-1)
    return float(100 * (after[before.argmax()] / before.max() - 1))


# %% [wrong] A difference, not per cent
# says: an effect is in per cent of p
def effect(prompt, sources, targets, layer, window=3):
    before = lvlm.logits(prompt)[0, -1].softmax(-1)
    layers = range(max(0, layer - window // 2), min(12, layer + window // 2 + 1))
    return float(
        knockout(prompt, sources, targets, layers).softmax(-1)[before.argmax()] - before.max()
    )


# %% [wrong] A window that begins at layer -1
# says: around layer 0 the window is 0, 1
def effect(prompt, sources, targets, layer, window=3):
    before = lvlm.logits(prompt)[0, -1].softmax(-1)
    layers = [each for each in range(layer - window // 2, layer + window // 2 + 1) if each < 12]
    after = knockout(prompt, sources, targets, layers).softmax(-1)
    return float(100 * (after[before.argmax()] / before.max() - 1))


# %% [markdown]
# The library blocks a road around **every** layer in one pass: it computes only the rows again that change. Yours runs the whole model for each window. Two ways
# that share no code must give the same numbers, or one of them is wrong.

# %%
with torch.no_grad():
    answer = lvlm.logits(prompt)[0, -1:].argmax(-1)
routes = attention_knockout(lvlm, prompt, answer, "image", "question", window=3)
theirs = 100 * ((routes.log_probs - routes.intact)[:, 0].exp() - 1)
yours = torch.tensor([effect(prompt, image, question, layer) for layer in range(lvlm.n_layers)])
difference = float((yours - theirs).abs().max())
assert difference < 0.1, f"at some layer they differ by {difference:.1f} points."
print("image to question, around layers 1 to 12, in per cent:")
print("yours  ", *[f"{value + 0.0:5.0f}" for value in yours.round()])
print("library", *[f"{value + 0.0:5.0f}" for value in theirs.round()])

# %% [markdown]
# ## Hand in: three tasks, three roads (8 minutes)
#
# The cell closes three roads at every second layer, for a few questions of three tasks: is something there (POPE), multiple choice (ScienceQA), reading a sign (TextVQA). It
# takes some seconds. Predict first: which task cannot do without the straight road from image to last token?
#
# Hand in the table and, for each task, the road in words: which tokens read the image, in which layers, and when the last token learns of it. A
# **control** belongs to it: what does closing user to image do, which no decoder ever uses?

# %% [result]
LAYERS = range(0, lvlm.n_layers, 2)
NAMES = ("image to question", "image to last", "question to last", "user to image")
effects = {}
for name in ("pope", "scienceqa", "textvqa"):
    found = torch.zeros(4, len(LAYERS))
    for each in load_task(name, limit=2):
        asked = lvlm.prompt(each.image, each.question)
        seen, said = asked.spans.image, asked.spans.user
        words, end = slice(said.start, said.stop - 1), slice(said.stop - 1, said.stop)
        roads = [(seen, words), (seen, end), (words, end), (said, seen)]
        found += (
            torch.tensor([[effect(asked, *road, layer) for layer in LAYERS] for road in roads]) / 2
        )
    effects[name] = found
    for road, row in zip(NAMES, found, strict=True):
        print(f"{name:9} {road:17}", *[f"{value + 0.0:5.0f}" for value in row.round()])
print("around layer, from 1:      ", *[f"{layer + 1:5}" for layer in LAYERS])

# %% [figure]
# caption: Change of the answer's probability with one road closed around a layer, for three tasks. A deep fall means that the answer comes this way.
# alt: Three panels, one a task, each with three lines over the layers: the effect of closing image to question, image to last and question to last.
figure, panels = plt.subplots(1, 3, figsize=(6.4, 2.4), sharey=True)
colours = (COLOURS["image"], COLOURS["control"], COLOURS["user"])
for axes, (name, found) in zip(panels, effects.items(), strict=True):
    for row, colour, style in zip(found, colours, ("-", "--", "-."), strict=False):
        axes.plot([layer + 1 for layer in LAYERS], row, style, color=colour)
    axes.set(title=name, xlabel="layer")
panels[0].set_ylabel("change of p, %")
figure.legend(
    panels[0].lines,
    NAMES[:3],
    loc="upper center",
    ncols=3,
)
figure.tight_layout(rect=(0, 0, 1, 0.88))
plt.show()

# %% [markdown]
# ## Going further
#
# - Split the image: the tokens of the object asked for, and the background's (lab 1 tells which). Which of the two roads to the question matters?
# - Make the window 1, then 5. What is lost, and what is blurred?
# - A 7B model: with a GPU, `load_lvlm("llava-1.5-7b")` with a window of 9 of its 32 layers, as published for this experiment. Set `LAYERS` to every fourth, or it takes long.
