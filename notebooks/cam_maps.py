"""What the pages on LLaVA-CAM draw of single images: maps side by side, and as a slider."""

from collections.abc import Mapping
from math import log2

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from infoflow import report
from infoflow.data.sample import Sample
from infoflow.methods.cam import CAM, THRESHOLD, llava_cam, map_entropies, normalise_maps
from infoflow.methods.localisation import localise, target_mask
from infoflow.models.lvlm import LVLM
from infoflow.models.prompt import Prompt
from infoflow.report.slider import paint_heat, to_png

UNDRAWN = {
    "undefined": "undefined, zero whatever the answer",
    "all zero": "zero everywhere; no cell speaks for the answer",
}
PLACES = (
    ("upper left", "top", "upper right"),
    ("left", "middle", "right"),
    ("lower left", "bottom", "lower right"),
)


def authors_maps(lvlm: LVLM, prompt: Prompt, answer: torch.Tensor | str) -> torch.Tensor:
    """Compute maps by the rules of the authors' released code: shape (L, h, w), in [0, 1].

    Only positive gradients count, nothing is averaged over noisy images, and what is below half of
    a map's maximum is blank. Logits, though, are read where the answer is predicted; the released
    code reads them at rows inside the image.
    """
    cam = llava_cam(lvlm, prompt, answer, weights="relu-mean", n_samples=1, sigma=0.0)
    maps = normalise_maps(cam.maps)
    return maps.where(~(maps < THRESHOLD), 0)


def map_rows(
    rows: Mapping[str, tuple[npt.ArrayLike, Prompt, Sample]], layers: list[int], model: str
) -> report.Plot:
    """Set maps (L, h, w) of several images, or several maps of one, side by side by layer."""
    height = 7.2 / (len(layers) + 1) * len(rows) + 0.3
    figure, panels = report.figure(len(rows), len(layers) + 1, height=height)
    entropies = {}
    lines = np.reshape(panels, (len(rows), -1))
    for line, (name, (maps, prompt, sample)) in zip(lines, rows.items(), strict=True):
        line[0].imshow(report.paint_image(prompt, sample))
        line[0].set_ylabel(name, fontsize=9, parse_math=False)
        shown = np.asarray(maps, dtype=float)[np.array(layers) - 1]
        entropies[name] = map_entropies(torch.tensor(shown)).tolist()
        for axes, heat in zip(line[1:], shown, strict=True):
            if nature := report.undrawable(heat):
                axes.set_box_aspect(heat.shape[0] / heat.shape[1])
                axes.text(0.5, 0.5, nature, ha="center", va="center", fontsize=8)
            else:
                axes.imshow(heat, cmap="inferno", vmin=0)
    for axes, title in zip(lines[0], ["image", *map("layer {}".format, layers)], strict=True):
        axes.set_title(title, fontsize=9, weight="normal")
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    table = pd.DataFrame(entropies, index=pd.Index(layers, name="layer"))
    means = "; ".join(f"{name}: {values.mean():.1f}" for name, values in table.items())
    return report.Plot(
        figure,
        alt=f"Rows of maps over their images: {', '.join(rows)}; layers "
        f"{', '.join(map(str, layers))}. Mean entropy in bits: {means}.",
        caption=f"Maps of {model} by layer (paper's count), each divided by its own maximum: black "
        f"is zero, yellow the maximum. Entropy, averaged over these layers: {means} bits.",
        table=table,
    )


def cam_numbers(cam: CAM, prompt: Prompt, sample: Sample) -> pd.DataFrame:
    """Describe the map of each layer; NaN where undefined, `on target %` if a target is known."""
    numbers = pd.DataFrame(
        {
            "peak": cam.peaks.double().numpy(),
            "entropy": cam.entropies.double().numpy(),
            "lit %": 100 * cam.lit.double().where(cam.peaks > 0, np.nan).numpy(),
        },
        index=pd.RangeIndex(1, len(cam.maps) + 1, name="layer"),
    )
    if sample.targets:
        found = localise(cam.maps, prompt.grid, target_mask(sample))
        numbers["on target %"] = 100 * found.mass
        numbers["target area %"] = 100 * found.mass_chance
    return numbers


def cam_slider(cam: CAM, prompt: Prompt, sample: Sample, answer: str, model: str) -> report.Slider:
    """Show the map of every layer over the image (the paper's Figures 3, 4 and 8)."""
    numbers = cam_numbers(cam, prompt, sample)
    caption = (
        f"LLaVA-CAM of {model} for the answer “{answer}” to “{report.asked(sample.question)}” "
        f"({sample.id}), every layer in the paper's count, each map divided by its own maximum: "
        "black is zero, yellow the maximum."
    )
    shapes, peaks = numbers["entropy"].dropna(), numbers["peak"].dropna()
    if len(shapes):
        caption += (
            f" Most spread out in layer {shapes.idxmax()} ({shapes.max():.1f} bits), least in "
            f"layer {shapes.idxmin()} ({shapes.min():.1f}); raw maxima from {peaks.max():.2g} in "
            f"layer {peaks.idxmax()} to {peaks.min():.2g} in layer {peaks.idxmin()}."
        )
    if undefined := [str(layer) for layer in numbers.index[numbers["peak"].isna()]]:
        caption += f" Undefined in layer {', '.join(undefined)}."
    if sample.targets:
        caption += " Outline: where the answer can be read from."
    forms = {"peak": "{:.2g}"}
    cells = {name: of.map(forms.get(name, "{:.1f}").format) for name, of in numbers.items()}
    table = pd.DataFrame(cells).replace("nan", "undefined")
    frames = cam_frames(cam.maps.double().numpy(), numbers, prompt, sample)
    return report.Slider(frames, "Layer of the map", caption, table, "The numbers of each map")


def cam_frames(
    maps: npt.NDArray[np.floating], numbers: pd.DataFrame, prompt: Prompt, sample: Sample
) -> list[report.Frame]:
    """Draw the image, and each map (L, h, w) over it, divided by its own maximum.

    Maps that are undefined (NaN) or zero are not drawn and named so.
    """
    outlined = f"Outlined: {', '.join(sample.targets)}." if sample.targets else "No map yet."
    first = f"The image, before any map. {outlined}"
    frames = [report.Frame("picture", first, to_png(report.paint_image(prompt, sample)))]
    for (layer, line), heat in zip(numbers.iterrows(), maps, strict=True):
        name, place = f"layer {layer}", f"Layer {layer} (cut {layer - 1})"
        if nature := report.undrawable(heat):
            frames.append(report.Frame(name, f"{place}: {UNDRAWN[nature]}.", None, nature))
            continue
        words = (
            f"{place}: highest at the {place_of_peak(heat, prompt)}; peak {line['peak']:.2g}, "
            f"entropy {line['entropy']:.1f} of {log2(heat.size):.1f} bits, "
            f"{line['lit %']:.0f} % of cells lit"
        )
        if "on target %" in line:
            words += f", {line['on target %']:.0f} % of the map on the target"
        frames.append(report.Frame(name, f"{words}.", to_png(paint_heat(heat, prompt, sample))))
    return frames


def place_of_peak(heat: npt.NDArray[np.floating], prompt: Prompt) -> str:
    """Tell where on the image a map is highest, to a ninth of it: ``"upper left"``."""
    row, col = np.unravel_index(int(heat.argmax()), heat.shape)
    left, top, right, bottom = prompt.grid.box
    across = ((col + 0.5) / prompt.grid.cols - left) / (right - left)
    down = ((row + 0.5) / prompt.grid.rows - top) / (bottom - top)
    third_down, third_across = (int(np.clip(3 * share, 0, 2)) for share in (down, across))
    return PLACES[third_down][third_across]
