"""LLaVA-CAM of one picture: every layer's map over it, to be gone through or set side by side."""

from collections.abc import Mapping, Sequence
from math import log2

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoflow.data.sample import Sample
from infoflow.methods.cam import CAM
from infoflow.methods.localisation import localise, target_mask
from infoflow.methods.maps import map_entropies
from infoflow.models.prompt import Prompt
from infoflow.report.display import Plot
from infoflow.report.heat import paint_heat, paint_picture, place_of_peak, to_png
from infoflow.report.scrubber import Frame, Scrubber
from infoflow.report.style import HOUSE_STYLE, WIDTH, asked

UNDEFINED, ALL_ZERO = "undefined", "all zero"

Maps = npt.NDArray[np.float64]


def cam_scrubber(cam: CAM, prompt: Prompt, sample: Sample, said: str, model: str) -> Scrubber:
    """Show the map of every layer over the picture (the paper's Figures 3, 4 and 8).

    Each map is divided by its own maximum, as in the paper; the maximum is told beside it. Maps
    that are undefined or zero throughout have no such picture and are named so.

    Args:
        cam: The maps.
        prompt: The picture and question.
        sample: The item; the regions its answer can be read from are outlined.
        said: The answer that was explained.
        model: Name of the model, for the caption.

    Returns:
        The scrubber; its table is that of :func:`cam_numbers`, rounded.
    """
    numbers = cam_numbers(cam, prompt, sample)
    begin = Frame("picture", _picture_words(sample), to_png(paint_picture(prompt, sample)))
    maps = cam.maps.double().numpy()
    frames = [_frame(layer, maps[layer - 1], numbers, prompt, sample) for layer in numbers.index]
    return Scrubber(
        frames=[begin, *frames],
        label="Layer of the map",
        caption=_caption(numbers, prompt, sample, said, model),
        table=_rounded(numbers),
        numbers="The numbers of each map",
    )


def cam_numbers(cam: CAM, prompt: Prompt, sample: Sample) -> pd.DataFrame:
    """Describe each map of one picture.

    Args:
        cam: The maps.
        prompt: The picture and question.
        sample: The item, with its regions.

    Returns:
        One row a layer (paper's count): ``peak`` (raw maximum, in logits), ``entropy`` (bits),
        ``lit %`` (cells above half of the peak) and, if the item has target regions,
        ``on target %`` (of the map, the part inside them) and ``target area %``. NaN where
        undefined.
    """
    lit = cam.lit.double().where(cam.peaks > 0, np.nan)
    numbers = pd.DataFrame(
        {
            "peak": cam.peaks.double().numpy(),
            "entropy": cam.entropies.double().numpy(),
            "lit %": 100 * lit.numpy(),
        },
        index=pd.RangeIndex(1, len(cam.maps) + 1, name="layer"),
    )
    if sample.targets:
        found = localise(cam.maps, prompt.grid, target_mask(sample))
        numbers["on target %"] = 100 * found.mass
        numbers["target area %"] = 100 * found.mass_chance
    return numbers


def map_rows(
    rows: Mapping[str, tuple[npt.ArrayLike, Prompt, Sample]], layers: Sequence[int], model: str
) -> Plot:
    """Set maps of several pictures, or several maps of one, side by side.

    Args:
        rows: By name, maps of shape (L, h, w), the prompt they lie on and its item.
        layers: Layers to show, in the paper's count.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds the entropy (bits) of each map shown, one row a layer.
    """
    height = WIDTH / (len(layers) + 1) * 1.12
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, height * len(rows) + 0.3))
        grid = figure.subplots(len(rows), len(layers) + 1, squeeze=False)
        for line, (name, (maps, prompt, sample)) in zip(grid, rows.items(), strict=True):
            line[0].imshow(paint_picture(prompt, sample))
            line[0].set_ylabel(name, fontsize=9, parse_math=False)
            for axes, layer in zip(line[1:], layers, strict=True):
                _draw_cells(axes, np.asarray(maps, dtype=float)[layer - 1])
        for axes, name in zip(grid[0], ["picture", *map("layer {}".format, layers)], strict=True):
            axes.set_title(name, fontsize=9, weight="normal")
        for axes in grid.flat:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    table = pd.DataFrame(
        {name: _entropies(maps, layers) for name, (maps, *_) in rows.items()},
        index=pd.Index(layers, name="layer"),
    )
    told = "; ".join(f"{name}: {values.mean():.1f}" for name, values in table.items())
    return Plot(
        figure,
        f"Rows of maps over their pictures: {', '.join(rows)}; layers {_listed(layers)}. "
        f"Mean entropy in bits: {told}.",
        f"Maps of {model} by layer (paper's count), each divided by its own maximum: black is "
        f"zero, yellow the maximum. Entropy, averaged over these layers: {told} bits.",
        table,
    )


def _draw_cells(axes: Axes, heat: Maps) -> None:
    if nature := _nature(heat):
        axes.set_box_aspect(heat.shape[0] / heat.shape[1])
        axes.text(0.5, 0.5, nature, ha="center", va="center", fontsize=8)
    else:
        axes.imshow(heat, cmap="inferno", vmin=0)


def _frame(layer: int, heat: Maps, numbers: pd.DataFrame, prompt: Prompt, sample: Sample) -> Frame:
    nature = _nature(heat)
    place = f"Layer {layer} (cut {layer - 1})"
    if nature == UNDEFINED:
        return Frame(
            f"layer {layer}", f"{place}: undefined, zero whatever the answer.", None, nature
        )
    if nature == ALL_ZERO:
        words = f"{place}: zero everywhere; no cell speaks for the answer."
        return Frame(f"layer {layer}", words, None, nature)
    line = numbers.loc[layer]
    words = (
        f"{place}: highest at the {place_of_peak(heat, prompt)}; peak {line['peak']:.2g}, entropy "
        f"{line['entropy']:.1f} of {log2(heat.size):.1f} bits, {line['lit %']:.0f} % of cells lit"
    )
    if "on target %" in line:
        words += f", {line['on target %']:.0f} % of the map on the target"
    return Frame(f"layer {layer}", f"{words}.", to_png(paint_heat(heat, prompt, sample)))


def _nature(heat: npt.NDArray[np.floating]) -> str:
    """Name a map that cannot be drawn; nothing for one that can."""
    if np.isnan(heat).any():
        return UNDEFINED
    return "" if heat.max() > 0 else ALL_ZERO


def _picture_words(sample: Sample) -> str:
    outlined = f"Outlined: {', '.join(sample.targets)}." if sample.targets else "No map yet."
    return f"The picture, before any map. {outlined}"


def _caption(numbers: pd.DataFrame, prompt: Prompt, sample: Sample, said: str, model: str) -> str:
    undefined = [str(layer) for layer in numbers.index[numbers["peak"].isna()]]
    parts = [
        f"LLaVA-CAM of {model} for the answer “{said}” to “{asked(sample.question)}” "
        f"({sample.id}), every layer in the paper's count, each map divided by its own maximum: "
        "black is zero, yellow the maximum."
    ]
    shapes = numbers["entropy"].dropna()
    if len(shapes):
        peaks = numbers["peak"].dropna()
        parts.append(
            f"Most spread out in layer {shapes.idxmax()} ({shapes.max():.1f} bits), least in layer "
            f"{shapes.idxmin()} ({shapes.min():.1f}); raw maxima from {peaks.max():.2g} in layer "
            f"{peaks.idxmax()} to {peaks.min():.2g} in layer {peaks.idxmin()}."
        )
    if undefined:
        parts.append(f"Undefined in layer {', '.join(undefined)}.")
    if sample.targets:
        parts.append("Outline: where the answer can be read from.")
    return " ".join(parts)


def _rounded(numbers: pd.DataFrame) -> pd.DataFrame:
    """The numbers as they shall be read; undefined ones say so."""
    formats = {"peak": "{:.2g}"}
    columns = {
        name: [
            UNDEFINED if np.isnan(value) else formats.get(str(name), "{:.1f}").format(value)
            for value in values
        ]
        for name, values in numbers.items()
    }
    return pd.DataFrame(columns, index=numbers.index)


def _entropies(maps: npt.ArrayLike, layers: Sequence[int]) -> list[float]:
    tensors = torch.tensor(np.asarray(maps, dtype=float)[[layer - 1 for layer in layers]])
    return map_entropies(tensors).tolist()


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))
