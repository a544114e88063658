"""Heat maps over their image: a sheet of frames that a script makes a slider.

Without the script (``scrubber.js``), as in JupyterLab, the reader sees them side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.ndimage import binary_dilation

from infoflow.data.sample import Sample
from infoflow.models.prompt import Prompt
from infoflow.report.display import Shown, Table

LONGEST_SIDE = 192  # of a painted image, in pixels: sharp where a phone shows it at half of that
_HEAT_OVER_IMAGE = 0.8
_COLOURS = 128


@dataclass(frozen=True)
class Frame:
    """One image of a slider; where there is none to be drawn, ``absent`` says why."""

    name: str
    words: str
    png: bytes | None
    absent: str = ""


@dataclass(frozen=True, eq=False)
class Slider(Shown):
    """A row of frames with its caption and, folded away, the numbers behind it."""

    frames: Sequence[Frame]
    label: str
    caption: str
    table: pd.DataFrame
    numbers: str

    @property
    def sheet(self) -> Table:
        return Table(self.table, self.numbers)

    @property
    def plain(self) -> str:
        return f"{self.caption}\n{self.sheet.plain}"


def undrawable(heat: npt.NDArray[np.floating]) -> str:
    """Name a map that cannot be drawn; nothing for one that can."""
    if np.isnan(heat).any():
        return "undefined"
    return "" if heat.max() > 0 else "all zero"


def painted_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an image whose longest side is drawn with ``LONGEST_SIDE`` pixels."""
    scale = LONGEST_SIDE / max(image.size)
    return max(1, round(scale * image.width)), max(1, round(scale * image.height))


def paint_image(prompt: Prompt, sample: Sample) -> Image.Image:
    """Draw a prompt's image, the regions that its answer can be read from outlined."""
    shown = prompt.image.resize(painted_size(prompt.image), Image.Resampling.BICUBIC)
    return _outlined(np.array(shown), sample)


def paint_heat(heat: npt.ArrayLike, prompt: Prompt, sample: Sample) -> Image.Image:
    """Draw a map (h, w) over its image in grey, black being zero and yellow its maximum."""
    size = painted_size(prompt.image)
    values = np.asarray(heat, dtype=np.float64)
    shares = prompt.grid.to_picture(values / values.max(), size)
    colours = mpl.colormaps["inferno"](shares)[..., :3]
    grey = np.asarray(prompt.image.convert("L").resize(size, Image.Resampling.BICUBIC)) / 255
    mixed = _HEAT_OVER_IMAGE * colours + (1 - _HEAT_OVER_IMAGE) * grey[..., None]
    return _outlined(np.rint(255 * mixed).astype(np.uint8), sample)


def _outlined(pixels: npt.NDArray[np.uint8], sample: Sample) -> Image.Image:
    """Draw a white line, black outside, around the regions that hold the answer."""
    for name in sample.targets:
        region = Image.fromarray(sample.regions[name])
        inside = np.asarray(region.resize(pixels.shape[1::-1], Image.Resampling.NEAREST))
        white = binary_dilation(inside, iterations=2)
        pixels[binary_dilation(white, iterations=2) & ~white] = 0
        pixels[white & ~inside] = 255
    return Image.fromarray(pixels)


def to_png(image: Image.Image) -> bytes:
    """Write an image in few colours: the same few bytes in every run on one machine."""
    sink = BytesIO()
    image.quantize(_COLOURS).save(sink, format="PNG", optimize=True)
    return sink.getvalue()
