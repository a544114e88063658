import math
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from cam_maps import authors_maps
from captum.attr import LayerGradientXActivation
from tiny_models import CORNERS, QUESTION, load_random, picture

from benchmarks.cam import layer_gradients
from infoflow.errors import InfoflowError, UnknownNameError
from infoflow.interventions import EAH, FastV, Truncate, intervene
from infoflow.methods.cam import (
    WEIGHTS,
    activation_map,
    llava_cam,
    llava_cams,
    normalise_maps,
)
from infoflow.methods.flow import attention_flow
from infoflow.methods.gradients import (
    LAYER_SITES,
    SITES,
    TOWER,
    gradient_visitor,
    to_tower,
)

MODELS = CORNERS
RELATIVE = 1e-5
ANSWER = "two red circle"
LAST = 5
DEAD_ENDS = {"post_attention_layernorm", "output"}
POST_NORM = "post_attention_layernorm"


def undefined_layers(site, weights):
    layers = {LAST} if site in DEAD_ENDS else set()
    return layers | ({LAST - 1} if (site, weights) == ("output", "element-wise") else set())


def plain(lvlm, prompt, answer=ANSWER, **options):
    return llava_cams(lvlm, prompt, answer, n_samples=1, sigma=0.0, **options)


def assert_same_maps(actual, expected):
    """Equal within 1e-5 of each map's own maximum."""
    assert torch.equal(actual.isnan(), expected.isnan())
    peaks = expected.nan_to_num(1).amax((-2, -1), keepdim=True)
    torch.testing.assert_close(
        actual.nan_to_num() / peaks, expected.nan_to_num() / peaks, rtol=0, atol=RELATIVE
    )


def over_cells(prompt, values):
    """Lay values of image tokens, (N,), on the grid's cells: (h, w)."""
    return torch.from_numpy(prompt.grid.cells(values.numpy()))


def snapshot(lvlm):
    """Everything a measure could leave behind: weights, flags, hooks, attributes of the layers."""
    modules = list(lvlm.model.modules())
    return (
        {k: v.clone() for k, v in lvlm.model.state_dict().items()},
        [(p.requires_grad, p.grad) for p in lvlm.model.parameters()],
        [m.training for m in modules],
        [
            len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
            for m in modules
        ],
        [sorted(vars(m)) for m in modules],
        [vars(m).get("gradient_checkpointing") for m in modules],
        [vars(m).get("_gradient_checkpointing_func") for m in modules],
        lvlm.decoder.config._attn_implementation,
        torch.is_grad_enabled(),
        torch.get_rng_state().tolist(),
    )


def assert_untouched(before, after):
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1:] == after[1:]


@pytest.fixture(scope="module")
def cams(lvlm, prompt):
    return plain(lvlm, prompt)


@pytest.fixture(scope="module")
def smooth(lvlm, prompt):
    return llava_cams(lvlm, prompt, ANSWER, n_samples=5, sigma=0.2, seed=3, micro_batch=5)


@pytest.fixture
def in_double(lvlm):
    """The model in float64: where terms cancel, float32 rounds by as much as a CPU likes."""
    lvlm.family.model.double()
    yield lvlm
    lvlm.family.model.float()


@pytest.mark.parametrize("site", LAYER_SITES)
def test_all_layers_equal_a_backward_pass_for_each(in_double, site):
    lvlm, prompt = in_double, in_double.prompt(picture(), QUESTION)
    cams = plain(lvlm, prompt, sites=(site,))
    ids, image = lvlm.encode_answer(ANSWER), prompt.spans.image
    for layer in range(lvlm.n_layers):
        feature, gradient = layer_gradients(lvlm, prompt.inputs_embeds, ids, site, layer)
        feature, gradient = feature[image], gradient[image]
        alphas = {
            "mean": gradient.mean(0),
            "relu-mean": gradient.clamp(min=0).mean(0),
            "element-wise": gradient,
        }
        for weights, alpha in alphas.items():
            if layer in undefined_layers(site, weights):
                continue
            expected = (alpha * feature).sum(1).clamp(min=0).float()
            assert expected.max() > 0
            assert_same_maps(cams[site, weights].maps[layer], over_cells(prompt, expected))
            assert_same_maps(cams[site, weights].by_token[layer][None], expected[None])


@pytest.mark.every_family
def test_the_projector_is_what_the_decoder_is_given(lvlm, prompt, cams):
    embeds = prompt.inputs_embeds.clone().requires_grad_()
    said = lvlm.decoder.embed_tokens(lvlm.encode_answer(ANSWER)[:-1])[None]
    rows = lvlm.logits(torch.cat([embeds, said], dim=1))[0, len(prompt) - 1 :]
    z = rows[range(3), lvlm.encode_answer(ANSWER)].sum()
    (gradient,) = torch.autograd.grad(z, embeds)
    image = prompt.spans.image
    for weights in WEIGHTS:
        expected = activation_map(embeds.detach()[0, image], gradient[0, image], weights)
        assert len(cams["projector", weights].maps) == 1
        assert_same_maps(cams["projector", weights].maps[0], over_cells(prompt, expected))


@pytest.mark.parametrize("site", [POST_NORM, "input_layernorm", "self_attn.v_proj"])
def test_element_wise_maps_equal_captum(lvlm, prompt, cams, site):
    ids = lvlm.encode_answer(ANSWER)
    said = lvlm.decoder.embed_tokens(ids[:-1])[None]
    embeds = torch.cat([prompt.inputs_embeds, said], dim=1)

    def answer_logit(inputs):
        return lvlm.logits(inputs)[:, len(prompt) - 1 :][:, range(3), ids].sum(-1)

    for layer, module in enumerate(lvlm.layers):
        method = LayerGradientXActivation(answer_logit, module.get_submodule(site))
        found = method.attribute(embeds.requires_grad_())[0, prompt.spans.image].sum(-1).relu()
        if layer not in undefined_layers(site, "element-wise"):
            expected = over_cells(prompt, found.detach())
            assert_same_maps(cams[site, "element-wise"].maps[layer], expected)


@contextmanager
def scaled(module, places, factor):
    """Of a batch scale one position in each row."""

    def scale(module, args, output):
        output = output.clone()
        output[range(len(output)), places] *= factor
        return output

    handle = module.register_forward_hook(scale)
    try:
        yield
    finally:
        handle.remove()


def test_element_wise_maps_are_finite_differences(lvlm, prompt, cams):
    ids, step, layer = lvlm.encode_answer(ANSWER), 1e-2, 2
    said = lvlm.decoder.embed_tokens(ids[:-1])[None]
    tokens = torch.arange(0, prompt.grid.n_tokens, max(1, prompt.grid.n_tokens // 64))
    embeds = torch.cat([prompt.inputs_embeds, said], dim=1).expand(len(tokens), -1, -1)
    expected = cams[POST_NORM, "element-wise"].by_token[layer]
    module = lvlm.layers[layer].get_submodule(POST_NORM)
    z = []
    for factor in (1 + step, 1 - step):
        with scaled(module, prompt.spans.image.start + tokens, factor), torch.no_grad():
            states = lvlm.decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state
            logits = lvlm.lm_head(states[:, len(prompt) - 1 :])  # of the answer's rows alone
        z.append(logits[:, range(3), ids].double().sum(1))
    slopes = ((z[0] - z[1]) / (2 * step)).clamp(min=0).float()
    bound = 0.01 * float(expected.max())
    torch.testing.assert_close(slopes, expected[tokens], rtol=0.01, atol=bound)


@pytest.mark.parametrize(
    ("sites", "micro_batch", "checkpointed"),
    [
        (SITES, 1, False),
        (SITES, 2, True),
        (("output",), 2, False),
    ],
)
def test_neither_batches_nor_checkpoints_nor_company_change_maps(
    lvlm, prompt, smooth, sites, micro_batch, checkpointed
):
    found = llava_cams(
        lvlm,
        prompt,
        ANSWER,
        sites,
        n_samples=5,
        sigma=0.2,
        seed=3,
        micro_batch=micro_batch,
        checkpointed=checkpointed,
    )
    assert set(found) == {(site, weights) for site in sites for weights in WEIGHTS}
    for key, cam in found.items():
        assert_same_maps(cam.maps, smooth[key].maps)


def test_checkpointing_keeps_no_activation_of_a_layer(lvlm, prompt):
    def kept(checkpointed):
        sizes = []

        def pack(tensor):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            ids = lvlm.encode_answer("yes")
            visit = gradient_visitor(lvlm, prompt, ids, [POST_NORM], checkpointed)
            visit([prompt], lambda *_: sizes.append(0))
        return sum(sizes[: sizes.index(0)])  # up to the first gradient

    # the last layer has been recomputed by then
    assert kept(True) < 1.5 / lvlm.n_layers * kept(False)


def test_no_noise_is_the_plain_map(lvlm, prompt, cams):
    for n_samples in (1, 50):
        found = llava_cam(lvlm, prompt, ANSWER, n_samples=n_samples, sigma=0.0, seed=9)
        assert torch.equal(found.maps.nan_to_num(), cams[POST_NORM, "mean"].maps.nan_to_num())


@pytest.mark.every_family
def test_smoothing_averages_raw_maps_of_noisy_pictures(lvlm, prompt, smooth):
    std = torch.tensor(lvlm.family.image_processor.image_std).view(3, 1, 1)
    generator = torch.Generator().manual_seed(3)
    maps = []
    for _ in range(5):
        noise = 0.2 * torch.randn(prompt.pixel_values.shape, generator=generator)
        embeds = lvlm.embed(prompt.input_ids, prompt.pixel_values + noise / std, prompt.image.size)
        ids = lvlm.encode_answer(ANSWER)
        feature, gradient = layer_gradients(lvlm, embeds, ids, POST_NORM, 2)
        image = prompt.spans.image
        maps.append(activation_map(feature[image], gradient[image], "mean"))
    assert (maps[0] - maps[1]).abs().max() > 0.1 * maps[0].max()  # else any average would do
    assert_same_maps(
        smooth[POST_NORM, "mean"].maps[2], over_cells(prompt, torch.stack(maps).mean(0))
    )


def test_noise_is_set_by_the_seed_alone(lvlm, prompt):
    def maps(seed, n_samples=2):
        return llava_cam(lvlm, prompt, "yes", n_samples=n_samples, seed=seed).maps[:LAST]

    first = maps(0)
    torch.rand(5)
    assert torch.equal(first, maps(0))
    assert not torch.allclose(first, maps(1))
    assert not torch.allclose(first, maps(0, 3))


def test_the_answer_is_read_where_it_is_predicted(lvlm, prompt, cams):
    """The cams of single tokens, each behind the ones before, sum up to the answer's gradient."""
    ids = lvlm.encode_answer(ANSWER)
    total = {}

    def add(site, layer, feature, gradient):
        total[layer] = total.get(layer, 0) + gradient.clone()

    for t in range(len(ids)):
        read = lvlm.decoder.embed_tokens(ids[:t])[None]
        embeds = torch.cat([prompt.inputs_embeds, read], dim=1)
        longer = replace(prompt, inputs_embeds=embeds)
        gradient_visitor(lvlm, prompt, ids[t : t + 1], [POST_NORM], False)([longer], add)
    whole = {}
    gradient_visitor(lvlm, prompt, ids, [POST_NORM], False)(
        [prompt],
        lambda site, layer, feature, gradient: whole.update({layer: gradient.clone()}),
    )
    assert set(total) == set(whole) == set(range(LAST))
    for layer in total:
        scale = float(whole[layer].abs().max())
        torch.testing.assert_close(total[layer], whole[layer], rtol=0, atol=RELATIVE * scale)


@pytest.mark.parametrize("site", LAYER_SITES)
def test_gradients_vanish_behind_the_last_attention_and_nowhere_else(lvlm, prompt, site):
    for layer in range(lvlm.n_layers):
        _, gradient = layer_gradients(
            lvlm, prompt.inputs_embeds, lvlm.encode_answer(ANSWER), site, layer
        )
        dead = bool((gradient[prompt.spans.image] == 0).all())
        assert dead == (layer == LAST and site in DEAD_ENDS)


def test_a_feature_that_is_only_normed_has_no_element_wise_map(lvlm, prompt):
    """Its product with the gradient cancels to rounding."""
    ids, image = lvlm.encode_answer(ANSWER), prompt.spans.image
    for layer in (LAST - 1, LAST - 2):
        feature, gradient = layer_gradients(lvlm, prompt.inputs_embeds, ids, "output", layer)
        products = (feature * gradient)[image]
        cancelled = products.sum(-1).abs().max() < 1e-4 * products.abs().sum(-1).max()
        assert cancelled == (layer == LAST - 1)


@pytest.mark.every_family
def test_undefined_layers_are_reported_and_all_others_are_maps(prompt, cams, smooth):
    n_cells = prompt.grid.rows * prompt.grid.cols
    for (site, weights), cam in [*cams.items(), *smooth.items()]:
        n_layers = 1 if site == "projector" else LAST + 1
        expected = [layer not in undefined_layers(site, weights) for layer in range(n_layers)]
        assert cam.defined.tolist() == expected
        assert cam.maps.shape == (n_layers, prompt.grid.rows, prompt.grid.cols)
        for numbers in (cam.peaks, cam.entropies, cam.lit):
            assert (~numbers.isnan()).tolist() == expected
        assert (cam.peaks[cam.defined] > 0).all()
        assert (cam.maps[cam.defined] >= 0).all()
        assert (cam.lit[cam.defined] >= 1 / n_cells).all()


def test_a_single_layer_has_maps_before_its_attention_alone(tmp_path):
    import checkpoints
    from transformers import LlamaConfig

    config = LlamaConfig(**{**checkpoints.TEXT, "num_hidden_layers": 1})
    lvlm = load_random(tmp_path, config)
    cams = plain(lvlm, lvlm.prompt(picture(), QUESTION))
    defined = {key for key, cam in cams.items() if cam.defined.all()}
    assert defined == {
        (site, weights)
        for site in ("input_layernorm", "self_attn.v_proj", "projector")
        for weights in WEIGHTS
        if (site, weights) != ("projector", "element-wise")
    }


def test_the_authors_variant(lvlm, prompt, cams):
    found = authors_maps(lvlm, prompt, ANSWER)
    normalised = normalise_maps(cams[POST_NORM, "relu-mean"].maps)
    assert torch.equal(found.isnan(), normalised.isnan())
    assert torch.equal(found.nan_to_num(), torch.where(normalised >= 0.5, normalised, 0))
    lit = found[:LAST][found[:LAST] > 0]
    assert lit.min() >= 0.5
    assert lit.max() == 1


def test_the_default_answer_is_the_models_own_without_its_end(lvlm, prompt, monkeypatch):
    monkeypatch.setattr("infoflow.methods.cam.MAX_NEW_TOKENS", 5)
    own = lvlm.generate(prompt, 5)
    cam = llava_cam(lvlm, prompt, n_samples=1)
    assert torch.equal(cam.answer, own)
    monkeypatch.setattr(lvlm, "eos_token_ids", (int(own[3]),))
    cut = own[: own.tolist().index(int(own[3]))]
    if len(cut):
        assert torch.equal(llava_cam(lvlm, prompt, n_samples=1).answer, cut)
        assert torch.equal(llava_cam(lvlm, prompt, own, n_samples=1).answer, cut)
    monkeypatch.setattr(lvlm, "eos_token_ids", (int(own[0]),))
    with pytest.raises(InfoflowError, match="holds no token"):
        llava_cam(lvlm, prompt, n_samples=1)
    with pytest.raises(InfoflowError, match="holds no token"):
        llava_cam(lvlm, prompt, own, n_samples=1)


def test_text_and_ids_are_the_same_answer(lvlm, prompt, cams):
    ids = lvlm.encode_answer(ANSWER)
    assert torch.equal(cams[POST_NORM, "mean"].answer, ids)
    maps = plain(lvlm, prompt, ids)[POST_NORM, "mean"].maps
    assert torch.equal(maps.nan_to_num(), cams[POST_NORM, "mean"].maps.nan_to_num())


@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_model_is_left_as_it_was(lvlm, prompt, checkpointed):
    before = snapshot(lvlm)
    llava_cams(lvlm, prompt, "yes", n_samples=2, checkpointed=checkpointed)
    assert_untouched(before, snapshot(lvlm))


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("stage", ["forward", "backward", "hooking"])
def test_the_model_is_left_as_it_was_after_an_error(lvlm, prompt, checkpointed, stage, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("interrupted")

    before = snapshot(lvlm)
    with monkeypatch.context() as patch:
        if stage == "forward":
            patch.setattr(lvlm.layers[3].mlp, "forward", fail)
        if stage == "backward":
            patch.setattr("infoflow.methods.cam.activation_map", fail)
        if stage == "hooking":
            patch.setattr(lvlm.layers[3], "get_submodule", fail)
        with pytest.raises(RuntimeError, match="interrupted"):
            llava_cams(lvlm, prompt, "yes", n_samples=2, checkpointed=checkpointed)
    assert_untouched(before, snapshot(lvlm))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(lvlm, prompt, cams, mode):
    with mode():
        attention_flow(lvlm, prompt)
        inside = lvlm.prompt(picture(), QUESTION)
        found = plain(lvlm, inside)
    assert_same_maps(found[POST_NORM, "mean"].maps, cams[POST_NORM, "mean"].maps)
    assert not found[POST_NORM, "mean"].maps.requires_grad
    assert not found[POST_NORM, "mean"].maps.is_inference()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, r"n_samples is 0"),
        ({"micro_batch": 0}, r"micro_batch is 0"),
        ({"sigma": -0.1}, r"sigma is -0.1"),
        ({"sigma": math.nan}, r"sigma is nan"),
        ({"answer": ""}, r"holds no token"),
        ({"answer": torch.tensor([10**4])}, r"outside 0\.\."),
        ({"answer": "yes " * 100}, r"has a context of 160"),
    ],
)
def test_bad_numbers_are_refused(lvlm, prompt, options, message):
    with pytest.raises(InfoflowError, match=message):
        llava_cam(lvlm, prompt, **{"answer": "yes", **options})


def test_unknown_names_are_refused(lvlm, prompt):
    with pytest.raises(UnknownNameError, match="Did you mean 'post_attention_layernorm'"):
        llava_cam(lvlm, prompt, "yes", site="post_attention_norm")
    with pytest.raises(UnknownNameError, match="unknown weighting 'max'"):
        llava_cam(lvlm, prompt, "yes", weights="max")


@pytest.mark.every_family
def test_pictures_share_what_comes_before_the_image(lvlm, prompt, smooth):
    lengths = []
    handle = lvlm.decoder.register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(tuple(kwargs["inputs_embeds"].shape[:2])),
        with_kwargs=True,
    )
    try:
        found = llava_cams(lvlm, prompt, ANSWER, n_samples=5, sigma=0.2, seed=3, micro_batch=2)
    finally:
        handle.remove()
    before, after = prompt.spans.image.start, len(prompt) - prompt.spans.image.start + 2
    read_in = [(1, before)] if before else []  # some families begin with the image
    assert lengths == [*read_in, (2, after), (2, after), (1, after)]
    for key, cam in found.items():
        assert_same_maps(cam.maps, smooth[key].maps)


@pytest.mark.parametrize(
    "effect", [Truncate(cut=3), FastV(k=2, ratio=0.5), EAH(layers=(1,), beta=0.002)], ids=str
)
def test_maps_inside_an_intervention_are_of_the_changed_model(lvlm, prompt, cams, effect):
    ids, image = lvlm.encode_answer(ANSWER), prompt.spans.image
    with intervene(lvlm, effect):
        found = plain(lvlm, prompt)
        recomputed = plain(lvlm, prompt, checkpointed=True)
        noisy = llava_cams(lvlm, prompt, ANSWER, n_samples=3, micro_batch=3)
        alone = llava_cams(lvlm, prompt, ANSWER, n_samples=3, micro_batch=1)
        with lvlm.reading(prompt):
            feature, gradient = layer_gradients(lvlm, prompt.inputs_embeds, ids, POST_NORM, 1)
    expected = activation_map(feature[image], gradient[image], "mean")
    assert_same_maps(found[POST_NORM, "mean"].maps[1], over_cells(prompt, expected))
    for key, cam in found.items():
        assert torch.equal(recomputed[key].maps.isnan(), cam.maps.isnan())
        scale = cam.maps.nan_to_num().max()
        torch.testing.assert_close(
            recomputed[key].maps.nan_to_num(), cam.maps.nan_to_num(), rtol=0, atol=1e-5 * scale
        )
        assert torch.equal(noisy[key].maps.nan_to_num(), alone[key].maps.nan_to_num())
    differs = (found[POST_NORM, "mean"].maps - cams[POST_NORM, "mean"].maps)[:LAST].abs().max()
    assert differs > 1e-3 * cams[POST_NORM, "mean"].peaks[:LAST].max()


def tower_cells(lvlm, prompt):
    """For each place of the tower's map its patch of the layer's output, tiles in a row, or -1."""
    tiles = prompt.pixel_values.shape[1] if prompt.pixel_values.ndim == 5 else 1
    side = lvlm.family.patches_a_side
    numbers = torch.arange(1.0, tiles * side**2 + 1).view(tiles, side**2, 1)
    return lvlm.family.tower_patches(numbers, prompt.image.size)[:, 0].long() - 1


@contextmanager
def on_tower(lvlm, do):
    handle = lvlm.family.tower_layer.register_forward_hook(lambda *call: do(call[2]))
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.every_family
def test_the_towers_maps_are_of_slopes_in_whole_passes(in_double):
    """A patch of the tower's last layer is moved along a vector, and the logit followed."""
    lvlm, prompt = in_double, in_double.prompt(picture(), QUESTION)
    ids, step, image = lvlm.encode_answer(ANSWER), 3e-3, prompt.spans.image
    said = lvlm.decoder.embed_tokens(ids[:-1])[None]

    def logit(embeds):
        return lvlm.logits(torch.cat([embeds, said], dim=1))[0, len(prompt) - 1 :][range(3), ids]

    leaf = prompt.inputs_embeds.clone().requires_grad_()
    (at_tokens,) = torch.autograd.grad(logit(leaf).sum(), leaf)
    pixels = prompt.pixel_values
    feature, gradient = to_tower(lvlm, prompt, at_tokens[0, image])
    cells, side = tower_cells(lvlm, prompt), lvlm.family.patches_a_side
    direction = torch.randn(feature.shape[-1], generator=torch.Generator().manual_seed(0)).double()
    for place in range(0, len(cells), max(1, len(cells) // 6)):
        z = []
        for sign in (1, -1):

            def move(output, place=place, sign=sign):
                if cells[place] >= 0:  # else a newline; a class token stands before the patches
                    patch = output[cells[place] // side**2, cells[place] % side**2 - side**2]
                    patch += sign * step * direction

            with on_tower(lvlm, move):
                embeds = lvlm.embed(prompt.input_ids, pixels, prompt.image.size)
            z.append(logit(embeds).sum())
        slope = (z[0] - z[1]) / (2 * step)
        bound = 0.01 * float((gradient @ direction).abs().max())
        torch.testing.assert_close(slope, gradient[place] @ direction, rtol=0.01, atol=bound)
    cams = plain(lvlm, prompt, sites=(TOWER,))
    grid = replace(prompt.grid, spread=None) if lvlm.family.has_queries else prompt.grid
    for weights in WEIGHTS:
        cam = cams[TOWER, weights]
        assert cam.maps.shape == (1, prompt.grid.rows, prompt.grid.cols)
        if weights == "element-wise" and lvlm.family.has_queries:
            products = feature * gradient
            assert products.sum(-1).abs().max() < 1e-4 * products.abs().sum(-1).max()
            assert not cam.defined.any()
        else:
            expected = activation_map(feature, gradient, weights).float()
            cells = torch.from_numpy(grid.cells(expected.numpy()))
            torch.testing.assert_close(cam.maps[0], cells, rtol=1e-4, atol=1e-6)
    assert max(float(cams[TOWER, w].maps.max()) for w in ("mean", "relu-mean")) > 1e-4


def test_a_patch_of_the_tower_is_its_token_where_nothing_stands_between(lvlm, prompt):
    """So its map lies as the tokens lie: the connector makes of a patch the token of its place."""
    seen = []
    with on_tower(lvlm, seen.append):
        lvlm.embed(prompt.input_ids, prompt.pixel_values, prompt.image.size)
    patches = lvlm.family.tower_patches(seen[0], prompt.image.size)
    connector = getattr(getattr(lvlm.model, "model", None), "multi_modal_projector", None)
    assert (connector is None) == lvlm.family.has_queries
    if connector is None:  # queries stand between: patches are the cells of the image
        assert len(patches) == prompt.grid.rows * prompt.grid.cols
        return
    places = tower_cells(lvlm, prompt) >= 0
    tokens = prompt.inputs_embeds[0, prompt.spans.image]
    torch.testing.assert_close(connector(patches)[places], tokens[places])
    assert places.all() or "1.6" in lvlm.name


def test_the_towers_map_is_smoothed_over_the_same_noisy_pictures(lvlm, prompt):
    noise = {"n_samples": 3, "sigma": 0.2, "seed": 1}
    sites = (POST_NORM, TOWER)
    both = llava_cams(lvlm, prompt, ANSWER, sites, ("mean",), **noise, micro_batch=2)
    alone = llava_cam(lvlm, prompt, ANSWER, TOWER, **noise, micro_batch=1)
    assert set(both) == {(POST_NORM, "mean"), (TOWER, "mean")}
    assert_same_maps(both[TOWER, "mean"].maps, alone.maps)
    assert not torch.equal(alone.maps, llava_cam(lvlm, prompt, ANSWER, TOWER, sigma=0.0).maps)
