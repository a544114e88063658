"""Heat maps over their image, layer by layer: a sheet of pictures that a script makes a slider.

The frames are in the page once, drawn beforehand. Without the script (``scrubber.js`` among the
book's static files), as in JupyterLab, the reader sees all of them side by side.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from math import log2
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.ndimage import binary_dilation

from infoflow.data.sample import Sample
from infoflow.models.prompt import Prompt
from infoflow.report.display import MimeBundle, Table

LONGEST_SIDE = 192
"""Of a painted image, in pixels: sharp where a phone shows it at half of that."""
UNDEFINED, ALL_ZERO = "undefined", "all zero"
_WORDS = {
    UNDEFINED: "undefined, zero whatever the answer",
    ALL_ZERO: "zero everywhere; no cell speaks for the answer",
}

_SHEET = "display:grid;grid-template-columns:repeat(auto-fill,minmax(5.5rem,1fr));gap:0.5rem"
_HEAT_OVER_IMAGE = 0.8
_COLOURS = 128
_PLACES = (
    ("upper left", "top", "upper right"),
    ("left", "middle", "right"),
    ("lower left", "bottom", "lower right"),
)


@dataclass(frozen=True)
class Frame:
    """One image of a slider; where there is none to be drawn, ``absent`` says why."""

    name: str
    words: str
    png: bytes | None
    absent: str = ""

    def html(self) -> str:
        """Write the image with its name below."""
        if self.png is None:
            shown = f'<p class="absent">{escape(self.absent)}</p>'
        else:
            source = f"data:image/png;base64,{b64encode(self.png).decode('ascii')}"
            shown = f'<img alt="{escape(self.words)}" style="width:100%" src="{source}">'
        return (
            f'<figure class="frame" style="margin:0" data-words="{escape(self.words)}">'
            f"{shown}<figcaption>{escape(self.name)}</figcaption></figure>"
        )


@dataclass(frozen=True, eq=False)
class Slider:
    """A row of frames with its caption and, folded away, the numbers behind it."""

    frames: Sequence[Frame]
    label: str
    caption: str
    table: pd.DataFrame
    numbers: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> MimeBundle:
        table = Table(self.table, self.numbers)._repr_mimebundle_()
        frames = "".join(frame.html() for frame in self.frames)
        return {
            "text/html": (
                f'<figure class="plot scrubber" data-label="{escape(self.label)}">'
                f'<div class="frames" style="{_SHEET}">{frames}</div>'
                f"<figcaption>{escape(self.caption)}</figcaption></figure>"
                f"<details><summary>{escape(self.numbers)}</summary>{table['text/html']}</details>"
            ),
            "text/plain": f"{self.caption}\n{table['text/plain']}",
        }


def layer_slider(
    maps: npt.ArrayLike, numbers: pd.DataFrame, prompt: Prompt, sample: Sample, caption: str
) -> Slider:
    """Show the maps (L, h, w) over their image, each divided by its own maximum, targets outlined.

    The numbers have one row a layer (the paper's count): ``peak``, ``entropy`` in bits, ``lit %``
    and perhaps ``on target %``. Maps that are undefined (NaN) or zero are not drawn and named so.
    """
    outlined = f"Outlined: {', '.join(sample.targets)}." if sample.targets else "No map yet."
    first = f"The picture, before any map. {outlined}"
    frames = [Frame("picture", first, to_png(paint_image(prompt, sample)))]
    for (layer, line), heat in zip(numbers.iterrows(), np.asarray(maps), strict=True):
        name, place = f"layer {layer}", f"Layer {layer} (cut {int(str(layer)) - 1})"
        if nature := undrawable(heat):
            frames.append(Frame(name, f"{place}: {_WORDS[nature]}.", None, nature))
            continue
        words = (
            f"{place}: highest at the {place_of_peak(heat, prompt)}; peak {line['peak']:.2g}, "
            f"entropy {line['entropy']:.1f} of {log2(heat.size):.1f} bits, "
            f"{line['lit %']:.0f} % of cells lit"
        )
        if "on target %" in line:
            words += f", {line['on target %']:.0f} % of the map on the target"
        frames.append(Frame(name, f"{words}.", to_png(paint_heat(heat, prompt, sample))))
    table = numbers.apply(lambda column: column.map(_formatted(str(column.name))))
    return Slider(frames, "Layer of the map", caption, table, "The numbers of each map")


def _formatted(column: str) -> Any:
    form = "{:.2g}" if column == "peak" else "{:.1f}"
    return lambda value: UNDEFINED if np.isnan(value) else form.format(value)


def undrawable(heat: npt.NDArray[np.floating]) -> str:
    """Name a map that cannot be drawn; nothing for one that can."""
    if np.isnan(heat).any():
        return UNDEFINED
    return "" if heat.max() > 0 else ALL_ZERO


def painted_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an image whose longest side is drawn with ``LONGEST_SIDE`` pixels."""
    scale = LONGEST_SIDE / max(image.size)
    return max(1, round(scale * image.width)), max(1, round(scale * image.height))


def paint_image(prompt: Prompt, sample: Sample) -> Image.Image:
    """Draw a prompt's image, the regions that its answer can be read from outlined."""
    shown = prompt.image.resize(painted_size(prompt.image), Image.Resampling.BICUBIC)
    return _outlined(np.asarray(shown), sample)


def paint_heat(heat: npt.ArrayLike, prompt: Prompt, sample: Sample) -> Image.Image:
    """Draw a map (h, w) over its image in grey, black being zero and yellow its maximum."""
    size = painted_size(prompt.image)
    values = np.asarray(heat, dtype=np.float64)
    shares = prompt.grid.to_picture(values / values.max(), size)
    colours = mpl.colormaps["inferno"](shares)[..., :3]
    grey = np.asarray(prompt.image.convert("L").resize(size, Image.Resampling.BICUBIC)) / 255
    mixed = _HEAT_OVER_IMAGE * colours + (1 - _HEAT_OVER_IMAGE) * grey[..., None]
    return _outlined(np.rint(255 * mixed).astype(np.uint8), sample)


def to_png(image: Image.Image) -> bytes:
    """Write an image in few colours: the same few bytes in every run on one machine."""
    sink = BytesIO()
    image.quantize(_COLOURS).save(sink, format="PNG", optimize=True)
    return sink.getvalue()


def place_of_peak(heat: npt.ArrayLike, prompt: Prompt) -> str:
    """Tell where on the image a map is highest, to a ninth of it: ``"upper left"``."""
    values = np.asarray(heat)
    row, col = np.unravel_index(int(values.argmax()), values.shape)
    left, top, right, bottom = prompt.grid.box
    across = ((col + 0.5) / prompt.grid.cols - left) / (right - left)
    down = ((row + 0.5) / prompt.grid.rows - top) / (bottom - top)
    third_down, third_across = (int(np.clip(3 * share, 0, 2)) for share in (down, across))
    return _PLACES[third_down][third_across]


def _outlined(pixels: npt.NDArray[np.uint8], sample: Sample) -> Image.Image:
    """Draw a white line, black outside, around the regions that hold the answer."""
    drawn, size = pixels.copy(), pixels.shape[1::-1]
    for name in sample.targets:
        mask = Image.fromarray(sample.regions[name]).resize(size, Image.Resampling.NEAREST)
        inside = np.asarray(mask, dtype=bool)
        white = binary_dilation(inside, iterations=2)
        drawn[binary_dilation(white, iterations=2) & ~white] = 0
        drawn[white & ~inside] = 255
    return Image.fromarray(drawn)
