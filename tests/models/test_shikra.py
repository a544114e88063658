"""Shikra: a difference added to its LLaMA, one linear layer, marks around the picture."""

import shutil

import huggingface_hub.constants
import numpy as np
import pytest
import restated
import tiny_sentencepiece
import tiny_shikra
import torch
from checkpoints import CLIP_MEAN, CLIP_STD
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import QUESTION, SIZES, picture

from infoflow.errors import InfoflowError, UnknownNameError
from infoflow.models.lvlm import load_lvlm

N_WORDS = tiny_sentencepiece.SIZE
PATCH, START, END = N_WORDS, N_WORDS + 1, N_WORDS + 2
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. USER:"
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return tiny_shikra.save(tmp_path_factory.mktemp("shikra"))


@pytest.fixture(scope="module")
def lvlm(parts):
    return load_lvlm("shikra-7b", **parts, device="cpu")


@pytest.fixture(scope="module")
def weights():
    """The difference and its base added up, in float16 as the authors do."""
    found = {}
    base = {k: v.half() for k, v in tiny_shikra.base_tensors().items()}
    for name, delta in tiny_shikra.delta_tensors().items():
        total = delta.half()
        if name in tiny_shikra.GROWN:
            total = torch.cat([total[:N_WORDS] + base[name], total[N_WORDS:]])
        elif name in base:
            total = total + base[name]
        found[name] = total.float()
    return found


@pytest.mark.parametrize("size", SIZES)
def test_it_equals_the_restatement(lvlm, weights, size):
    prompt = lvlm.prompt(picture(size=size), QUESTION)
    tokens = tiny_shikra.image_tokens(weights, prompt.pixel_values[0])
    embeds = restated.joined(prompt, tokens, weights["model.embed_tokens.weight"])
    restated.assert_close(prompt.inputs_embeds[0], embeds)
    expected = restated.llama(weights, embeds, 4, 1e-6)
    found = lvlm.logits(lvlm.embed(prompt.input_ids, prompt.pixel_values))[0]
    restated.assert_close(found, expected)


@pytest.mark.parametrize("question", ["how ?", QUESTION, f"{QUESTION} {QUESTION}"])
def test_marks_stand_around_the_picture(lvlm, question):
    prompt = lvlm.prompt(picture(), question)
    before = tiny_sentencepiece.encode(SYSTEM)
    after = tiny_sentencepiece.encode(f"{question} ASSISTANT:")
    assert prompt.input_ids.tolist() == [1, *before, START, *[PATCH] * 64, END, *after]
    assert prompt.spans.image == slice(len(before) + 2, len(before) + 66)
    assert prompt.spans.user.stop == len(prompt)


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_padded_with_white(lvlm, size):
    image = picture(size=size)
    side = max(image.size)
    square = Image.new("RGB", (side, side), (255, 255, 255))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    resized = np.asarray(square.resize((56, 56), Image.Resampling.BICUBIC))
    expected = ((resized / 255 - CLIP_MEAN) / CLIP_STD).transpose(2, 0, 1)[None]
    pixels = lvlm.prompt(image, QUESTION).pixel_values
    np.testing.assert_allclose(pixels.numpy(), expected, atol=1e-5)


def test_it_is_known_by_the_weights_of_all_its_parts(parts, lvlm, tmp_path):
    base = shutil.copytree(parts["base"], tmp_path / "base")
    shard = sorted(base.glob("*.safetensors"))[0]
    tensors = load_file(shard)
    save_file(tensors | {next(iter(tensors)): next(iter(tensors.values())) + 1}, shard)
    again, other = (load_lvlm("shikra-7b", **parts | {"base": b}) for b in (parts["base"], base))
    assert again.digest == lvlm.digest != other.digest
    assert lvlm.eos_token_ids == (2,)


def test_another_base_is_one_clear_error(parts, tmp_path):
    base = tmp_path / "other"
    shutil.copytree(parts["vision"], base)
    with pytest.raises(
        InfoflowError, match=r"not the LLaMA that .* is a difference to: 57 tensors"
    ):
        load_lvlm("shikra-7b", **parts | {"base": base}, device="cpu")


def test_a_missing_base_is_one_clear_error(parts, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InfoflowError, match=r"the base of shikra-7b .*load_lvlm\('shikra-7b', base=folder\)"
    ):
        load_lvlm("shikra-7b", checkpoint=parts["checkpoint"], device="cpu")


def test_an_unknown_part_is_one_clear_error(parts):
    with pytest.raises(UnknownNameError, match=r"'bass'. Did you mean 'base'"):
        load_lvlm("shikra-7b", checkpoint=parts["checkpoint"], bass=parts["base"], device="cpu")
