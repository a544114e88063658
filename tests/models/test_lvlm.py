import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import BOS, EOS, IMAGE, IMAGE_SIZE
from PIL import Image
from tiny_models import PUBLISHED, QUESTION, picture
from transformers import LlavaForConditionalGeneration

import infoflow
from infoflow.errors import InfoflowError
from infoflow.models.families import list_models
from infoflow.models.lvlm import load_lvlm

N_IMAGE = 64


@pytest.fixture(scope="module")
def zoo(zoo_checkpoint):
    return load_lvlm("tiny-llava-1.5", checkpoint=zoo_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def published(published_checkpoint):
    return load_lvlm("llava-1.5-7b", checkpoint=published_checkpoint, device="cpu")


def test_the_zoo_is_listed_before_the_hub():
    names = list_models()
    assert names == sorted(names, key=lambda name: (not name.startswith("tiny-"), name))
    shipped = {folder.name for folder in Path(infoflow.__file__).parent.joinpath("zoo").iterdir()}
    assert {*shipped, "llava-1.5-7b", *PUBLISHED} == set(names)
    assert "tiny-llava-1.5" in shipped


@pytest.mark.parametrize("name", ["zoo", "published"])
def test_logits_are_those_of_transformers(request, name):
    lvlm = request.getfixturevalue(name)
    folder = request.getfixturevalue(f"{name}_checkpoint")
    reference = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    prompt = lvlm.prompt(picture(), QUESTION)
    with torch.no_grad():
        expected = reference(
            input_ids=prompt.input_ids[None],
            pixel_values=prompt.pixel_values,
            attention_mask=torch.ones_like(prompt.input_ids)[None],
        ).logits
    assert torch.equal(lvlm.logits(prompt.inputs_embeds), expected)
    assert expected.std() > 0.1


def test_both_layouts_hold_the_same_model(zoo, published):
    # the published layout was written from the same weights under the old names
    first, second = (m.prompt(picture(), QUESTION) for m in (zoo, published))
    assert torch.equal(first.inputs_embeds, second.inputs_embeds)
    assert torch.equal(zoo.logits(first.inputs_embeds), published.logits(second.inputs_embeds))


def test_a_prompt_is_the_vicuna_conversation_with_one_run_of_image_tokens(zoo):
    prompt = zoo.prompt(picture(), QUESTION)
    ids = prompt.input_ids.tolist()
    system, image, user = (ids[span] for span in prompt.spans)
    assert system + image + user == ids
    assert ids.count(BOS) == 1
    assert ids[0] == BOS
    assert image == [IMAGE] * N_IMAGE
    before = (
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: "
    )
    after = f"\n{QUESTION} ASSISTANT:"
    assert system[1:] == zoo.tokenizer(before, add_special_tokens=False).input_ids
    assert user == zoo.tokenizer(after, add_special_tokens=False).input_ids
    assert len(prompt) == len(ids)
    assert prompt.question == QUESTION


def test_embeddings_hold_image_features_in_the_image_places_only(zoo):
    first, second = zoo.prompt(picture(0), QUESTION), zoo.prompt(picture(1), QUESTION)
    changed = (first.inputs_embeds != second.inputs_embeds).any(-1)[0]
    assert changed.nonzero()[:, 0].tolist() == list(range(*first.spans.image.indices(10**6)))
    words = zoo.decoder.embed_tokens(first.input_ids)
    assert torch.equal(first.inputs_embeds[0, ~changed], words[~changed])


def test_embed_takes_tensors_as_they_come(zoo):
    prompt = zoo.prompt(picture(), QUESTION)
    pixels = prompt.pixel_values.double()
    assert torch.equal(zoo.embed(prompt.input_ids, pixels), prompt.inputs_embeds)
    assert torch.equal(zoo.embed(prompt.input_ids[None], pixels), prompt.inputs_embeds)


def test_embed_is_differentiable_in_the_pixels(zoo):
    prompt = zoo.prompt(picture(), QUESTION)
    pixels = prompt.pixel_values.clone().requires_grad_()
    zoo.logits(zoo.embed(prompt.input_ids, pixels))[0, -1].max().backward()
    assert pixels.grad.abs().max() > 0


@pytest.mark.parametrize("size", [(50, 80), (80, 50), (56, 56), (37, 120)])
def test_pictures_are_padded_with_the_mean_colour_and_lose_no_border(published, size):
    image = picture(size=size)
    width, height = image.size
    side = max(width, height)
    square = Image.new("RGB", (side, side), (122, 116, 104))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    resized = square.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    expected = ((np.asarray(resized) / 255 - mean) / std).transpose(2, 0, 1)[None]
    pixels = published.prompt(image, QUESTION).pixel_values
    np.testing.assert_allclose(pixels.numpy(), expected, atol=1e-5)


def test_the_grid_places_the_picture_in_the_padded_square(zoo):
    assert zoo.prompt(picture(size=(80, 80)), QUESTION).grid.box == (0, 0, 1, 1)
    assert zoo.prompt(picture(size=(40, 80)), QUESTION).grid.box == (0, 0.25, 1, 0.75)
    assert zoo.prompt(picture(size=(80, 40)), QUESTION).grid.box == (0.25, 0, 0.75, 1)
    odd = zoo.prompt(picture(size=(5, 8)), QUESTION).grid
    assert odd.box == (0, 1 / 8, 1, 6 / 8)  # three rows of padding: one above, two below
    assert (odd.rows, odd.cols) == (8, 8)


def test_answers_are_those_of_transformers(zoo):
    prompt = zoo.prompt(picture(), QUESTION)
    expected = zoo.model.generate(
        input_ids=prompt.input_ids[None],
        pixel_values=prompt.pixel_values,
        attention_mask=torch.ones_like(prompt.input_ids)[None],
        max_new_tokens=12,
        do_sample=False,
    )[0, len(prompt) :]
    expected = expected[: expected.tolist().index(EOS) if EOS in expected.tolist() else 12]
    assert torch.equal(zoo.generate(prompt, 12), expected)
    assert zoo.answer(prompt, 12) == zoo.tokenizer.decode(expected, skip_special_tokens=True)


def test_text_ends_before_the_end_token(zoo):
    ids = torch.cat([zoo.encode_answer("two red"), torch.tensor([EOS]), zoo.encode_answer("no")])
    assert zoo.decode(ids) == "two red"


def test_paths_and_pictures_of_every_mode_are_read(zoo, tmp_path):
    image = picture()
    image.save(tmp_path / "picture.png")
    for given in (tmp_path / "picture.png", str(tmp_path / "picture.png"), image.convert("RGBA")):
        assert torch.equal(
            zoo.prompt(given, QUESTION).pixel_values, zoo.prompt(image, QUESTION).pixel_values
        )
    assert zoo.prompt(image.convert("L"), QUESTION).image.mode == "RGB"


def test_the_digest_is_that_of_the_weights(zoo, zoo_checkpoint, published, published_checkpoint):
    weights = (zoo_checkpoint / "model.safetensors").read_bytes()
    assert zoo.digest == hashlib.sha256(weights).hexdigest()
    shards = sorted(published_checkpoint.glob("*.safetensors"))
    assert len(shards) == 3
    joined = b"".join(shard.read_bytes() for shard in shards)
    assert published.digest == hashlib.sha256(joined).hexdigest()


def test_types_and_shape_are_what_was_loaded(zoo_checkpoint):
    half = load_lvlm("tiny-llava-1.5", checkpoint=zoo_checkpoint, device="cpu", dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    assert half.prompt(picture(), QUESTION).inputs_embeds.dtype == torch.bfloat16
    lvlm = load_lvlm("tiny-llava-1.5", checkpoint=zoo_checkpoint, device="cpu")
    assert (lvlm.dtype, lvlm.device.type) == (torch.float32, "cpu")
    assert (lvlm.n_layers, lvlm.n_heads, lvlm.context_length) == (6, 4, 160)
    assert len(lvlm.layers) == 6
    assert lvlm.eos_token_ids == (EOS,)
    assert not any(p.requires_grad for p in lvlm.model.parameters())


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("what is <image> ?", "image placeholder '<image>'"),
        ("yes " * 100, r"takes \d+ tokens.*context of 160"),
        (None, "must be text: 'NoneType'"),
        ("what is \ud800 ?", r"must be text: .*surrogates"),
    ],
)
def test_a_bad_question_is_one_clear_error(zoo, question, message):
    with pytest.raises(InfoflowError, match=message):
        zoo.prompt(picture(), question)


def test_an_answer_must_be_text(zoo):
    for answer, message in ((None, "NoneType"), ("\udfff", "surrogates")):
        with pytest.raises(InfoflowError, match=message):
            zoo.encode_answer(answer)


def test_an_empty_question_is_asked(zoo):
    assert len(zoo.prompt(picture(), "")) < len(zoo.prompt(picture(), QUESTION))


def test_a_bad_picture_is_one_clear_error(zoo, tmp_path):
    picture().save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    for name in ("cut.png", "text.png"):
        with pytest.raises(InfoflowError, match=f"{name}' cannot be read"):
            zoo.prompt(tmp_path / name, QUESTION)
    lazy = Image.open(tmp_path / "cut.png")
    with pytest.raises(InfoflowError, match="cannot be read"):
        zoo.prompt(lazy, QUESTION)
    with pytest.raises(InfoflowError, match=r"nowhere\.png' cannot be read: No such file"):
        zoo.prompt(tmp_path / "nowhere.png", QUESTION)
    with pytest.raises(InfoflowError, match="cannot be read"):
        zoo.prompt(tmp_path, QUESTION)
    with pytest.raises(InfoflowError, match="not ndarray"):
        zoo.prompt(np.zeros((8, 8, 3)), QUESTION)


def test_tensors_that_do_not_fit_are_one_clear_error(zoo):
    prompt = zoo.prompt(picture(), QUESTION)
    with pytest.raises(InfoflowError, match="63 image token ids for 64 image features"):
        zoo.embed(torch.cat([prompt.input_ids[:40], prompt.input_ids[41:]]), prompt.pixel_values)
    with pytest.raises(InfoflowError, match=r"\(1, 3, 56, 56\)"):
        zoo.embed(prompt.input_ids, prompt.pixel_values[..., :42])
    with pytest.raises(InfoflowError, match="not one sequence"):
        zoo.embed(prompt.input_ids.expand(2, -1), prompt.pixel_values)


@pytest.mark.parametrize(("n", "message"), [(0, "at least 1"), (100, "context of 160")])
def test_an_answer_of_impossible_length_is_one_clear_error(zoo, n, message):
    with pytest.raises(InfoflowError, match=message):
        zoo.generate(zoo.prompt(picture(), QUESTION), n)
