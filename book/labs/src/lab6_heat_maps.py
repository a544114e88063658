# %% [markdown]
# # Lab 6. Is a heat map true?
#
# A heat map over an image persuades at once, whether or not it says anything about the model. In a drawn world it can be put to the test, because we know
# where the object is. You will score maps, compare them with knowing nothing, test whether the hot patches matter, and then build a **decoy**: attention that points at the right
# thing and is not used at all.
#
# **You will** write the pointing game, a comparison with chance, a deletion test, and a decoy.
#
# **You need** labs 1 to 3: which tokens show an object, attention rows, gradient maps.

# %%
import matplotlib.pyplot as plt
import torch

from infoflow import attention_flow, llava_cam, load_lvlm, load_task, plant
from infoflow.methods.localisation import coverage, target_mask
from infoflow.report import COLOURS

lvlm = load_lvlm("tiny-llava-1.5")
samples = [sample for sample in load_task("pope", limit=24) if sample.answer == "yes"]
prompts = [lvlm.prompt(sample.image, sample.question) for sample in samples]
objects = [
    torch.tensor(coverage(target_mask(s), p.grid)) > 0
    for s, p in zip(samples, prompts, strict=True)
]
n_layers, image = lvlm.n_layers, prompts[0].spans.image
print(len(samples), "images;", samples[0].question, "Patches on the object:", int(objects[0].sum()))

# %% [markdown]
# ## The pointing game (10 minutes)
#
# A map scores 1 if its highest patch lies on the object, else 0. Two cases decide whether the game is fair:
#
# - **Ties.** Of several highest patches each counts for its part: if one of four lies on the object, the map scores a quarter. So a map that is even everywhere scores what
#   a random patch would.
# - **No map.** An undefined map (NaN) or one that is zero everywhere points nowhere. It scores NaN: no number is better than a lucky one.


# %% [exercise]
def hit(heat, on_object):
    """Score a map (8, 8) of numbers from 0 against boolean patches (8, 8): 0 to 1, or NaN."""
    # solution
    if heat.isnan().any() or not heat.any():
        return float("nan")
    return float(on_object[heat == heat.max()].double().mean())
    # end


# %% [hint] ties
# `heat == heat.max()` marks all highest patches. `on_object[that]` says of each whether it lies on the object; take the mean.


# %% [check]
def check_hit():
    on_object = torch.zeros(8, 8, dtype=torch.bool)
    on_object[2, 3:5] = True
    heat = torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    heat[2, 3] = 2
    assert hit(heat, on_object) == 1, "the highest patch lies on the object; that scores 1."
    turned = (
        "the highest patch lies beside the object; that scores 0. Are rows and columns exchanged?"
    )
    assert hit(heat.T, on_object) == 0, turned
    heat[0, 0] = heat[0, 1] = heat[0, 2] = 2
    tied = hit(heat, on_object)
    assert tied == 0.25, (
        f"one of four highest patches is on the object: a quarter; you say {tied:.2f}."
    )
    even = hit(torch.full((8, 8), 0.5), on_object)
    assert abs(even - 1 / 32) < 1e-6, f"an even map scores by chance, 2 of 64; you say {even}."
    for empty in (torch.zeros(8, 8), torch.full((8, 8), torch.nan)):
        found = hit(empty, on_object)
        assert found is not None, "return a number also for a map that points nowhere: NaN."
        found = float(found)
        assert found != found, f"a map of zeros or NaN points nowhere: NaN; you say {found:.2f}."
    print("hit is right.")


check_hit()


# %% [wrong] Any of the highest patches will do
# says: one of four highest patches is on the object
def hit(heat, on_object):
    return float(on_object[heat == heat.max()].any())


# %% [wrong] The first of the highest patches
# says: one of four highest patches is on the object
def hit(heat, on_object):
    return float(on_object.flatten()[heat.argmax()])


# %% [wrong] An even map taken for none
# says: an even map scores by chance
def hit(heat, on_object):
    if not heat.max() > heat.min():
        return float("nan")
    return float(on_object[heat == heat.max()].double().mean())


# %% [wrong] An empty map scores by chance
# says: a map of zeros or NaN points nowhere
def hit(heat, on_object):
    return float(on_object[heat == heat.max()].double().mean())


# %% [markdown]
# ## Better than knowing nothing? (10 minutes)
#
# A hit rate is nothing without chance. A patch taken at random hits with the probability of the object's share of the patches, which differs from image to
# image. So compare **item by item**: the score less that item's chance. Return the mean of these differences and its standard error, leaving out items without a map.


# %% [exercise]
def above_chance(hits, chances):
    """Mean of hits less chances (N,), NaN left out, and the standard error of that mean."""
    # solution
    excess = (hits - chances)[~hits.isnan()]
    return float(excess.mean()), float(excess.std() / len(excess) ** 0.5)
    # end


# %% [hint] leave out NaN
# `hits[~hits.isnan()]` keeps the items that have a map; take the same ones of the chances. The error is `.std() / n ** 0.5`.


# %% [check]
def check_above():
    hits = torch.tensor([1.0, 0.0, 1.0, torch.nan])
    chances = torch.tensor([0.1, 0.2, 0.3, 0.9])
    pair = above_chance(hits, chances)
    assert isinstance(pair, tuple | list), "return two numbers: the mean, and its standard error."
    mean, error = map(float, pair)
    assert mean == mean, "the item without a map makes all of it NaN: leave it out."
    zero = "an item without a map is no miss: leave it out, and do not count it."
    as_miss, uncounted = (0.9 - 0.2 + 0.7 - 0.9) / 4, (0.9 - 0.2 + 0.7) / 4
    assert min(abs(mean - as_miss), abs(mean - uncounted)) > 1e-4, zero
    half = "chance is not a half: each item has its own."
    assert abs(mean - (0.5 - 0.5 + 0.5) / 3) > 1e-4, half
    assert abs(mean - 1.4 / 3) < 1e-4, f"the mean difference is 0.47 here; you say {mean:.2f}."
    right = torch.tensor([0.9, -0.2, 0.7]).std() / 3**0.5
    spread = f"the standard error is {right:.2f} here; you say {error:.2f}: the deviation of the differences, over the root of the number of items that count."
    assert abs(error - right) < 1e-4, spread
    print("above_chance is right.")


check_above()


# %% [wrong] NaN in the mean
# says: the item without a map makes all of it NaN
def above_chance(hits, chances):
    excess = hits - chances
    return float(excess.mean()), float(excess.std() / len(excess) ** 0.5)


# %% [wrong] A missing map counted as a miss
# says: an item without a map is no miss
def above_chance(hits, chances):
    excess = hits.nan_to_num(0) - chances
    return float(excess.mean()), float(excess.std() / len(excess) ** 0.5)


# %% [wrong] The deviation in place of the standard error
# says: the standard error is
def above_chance(hits, chances):
    excess = (hits - chances)[~hits.isnan()]
    return float(excess.mean()), float(excess.std())


# %% [figure]
# caption: How much more often than chance the highest patch lies on the object, by layer, for the attention of the last token and for LLaVA-CAM, with one standard error. At 0 a map knows nothing.
# alt: Two lines over the layers with error bars, for attention and for gradient maps, around and above a line at zero that stands for chance.
def attention_maps(prompt):
    """The last token's attention to the image, heads averaged: shape (L, 8, 8)."""
    return attention_flow(lvlm, prompt).rows.mean(1)[:, image].reshape(-1, 8, 8)


maps = {
    "attention": [attention_maps(prompt) for prompt in prompts],
    "LLaVA-CAM": [llava_cam(lvlm, prompt, "yes", n_samples=1, sigma=0).maps for prompt in prompts],
}
chances = torch.stack([each.float().mean() for each in objects])
figure, axes = plt.subplots(figsize=(6.4, 3))
axes.axhline(0, color=COLOURS["baseline"], linewidth=1)
excess = {}
for (name, found), colour in zip(maps.items(), (COLOURS["image"], COLOURS["user"]), strict=True):
    hits = torch.tensor([[hit(m, o) for m in each] for each, o in zip(found, objects, strict=True)])
    layers = [n for n in range(n_layers) if not hits[:, n].isnan().all()]
    excess[name] = {n: above_chance(hits[:, n], chances) for n in layers}
    means, errors = zip(*excess[name].values(), strict=True)
    axes.errorbar([n + 1 for n in layers], means, errors, color=colour, capsize=2, label=name)
axes.set(xlabel="layer", ylabel="hit rate less chance", ylim=(-0.2, 0.7))
axes.set_xticks(range(1, n_layers + 1))
axes.legend(loc="upper left", ncols=2)
plt.show()

# %% [markdown]
# ## Do the hot patches matter? (12 minutes)
#
# A map can lie on the object and still say nothing about the answer, and the other way round. So ask the model: blank the k hottest patches, and see how far the
# probability of its answer falls. The control is as many **random** patches. A map that is worth something makes the answer fall further than they do.
#
# To blank a patch, put the mean of the image's 64 vectors in its place, in a copy of `prompt.inputs_embeds`, shape (1, S, D).


# %% [exercise]
def fall(prompt, patches):
    """How far the answer's probability falls with patches, a list of numbers 0 to 63, blanked."""
    # solution
    embeds = prompt.inputs_embeds.detach().clone()
    embeds[0, [image.start + int(patch) for patch in patches]] = embeds[0, image].mean(0)
    with torch.no_grad():
        before, after = (
            lvlm.logits(each)[0, -1].softmax(-1) for each in (prompt.inputs_embeds, embeds)
        )
    return float(before.max() - after[before.argmax()])
    # end


# %% [hint] before and after
# Copy with `.detach().clone()`. `before.argmax()` is the answer; look up the same token's probability in `after`.


# %% [check]
def check_fall():
    first, on_object = prompts[0], objects[0].flatten().nonzero().flatten().tolist()
    kept = first.inputs_embeds.clone()
    nothing, much = fall(first, []), fall(first, range(64))
    same = torch.equal(kept, first.inputs_embeds)
    first.inputs_embeds.data.copy_(kept)
    assert same, (
        "the prompt itself was changed: work on a copy, or the next run starts from a blanked image."
    )
    assert abs(nothing) < 1e-5, (
        f"nothing blanked, nothing falls: 0; you say {nothing:.2f}. Before less after."
    )
    embeds = kept.clone()
    embeds[0, [29 + patch for patch in on_object]] = kept[0, image].mean(0)
    with torch.no_grad():
        p, q = (lvlm.logits(each)[0, -1].softmax(-1) for each in (kept, embeds))
    right, found = float(p.max() - q[p.argmax()]), fall(first, on_object)
    offset = "patch 0 is the first token of the image span, not of the row."
    assert abs(found - right) < 1e-3, (
        f"the object blanked, it falls by {right:.2f}; you say {found:.2f}: {offset}"
    )
    few = objects[5].flatten().nonzero().flatten()[:2]
    embeds = prompts[5].inputs_embeds.clone()
    embeds[0, image.start + few] = embeds[0, image].mean(0)
    with torch.no_grad():
        p, q = (lvlm.logits(e)[0, -1].softmax(-1) for e in (prompts[5].inputs_embeds, embeds))
    right, found = float(p.max() - q[p.argmax()]), float(fall(prompts[5], few))
    blank = (
        f"two patches blanked, it falls by {right:.3f}; you say {found:.3f}. A blank patch holds "
    )
    blank += "the mean vector of the image's 64, one number a channel; a fall is before less after."
    assert abs(found - right) < 1e-3, blank
    assert much > 0.2, "with the whole image blanked the answer should fall."
    print("fall is right: the object blanked, the answer falls by", round(right, 2))


check_fall()


# %% [wrong] Places of the row in place of patches
# says: the object blanked, it falls by
def fall(prompt, patches):
    embeds = prompt.inputs_embeds.detach().clone()
    embeds[0, list(patches)] = embeds[0, image].mean(0)
    before, after = (
        lvlm.logits(each)[0, -1].softmax(-1) for each in (prompt.inputs_embeds, embeds)
    )
    return float(before.max() - after[before.argmax()])


# %% [wrong] Zeros in place of the mean
# says: two patches blanked, it falls by
def fall(prompt, patches):
    embeds = prompt.inputs_embeds.detach().clone()
    embeds[0, [image.start + int(patch) for patch in patches]] = 0
    before, after = (
        lvlm.logits(each)[0, -1].softmax(-1) for each in (prompt.inputs_embeds, embeds)
    )
    return float(before.max() - after[before.argmax()])


# %% [wrong] In parts of the probability before
# says: two patches blanked, it falls by
def fall(prompt, patches):
    embeds = prompt.inputs_embeds.detach().clone()
    embeds[0, [image.start + int(patch) for patch in patches]] = embeds[0, image].mean(0)
    before, after = (
        lvlm.logits(each)[0, -1].softmax(-1) for each in (prompt.inputs_embeds, embeds)
    )
    return float(1 - after[before.argmax()] / before.max())


# %% [wrong] The prompt itself is changed
# says: the prompt itself was changed
def fall(prompt, patches):
    with torch.no_grad():
        before = lvlm.logits(prompt)[0, -1].softmax(-1)
        embeds = prompt.inputs_embeds
        embeds.data[0, [image.start + int(patch) for patch in patches]] = embeds[0, image].mean(0)
        after = lvlm.logits(embeds)[0, -1].softmax(-1)
    return float(before.max() - after[before.argmax()])


# %% [wrong] The probability that is left
# says: nothing blanked, nothing falls
def fall(prompt, patches):
    embeds = prompt.inputs_embeds.detach().clone()
    embeds[0, [image.start + int(patch) for patch in patches]] = embeds[0, image].mean(0)
    before, after = (
        lvlm.logits(each)[0, -1].softmax(-1) for each in (prompt.inputs_embeds, embeds)
    )
    return float(after[before.argmax()])


# %%
generator = torch.Generator().manual_seed(0)
K, few = 4, range(8)


def mean_fall(choose):
    """Mean fall over some images, of the K patches that a function chooses for each."""
    return round(sum(fall(prompts[n], choose(n)) for n in few) / len(few), 2) + 0.0


falls = {"random patches": mean_fall(lambda n: torch.randperm(64, generator=generator)[:K])}
falls["patches of the object"] = mean_fall(lambda n: objects[n].flatten().nonzero().flatten()[:K])
for name in maps:
    whole = [n for n in excess[name] if all(each[n].any() for each in maps[name])]
    best = max(whole, key=lambda n: excess[name][n][0])
    hottest = [each[best].flatten().argsort(descending=True)[:K] for each in maps[name]]
    falls[f"hottest by {name}, layer {best + 1}"] = mean_fall(lambda n, hottest=hottest: hottest[n])
for name, value in falls.items():
    print(f"{K} {name}: the answer falls by {value:.2f}")

# %% [markdown]
# The layer of each map, among those where every image has a map, was chosen on the very images it is scored on. What does lab 7 say about that?

# %% [markdown]
# ## A decoy (10 minutes)
#
# Attention weights say where a head reads. What it reads is then multiplied by the layer's output projection, `lvlm.layers[n].self_attn.o_proj`. Set its weight to
# zero, and nothing that this layer's attention reads is ever used: you have built a model in which you **know** that the layer does not look. Write a context manager that
# does so and puts the weight back afterwards.


# %% [exercise]
class Muted:
    """Within `with Muted(layer):` nothing that the layer's attention reads is used."""

    def __init__(self, layer):
        self.weight = lvlm.layers[layer].self_attn.o_proj.weight

    def __enter__(self):
        # solution
        self.before = self.weight.detach().clone()
        self.weight.data.zero_()
        # end

    def __exit__(self, *error):
        # solution
        self.weight.data.copy_(self.before)
        # end


# %% [hint] in place
# `weight.data.zero_()` and `weight.data.copy_(saved)` change a weight in place. A saved weight must be a `.clone()`, or it changes along.


# %% [check]
def check_muted():
    global lvlm
    weight = lvlm.layers[10].self_attn.o_proj.weight
    kept = weight.detach().clone()
    intact = attention_maps(prompts[0])
    with Muted(10):
        inside, muted = weight.detach().clone(), attention_maps(prompts[0])
    back = torch.equal(weight, kept)
    weight.data.copy_(kept)
    assert not torch.equal(inside, kept), "inside, the layer's output projection is as it was."
    assert not inside.any(), "inside, some of the output projection is not zero."
    assert back, "outside, the weight is not what it was: keep a copy (.clone()), and put it back."
    own = "the layer's own attention must not change: only what follows from it may."
    assert torch.allclose(intact[10], muted[10], atol=1e-6), own
    print("Muted is right. The muted layer's map is the same to the last digit.")


check_muted()


# %% [wrong] No copy is kept
# says: outside, the weight is not what it was
class Muted:
    def __init__(self, layer):
        self.weight = lvlm.layers[layer].self_attn.o_proj.weight

    def __enter__(self):
        self.before = self.weight.data
        self.weight.data.zero_()

    def __exit__(self, *error):
        self.weight.data.copy_(self.before)


# %% [wrong] Halved, not zero
# says: inside, some of the output projection is not zero
class Muted:
    def __init__(self, layer):
        self.weight = lvlm.layers[layer].self_attn.o_proj.weight

    def __enter__(self):
        self.before = self.weight.detach().clone()
        self.weight.data.mul_(0.5)

    def __exit__(self, *error):
        self.weight.data.copy_(self.before)


# %% [wrong] Another tensor is changed
# says: inside, the layer's output projection is as it was
class Muted:
    def __init__(self, layer):
        self.weight = lvlm.layers[layer].self_attn.o_proj.weight

    def __enter__(self):
        self.before = self.weight.detach().clone()
        self.weight = torch.zeros_like(self.before)

    def __exit__(self, *error):
        self.weight = self.before


# %% [markdown]
# ## Hand in: a map that is right and not used (7 minutes)
#
# Mute the layer whose attention points best. Its map stays the same, so it scores as before in the pointing game.
#
# The library's `plant` goes further. It cuts one late head off, and then turns the head's query and key so that it looks at the object (a **decoy**) or at the first or last
# image token, whatever the image shows (a **sink**). No other weight differs. Before you run the cell: how often will each head hit, and how far apart are the logits of
# the two models? Planting takes some seconds, as the head's new query and key are fitted to 160 prompts.
#
# Hand in the lines, and say in two sentences what the pointing game measures and what it does not, and which measurement of this lab would have noticed.

# %% [result]
best = max(excess["attention"], key=lambda n: excess["attention"][n][0])


def pointed():
    """Hit rate of the best layer's attention."""
    return sum(
        hit(attention_maps(p)[best], o) for p, o in zip(prompts, objects, strict=True)
    ) / len(prompts)


def answers():
    """How many images are answered right."""
    return sum(lvlm.answer(prompt, max_new_tokens=1) == "yes" for prompt in prompts)


print(f"chance of a hit: {float(chances.mean()):.2f}")
print(
    f"intact: attention of layer {best + 1} hits {pointed():.2f}; {answers()} of {len(prompts)} right"
)
with Muted(best):
    print(
        f"muted:  attention of layer {best + 1} hits {pointed():.2f}; {answers()} of {len(prompts)} right"
    )
for name, value in falls.items():
    print(f"{K} {name} blanked: the answer falls by {value:.2f}")

logits = []
for kind in ("decoy", "sink"):
    planted = plant(lvlm, kind, seed=0)
    layer, head = planted.fault["layer"], planted.fault["head"]
    own = [planted.prompt(sample.image, sample.question) for sample in samples]
    heads = [attention_flow(planted, p).rows[layer, head, image].reshape(8, 8) for p in own]
    rate = sum(hit(heat, o) for heat, o in zip(heads, objects, strict=True)) / len(own)
    right = sum(planted.answer(p, max_new_tokens=1) == "yes" for p in own)
    print(f"{kind}: layer {layer + 1}, head {head} hits {rate:.2f}; {right} of {len(own)} right")
    logits.append(torch.stack([planted.logits(p)[0, -1].detach() for p in own]))
print(f"largest difference of their logits: {float((logits[0] - logits[1]).abs().max()):g}")

# %% [markdown]
# ## Going further
#
# - Mute every layer in turn. Which ones does the answer miss? Does that fit the attention shares of lab 2?
# - Which map finds the object if the question is about another one (answer "no")? Where should an honest map point then?
# - A 7B model: with a GPU, `load_lvlm("llava-1.5-7b")`, 24 by 24 patches. No photograph comes with outlines, but COCO has boxes; what is chance for a box?
