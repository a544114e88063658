"""The house style: one palette, one font size, and how layers are counted on an axis."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

WIDTH = 6.4
"""Width of a figure in inches: two panels side by side stay legible on a phone."""

_BLUE, _ORANGE, _GREEN, _RED = sns.color_palette("colorblind").as_hex()[:4]
COLOURS = {
    **{"system": "#767676", "image": _BLUE, "user": _ORANGE},
    **{"ours": _BLUE, "cliff": _RED, "paper": _ORANGE, "control": _GREEN, "baseline": "#767676"},
}
LINES = {"system": "--", "image": "-", "user": "-."}
"""A second cue beside the colour."""

TASK_TITLES = {
    "scienceqa": "ScienceQA",
    "pope": "POPE",
    "textvqa": "TextVQA",
    "chair": "CHAIR",
}
SCORE_NAMES = {
    "scienceqa": "accuracy",
    "pope": "accuracy",
    "textvqa": "soft accuracy",
    "chair": "F1 of named objects",
}

HOUSE_STYLE = {
    **sns.axes_style("ticks"),
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so it is everywhere
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
"""Settings for matplotlib, on seaborn's; used while a figure is made and while it is written."""


def task_panels(n_panels: int, panel_height: float = 2.7) -> tuple[Figure, list[Axes]]:
    """Make a figure with one panel a task, two in a row."""
    columns = min(n_panels, 2)
    rows = -(-n_panels // columns)
    figure = Figure(figsize=(WIDTH, panel_height * rows + 0.3))
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    panels = [axes for row in grid for axes in row]
    for axes in panels[n_panels:]:
        axes.remove()
    return figure, panels[:n_panels]


def count_layers(axes: Axes, n_layers: int, last_cut: int, *, below: str) -> None:
    """Mark an axis of cuts below and, above, of the paper's layers: layer = cut + 1.

    Args:
        axes: The panel; its horizontal axis counts cuts.
        n_layers: L; at cut L nothing is truncated, so no layer of the paper belongs to it.
        last_cut: The last cut on the axis.
        below: What the lower axis counts.
    """
    ticks = _ticks(last_cut)
    axes.set_xlim(-0.4, last_cut + 0.4)
    axes.set_xticks(ticks)
    above = axes.secondary_xaxis("top", functions=(_layer_of, _cut_of))
    names = [str(cut + 1) if cut < n_layers else "intact" for cut in ticks]
    above.set_xticks([cut + 1 for cut in ticks], names)
    above.tick_params(labelcolor="#595959", color="#595959")
    axes.set_xlabel(below)
    above.set_xlabel("paper's layer", color="#595959")


def layer_name(cut: int, n_layers: int) -> str:
    """Name a cut as the paper counts: the first layer without the image, none at cut L."""
    return str(cut + 1) if cut < n_layers else "none"


def _layer_of(cut: Any) -> Any:
    return cut + 1


def _cut_of(layer: Any) -> Any:
    return layer - 1


def _ticks(last: int) -> list[int]:
    ticks = MaxNLocator(nbins=6, integer=True, steps=[1, 2, 3, 4, 5, 10]).tick_values(0, last)
    return [int(tick) for tick in ticks if 0 <= tick <= last]


def label_ends(axes: Axes, labels: Iterable[tuple[float, str, str]], x: float) -> None:
    """Write names beside the ends of lines, moved apart where they would overlap.

    Args:
        axes: The panel, its vertical limits already set.
        labels: Height, text and colour of each label.
        x: Where the lines end.
    """
    low, high = axes.get_ylim()
    apart = (high - low) * 0.09
    placed = sorted(labels)
    heights = np.array([height for height, _, _ in placed])
    for _ in range(50):
        gaps = np.diff(heights)
        tight = np.flatnonzero(gaps < apart - 1e-9)
        if not len(tight):
            break
        for i in tight:
            push = (apart - (heights[i + 1] - heights[i])) / 2
            heights[i] -= push
            heights[i + 1] += push
    for height, (_, text, colour) in zip(heights, placed, strict=True):
        axes.annotate(
            text,
            (x, height),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=10,
            annotation_clip=False,
        )


def percent(share: float) -> str:
    """Write a share as a percentage with one decimal."""
    return f"{round(100 * share, 1) + 0.0:.1f} %"


def listed(names: Sequence[str]) -> str:
    """Write names as one enumerates them: ``"a, b and c"``; nothing for no name."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def asked(question: str) -> str:
    """Pick the line of a question that asks: the last one with a question mark, or the last."""
    lines = question.splitlines() or [question]
    line = next((line for line in reversed(lines) if "?" in line), lines[-1])
    return line.removeprefix("Question: ")
