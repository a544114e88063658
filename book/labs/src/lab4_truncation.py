# %% [markdown]
# # Lab 4. Truncation and the cliff
#
# Attention says what is read, a gradient what the answer hangs on. Only taking a thing away says whether it is needed. In this
# lab you hide the image from a depth on, find the depth from which nobody misses it, and see how easily that depth is got
# wrong.
#
# **You will** write the attention mask and the hook that puts it in, check both against the library's fast way, write the rule that finds
# the cliff, and watch another rule drift with the number of questions.
#
# **You need** lab 1, softmax, and the standard error of a mean. A **cut** is the number of leading layers that still see the
# image: 0 is none, L is the intact model. The paper's "layer l" is our cut l - 1.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from infoflow import cliff_layer, load_lvlm, load_task, truncation_sweep
from infoflow.report import COLOURS

lvlm = load_lvlm("tiny-llava-1.5")
task = load_task("scienceqa", split="calibration", limit=40)
sample = task[0]
prompt = lvlm.prompt(sample.image, sample.question)
print(sample.question)
for name, span in zip(("system", "image", "user"), prompt.spans, strict=True):
    print(f"{name} tokens: {span.start} to {span.stop - 1}")

# %% [markdown]
# ## The mask (12 minutes)
#
# A decoder layer adds a mask to the scores before the softmax: 0 where a token may look, minus infinity where it must not. Rows are the tokens that
# look (queries), columns the tokens they look at (keys). Two rules make ours:
#
# - nobody looks ahead: key after query is forbidden, as always in a decoder;
# - no token **after** the image looks at the image. Image tokens may look at each other, as from this layer on no later token reads them.
#
# `len(prompt)` is S, and `prompt.spans.image` a slice: it begins at `.start` and ends before `.stop`.


# %% [exercise]
def truncation_mask(prompt):
    """Make the additive mask of a prompt of S tokens: shape (S, S), 0 or minus infinity."""
    # solution
    n, image = len(prompt), prompt.spans.image
    mask = torch.full((n, n), -torch.inf).triu(1)
    mask[image.stop :, image] = -torch.inf
    return mask
    # end


# %% [hint] two assignments
# `torch.full((n, n), -torch.inf).triu(1)` is the causal mask: minus infinity above the diagonal and 0 elsewhere. The second rule is one
# assignment to a block of it, `mask[rows, columns] = ...`, with slices.


# %% [check]
def check_mask():
    mask, (system, image, user) = truncation_mask(prompt), prompt.spans
    n = len(prompt)
    assert isinstance(mask, torch.Tensor), "return a tensor of PyTorch's."
    assert tuple(mask.shape) == (n, n), f"shape {tuple(mask.shape)}; wanted (S, S) = {(n, n)}."
    values = (
        "an additive mask holds 0.0 and minus infinity; True and False would be added as 1 and 0."
    )
    assert mask.dtype == torch.float32, f"{values} Yours is of {mask.dtype}."
    assert not mask.isnan().any(), "the mask holds NaN: 0 times minus infinity is no number."
    finite = "the mask holds other numbers than 0.0 and minus infinity, which is -torch.inf."
    assert set(mask.unique().tolist()) <= {0.0, -torch.inf}, finite
    open_to = mask == 0
    ahead = "a token looks ahead: the mask is not causal any more. Row 0 is open at column 0 alone."
    assert not open_to.triu(1).any(), ahead
    rows = "the image's rows are shut, not its columns: rows look, columns are looked at."
    assert open_to[image].any(), rows
    first = "token 0 sees nothing: .triu(1) leaves the diagonal open, .triu() does not."
    assert open_to[0, 0], first
    own = "an image token cannot see itself: only tokens after the image must not look at it."
    assert open_to.diagonal()[image].all(), own
    shut = "a token cannot see itself: the image ends before .stop."
    assert open_to.diagonal().all(), shut
    assert open_to[-1, system].all(), "the last token cannot see the system text."
    assert not open_to[-1, image].any(), "the last token still sees the image."
    between = "the question's other tokens still see the image, and hand it on to the last one."
    assert not open_to[user.start : n - 1, image].any(), between
    print("truncation_mask is right.")


check_mask()


# %% [wrong] Not causal any more
# says: a token looks ahead
def truncation_mask(prompt):
    mask = torch.zeros(len(prompt), len(prompt))
    mask[prompt.spans.user, prompt.spans.image] = -torch.inf
    return mask


# %% [wrong] Rows and columns exchanged
# says: the image's rows are shut
def truncation_mask(prompt):
    mask = torch.full((len(prompt), len(prompt)), -torch.inf).triu(1)
    mask[prompt.spans.image] = -torch.inf
    return mask


# %% [wrong] The diagonal shut
# says: token 0 sees nothing
def truncation_mask(prompt):
    mask = torch.full((len(prompt), len(prompt)), -torch.inf).triu()
    mask[prompt.spans.user, prompt.spans.image] = -torch.inf
    return mask


# %% [wrong] The image hidden from itself
# says: an image token cannot see itself
def truncation_mask(prompt):
    mask = torch.full((len(prompt), len(prompt)), -torch.inf).triu(1)
    mask[:, prompt.spans.image] = -torch.inf
    return mask


# %% [wrong] One column too many
# says: a token cannot see itself
def truncation_mask(prompt):
    mask, stop = torch.full((len(prompt), len(prompt)), -torch.inf).triu(1), prompt.spans.user.start
    mask[stop:, prompt.spans.image.start : stop + 1] = -torch.inf
    return mask


# %% [wrong] Ones times minus infinity
# says: the mask holds NaN
def truncation_mask(prompt):
    mask = torch.ones(len(prompt), len(prompt)).triu(1) * -torch.inf
    mask[prompt.spans.user, prompt.spans.image] = -torch.inf
    return mask


# %% [wrong] The image hidden from the last token alone
# says: the question's other tokens still see the image
def truncation_mask(prompt):
    mask = torch.full((len(prompt), len(prompt)), -torch.inf).triu(1)
    mask[-1, prompt.spans.image] = -torch.inf
    return mask


# %% [wrong] A mask of True and False
# says: an additive mask holds 0.0 and minus infinity
def truncation_mask(prompt):
    mask = torch.ones(len(prompt), len(prompt), dtype=torch.bool).tril()
    mask[prompt.spans.user, prompt.spans.image] = False
    return mask


# %% [markdown]
# ## The hook (12 minutes)
#
# PyTorch lets you change what a module is called with: `layer.register_forward_pre_hook(hook, with_kwargs=True)`. The hook below puts
# your mask in. Register it on each layer that must not see the image, run the model, and take the hooks away again, also if the model
# fails: `register_...` returns a handle with `.remove()`.
#
# `lvlm.layers` lists the decoder's L layers, and `lvlm.logits(prompt)` runs the model: shape (1, S, V), for V words of the vocabulary.


# %%
def put_in(mask):
    """Make a hook that calls a decoder layer with this mask."""

    def hook(layer, args, kwargs):
        return args, {**kwargs, "attention_mask": mask[None, None]}

    return hook


# %% [exercise]
def logits_at_cut(prompt, cut):
    """Run the model with the image hidden from layer `cut` on; the last token's logits: (V,)."""
    # solution
    hook = put_in(truncation_mask(prompt))
    handles = [
        layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in lvlm.layers[cut:]
    ]
    try:
        with torch.no_grad():
            return lvlm.logits(prompt)[0, -1]
    finally:
        for handle in handles:
            handle.remove()
    # end


# %% [hint] which layers
# With `cut` layers that see the image, the ones that do not are `lvlm.layers[cut:]`. Use `try: ... finally: ...` to remove the handles.


# %% [check]
def check_cut():
    global lvlm, prompt
    intact, right = lvlm.logits(prompt), truncation_sweep(lvlm, prompt).logits
    found = [logits_at_cut(prompt, cut) for cut in range(lvlm.n_layers + 1)]
    if not torch.equal(lvlm.logits(prompt), intact):
        lvlm = load_lvlm("tiny-llava-1.5")
        prompt = lvlm.prompt(sample.image, sample.question)
        raise AssertionError(
            "your hooks are still there after your run. The model was loaded anew."
        )
    assert found[0].shape == right[0].shape, "return one row of logits: those of the last token."
    early = torch.allclose(found[0], right[-1], atol=1e-3)
    assert not early, (
        "at cut 0 no layer sees the image; yours is the intact model: which layers get the hook?"
    )
    late = torch.allclose(found[0], right[1], atol=1e-3)
    assert not late, "one layer too many sees the image: at cut 0 it is none."
    few = torch.allclose(found[2], right[1], atol=1e-3)
    assert not few, "one layer too few sees the image: at cut 2 it is two, the paper's layer 3."
    for cut, (mine, theirs) in enumerate(zip(found, right, strict=True)):
        difference = float((mine - theirs).abs().max())
        assert difference < 1e-3, f"at cut {cut} the logits differ by {difference:.2g}."
    print("logits_at_cut is right: equal to truncation_sweep at every cut.")


check_cut()


# %% [wrong] Hidden from the first layers in place of the last
# says: at cut 0 no layer sees the image
def logits_at_cut(prompt, cut):
    hook = put_in(truncation_mask(prompt))
    handles = [
        layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in lvlm.layers[:cut]
    ]
    with torch.no_grad():
        logits = lvlm.logits(prompt)[0, -1]
    for handle in handles:
        handle.remove()
    return logits


# %% [wrong] Off by one
# says: one layer too many sees the image
def logits_at_cut(prompt, cut):
    hook = put_in(truncation_mask(prompt))
    handles = [
        layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in lvlm.layers[cut + 1 :]
    ]
    with torch.no_grad():
        logits = lvlm.logits(prompt)[0, -1]
    for handle in handles:
        handle.remove()
    return logits


# %% [wrong] Layers counted from 1
# says: one layer too few sees the image
def logits_at_cut(prompt, cut):
    hook = put_in(truncation_mask(prompt))
    blind = lvlm.layers[max(0, cut - 1) :]
    handles = [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in blind]
    with torch.no_grad():
        logits = lvlm.logits(prompt)[0, -1]
    for handle in handles:
        handle.remove()
    return logits


# %% [wrong] Hooks that stay
# says: your hooks are still there
def logits_at_cut(prompt, cut):
    for layer in lvlm.layers[cut:]:
        layer.register_forward_pre_hook(put_in(truncation_mask(prompt)), with_kwargs=True)
    with torch.no_grad():
        return lvlm.logits(prompt)[0, -1]


# %% [markdown]
# ## Many questions (4 minutes)
#
# One question shows nothing. Here are the scores of all questions of this lab at all cuts, an array of shape (N, L + 1). Your
# function would do, at one forward pass a cut; `truncation_sweep` gives the same in one pass.

# %%
scores = []
for each in task:
    sweep = truncation_sweep(lvlm, lvlm.prompt(each.image, each.question))
    scores.append([task.score(each, lvlm.decode(tokens)) for tokens in sweep.tokens])
scores = np.array(scores)
print(scores.shape)
print("accuracy by cut:", *[f"{mean:.2f}" for mean in scores.mean(0)])

# %% [figure]
# caption: Accuracy against the number of layers that see the image. The band is the margin below the intact model.
# alt: A curve that climbs from chance at cut 0 to the accuracy of the intact model at the last cut, with a band of five points below that.
figure, axes = plt.subplots(figsize=(6.4, 3))
axes.axhspan(
    scores[:, -1].mean() - 0.05, scores[:, -1].mean(), color=COLOURS["baseline"], alpha=0.3
)
axes.plot(scores.mean(0), marker="o", color=COLOURS["ours"])
axes.set(
    xlabel="cut: layers that see the image", ylabel="accuracy", ylim=(0, 1.02), xticks=range(13)
)
plt.show()

# %% [markdown]
# ## The rule (10 minutes)
#
# "From some depth on the image can be taken away" needs a rule before it is a number. Ours: the cliff is the smallest cut such that
# **at it and at all later cuts** the mean score is no more than a margin below the intact model's. If no cut does harm, it is 0.


# %% [exercise]
def cliff(scores, margin=0.05):
    """Find the cliff of scores (N, L + 1); the last column is the intact model's."""
    # solution
    means = scores.mean(0)
    harmed = means < means[-1] - margin - 1e-9
    return int(np.flatnonzero(harmed).max(initial=-1)) + 1
    # end


# %% [hint] from the end
# Mark the cuts that are harmed. The cliff is one past the **last** harmed one. Means are sums of floats: subtract a tiny number
# such as `1e-9` from the bound, so that a loss of exactly the margin passes.


# %% [check]
def check_cliff():
    def of(*means, margin=0.05):
        found = cliff(np.array([means]), margin)
        assert found is not None, f"for the means {means} you return nothing: is no cut harmed?"
        return int(found)

    assert of(0, 0.5, 1, 1) == 2, (
        f"means 0, 0.5, 1, 1 have their cliff at cut 2; you say {of(0, 0.5, 1, 1)}."
    )
    dips = of(0, 1, 0, 1, 1)
    assert dips == 3, (
        f"0, 1, 0, 1, 1: the curve falls again after cut 1, so the cliff is 3; you say {dips}."
    )
    above = of(0, 0.8, 1, 0.8)
    assert above == 1, (
        f"0, 0.8, 1, 0.8: the comparison is with the intact model, not with the best cut; you say {above}."
    )
    none = of(1, 1, 1)
    assert none == 0, (
        f"if no cut hurts, the cliff is 0: the image was never needed; you say {none}."
    )
    edge = of(0, 0.35, 0.4)
    assert edge == 1, (
        f"0, 0.35, 0.4: a loss of exactly the margin is no harm, rounding aside; you say {edge}."
    )
    wide = of(0, 0.6, 1, margin=0.5)
    assert wide == 1, f"0, 0.6, 1 with a margin of 0.5 has its cliff at 1; you say {wide}."
    assert cliff(scores) == cliff_layer(scores).cut, "on the real scores cliff_layer finds another."
    print("cliff is right: cut", cliff(scores))


check_cliff()


# %% [wrong] The first cut that is good enough
# says: 0, 1, 0, 1, 1: the curve falls again
def cliff(scores, margin=0.05):
    means = scores.mean(0)
    return int(np.argmax(means >= means[-1] - margin - 1e-9))


# %% [wrong] Compared with the best cut
# says: 0, 0.8, 1, 0.8: the comparison is with the intact model
def cliff(scores, margin=0.05):
    means = scores.mean(0)
    return int(np.flatnonzero(means < means.max() - margin - 1e-9).max(initial=-1)) + 1


# %% [wrong] The last harmed cut itself
# says: means 0, 0.5, 1, 1 have their cliff at cut 2
def cliff(scores, margin=0.05):
    means = scores.mean(0)
    return int(np.flatnonzero(means < means[-1] - margin - 1e-9).max(initial=0))


# %% [wrong] The margin written into the function
# says: 0, 0.6, 1 with a margin of 0.5
def cliff(scores, margin=0.05):
    means = scores.mean(0)
    return int(np.flatnonzero(means < means[-1] - 0.05 - 1e-9).max(initial=-1)) + 1


# %% [wrong] Rounding forgotten
# says: 0, 0.35, 0.4: a loss of exactly the margin
def cliff(scores, margin=0.05):
    means = scores.mean(0)
    return int(np.flatnonzero(means < means[-1] - margin).max(initial=-1)) + 1


# %% [wrong] Nothing returned where no cut is harmed
# says: for the means (1, 1, 1) you return nothing
def cliff(scores, margin=0.05):
    means = scores.mean(0)
    for cut in range(len(means) - 1, -1, -1):
        if means[cut] < means[-1] - margin - 1e-9:
            return cut + 1
    return None


# %% [markdown]
# ## A rule that drifts (10 minutes)
#
# Many papers use another rule: a cut is harmless if the loss **is not significant**. Write it. With the loss of each question (its
# intact score less its score at the cut), a cut is harmed if the mean loss is more than 1.96 standard errors (deviation with n - 1, over the root of n). The cliff is again one past
# the last harmed cut. Before you go on: what will this rule say if you ask only five questions?


# %% [exercise]
def cliff_by_test(scores):
    """Find the cliff as one past the last cut with a significant loss."""
    # solution
    loss = scores[:, -1:] - scores
    error = loss.std(0, ddof=1) / np.sqrt(len(loss))
    harmed = loss.mean(0) > 1.96 * error
    return int(np.flatnonzero(harmed).max(initial=-1)) + 1
    # end


# %% [hint] the standard error
# `loss.std(0, ddof=1) / np.sqrt(len(loss))`, of the losses question by question.


# %% [check]
def check_by_test():
    even = np.array([[0, 0.0, 1, 1]] * 8 + [[1, 1, 1, 1]] * 2)
    assert cliff_by_test(even) == 2, (
        "eight of ten lost at cuts 0 and 1 is significant: the cliff is 2."
    )
    few = np.array([[0, 0, 1, 1]] + [[0, 1, 1, 1]] + [[1, 1, 1, 1]] * 8, dtype=float)
    found = cliff_by_test(few)
    assert found != 2, (
        "one lost of ten is not significant: divide the deviation by the root of n, not by n."
    )
    assert found == 0, f"neither two nor one lost of ten is significant here; you say {found}."
    paired = np.array([[0, 0.3], [0.7, 1.0], [0.1, 0.4], [0.65, 1.0]])
    dips = np.array([[0.0, 1, 0, 1]] * 10)
    last = f"each question is lost at cuts 0 and 2: the cliff is 3; you say {cliff_by_test(dips)}."
    assert cliff_by_test(dips) == 3, last
    assert cliff_by_test(1 - dips) == 0, "a gain is no harm: only a loss counts."
    half = np.array([[0.0, 1], [0, 1], [1, 1], [1, 1]])
    assert cliff_by_test(half) == 0, (
        "two lost of four is not significant: divide by n - 1 (ddof=1)."
    )
    alone = "the losses are much alike though the questions differ: take the deviation of the losses, not of the scores."
    assert cliff_by_test(paired) == 1, alone
    print("cliff_by_test is right.")


check_by_test()


# %% [wrong] Divided by n in place of its root
# says: one lost of ten is not significant
def cliff_by_test(scores):
    loss = scores[:, -1:] - scores
    harmed = loss.mean(0) > 1.96 * loss.std(0, ddof=1) / len(loss)
    return int(np.flatnonzero(harmed).max(initial=-1)) + 1


# %% [wrong] The deviation with n in place of n - 1
# says: two lost of four
def cliff_by_test(scores):
    loss = scores[:, -1:] - scores
    harmed = loss.mean(0) > 1.96 * loss.std(0) / np.sqrt(len(loss))
    return int(np.flatnonzero(harmed).max(initial=-1)) + 1


# %% [wrong] Any significant change
# says: a gain is no harm
def cliff_by_test(scores):
    loss = scores[:, -1:] - scores
    harmed = abs(loss.mean(0)) > 1.96 * loss.std(0, ddof=1) / np.sqrt(len(loss))
    return int(np.flatnonzero(harmed).max(initial=-1)) + 1


# %% [wrong] The first cut without a significant loss
# says: each question is lost at cuts 0 and 2
def cliff_by_test(scores):
    loss = scores[:, -1:] - scores
    return int(np.argmin(loss.mean(0) > 1.96 * loss.std(0, ddof=1) / np.sqrt(len(loss))))


# %% [wrong] The deviation of the scores, not of the losses
# says: the losses are much alike
def cliff_by_test(scores):
    loss = scores[:, -1:] - scores
    harmed = loss.mean(0) > 1.96 * scores.std(0, ddof=1) / np.sqrt(len(loss))
    return int(np.flatnonzero(harmed).max(initial=-1)) + 1


# %% [wrong] The first cut without a significant loss, counted from the wrong end
# says: eight of ten lost
def cliff_by_test(scores):
    loss = scores[:, -1:] - scores
    harmed = loss.mean(0) > 1.96 * loss.std(0, ddof=1) / np.sqrt(len(loss))
    return int(np.flatnonzero(~harmed).max())


# %% [markdown]
# ## Hand in: two rules, four sample sizes (7 minutes)
#
# The cell draws n of the questions, with replacement, 200 times, and averages the cliff that each rule finds. Predict for both rules
# before you run it: does the cliff move up, move down or stay, as n grows? Both rules are given the same questions, so each is the **control** of the other.
#
# Hand in the table and two sentences: which rule would you rather meet in a paper that shows "no significant loss", and what would you ask its authors?

# %% [result]
random = np.random.default_rng(0)
for n in (5, 10, 20, 40):
    drawn = [scores[random.integers(len(scores), size=n)] for _ in range(200)]
    by_margin, by_test = (
        np.mean([rule(each) for each in drawn]) for rule in (cliff, cliff_by_test)
    )
    print(f"n = {n:2}: cliff by margin {by_margin:4.1f}, by test {by_test:4.1f}")

# %% [markdown]
# ## Going further
#
# - Keep the K image tokens that the last token attends to most, and hide only the others (`truncation_sweep(..., keep=K)`). How small may K be at cut 3?
# - Other tasks: `load_task("pope")`, `"textvqa"`. Which task has the earliest cliff, and does that fit the paper's order?
# - A 7B model: with a GPU, `load_lvlm("llava-1.5-7b")` and `load_task("scienceqa", source="hub")`. Your mask and your hook work as they are. The paper's cliff lies much
#   deeper in absolute layers: compare the share of the depth, too.
