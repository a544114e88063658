# %% [markdown]
# # Lab 3. Gradients in a decoder
#
# Grad-CAM asks a network which parts of an image would change its answer, if they changed a little. LLaVA-CAM asks it inside the
# language model, layer by layer. You will write it, check it, and then find out why one of its maps is empty and must be.
#
# **You will** hold features and their gradients with hooks, turn them into a map, explain the empty layer, and put the maps to the
# test that a gradient map should pass before anyone looks at it.
#
# **You need** lab 1 and lab 2, the chain rule, and `torch.autograd`.

# %%
import matplotlib.pyplot as plt
import torch

from infoflow import llava_cam, load_lvlm, load_task
from infoflow.methods.faithfulness import randomised_weights
from infoflow.methods.localisation import coverage, target_mask

lvlm = load_lvlm("tiny-llava-1.5")
sample = load_task("pope")[0]
prompt = lvlm.prompt(sample.image, sample.question)
answer = int(lvlm.encode_answer(sample.answer)[0])
n_layers, image = lvlm.n_layers, prompt.spans.image
print(sample.question, "|", sample.answer)

# %% [markdown]
# ## Features and their gradients (14 minutes)
#
# We want, at one place of every layer, the **feature** F of the image tokens, (N, C), and the gradient of the answer's **logit** with
# respect to it, of the same shape. The logit is the number before the softmax, read where the answer is predicted: at the last token.
#
# - `layer.get_submodule(site)` is the place, such as `"post_attention_layernorm"`.
# - `module.register_forward_hook(hook)` calls `hook(module, args, output)` after the module has run. Keep the output itself, and return nothing:
#   a copy, detached or cut out, is not what the logit is computed from, so it has no gradient.
# - `torch.autograd.grad(logit, features)` gives the gradients of a list of tensors at once.
#
# `embeds` below is a copy of the prompt that wants gradients, so that PyTorch follows all that is computed from it.


# %% [exercise]
def features_and_gradients(site):
    """Return two lists of L tensors (N, C): features at the image tokens, and their gradients."""
    embeds = prompt.inputs_embeds.detach().clone().requires_grad_()
    # solution
    features = []
    handles = [
        layer.get_submodule(site).register_forward_hook(
            lambda module, args, output: features.append(output)
        )
        for layer in lvlm.layers
    ]
    logit = lvlm.logits(embeds)[0, -1, answer]
    for handle in handles:
        handle.remove()
    gradients = torch.autograd.grad(logit, features)
    return [f[0, image].detach() for f in features], [g[0, image] for g in gradients]
    # end


# %% [hint] a hook that keeps
# Make an empty list; a hook that appends its `output` to it, registered in every layer, fills it in the order of the layers. Compute
# `lvlm.logits(embeds)[0, -1, answer]`, remove the handles, and ask `torch.autograd.grad` for the gradients. Cut out the image tokens at the end.


# %% [check]
def check_features():
    features, gradients = features_and_gradients("post_attention_layernorm")
    n = (len(features), len(gradients))
    assert n == (n_layers, n_layers), f"{n[0]} features and {n[1]} gradients for {n_layers} layers."
    shape, width = tuple(gradients[0].shape), lvlm.decoder.config.hidden_size
    assert shape == (64, width), (
        f"a gradient of shape {shape}; wanted {(64, width)}: image tokens only."
    )
    flat = [float(gradient.abs().max()) for gradient in gradients]
    assert max(flat), "all gradients are zero: did the logit come from `embeds`?"
    nudge = 1e-2
    feature, gradient = features[4], gradients[4]

    def moved(module, args, output):
        output = output.clone()
        output[0, image] += nudge * gradient / gradient.norm()
        return output

    place = lvlm.layers[4].get_submodule("post_attention_layernorm")
    with torch.no_grad():
        before = lvlm.logits(prompt)[0, -1]
        handle = place.register_forward_hook(moved)
        after = lvlm.logits(prompt)[0, -1]
        handle.remove()
    grown, said = float((after - before)[answer]) / nudge, float(gradient.norm())
    logit = f"a step along your gradient moves the logit by {grown:.3g} a unit; its length says {said:.3g}. "
    logit += "Is it the logit, of the right word, at the last token, and are layers in their order?"
    assert abs(grown - said) <= 0.1 * abs(grown) + 1e-3, logit
    assert not feature.requires_grad, "detach the features: they are numbers from here on."
    other = features_and_gradients("self_attn.o_proj")[0][4]
    assert not torch.equal(other, feature), "another site gives the same: use the `site` given."
    print("features_and_gradients is right: a small step moves the logit as the gradient says.")


check_features()


# %% [wrong] The probability in place of the logit
# says: a step along your gradient moves the logit by
def features_and_gradients(site):
    embeds, features = prompt.inputs_embeds.detach().clone().requires_grad_(), []
    keep = lambda module, args, output: features.append(output)  # noqa: E731
    handles = [layer.get_submodule(site).register_forward_hook(keep) for layer in lvlm.layers]
    logit = lvlm.logits(embeds)[0, -1].softmax(-1)[answer]
    [handle.remove() for handle in handles]
    gradients = torch.autograd.grad(logit, features)
    return [f[0, image].detach() for f in features], [g[0, image] for g in gradients]


# %% [wrong] The logit of the first token behind the image
# says: a step along your gradient moves the logit by
def features_and_gradients(site):
    embeds, features = prompt.inputs_embeds.detach().clone().requires_grad_(), []
    keep = lambda module, args, output: features.append(output)  # noqa: E731
    handles = [layer.get_submodule(site).register_forward_hook(keep) for layer in lvlm.layers]
    logit = lvlm.logits(embeds)[0, image.stop, answer]
    [handle.remove() for handle in handles]
    gradients = torch.autograd.grad(logit, features)
    return [f[0, image].detach() for f in features], [g[0, image] for g in gradients]


# %% [wrong] Always the same site
# says: another site gives the same
def features_and_gradients(site):
    embeds, features = prompt.inputs_embeds.detach().clone().requires_grad_(), []
    keep = lambda module, args, output: features.append(output)  # noqa: E731
    places = [layer.post_attention_layernorm for layer in lvlm.layers]
    handles = [place.register_forward_hook(keep) for place in places]
    logit = lvlm.logits(embeds)[0, -1, answer]
    [handle.remove() for handle in handles]
    gradients = torch.autograd.grad(logit, features)
    return [f[0, image].detach() for f in features], [g[0, image] for g in gradients]


# %% [wrong] All tokens
# says: a gradient of shape (104, 128)
def features_and_gradients(site):
    embeds, features = prompt.inputs_embeds.detach().clone().requires_grad_(), []
    keep = lambda module, args, output: features.append(output)  # noqa: E731
    handles = [layer.get_submodule(site).register_forward_hook(keep) for layer in lvlm.layers]
    logit = lvlm.logits(embeds)[0, -1, answer]
    [handle.remove() for handle in handles]
    gradients = torch.autograd.grad(logit, features)
    return [f[0].detach() for f in features], [g[0] for g in gradients]


# %% [markdown]
# ## The map (10 minutes)
#
# Grad-CAM gives each channel one weight, the **mean of its gradient over the image tokens**, and adds up the channels of each token by these
# weights. Negative sums become zero (the paper's Eq. 2 and 3):
#
# $$ w_c = \frac{1}{N} \sum_i \frac{\partial y}{\partial F_{ic}}, \qquad M_i = \max\Bigl(0, \sum_c w_c F_{ic}\Bigr) . $$
#
# Return it as a grid of patches, 8 by 8, row by row.


# %% [exercise]
def cam_map(feature, gradient):
    """Turn a feature and its gradient, both (N, C), into a map of shape (8, 8)."""
    # solution
    weights = gradient.mean(0)
    return (feature @ weights).relu().view(8, 8)
    # end


# %% [hint] a matrix times a vector
# The weights are `gradient.mean(0)`, shape (C,). A feature (N, C) times the weights is `feature @ weights`, shape (N,).


# %% [check]
def check_map():
    features, gradients = features_and_gradients("post_attention_layernorm")
    maps = [cam_map(*each) for each in zip(features, gradients, strict=True)]
    right = llava_cam(lvlm, prompt, sample.answer, n_samples=1, sigma=0).maps
    shape = tuple(maps[0].shape)
    assert shape == (8, 8), f"a map of shape {shape}; wanted (8, 8), one number a patch."
    scaled = "a map is NaN: 0 / 0. Return the sums as they are; some maps are zero throughout."
    assert not any(each.isnan().any() for each in maps), scaled
    assert all(float(each.min()) >= 0 for each in maps), "a map is negative somewhere: cut at zero."
    close = {
        layer: torch.allclose(maps[layer], right[layer], rtol=1e-3, atol=1e-9)
        for layer in range(11)
    }
    turned = torch.allclose(maps[4].T, right[4], rtol=1e-3, atol=1e-9)
    assert not turned, "the map is turned: patches are read row by row."
    own = (features[4] * gradients[4]).sum(-1).relu().view(8, 8)
    single = "each token is weighted by its own gradient; Grad-CAM gives a channel one weight for all tokens."
    assert not torch.allclose(maps[4], own, rtol=1e-3), single
    early = (features[4] @ gradients[4].relu().mean(0)).relu().view(8, 8)
    order = "negative gradients are cut off before the mean; the equations cut the sum, at the end."
    assert not torch.allclose(maps[4], early, rtol=1e-3), order
    size = maps[4].max() / right[4].max()
    scale = f"your map is {size:.3g} times too large: weights are means over the tokens, sums over channels."
    assert abs(size - 1) < 1e-3 or not torch.allclose(maps[4], size * right[4], rtol=1e-3), scale
    layer = next((n + 1 for n, is_close in close.items() if not is_close), None)
    axes = f"another map in layer {layer}: the mean is over tokens, the first axis, the sum over channels."
    assert layer is None, axes
    print("cam_map is right: equal to llava_cam without noise.")


check_map()


# %% [wrong] Each token weighted by its own gradient
# says: each token is weighted by its own gradient
def cam_map(feature, gradient):
    return (feature * gradient).sum(-1).relu().view(8, 8)


# %% [wrong] Negative gradients cut off first, as the authors' released code does
# says: negative gradients are cut off before the mean
def cam_map(feature, gradient):
    return (feature @ gradient.relu().mean(0)).relu().view(8, 8)


# %% [wrong] The gradient summed over the tokens
# says: your map is 64 times too large
def cam_map(feature, gradient):
    return (feature @ gradient.sum(0)).relu().view(8, 8)


# %% [wrong] Scaled to its maximum
# says: a map is NaN
def cam_map(feature, gradient):
    heat = (feature @ gradient.mean(0)).relu().view(8, 8)
    return heat / heat.max()


# %% [wrong] The mean over the channels
# says: another map in layer 1
def cam_map(feature, gradient):
    return (feature * gradient.mean(1, keepdim=True)).sum(-1).relu().view(8, 8)


# %% [wrong] No cut at zero
# says: a map is negative somewhere
def cam_map(feature, gradient):
    return (feature @ gradient.mean(0)).view(8, 8)


# %% [figure]
# caption: The image, and your maps of four layers, each scaled to its own maximum. Layers are counted from 1. The last map is empty.
# alt: A drawn scene and four heat maps of eight by eight patches, from a shallow, two middle and the last layer; the last one is blank.
features, gradients = features_and_gradients("post_attention_layernorm")
maps = torch.stack([cam_map(*each) for each in zip(features, gradients, strict=True)])
figure, panels = plt.subplots(1, 5, figsize=(6.4, 1.7))
panels[0].imshow(sample.image)
panels[0].set_title("image")
for axes, layer in zip(panels[1:], (1, 4, 8, 12), strict=True):
    axes.imshow(maps[layer - 1], cmap="viridis")
    axes.set_title(f"layer {layer}")
for axes in panels:
    axes.set_axis_off()
plt.show()

# %% [markdown]
# ## Why is the last one empty? (12 minutes)
#
# Guess first. Is it a fault of your code, a gradient too small for the computer, or a zero that must be? Find out where else the
# gradient at the image tokens is zero: exactly, in **every** entry. A map can be blank for other reasons, so look at gradients, not at maps.


# %% [exercise]
def empty_layers(site):
    """List the layers, from 0, whose gradient at the image tokens is zero throughout."""
    # solution
    _, gradients = features_and_gradients(site)
    return [layer for layer, gradient in enumerate(gradients) if not gradient.any()]
    # end


# %% [hint] exact zero
# `gradient.any()` is true if some entry is not zero. No threshold is needed.


# %% [check]
def check_empty():
    global features_and_gradients
    own = features_and_gradients
    made = [torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, -1.0]])]
    features_and_gradients = lambda site: (made, made)  # noqa: E731
    try:
        some = [int(layer) for layer in empty_layers("made up")]
    finally:
        features_and_gradients = own
    found = [int(layer) for layer in empty_layers("post_attention_layernorm")]
    assert found, (
        "you find none, but the last layer's gradient is zero throughout. Count layers from 0."
    )
    assert found != [12], "count layers from 0, as Python does: the last one is 11."
    small = "a small gradient is no zero: a layer is empty only if no entry differs from 0."
    assert found == [11], f"{small} You find {found}."
    whole = (
        "a gradient of 1 and 0 is not empty, nor one of 1 and -1, whose sum is 0: ask each entry."
    )
    assert some == [0], whole
    values = [int(layer) for layer in empty_layers("self_attn.v_proj")]
    assert values == [], (
        f"the values of attention are read by the last token in all layers; you find {values}."
    )
    print("empty_layers is right.")


check_empty()
for site in ("input_layernorm", "self_attn.v_proj", "post_attention_layernorm"):
    print(f"{site}: empty in layers {[layer + 1 for layer in empty_layers(site)]}, counted from 1")


# %% [wrong] A threshold in place of zero
# says: a small gradient is no zero
def empty_layers(site):
    _, gradients = features_and_gradients(site)
    return [layer for layer, gradient in enumerate(gradients) if gradient.abs().max() < 0.5]


# %% [wrong] One zero is enough
# says: a gradient of 1 and 0 is not empty
def empty_layers(site):
    _, gradients = features_and_gradients(site)
    return [layer for layer, gradient in enumerate(gradients) if not gradient.all()]


# %% [wrong] The sum is zero
# says: a gradient of 1 and 0 is not empty
def empty_layers(site):
    _, gradients = features_and_gradients(site)
    return [layer for layer, gradient in enumerate(gradients) if gradient.sum() == 0]


# %% [wrong] Counted from 1
# says: count layers from 0
def empty_layers(site):
    _, gradients = features_and_gradients(site)
    return [layer + 1 for layer, gradient in enumerate(gradients) if not gradient.any()]


# %% [wrong] The feature in place of its gradient
# says: you find none
def empty_layers(site):
    features, _ = features_and_gradients(site)
    return [layer for layer, feature in enumerate(features) if not feature.any()]


# %% [markdown]
# Draw the last layer. The answer is read from the last token alone. Attention is the only place where a token reads another
# one, and in the last layer it has just happened when `post_attention_layernorm` runs. What the image tokens do after that, nobody hears.
# So the zero must be: it is a property of every decoder, at any size. The proof is to overwrite them there:


# %%
def overwritten(module, args, output):
    output = output.clone()
    output[0, image] = 1000.0
    return output


place = lvlm.layers[-1].get_submodule("post_attention_layernorm")
with torch.no_grad():
    before = lvlm.logits(prompt)[0, -1]
    handle = place.register_forward_hook(overwritten)
    after = lvlm.logits(prompt)[0, -1]
    handle.remove()
print("largest change of any logit:", float((after - before).abs().max()))

# %% [markdown]
# ## A map that must change (10 minutes)
#
# Maps look convincing, also those of a model that knows nothing. A simple test: put **random weights** in the decoder. If the map stays as it was, it
# shows the image, not what the model learned. Compare maps by **Spearman's rank correlation**: replace the values of each by their ranks (0 for the smallest),
# then take Pearson's correlation of the ranks. 1 is the same order, 0 none in common, -1 the reverse.


# %% [exercise]
def rank_correlation(one, other):
    """Spearman's correlation of two maps of the same shape, without ties."""
    # solution
    ranks = [each.flatten().argsort().argsort().double() for each in (one, other)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])
    # end


# %% [hint] ranks
# `values.argsort().argsort()` gives each entry its rank. `torch.corrcoef` takes two rows and gives a 2 by 2 matrix.


# %% [check]
def check_correlation():
    values = torch.tensor([[3.0, 1.0], [2.0, 10.0]])
    number = torch.as_tensor(rank_correlation(values, values)).numel() == 1
    assert number, "return one number: of the 2 by 2 matrix the entry [0, 1]."
    assert abs(rank_correlation(values, values) - 1) < 1e-6, "a map and itself must give 1."
    opposite = rank_correlation(values, -values)
    assert opposite < 0, (
        f"a map and its negative have opposite orders: -1; you give {opposite:.2f}."
    )
    bent = rank_correlation(values, values.exp())
    assert abs(bent - 1) < 1e-6, (
        f"exp keeps the order, so it must give 1; you give {bent:.2f}: use ranks."
    )
    one, other = torch.tensor([[2.0, 0.0], [1.0, 3.0]]), torch.tensor([[0.0, 2.0], [3.0, 1.0]])
    found = rank_correlation(one, other)
    flat = "the ranks are those of each row: flatten the map first, its ranks run from 0 to 63."
    assert abs(found + 1) > 1e-6, flat
    once = "argsort says which entry comes first, not which rank an entry has: apply it twice."
    assert abs(found + 0.6) < 1e-6, f"{found:.2f} where -0.60 is right. {once}"
    assert abs(opposite + 1) < 1e-6, (
        f"a map and its negative must give -1; you give {opposite:.2f}."
    )
    print("rank_correlation is right.")


check_correlation()


# %% [wrong] Values in place of ranks
# says: exp keeps the order
def rank_correlation(one, other):
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


# %% [wrong] Ranks within each row
# says: the ranks are those of each row
def rank_correlation(one, other):
    ranks = [each.argsort().argsort().double().flatten() for each in (one, other)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


# %% [wrong] One argsort only
# says: 0.60 where -0.60 is right
def rank_correlation(one, other):
    ranks = [each.flatten().argsort().double() for each in (one, other)]
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


# %% [wrong] The sign is lost
# says: a map and its negative have opposite orders
def rank_correlation(one, other):
    ranks = [each.flatten().argsort().argsort().double() for each in (one, other)]
    return abs(float(torch.corrcoef(torch.stack(ranks))[0, 1]))


# %% [markdown]
# ## Hand in: one line a layer (8 minutes)
#
# For each layer: is the highest patch on the object of the question, and how much of the order does a model with random weights share? Most patches of a map are tied
# at zero and have no order, so the cell compares the sums **before** the cut. The random weights are the **control**.
#
# Hand in the table, and name the layers whose map you would show in a paper. If more than one layer has no map: is the reason the same? `gradients` and `sums` tell.

# %% [result]
on_object = torch.tensor(coverage(target_mask(sample), prompt.grid)) > 0
with randomised_weights(lvlm, seed=0):
    blind = zip(*features_and_gradients("post_attention_layernorm"), strict=True)
    blind_sums = [feature @ gradient.mean(0) for feature, gradient in blind]
sums = [f @ gradient.mean(0) for f, gradient in zip(features, gradients, strict=True)]
print(f"chance of a hit: {float(on_object.double().mean()):.2f}")
for layer in range(n_layers):
    if maps[layer].max() > 0:
        hit = bool(on_object.flatten()[maps[layer].argmax()])
        shared = rank_correlation(sums[layer], blind_sums[layer])
        print(
            f"layer {layer + 1:2}: highest patch on the object: {hit!s:5}; shared with random: {shared + 0.0:.1f}"
        )
    else:
        print(f"layer {layer + 1:2}: no map")

# %% [markdown]
# ## Going further
#
# - Average the maps over images with a little noise (`llava_cam(..., n_samples=50, sigma=0.1)`). Do they get sharper, or only smoother?
# - Take the gradient of "no" in place of "yes". What should happen to the map, and what does?
# - A 7B model: with a GPU, `load_lvlm("llava-1.5-7b")`, and 24 by 24 in place of 8 by 8. Which of its layers are empty? You can say so before you run it.
