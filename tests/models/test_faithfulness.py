import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_models import LLAVA, QUESTION, picture

from infoflow.errors import InfoflowError
from infoflow.interventions import EAH, Truncate, intervene
from infoflow.methods.cam import llava_cam
from infoflow.methods.faithfulness import (
    answer_probabilities,
    faithfulness_curve,
    randomised_weights,
    replace_hottest,
)
from infoflow.methods.flow import attention_flow
from infoflow.methods.heatmaps import ATTENTION, heat_maps
from infoflow.methods.localisation import rank_correlation

MODELS = LLAVA  # nothing here depends on the family


@given(st.integers(1, 40), st.integers(0, 3))
def test_the_hottest_pixels_are_replaced_first(n_steps, levels):
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 99, (5, 6, 3), np.uint8), np.full((5, 6, 3), 200, np.uint8)
    heat = rng.integers(0, levels + 1, (5, 6)).astype(float)
    pictures = list(replace_hottest(before, after, heat, n_steps))
    assert len(pictures) == n_steps + 1
    assert np.array_equal(pictures[0], before)
    assert np.array_equal(pictures[-1], after)
    for step, pixels in enumerate(pictures):
        changed = (pixels == 200).all(-1)
        assert np.array_equal(pixels[~changed], before[~changed])
        assert abs(changed.sum() - 30 * step / n_steps) <= 0.5
        if changed.any() and not changed.all():
            assert heat[changed].min() >= heat[~changed].max()


def test_equally_hot_pixels_are_replaced_in_random_order():
    before, after = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 1, np.uint8)
    halves = [list(replace_hottest(before, after, np.zeros((20, 20)), 2, s))[1] for s in (0, 0, 1)]
    assert np.array_equal(halves[0], halves[1])
    assert not np.array_equal(halves[0], halves[2])
    assert 0.3 < halves[0][:10].mean() < 0.7


def test_probability_is_the_geometric_mean_over_the_answer(lvlm, prompt):
    other = lvlm.prompt(picture(1), QUESTION)
    ids = lvlm.encode_answer("two red circle")
    found = answer_probabilities(lvlm, [prompt, other], "two red circle")
    for one, value in zip([prompt, other], found, strict=True):
        chances = []
        for t in range(3):
            said = lvlm.decoder.embed_tokens(ids[:t])[None]
            logits = lvlm.logits(torch.cat([one.inputs_embeds, said], dim=1))[0, -1]
            chances.append(float(logits.softmax(-1)[ids[t]]))
        assert float(value) == pytest.approx(math.prod(chances) ** (1 / 3), rel=1e-4)


def test_curves_run_from_picture_to_blank_and_from_blur_to_picture(lvlm, prompt):
    heat = np.random.default_rng(0).random((8, 8))
    colour = np.asarray(prompt.image).mean((0, 1)).round().astype(int)
    blank = Image.new("RGB", prompt.image.size, tuple(colour.tolist()))
    ends = answer_probabilities(lvlm, [prompt, lvlm.prompt(blank, QUESTION)], "yes").tolist()
    deleted = faithfulness_curve(lvlm, prompt, "yes", heat, n_steps=9)
    shown = faithfulness_curve(lvlm, prompt, "yes", heat, "insertion", n_steps=3)
    assert deleted.fractions.tolist() == pytest.approx([i / 9 for i in range(10)])
    assert deleted.scores[[0, -1]].tolist() == pytest.approx(ends, rel=1e-4)
    assert shown.scores[-1] == pytest.approx(ends[0], rel=1e-4)
    assert shown.scores[0] != pytest.approx(ends[0], rel=1e-2)


def test_where_the_heat_is_decides_what_goes_first(lvlm):
    """The model looks at half of the picture; the other half is the blank's colour already."""
    pixels = np.full((56, 56, 3), 120, np.uint8)
    pixels[:, :28:4] = 0
    pixels[:, 2:28:4] = 240  # the mean stays 120
    prompt = lvlm.prompt(Image.fromarray(pixels), QUESTION)
    left = np.zeros((8, 8))
    left[:, :4] = 1
    right_map = faithfulness_curve(lvlm, prompt, "yes", left, n_steps=2)
    wrong_map = faithfulness_curve(lvlm, prompt, "yes", 1 - left, n_steps=2)
    start, end = right_map.scores[[0, 2]]
    assert start != pytest.approx(end, rel=1e-3)
    assert right_map.scores[1] == pytest.approx(end, rel=1e-4)
    assert wrong_map.scores[1] == pytest.approx(start, rel=1e-4)


def test_an_undefined_map_orders_no_pixels(lvlm, prompt):
    with pytest.raises(InfoflowError, match="undefined"):
        faithfulness_curve(lvlm, prompt, "yes", np.full((8, 8), np.nan))
    with pytest.raises(InfoflowError, match="does not fit a grid of 8 x 8"):
        faithfulness_curve(lvlm, prompt, "yes", np.ones((7, 8)), "insertion")
    with pytest.raises(InfoflowError, match="n_steps is 0"):
        faithfulness_curve(lvlm, prompt, "yes", np.ones((8, 8)), n_steps=0)


def test_random_weights_last_as_long_as_the_context(lvlm, prompt):
    before = {name: value.clone() for name, value in lvlm.model.state_dict().items()}
    with pytest.raises(KeyError), randomised_weights(lvlm):  # noqa: PT012
        for i, layer in enumerate(lvlm.layers):
            for name, value in layer.state_dict().items():
                old = before[f"model.language_model.layers.{i}.{name}"]
                drawn = value.ndim > 1
                assert torch.equal(value, old) != drawn
                if drawn:
                    torch.testing.assert_close(value.std(), old.std(), rtol=0.1, atol=0)
        assert not torch.equal(lvlm.lm_head.weight, before["lm_head.weight"])
        raise KeyError
    after = lvlm.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_maps_of_random_weights_are_others(lvlm, prompt):
    def maps(seed):
        with randomised_weights(lvlm, seed=seed):
            return llava_cam(lvlm, prompt, "yes", sigma=0.0).maps

    trained = llava_cam(lvlm, prompt, "yes", sigma=0.0).maps
    similar = rank_correlation(trained, maps(0))
    assert (np.abs(similar[:-1]) < 0.9).all()
    assert math.isnan(similar[-1])
    assert torch.equal(maps(0).nan_to_num(), maps(0).nan_to_num())
    assert not torch.equal(maps(0).nan_to_num(), maps(1).nan_to_num())


def test_attention_is_laid_out_as_maps(lvlm, prompt):
    flow = attention_flow(lvlm, prompt)
    maps = heat_maps(lvlm, prompt, lvlm.encode_answer("yes"), [ATTENTION])[ATTENTION]
    assert maps.shape == (lvlm.n_layers, 8, 8)
    np.testing.assert_allclose(maps.sum((1, 2)), flow.shares[:, 1], rtol=1e-5)
    token = prompt.spans.image.start + 8 * 3 + 5
    np.testing.assert_allclose(maps[2, 3, 5], flow.rows[2, :, token].mean(), rtol=1e-6)


def masked_probability(lvlm, prompt, text, effect):
    with intervene(lvlm, effect):
        return float(answer_probabilities(lvlm, [prompt], text))


@pytest.mark.parametrize("effect", [Truncate(cut=3), EAH(layers=(1,), beta=0.002)], ids=str)
def test_curves_are_of_the_model_that_an_intervention_makes(lvlm, prompt, effect):
    heat = np.random.default_rng(0).random((8, 8))
    ordinary = faithfulness_curve(lvlm, prompt, "two red", heat, n_steps=3)
    with intervene(lvlm, effect):
        changed = faithfulness_curve(lvlm, prompt, "two red", heat, n_steps=3)
    colour = np.asarray(prompt.image).mean((0, 1)).round().astype(int)
    blank = lvlm.prompt(Image.new("RGB", prompt.image.size, tuple(colour.tolist())), QUESTION)
    ends = [masked_probability(lvlm, one, "two red", effect) for one in (prompt, blank)]
    assert changed.scores[[0, -1]].tolist() == pytest.approx(ends, rel=1e-4)
    assert not np.allclose(changed.scores, ordinary.scores, rtol=1e-3)
    again = faithfulness_curve(lvlm, prompt, "two red", heat, n_steps=3)
    assert np.array_equal(again.scores, ordinary.scores)


def test_where_no_layer_sees_the_picture_no_map_matters(lvlm, prompt):
    heat = np.random.default_rng(0).random((8, 8))
    with intervene(lvlm, Truncate(cut=0)):
        for curve in ("deletion", "insertion"):
            scores = faithfulness_curve(lvlm, prompt, "yes", heat, curve, n_steps=3).scores
            assert scores.tolist() == pytest.approx([scores[0]] * 4, rel=1e-5)
