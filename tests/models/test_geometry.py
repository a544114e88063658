"""Maps return to the original picture: a marked block must light up where it was."""

import numpy as np
import pytest
from PIL import Image
from tiny_models import PUBLISHED, QUESTION

from infoflow.models.lvlm import load_lvlm

PADDED = [name for name in PUBLISHED if name in ("internvl-7b", "shikra-7b")]


@pytest.fixture(scope="module", params=["llava-1.5-7b", *PADDED])
def padded(request, published_checkpoint, tmp_path_factory):
    parts = {"checkpoint": published_checkpoint}
    if request.param in PUBLISHED:
        parts = PUBLISHED[request.param](tmp_path_factory.mktemp(request.param))
    return load_lvlm(request.param, **parts, device="cpu")


def marked(size, place, share=0.25):
    """A black picture (height, width), the same with a white block, and the block's mask."""
    block = np.zeros(size, dtype=bool)
    top, left = (int(p * side) for p, side in zip(place, size, strict=True))
    block[top : top + int(share * size[0]), left : left + int(share * size[1])] = True
    white = np.repeat(255 * block[..., None].astype(np.uint8), 3, axis=2)
    return Image.fromarray(np.zeros_like(white)), Image.fromarray(white), block


def patch_change(before, after, side):
    """How much each patch of the pixel values (3, height, width) has changed: a value a patch."""
    change = (after - before).mean(0)
    return change.unfold(0, side, side).unfold(1, side, side).mean((-1, -2)).flatten()


def assert_lit(heat, block, atol):
    """The map's peak and its centre of mass must be the block's."""
    assert block[np.unravel_index(heat.argmax(), heat.shape)]
    centre = [
        np.average(np.arange(n), weights=heat.sum(1 - axis)) for axis, n in enumerate(heat.shape)
    ]
    expected = [np.flatnonzero(block.any(1 - axis)).mean() for axis in (0, 1)]
    np.testing.assert_allclose(centre, expected, atol=atol)


@pytest.mark.parametrize("size", [(100, 160), (160, 100), (112, 112), (60, 200), (210, 63)])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.4, 0.2), (0.5, 0.5)])
def test_a_marked_block_lights_up_in_a_padded_picture(padded, size, place):
    plain, white, block = marked(size, place, share=0.5)
    before, after = (padded.prompt(image, QUESTION) for image in (plain, white))
    values = patch_change(before.pixel_values[0], after.pixel_values[0], 7)
    heat = before.grid.to_picture(values, plain.size)
    assert_lit(heat, block, atol=0.04 * max(size))
