"""The house style: the palette, how layers are counted on an axis, how numbers are written."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
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
TASK_TITLES = {"scienceqa": "ScienceQA", "pope": "POPE", "textvqa": "TextVQA", "chair": "CHAIR"}
SCORE_NAMES = {
    **{"scienceqa": "accuracy", "pope": "accuracy"},
    **{"textvqa": "soft accuracy", "chair": "F1 of named objects"},
}
_STYLE_SHEET = Path(__file__).with_name("house.mplstyle")
HOUSE_STYLE = {
    **sns.axes_style("ticks"),
    **mpl.rc_params_from_file(_STYLE_SHEET, use_default_template=False),
}
"""Settings for matplotlib, on seaborn's."""


def figure(
    rows: int = 1, columns: int = 1, height: float = 3.0, **subplots: Any
) -> tuple[Figure, list[Axes]]:
    """Make a figure as wide as the page, so many inches high, and its panels row by row."""
    mpl.rcParams.update(HOUSE_STYLE)  # for later drawing, too
    made = Figure(figsize=(WIDTH, height))  # which no window and no pyplot knows of
    return made, list(made.subplots(rows, columns, squeeze=False, **subplots).flat)


def panels(
    names: Iterable[str], height: float = 2.7, columns: int = 2, **subplots: Any
) -> tuple[Figure, dict[str, Axes]]:
    """Make a figure of panels by name, so many inches high, titled by task or name."""
    shown = list(names)
    columns = min(len(shown), columns)
    rows = -(-len(shown) // columns)
    made, grid = figure(rows, columns, height * rows + 0.3, **{"sharey": True, **subplots})
    for axes in grid[len(shown) :]:
        axes.remove()
    by_name = dict(zip(shown, grid, strict=False))
    for name, axes in by_name.items():
        axes.set_title(TASK_TITLES.get(name, name))
    return made, by_name


def count_layers(axes: Axes, n_layers: int, last_cut: int, *, below: str) -> None:
    """Mark the axis of cuts below and, above, of the paper's layers: cut + 1, none at cut L."""
    locator = MaxNLocator(nbins=6, integer=True, steps=[1, 2, 3, 4, 5, 10])
    ticks = [int(tick) for tick in locator.tick_values(0, last_cut) if 0 <= tick <= last_cut]
    axes.set_xlim(-0.4, last_cut + 0.4)
    axes.set_xticks(ticks)
    axes.set_xlabel(below)
    name_layers(axes, ticks, ticks, n_layers)


def name_layers(axes: Axes, places: Sequence[int], cuts: Iterable[int], n_layers: int) -> None:
    """Name, above a panel, cuts at places of its horizontal axis as the paper's layers."""
    above = axes.secondary_xaxis("top")
    above.set_xticks(places, [str(cut + 1) if cut < n_layers else "intact" for cut in cuts])
    above.tick_params(labelcolor="#595959", color="#595959")
    above.set_xlabel("paper's layer", color="#595959")


def label_ends(axes: Axes, labels: Iterable[tuple[float, str, str]], x: float) -> None:
    """Write height, text and colour at lines' ends, moved apart; vertical limits must be set."""
    apart = 0.09 * np.ptp(axes.get_ylim())
    placed = sorted(labels)
    heights = np.array([height for height, _, _ in placed])
    for _ in range(50):
        lacking = np.clip(apart - np.diff(heights), 0, None) / 2
        heights[:-1] -= lacking
        heights[1:] += lacking
    beside: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
    for height, (_, text, colour) in zip(heights, placed, strict=True):
        axes.annotate(text, (x, height), **beside, color=colour, fontsize=10, annotation_clip=False)


def layer_name(cut: int, n_layers: int) -> str:
    """Name a cut as the paper counts: the first layer without the image, none at cut L."""
    return str(cut + 1) if cut < n_layers else "none"


def percent(share: float) -> str:
    """Write a share as a percentage with one decimal."""
    return f"{round(100 * share, 1) + 0.0:.1f} %"


def listed(names: Sequence[str]) -> str:
    """Write names as one enumerates them: ``"a, b and c"``; nothing for no name."""
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def listed_tasks(
    tasks: Iterable[str], holds: Callable[[str], bool] = bool, none: str = "no task"
) -> str:
    """List the titles of the tasks of which something holds."""
    return listed([TASK_TITLES[task] for task in tasks if holds(task)]) or none


def by_task(tasks: Iterable[str], words: Callable[[str], str], between: str = "; ") -> str:
    """Say something of each task after its title: ``"POPE 1 of 2; CHAIR 2 of 3"``."""
    return between.join(f"{TASK_TITLES[task]} {words(task)}" for task in tasks)


def counted(rows: Mapping[str, pd.DataFrame]) -> str:
    """Say how many items were measured: ``"24 test items a task"``, or of each task its own."""
    counts = {TASK_TITLES[task]: frame["item"].nunique() for task, frame in rows.items()}
    if len(set(counts.values())) == 1:
        return f"{next(iter(counts.values()))} test items a task"
    return ", ".join(f"{count} test items of {title}" for title, count in counts.items())


def chosen_layers(n_layers: int, n_shown: int = 7) -> list[int]:
    """Layers spread evenly from the first to the last, in the paper's count."""
    return sorted({round(layer) for layer in np.linspace(1, n_layers, n_shown)})


def asked(question: str) -> str:
    """Pick the line of a question that asks: the last one with a question mark, or the last."""
    lines = question.splitlines() or [question]
    line = next((line for line in reversed(lines) if "?" in line), lines[-1])
    return line.removeprefix("Question: ")
