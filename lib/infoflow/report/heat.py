"""Heat maps painted over their picture, as small pictures: the frames of sheets and scrubbers."""

from io import BytesIO

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import binary_dilation

from infoflow.data.sample import Sample
from infoflow.models.prompt import Prompt

LONGEST_SIDE = 192
"""Of a painted picture, in pixels: sharp where a phone shows it at half of that."""

_HEAT_OVER_PICTURE = 0.8
_COLOURS = 128
_PLACES = (
    ("upper left", "top", "upper right"),
    ("left", "middle", "right"),
    ("lower left", "bottom", "lower right"),
)

Heat = npt.NDArray[np.float32]


def painted_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of a picture whose longest side is drawn with ``LONGEST_SIDE`` pixels."""
    scale = LONGEST_SIDE / max(image.size)
    width, height = (max(1, round(scale * side)) for side in image.size)
    return width, height


def paint_picture(prompt: Prompt, sample: Sample) -> Image.Image:
    """Draw a prompt's picture, the regions that its answer can be read from outlined."""
    picture = prompt.image.resize(painted_size(prompt.image), Image.Resampling.BICUBIC)
    return _outlined(np.asarray(picture), sample)


def paint_heat(heat: npt.ArrayLike, prompt: Prompt, sample: Sample) -> Image.Image:
    """Draw a heat map over its picture in grey, black being zero and yellow the map's maximum.

    Args:
        heat: One value a token, shape (h, w), not negative, its maximum not zero.
        prompt: The picture and the place of its tokens.
        sample: The item; the regions that its answer can be read from are outlined.
    """
    size = painted_size(prompt.image)
    values = np.asarray(heat, dtype=np.float64)
    shares = prompt.grid.to_picture(values / values.max(), size)
    colours = mpl.colormaps["inferno"](shares)[..., :3]
    grey = np.asarray(prompt.image.convert("L").resize(size, Image.Resampling.BICUBIC)) / 255
    mixed = _HEAT_OVER_PICTURE * colours + (1 - _HEAT_OVER_PICTURE) * grey[..., None]
    return _outlined(np.rint(255 * mixed).astype(np.uint8), sample)


def to_png(picture: Image.Image) -> bytes:
    """Write a picture in few colours: the same few bytes in every run on one machine."""
    sink = BytesIO()
    picture.quantize(_COLOURS).save(sink, format="PNG", optimize=True)
    return sink.getvalue()


def place_of_peak(heat: npt.ArrayLike, prompt: Prompt) -> str:
    """Tell where on the picture a map is highest, to a ninth of it: ``"upper left"``."""
    values = np.asarray(heat)
    row, col = np.unravel_index(int(values.argmax()), values.shape)
    left, top, right, bottom = prompt.grid.box
    across = ((col + 0.5) / prompt.grid.cols - left) / (right - left)
    down = ((row + 0.5) / prompt.grid.rows - top) / (bottom - top)
    return _PLACES[_third(down)][_third(across)]


def _third(share: float) -> int:
    return min(2, max(0, int(3 * share)))


def _outlined(pixels: npt.NDArray[np.uint8], sample: Sample) -> Image.Image:
    """Draw a white line, black outside, around the regions that hold the answer."""
    drawn = pixels.copy()
    size = pixels.shape[1], pixels.shape[0]
    for name in sample.targets:
        mask = Image.fromarray(sample.regions[name]).resize(size, Image.Resampling.NEAREST)
        inside = np.asarray(mask, dtype=bool)
        white = binary_dilation(inside, iterations=2)
        drawn[binary_dilation(white, iterations=2) & ~white] = 0
        drawn[white & ~inside] = 255
    return Image.fromarray(drawn)
