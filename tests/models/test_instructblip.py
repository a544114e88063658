"""InstructBLIP: queries before the text, steered by it, and maps by where they looked."""

import numpy as np
import pytest
import restated
import tiny_instructblip
import torch
from checkpoints import CLIP_MEAN, CLIP_STD
from PIL import Image
from tiny_instructblip import BOUNDARY, IMAGE, PATCH, QUERIES, SIDE
from tiny_models import QUESTION, SIZES, picture
from transformers import InstructBlipForConditionalGeneration

from infoflow.errors import InfoflowError
from infoflow.models.lvlm import load_lvlm

N_SIDE = SIDE // PATCH


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_instructblip.save(tmp_path_factory.mktemp("instructblip"))["checkpoint"]


@pytest.fixture(scope="module")
def lvlm(folder):
    return load_lvlm("instructblip-7b", checkpoint=folder, device="cpu")


@pytest.fixture(scope="module")
def weights():
    return tiny_instructblip.random_model().state_dict()


@pytest.mark.parametrize("size", SIZES)
def test_it_equals_the_restatement(lvlm, weights, size):
    prompt = lvlm.prompt(picture(size=size), QUESTION)
    tokens, _ = tiny_instructblip.image_tokens(weights, prompt.pixel_values[0], QUESTION)
    words = weights["language_model.model.embed_tokens.weight"]
    embeds = restated.joined(prompt, tokens, words)
    restated.assert_close(prompt.inputs_embeds[0], embeds)
    decoder = restated.starting_with("language_model.", weights)
    expected = restated.llama(decoder, embeds, 4, 1e-6)
    found = lvlm.logits(lvlm.embed(prompt.input_ids, prompt.pixel_values))[0]
    restated.assert_close(found, expected)


def test_logits_are_those_of_transformers(folder, lvlm):
    reference = InstructBlipForConditionalGeneration.from_pretrained(folder).eval()
    prompt = lvlm.prompt(picture(), QUESTION)
    with torch.no_grad():
        expected = reference(
            input_ids=prompt.input_ids[None],
            attention_mask=torch.ones_like(prompt.input_ids)[None],
            pixel_values=prompt.pixel_values,
            qformer_input_ids=torch.tensor([tiny_instructblip.encode_for_qformer(QUESTION)]),
        ).logits
    restated.assert_close(lvlm.logits(prompt.inputs_embeds), expected)


@pytest.mark.parametrize("question", ["how ?", QUESTION, f"{QUESTION} {QUESTION}"])
def test_queries_stand_before_the_text(lvlm, question):
    prompt = lvlm.prompt(picture(), question)
    asked = lvlm.tokenizer(question, add_special_tokens=False).input_ids
    assert prompt.input_ids.tolist() == [*[IMAGE] * QUERIES, BOUNDARY, *asked]
    assert prompt.spans == (slice(0, 0), slice(0, QUERIES), slice(QUERIES, len(prompt)))
    assert prompt.grid.n_tokens == QUERIES


def test_answers_end_at_the_token_that_begins_texts(folder):
    # the published settings name 0 and 1
    fresh = load_lvlm("instructblip-7b", checkpoint=folder, device="cpu")
    assert fresh.eos_token_ids == (BOUNDARY,)


def test_the_question_steers_what_the_queries_see(lvlm):
    image = picture()
    first, second = (lvlm.prompt(image, q).inputs_embeds[0, :QUERIES] for q in (QUESTION, "how ?"))
    assert (first - second).abs().max() > 0.01


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_squashed(lvlm, size):
    image = picture(size=size)
    resized = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    expected = ((resized / 255 - CLIP_MEAN) / CLIP_STD).transpose(2, 0, 1)[None]
    prompt = lvlm.prompt(image, QUESTION)
    np.testing.assert_allclose(prompt.pixel_values.numpy(), expected, atol=1e-5)
    assert prompt.grid.box == (0, 0, 1, 1)


def test_a_querys_value_lies_where_it_looked(lvlm, weights):
    prompt = lvlm.prompt(picture(), QUESTION)
    _, looks = tiny_instructblip.image_tokens(weights, prompt.pixel_values[0], QUESTION)
    cells = prompt.grid.cells(torch.eye(QUERIES))
    assert cells.shape == (QUERIES, N_SIDE, N_SIDE)
    np.testing.assert_allclose(cells.reshape(QUERIES, -1), looks, atol=1e-6)
    assert looks.std() > 1e-3  # not all alike
    scores = torch.rand(QUERIES)
    np.testing.assert_allclose(prompt.grid.cells(scores).ravel(), scores @ looks, atol=1e-5)
    np.testing.assert_allclose(prompt.grid.cells(scores).sum(), scores.sum(), rtol=1e-5)


@pytest.mark.parametrize("size", [(50, 80), (80, 50), (56, 56), (30, 200)])
def test_a_marked_block_draws_the_map_to_where_it_is(lvlm, size):
    """Queries that look at one patch alone light up that patch of a squashed picture."""
    from infoflow.models.families.base import ImageFeatures

    row, column = 2, 5
    looks = torch.zeros(QUERIES, N_SIDE**2)
    looks[:, row * N_SIDE + column] = 1
    height, width = size
    grid = lvlm.family.grid((width, height), ImageFeatures(torch.zeros(QUERIES, 1), looks))
    heat = grid.to_picture(np.ones(QUERIES), (width, height))
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert row <= (y + 0.5) / height * N_SIDE <= row + 1
    assert column <= (x + 0.5) / width * N_SIDE <= column + 1


def test_bad_input_is_one_clear_error(lvlm):
    with pytest.raises(InfoflowError, match="image placeholder '<image>'"):
        lvlm.prompt(picture(), "what is <image> ?")
    prompt = lvlm.prompt(picture(), QUESTION)
    with pytest.raises(InfoflowError, match=r"\(1, 3, 56, 56\)"):
        lvlm.embed(prompt.input_ids, prompt.pixel_values[..., :42])
    with pytest.raises(InfoflowError, match="63 image token ids for 64 image features"):
        lvlm.embed(prompt.input_ids[1:], prompt.pixel_values)


def test_the_other_types_are_whole(folder):
    half = load_lvlm("instructblip-7b", checkpoint=folder, device="cpu", dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    assert half.prompt(picture(), QUESTION).inputs_embeds.dtype == torch.bfloat16
