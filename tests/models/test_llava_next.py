"""LLaVA-1.6: tiles, newlines and two rasters over one picture."""

import numpy as np
import pytest
import tiny_llava_next
import torch
from checkpoints import BOS, IMAGE
from conftest import QUESTION, picture
from PIL import Image
from tiny_llava_next import SIDE, TILE
from transformers import LlavaNextForConditionalGeneration

from infoflow.errors import InfoflowError
from infoflow.lvlm import load_lvlm

# (height, width) of a picture -> tiles down and across, rows and columns that stay
SHAPES = {
    (50, 80): ((2, 2), 6, 8),
    (80, 50): ((2, 2), 8, 6),
    (56, 56): ((2, 2), 8, 8),
    (28, 28): ((1, 2), 4, 4),
    (37, 53): ((2, 2), 6, 8),
    (30, 100): ((1, 3), 4, 12),
    (100, 30): ((3, 1), 12, 4),
    (30, 300): ((1, 3), 2, 12),
    (300, 30): ((3, 1), 12, 2),
    (9, 190): ((1, 3), 0, 12),  # only the whole picture is left
    (190, 9): ((3, 1), 12, 0),  # the same, and newlines
}
every_shape = pytest.mark.parametrize("shape", SHAPES)
TEXT_LENGTHS = ("how ?", QUESTION, f"{QUESTION} {QUESTION}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_llava_next.save(tmp_path_factory.mktemp("next"))["checkpoint"]


@pytest.fixture(scope="module")
def lvlm(folder):
    return load_lvlm("llava-1.6-7b", checkpoint=folder, device="cpu")


@pytest.fixture(scope="module")
def reference(folder):
    return LlavaNextForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def tower(weights, pixels):
    """CLIP's tower up to the last layer but one, without the class token, written out."""
    w = {k.removeprefix("vision_tower.vision_model."): v for k, v in weights.items()}
    states = torch.nn.functional.conv2d(pixels, w["embeddings.patch_embedding.weight"], stride=7)
    states = states.flatten(2).mT
    first = w["embeddings.class_embedding"].expand(len(pixels), 1, -1)
    states = torch.cat([first, states], 1) + w["embeddings.position_embedding.weight"]

    def norm(x, name):
        return torch.nn.functional.layer_norm(
            x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5
        )

    def linear(x, name):
        return x @ w[f"{name}.weight"].mT + w[f"{name}.bias"]

    states = norm(states, "pre_layrnorm")
    for i in range(2):
        name = f"encoder.layers.{i}"
        x = norm(states, f"{name}.layer_norm1")
        query, key, value = (
            linear(x, f"{name}.self_attn.{p}_proj").unflatten(-1, (2, 16)).transpose(1, 2)
            for p in "qkv"
        )
        mixed = (query @ key.mT / 4).softmax(-1) @ value
        states = states + linear(mixed.transpose(1, 2).flatten(2), f"{name}.self_attn.out_proj")
        x = linear(norm(states, f"{name}.layer_norm2"), f"{name}.mlp.fc1")
        states = states + linear(x * torch.sigmoid(1.702 * x), f"{name}.mlp.fc2")
    return states[:, 1:]


def restated(weights, pixels, tiles, rows, cols):
    """The image tokens: the whole picture's, then row by row those of the tiles and a newline."""
    project = "multi_modal_projector.linear_"
    hidden = tower(weights, pixels[0]) @ weights[f"{project}1.weight"].mT
    hidden = torch.nn.functional.gelu(hidden + weights[f"{project}1.bias"])
    tokens = hidden @ weights[f"{project}2.weight"].mT + weights[f"{project}2.bias"]
    found, (down, across) = list(tokens[0]), tiles
    top, left = (down * SIDE - rows) // 2, (across * SIDE - cols) // 2
    for row in range(top, top + rows):
        for col in range(left, left + cols):
            tile = row // SIDE * across + col // SIDE
            found.append(tokens[1 + tile, row % SIDE * SIDE + col % SIDE])
        found.append(weights["image_newline"])
    return torch.stack(found)


@pytest.fixture(scope="module")
def weights(folder):
    from safetensors.torch import load_file

    return {k: v.float() for f in folder.glob("*.safetensors") for k, v in load_file(f).items()}


@every_shape
def test_image_tokens_are_those_of_the_restatement(lvlm, weights, shape):
    prompt = lvlm.prompt(picture(size=shape), QUESTION)
    tiles, rows, cols = SHAPES[shape]
    expected = restated(weights, prompt.pixel_values, tiles, rows, cols)
    found = prompt.inputs_embeds[0, prompt.spans.image]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@every_shape
def test_logits_are_those_of_transformers(lvlm, reference, shape):
    image = picture(size=shape)
    prompt = lvlm.prompt(image, QUESTION)
    with torch.no_grad():
        expected = reference(
            input_ids=prompt.input_ids[None],
            pixel_values=prompt.pixel_values,
            image_sizes=torch.tensor([shape]),
            attention_mask=torch.ones_like(prompt.input_ids)[None],
        ).logits
    torch.testing.assert_close(lvlm.logits(prompt.inputs_embeds), expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.1
    embeds = lvlm.embed(prompt.input_ids, prompt.pixel_values, image.size)
    assert torch.equal(embeds, prompt.inputs_embeds)


@every_shape
@pytest.mark.parametrize("question", TEXT_LENGTHS)
def test_spans_count_the_tokens_of_the_picture(lvlm, shape, question):
    prompt = lvlm.prompt(picture(size=shape), question)
    _, rows, cols = SHAPES[shape]
    n_image = SIDE**2 + rows * (cols + 1)
    system, image, user = prompt.spans
    assert (image.start, image.stop) == (system.stop, user.start)
    assert image.stop - image.start == n_image
    assert prompt.input_ids[image].tolist() == [IMAGE] * n_image
    assert prompt.input_ids[0] == BOS
    assert user.stop == len(prompt) == len(prompt.input_ids)
    assert prompt.grid.n_tokens == n_image
    raster = (rows, cols) if rows * cols else (SIDE, SIDE)
    assert (prompt.grid.rows, prompt.grid.cols) == raster


AMBIGUOUS = [(28, 28), (300, 30), (9, 190), (190, 9)]


@pytest.mark.parametrize("shape", [s for s in SHAPES if s not in AMBIGUOUS])
def test_the_size_is_told_from_the_tokens(lvlm, shape):
    prompt = lvlm.prompt(picture(size=shape), QUESTION)
    assert torch.equal(lvlm.embed(prompt.input_ids, prompt.pixel_values), prompt.inputs_embeds)


@pytest.mark.parametrize("shape", AMBIGUOUS)
def test_a_size_that_cannot_be_told_is_one_clear_error(lvlm, shape):
    prompt = lvlm.prompt(picture(size=shape), QUESTION)
    with pytest.raises(InfoflowError, match=r"more than one .* tiles and .*size=\(width, height"):
        lvlm.embed(prompt.input_ids, prompt.pixel_values)


def test_a_number_of_tokens_that_no_picture_has_is_one_clear_error(lvlm):
    prompt = lvlm.prompt(picture(), QUESTION)
    with pytest.raises(InfoflowError, match="no picture gives 4 tiles and 69 image tokens"):
        lvlm.embed(prompt.input_ids[prompt.input_ids.eq(IMAGE).cumsum(0) != 1], prompt.pixel_values)
    ids = prompt.input_ids.clone()
    ids[prompt.spans.image.start] = 30
    with pytest.raises(InfoflowError, match="69 image token ids for 70 image features"):
        lvlm.embed(ids, prompt.pixel_values, prompt.image.size)


def test_tensors_that_do_not_fit_are_one_clear_error(lvlm):
    prompt = lvlm.prompt(picture(), QUESTION)
    for pixels in (prompt.pixel_values[..., :14], prompt.pixel_values[:, :4]):
        with pytest.raises(InfoflowError, match=r"valid: \(1, 5, 3, 28, 28\)"):
            lvlm.embed(prompt.input_ids, pixels, (80, 50))


def test_pixels_are_the_squashed_picture_and_its_tiles(lvlm):
    image = picture(size=(50, 80))
    pixels = lvlm.prompt(image, QUESTION).pixel_values
    scale = min(56 / 80, 56 / 50)
    resized = image.resize((56, -int(-50 * scale // 1)), Image.Resampling.BICUBIC)
    canvas = np.zeros((56, 56, 3))
    top = (56 - resized.height) // 2
    canvas[top : top + resized.height] = np.asarray(resized)
    tiles = [canvas[r : r + TILE, c : c + TILE] for r in (0, TILE) for c in (0, TILE)]
    base = np.asarray(image.resize((TILE, TILE), Image.Resampling.BICUBIC))
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    expected = np.stack([((tile / 255 - mean) / std).transpose(2, 0, 1) for tile in [base, *tiles]])
    np.testing.assert_allclose(pixels[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(100, 160), (160, 100), (112, 112), (60, 200), (210, 63)])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.6, 0.3), (0.75, 0.75)])
def test_a_marked_block_lights_up_where_it_was(lvlm, shape, place):
    """Tokens whose own pixels differ from those of the unmarked picture, laid on the picture."""
    height, width = shape
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    block = np.zeros(shape, dtype=bool)
    top, left = (int(p * side) for p, side in zip(place, shape, strict=True))
    block[top : top + height // 4, left : left + width // 4] = True
    marked = pixels + 255 * block[..., None].astype(np.uint8)
    plain, lit = (
        lvlm.prompt(Image.fromarray(p), QUESTION) for p in (pixels, marked.astype(np.uint8))
    )
    change = (lit.pixel_values - plain.pixel_values)[0].mean(1)
    change = change.unfold(1, 7, 7).unfold(2, 7, 7).mean((-1, -2))  # a value a patch
    family, size = lvlm.family, plain.image.size
    tiling = family.tiling(size)
    values = torch.cat(
        [
            change[0].flatten(),
            family._joined(change[1:].flatten(1)[..., None].expand(-1, -1, 64), tiling)[:, 0],
        ]
    )
    newlines = torch.ones(tiling.rows, tiling.cols + 1).cumsum(1).eq(tiling.cols + 1).flatten()
    values[SIDE**2 :][newlines] = 1e6  # what newlines hold must not show
    heat = plain.grid.to_picture(values, size)
    assert heat.max() < 10
    assert block[np.unravel_index(heat.argmax(), heat.shape)]
    assert heat[block].sum() / heat.sum() > 0.35  # of a sixteenth of the picture
    y, x = (
        np.average(np.arange(n), weights=heat.sum(axis)) for n, axis in ((height, 1), (width, 0))
    )
    expected = [np.flatnonzero(block.any(axis)).mean() for axis in (1, 0)]
    np.testing.assert_allclose([y, x], expected, atol=0.03 * max(shape))
