"""LLaVA-1.6: tiles, newlines and two rasters over one picture."""

import numpy as np
import pytest
import restated
import tiny_llava_next
import torch
from checkpoints import BOS, IMAGE
from PIL import Image
from test_geometry import assert_lit, marked, patch_change
from tiny_llava_next import PATCH, SIDE, TILE
from tiny_models import QUESTION, picture
from transformers import LlavaNextForConditionalGeneration

from infoflow.errors import InfoflowError
from infoflow.models.lvlm import load_lvlm

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


def image_tokens(weights, pixels, tiles, rows, cols):
    """The image tokens: the whole picture's, then row by row those of the tiles and a newline."""
    project = "multi_modal_projector.linear_"
    tower = restated.starting_with("vision_tower.vision_model.", weights)
    patches = torch.stack([restated.clip(tower, tile, 2, n_layers=2) for tile in pixels[0]])
    hidden = patches @ weights[f"{project}1.weight"].mT
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
    expected = image_tokens(weights, prompt.pixel_values, tiles, rows, cols)
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


def test_a_number_of_tokens_that_no_picture_has_is_one_clear_error(lvlm):
    prompt = lvlm.prompt(picture(), QUESTION)
    with pytest.raises(InfoflowError, match=r"give size=\(width, height\)"):
        lvlm.embed(prompt.input_ids, prompt.pixel_values)
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
    plain, white, block = marked(shape, place)
    before, after = (lvlm.prompt(image, QUESTION) for image in (plain, white))
    pairs = zip(before.pixel_values[0], after.pixel_values[0], strict=True)
    changes = torch.stack([patch_change(*pair, PATCH) for pair in pairs])
    tiling = lvlm.family.tiling(plain.size)
    (down, across), rows, cols = tiling
    raster = changes[1:].view(down, across, SIDE, SIDE).transpose(1, 2)
    raster = raster.reshape(down * SIDE, across * SIDE)
    top, left = (down * SIDE - rows) // 2, (across * SIDE - cols) // 2
    kept = raster[top : top + rows, left : left + cols]
    newlines = torch.full((rows, 1), 1e6)  # what newlines hold must not show
    values = torch.cat([changes[0], torch.cat([kept, newlines], 1).flatten()])
    assert_lit(before.grid.to_picture(values, plain.size), block, atol=0.03 * max(shape))
