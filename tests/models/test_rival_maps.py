"""Rival maps are what they say: each against a restatement on full attention matrices."""

import pytest
import restated_maps
import torch
from PIL import Image
from tiny_models import QUESTION, picture

from infoflow.data.controls import GREY
from infoflow.interventions import Truncate, intervene
from infoflow.methods.maps import COMPLETE, MAPS, attributions, integrated_gradients

MODELS = ("grouped", "qwen-vl-7b")
RELATIVE = 1e-4
WORDS = "two red red"
STEPS = (20, 40, 80, 160)


@pytest.fixture(scope="module")
def in_double(lvlm):
    lvlm.family.model.double()
    yield lvlm
    lvlm.family.model.float()


@pytest.fixture(scope="module")
def given(in_double):
    prompt = in_double.prompt(picture(), QUESTION)
    answer = in_double.encode_answer(WORDS)
    return prompt, answer, restated_maps.read_in(in_double, prompt, answer)


@pytest.mark.parametrize("name", [name for name in MAPS if name != "integrated_gradients"])
def test_a_map_equals_its_restatement(in_double, given, name):
    prompt, answer, run = given
    expected = getattr(restated_maps, name)(in_double, prompt, answer, run).detach().float()
    found = MAPS[name](in_double, prompt, answer).float()
    assert found.shape == expected.shape
    assert found.shape[-1] == prompt.grid.n_tokens
    for one, other in zip(found, expected, strict=True):
        assert other.max() > 0
        torch.testing.assert_close(one / other.max(), other / other.max(), rtol=0, atol=RELATIVE)


def test_integrated_gradients_complete_or_are_undefined(in_double, given):
    prompt, answer, _ = given
    blank = in_double.prompt(Image.new("RGB", prompt.image.size, GREY), QUESTION)
    found = integrated_gradients(in_double, prompt, answer)
    for n_steps in STEPS:
        values, change = restated_maps.integrated_gradients(
            in_double, prompt, blank, answer, n_steps
        )
        if complete := bool((values.sum() - change).abs() <= COMPLETE * change.abs()):
            break
    assert COMPLETE == 0.02
    assert complete
    expected = values.clamp(min=0).float()[None]
    torch.testing.assert_close(found / expected.max(), expected / expected.max(), rtol=0, atol=1e-4)


def test_attributions_say_what_they_miss(in_double, given):
    prompt, answer, _ = given
    blank = in_double.prompt(Image.new("RGB", prompt.image.size, GREY), QUESTION)
    for n_steps in (2, 8):
        found, missed = attributions(in_double, prompt, answer, n_steps)
        values, change = restated_maps.integrated_gradients(
            in_double, prompt, blank, answer, n_steps
        )
        torch.testing.assert_close(found[0], values.float(), rtol=1e-4, atol=1e-5)
        assert missed == pytest.approx(
            float((values.sum() - change).abs() / change.abs()), rel=1e-4
        )
    assert (found < 0).any()  # what speaks against the answer, too


def test_maps_are_of_the_model_that_an_intervention_makes(lvlm, prompt):
    """Where no layer sees the image there is nothing to map, whatever the map."""
    answer = lvlm.encode_answer(WORDS)
    for name in ("attention", "rollout", "relevancy", "value_weighted"):
        assert MAPS[name](lvlm, prompt, answer).max() > 0
        with intervene(lvlm, Truncate(cut=0)):
            assert MAPS[name](lvlm, prompt, answer).abs().max() == 0
