"""InternVL-Chat: pickled shards, InternViT, and a picture for which there is no token."""

import numpy as np
import pytest
import restated
import tiny_internvl
import tiny_sentencepiece
from checkpoints import TEXT
from PIL import Image
from tiny_models import QUESTION, SIZES, picture

from infoflow.models.lvlm import load_lvlm

N_IMAGE = 64
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: "
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_internvl.save(tmp_path_factory.mktemp("internvl"))["checkpoint"]


@pytest.fixture(scope="module")
def lvlm(folder):
    return load_lvlm("internvl-7b", checkpoint=folder, device="cpu")


@pytest.fixture(scope="module")
def weights():
    return {k: v.bfloat16().float() for k, v in tiny_internvl.tensors().items()}


@pytest.mark.parametrize("size", SIZES)
def test_it_equals_the_restatement(lvlm, weights, size):
    prompt = lvlm.prompt(picture(size=size), QUESTION)
    tokens = tiny_internvl.image_tokens(weights, prompt.pixel_values[0])
    embeds = restated.joined(prompt, tokens, weights["model.embed_tokens.weight"])
    restated.assert_close(prompt.inputs_embeds[0], embeds)
    expected = restated.llama(weights, embeds, TEXT["num_attention_heads"], 1e-5)
    found = lvlm.logits(lvlm.embed(prompt.input_ids, prompt.pixel_values))[0]
    restated.assert_close(found, expected)


@pytest.mark.parametrize("question", ["how ?", QUESTION, f"{QUESTION} {QUESTION}"])
def test_the_prompt_is_the_vicuna_conversation(lvlm, question):
    prompt = lvlm.prompt(picture(), question)
    before = tiny_sentencepiece.encode(SYSTEM)
    after = tiny_sentencepiece.encode(f"\n{question} ASSISTANT:")
    image = [lvlm.family.image_token_id] * N_IMAGE
    assert prompt.input_ids.tolist() == [1, *before, *image, *after]
    assert [s.stop - s.start for s in prompt.spans] == [1 + len(before), N_IMAGE, len(after)]
    assert lvlm.family.image_token_id == tiny_sentencepiece.SIZE  # no word has this id


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_padded_with_the_mean_colour_of_imagenet(lvlm, size):
    image = picture(size=size)
    side = max(image.size)
    square = Image.new("RGB", (side, side), (123, 116, 103))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    resized = np.asarray(square.resize((56, 56), Image.Resampling.BICUBIC))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((resized / 255 - mean) / std).transpose(2, 0, 1)[None]
    pixels = lvlm.prompt(image, QUESTION).pixel_values
    np.testing.assert_allclose(pixels.numpy(), expected, atol=1e-5)


def test_answers_end_where_llama_ends_them(folder):
    # the published generation settings name ids of an early conversion, 0 and 1
    assert load_lvlm("internvl-7b", checkpoint=folder, device="cpu").eos_token_ids == (2,)
