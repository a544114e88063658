# %% [markdown]
# # Lab 2. Attention flow and sinks
#
# The paper's first figure is made of one measurement: how the attention of the token that gives the answer divides between
# system text, image and question. You will write it in four lines, and then find three reasons to distrust it.
#
# **You will** read attention weights out of a transformer, reduce them to three shares, compare them with chance, find tokens that draw
# attention whatever the image shows, and test whether what is read is used.
#
# **You need** lab 1 (the three spans), softmax, and what query and key are.

# %% [markdown]
# ## Read the weights (12 minutes)
#
# In every layer and head, each token has a row of weights over itself and all tokens before it. They sum to one. The answer
# is predicted at the **last** token of the prompt, so its row is the one we want: a tensor of shape (L, H, S) for L layers,
# H heads and S tokens.
#
# `transformers` hands the weights out if the decoder computes attention the plain way. The cell below shows what comes back.

# %%
import matplotlib.pyplot as plt
import torch

from infoflow import attention_flow, load_lvlm, load_task, truncation_sweep
from infoflow.report import COLOURS, LINES

lvlm = load_lvlm("tiny-llava-1.5")
task = load_task("pope", limit=12)
prompts = [lvlm.prompt(sample.image, sample.question) for sample in task]
prompt = prompts[0]


def all_weights(prompt):
    """Run the decoder and return each layer's weights, a list of L tensors."""
    lvlm.decoder.set_attn_implementation("eager")
    with torch.no_grad():
        given = lvlm.decoder(inputs_embeds=prompt.inputs_embeds, output_attentions=True)
    lvlm.decoder.set_attn_implementation("sdpa")  # the fast way, as it was
    return list(given.attentions)


weights = all_weights(prompt)
print(task[0].question, "| row of", len(prompt), "tokens")
print(len(weights), "layers, each of shape", tuple(weights[0].shape), ": batch, head, query, key")


# %% [exercise]
def answer_rows(weights):
    """Pick the row that predicts the answer from each layer's weights: shape (L, H, S)."""
    # solution
    return torch.stack([layer[0, :, -1] for layer in weights])
    # end


# %% [hint] the axes
# A layer's tensor is `(batch, head, query, key)`. There is one sequence in the batch, the query is the last token, `-1`, and all heads
# and keys stay.


# %% [check]
def check_rows():
    rows, shape = answer_rows(weights), (lvlm.n_layers, lvlm.n_heads, len(prompt))
    assert isinstance(rows, torch.Tensor), "return one tensor: torch.stack makes one of a list."
    assert tuple(rows.shape) == shape, f"shape {tuple(rows.shape)}; wanted {shape}: (L, H, S)."
    first = torch.stack([layer[0, :, 0] for layer in weights])
    assert not torch.equal(rows, first), "that is the first token's row, which sees only itself."
    sums = rows.sum(-1)
    down = "weights of one query over all keys sum to one; yours do not. Queries are the last axis but one."
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-4), down
    right = attention_flow(lvlm, prompt).rows
    assert torch.allclose(rows, right, atol=1e-4), "these are another token's weights, or a mean."
    print("answer_rows is right: it agrees with attention_flow.")


check_rows()


# %% [wrong] The column of the last token
# says: weights of one query over all keys sum to one
def answer_rows(weights):
    return torch.stack([layer[0, :, :, -1] for layer in weights])


# %% [wrong] The first token's row
# says: that is the first token's row
def answer_rows(weights):
    return torch.stack([layer[0, :, 0] for layer in weights])


# %% [wrong] The mean over all queries
# says: these are another token's weights, or a mean
def answer_rows(weights):
    return torch.stack([layer[0].mean(1) for layer in weights])


# %% [markdown]
# ## Three shares (8 minutes)
#
# Now reduce. First average over the heads of a layer (the paper's Eq. 9), then add up what each group of tokens gets (Eq. 7 and 8). As
# a row sums to one, the three shares of a layer do.


# %% [exercise]
def group_shares(rows, spans):
    """Reduce rows (L, H, S) to the shares of system, image and user: shape (L, 3)."""
    # solution
    profile = rows.mean(1)
    return torch.stack([profile[:, span].sum(-1) for span in spans], dim=-1)
    # end


# %% [hint] three sums
# `profile = rows.mean(1)` has the shape (L, S). For each of the three slices in `spans`, sum `profile[:, span]` over its last axis.


# %% [check]
def check_shares():
    other = prompts[1]
    flow = attention_flow(lvlm, other)
    shares = group_shares(flow.rows, other.spans)
    assert isinstance(shares, torch.Tensor), "return one tensor: torch.stack makes one of a list."
    assert tuple(shares.shape) == (lvlm.n_layers, 3), f"shape {tuple(shares.shape)}; wanted (L, 3)."
    means = torch.stack([flow.rows.mean(1)[:, span].mean(-1) for span in other.spans], dim=-1)
    assert not torch.allclose(shares, means), "that is the mean of a group; its share is the sum."
    sums = shares.sum(-1)
    more = (
        f"the shares of layer 1 sum to {sums[0]:.2f}: average the heads, each of which sums to one."
    )
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-4), more
    first, last = (group_shares(attention_flow(lvlm, p).rows, p.spans) for p in prompts[:2])
    assert not torch.equal(first, last), "two prompts give the same: use the rows that are given."
    ordered = torch.allclose(shares.sort(-1).values, flow.shares.sort(-1).values, atol=1e-5)
    assert ordered, f"layer 1 has {flow.shares[0]}; you give {shares[0]}."
    assert torch.allclose(shares, flow.shares, atol=1e-5), "the groups are in another order."
    print("group_shares is right.")


check_shares()


# %% [wrong] The mean of a group in place of its sum
# says: that is the mean of a group
def group_shares(rows, spans):
    profile = rows.mean(1)
    return torch.stack([profile[:, span].mean(-1) for span in spans], dim=-1)


# %% [wrong] The strongest head in place of the mean
# says: the shares of layer 1 sum to
def group_shares(rows, spans):
    profile = rows.amax(1)
    return torch.stack([profile[:, span].sum(-1) for span in spans], dim=-1)


# %% [wrong] Heads added up
# says: the shares of layer 1 sum to
def group_shares(rows, spans):
    profile = rows.sum(1)
    return torch.stack([profile[:, span].sum(-1) for span in spans], dim=-1)


# %% [wrong] The rows of the step before, whatever is given
# says: two prompts give the same
def group_shares(rows, spans):
    profile = answer_rows(weights).mean(1)
    return torch.stack([profile[:, span].sum(-1) for span in spans], dim=-1)


# %% [figure]
# caption: The share of the answer's attention that goes to system text, image and question, layer by layer, averaged over the images of this lab. Layers are counted from 1, as in the paper.
# alt: Three lines over the layers, for system text, image and user text: how the shares of attention change with depth.
shares = torch.stack(
    [group_shares(attention_flow(lvlm, each).rows, each.spans) for each in prompts]
).mean(0)
figure, axes = plt.subplots(figsize=(6.4, 3))
for name, share in zip(("system", "image", "user"), shares.T, strict=True):
    axes.plot(range(1, lvlm.n_layers + 1), share, LINES[name], color=COLOURS[name], label=name)
axes.set(
    xlabel="layer", ylabel="share of attention", ylim=(0, 1), xticks=range(1, lvlm.n_layers + 1)
)
axes.legend()
plt.show()

# %% [markdown]
# ## Is that much or little? (10 minutes)
#
# The image has most of the row's tokens. A head that spread its weight evenly, knowing nothing, would give the image most of its
# attention. So divide each share by what its group would get of an even row: the group's number of tokens over S. Above 1 the
# group draws more than its size; below 1, less.


# %% [exercise]
def over_even(shares, spans, n_tokens):
    """Divide shares (L, 3) by those of a row that is even over n_tokens: shape (L, 3)."""
    # solution
    even = torch.tensor([(span.stop - span.start) / n_tokens for span in spans])
    return shares / even
    # end


# %% [hint] the even share
# A slice has `.start` and `.stop`. The image's even share is its number of tokens, divided by `n_tokens`.


# %% [check]
def check_over_even():
    sizes = torch.tensor([float(span.stop - span.start) for span in prompt.spans])
    even = (sizes / len(prompt)).repeat(lvlm.n_layers, 1)
    kept = even.clone()
    found = over_even(even, prompt.spans, len(prompt))
    assert torch.equal(even, kept), "you change the shares that were given: return new ones."
    assert tuple(found.shape) == (lvlm.n_layers, 3), "one number a layer and group: (L, 3)."
    inverse = torch.allclose(
        over_even(2 * even, prompt.spans, len(prompt)), torch.full((12, 3), 0.5)
    )
    assert not inverse, "upside down: twice the even share must give 2, not a half."
    ones = f"an even row must give 1 for each group; you give {[round(x, 2) for x in found[0].tolist()]}."
    assert torch.allclose(found, torch.ones_like(found)), ones
    doubled = over_even(2 * even, prompt.spans, len(prompt))
    assert torch.allclose(doubled, 2 * torch.ones_like(doubled)), (
        "twice the even share must give 2."
    )
    print("over_even is right.")


check_over_even()
ratio = over_even(shares, prompt.spans, len(prompt))
for layer in range(lvlm.n_layers):
    print(f"layer {layer + 1:2}: system, image, user", *[f"{value:5.2f}" for value in ratio[layer]])


# %% [wrong] Divided by the number of tokens alone
# says: an even row must give 1 for each group
def over_even(shares, spans, n_tokens):
    return shares / torch.tensor([float(span.stop - span.start) for span in spans])


# %% [wrong] The ratio upside down
# says: upside down
def over_even(shares, spans, n_tokens):
    return torch.tensor([(span.stop - span.start) / n_tokens for span in spans]) / shares


# %% [wrong] A third for each group
# says: an even row must give 1 for each group
def over_even(shares, spans, n_tokens):
    return shares * 3


# %% [markdown]
# ## Sinks (12 minutes)
#
# Some tokens draw attention in some head whatever the prompt says. Such a token is a **sink**: the head seems to have nothing to
# do and puts its weight somewhere. It makes bright spots in attention maps, and they mean nothing.
#
# Find them by what defines them. The weight stays where it is when the image changes, so it survives an average over images; weight that follows the image
# is spread by the average. All prompts here have the same length and the same system text.
#
# Return (layer, head, place) for every place *of the system or image span* whose mean weight over the prompts is above the threshold.
# Count all three from 0.


# %% [exercise]
def find_sinks(rows, spans, threshold):
    """List (layer, head, place) of the sinks in rows of P prompts, shape (P, L, H, S)."""
    # solution
    mean = rows.mean(0)[..., : spans.image.stop]
    return [tuple(map(int, found)) for found in (mean > threshold).nonzero()]
    # end


# %% [hint] nonzero
# `(mean > threshold).nonzero()` lists the indices of all entries that are above it, one row for each.


# %% [check]
def check_sinks():
    rows = torch.zeros(4, 2, 2, len(prompt))
    rows[:, 1, 0, 17] = torch.tensor([0.7, 0.7, 0.7, 0.1])  # a sink, though not in all
    rows[range(4), 0, 1, [40, 50, 60, 70]] = 0.9  # follows the image
    rows[:, 0, 0, 100] = 0.8  # the question, of which we do not ask
    listed = list(find_sinks(rows, prompt.spans, 0.4))
    triples = all(len(each) == 3 for each in listed)
    assert triples, "list each sink as one triple: (layer, head, place)."
    found = [tuple(map(int, each)) for each in listed]
    follows = any(layer == 0 and head == 1 for layer, head, _ in found)
    assert not follows, (
        "layer 0, head 1 looks elsewhere in every image: average before you compare."
    )
    asked = any(place >= prompt.spans.user.start for _, _, place in found)
    assert not asked, "a place in the question is among them: stop at the end of the image."
    assert found, "you find no sink where one token gets more than half of a head's mean weight."
    assert found == [(1, 0, 17)], (
        f"the sink is (1, 0, 17), as layer, head, place; you find {found[:3]}."
    )
    shifted = torch.zeros(4, 1, 1, len(prompt))
    shifted[..., 50] = 0.5
    (place,) = [int(each[2]) for each in find_sinks(shifted, prompt.spans, 0.4)]
    in_row = f"a place counts from the row's first token: the sink is at 50; you say {place}."
    assert place == 50, in_row
    none = list(find_sinks(shifted, prompt.spans, 0.6))
    assert none == [], "a mean weight of 0.5 is not above 0.6: use the threshold that is given."
    print("find_sinks is right.")


check_sinks()


# %% [wrong] Any prompt will do
# says: layer 0, head 1 looks elsewhere in every image
def find_sinks(rows, spans, threshold):
    strongest = rows.amax(0)[..., : spans.image.stop]
    return [tuple(map(int, found)) for found in (strongest > threshold).nonzero()]


# %% [wrong] Above the threshold in every prompt
# says: you find no sink
def find_sinks(rows, spans, threshold):
    weakest = rows.amin(0)[..., : spans.image.stop]
    return (weakest > threshold).nonzero().tolist()


# %% [wrong] Places counted within each span
# says: a place counts from the row's first token
def find_sinks(rows, spans, threshold):
    marked = rows.mean(0) > threshold
    return [each for span in spans[:2] for each in marked[..., span].nonzero().tolist()]


# %% [wrong] The question's tokens among them
# says: a place in the question is among them
def find_sinks(rows, spans, threshold):
    return [tuple(map(int, found)) for found in (rows.mean(0) > threshold).nonzero()]


# %% [wrong] Heads averaged away
# says: you find no sink
def find_sinks(rows, spans, threshold):
    mean = rows.mean((0, 2))[..., : spans.image.stop]
    return [(int(layer), 0, int(place)) for layer, place in (mean > threshold).nonzero()]


# %%
rows = torch.stack([attention_flow(lvlm, each).rows for each in prompts])
grey = [lvlm.prompt(each.image.point(lambda value: 128), each.question) for each in prompts]
grey_rows = torch.stack([attention_flow(lvlm, each).rows for each in grey])
for layer, head, place in find_sinks(rows, prompt.spans, 0.25):
    token = lvlm.tokenizer.decode(prompt.input_ids[place : place + 1])
    seen, blind = (float(each.mean(0)[layer, head, place]) for each in (rows, grey_rows))
    print(
        f"layer {layer + 1}, head {head}, place {place} {token!r}: {seen:.2f}, all grey: {blind:.2f}"
    )

# %% [markdown]
# The last number is a control: the same questions with every image painted grey. A sink is still there. Weight that was
# looking for something in the image has no reason to be.

# %% [markdown]
# ## Hand in: is what is read used? (8 minutes)
#
# Attention says where a layer *reads*. Whether the answer *needs* it is another question, which truncation answers: hide the image from all layers after the
# first few, the **cut**, and look at the answer.
#
# Write down beforehand: if a layer gives a third of its attention to the image, must hiding the image from that layer on change the answer? Then run the cell. Hand in
# the deepest layer at which both are true: the image gets more than a third of the attention, and hiding it from this layer on changes no
# answer. Say in a sentence what attention did not tell you.

# %% [result]
same = torch.zeros(lvlm.n_layers + 1)
for each in prompts:
    tokens = truncation_sweep(lvlm, each).tokens[:, 0]
    same += tokens == tokens[-1]
for layer in range(1, lvlm.n_layers + 1):
    image, kept = float(shares[layer - 1, 1]), int(same[layer - 1])
    print(
        f"layer {layer:2}: image share {image:.2f}; hidden from here on, {kept} of {len(prompts)} answers stay"
    )
both = [
    n
    for n in range(1, lvlm.n_layers + 1)
    if shares[n - 1, 1] > 1 / 3 and same[n - 1] == len(prompts)
]
print("deepest such layer:", max(both, default="none"))

# %% [markdown]
# ## Going further
#
# - Replace the mean over heads by the maximum, with the row divided by its sum (`attention_flow(..., head_reduce="max")`). Which layers
#   change their order? A finding that hangs on this choice is not a finding yet.
# - A 7B model: with a GPU, `load_lvlm("llava-1.5-7b")` and the same cells. Published models have a strong sink at the very first token; is the share of
#   "system text" in their shallow layers more than that one token?
# - The page on [EAH](/book/results.md) uses image sinks to change the model. Which of your sinks would it count?
