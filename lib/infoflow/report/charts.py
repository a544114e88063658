"""Charts that several pages share: lines over layers, heat maps, maps on an image, samples."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from infoflow.data.sample import Sample
from infoflow.models.prompt import Prompt
from infoflow.report.display import Plot
from infoflow.report.style import (
    TASK_TITLES,
    WIDTH,
    asked,
    count_layers,
    figure,
    label_ends,
    name_layers,
    panels,
)


class Line(NamedTuple):
    """How a line of a chart is drawn: style with marker (``"-o"``) and colour."""

    style: str
    colour: str


def layer_curves(
    table: pd.DataFrame,
    lines: Mapping[str, Line],
    ylabel: str,
    *,
    below: str = "layer, from 0 (= cut)",
    ylim: tuple[float, float] = (0, 100),
    n_layers: int | None = None,
) -> tuple[Figure, dict[str, Axes]]:
    """Plot lines over layers or cuts, one panel a task; the upper axis counts as the paper does.

    The table has one row a task and ``layer`` (the paper's count, all L) or ``cut`` (then
    ``n_layers`` says L), one column a line, or a line and statistic: ``mean``, ``low``, ``high``.
    """
    shown, by_task = panels(table.index.unique(0))
    for task, axes in by_task.items():
        part = table.loc[task]
        cuts = part.index.to_numpy() - int(part.index.name == "layer")
        axes.set_ylim(*ylim)
        ends = []
        for name, (style, colour) in lines.items():
            mean = part[name, "mean"] if part.columns.nlevels > 1 else part[name]
            axes.plot(cuts, mean, style, color=colour, markersize=4)
            if (name, "low") in part:
                band = (part[name, "low"], part[name, "high"])
                axes.fill_between(cuts, *band, color=colour, alpha=0.18, linewidth=0)
            if len(known := mean.dropna()):  # a shallower model's line ends before the panel does
                ends.append((float(known.iloc[-1]), name, colour))
        count_layers(axes, n_layers or len(cuts), int(cuts[-1]), below=below)
        if len(lines) > 1:
            label_ends(axes, ends, float(cuts[-1]))
    shown.supylabel(ylabel, fontsize=10)
    return shown, by_task


def interval_rows(
    table: pd.DataFrame, lines: Mapping[str, Line], xlabel: str, *, spread: float = 0.0
) -> tuple[Figure, Axes]:
    """Plot values with their intervals on rows, the first entry on top, marks ``spread`` apart.

    The table has one row an entry, by name or by task and kind (``"all"`` stands for the task), and
    columns as of :func:`layer_curves`.
    """
    made, (axes,) = figure(height=0.3 * len(table) * max(1, 3 * spread) + 1.1)
    shifts = np.linspace(-spread / 2, spread / 2, len(lines))
    for shift, (name, (style, colour)) in zip(shifts, lines.items(), strict=True):
        places = np.arange(len(table)) + shift
        if (name, "low") in table:
            axes.hlines(places, table[name, "low"], table[name, "high"], color=colour)
        axes.plot(table[name, "mean"], places, style, color=colour, markersize=6, label=name)
    entries = [e if isinstance(e, tuple) else (e, "") for e in table.index]
    names = [
        TASK_TITLES.get(name, str(name)) if kind in ("all", "") else f"{kind}  "
        for name, kind in entries
    ]
    axes.set_yticks(range(len(table)), names, parse_math=False)
    for label, (_, kind) in zip(axes.get_yticklabels(), entries, strict=True):
        label.set_fontweight("bold" if kind == "all" else "normal")
    axes.invert_yaxis()
    axes.set_xlabel(xlabel)
    axes.grid(axis="x", linewidth=0.5, color="#dddddd")
    return made, axes


def heat_maps(
    tables: Mapping[str, pd.DataFrame], label: str, ylabel: str, n_layers: int, **colours: Any
) -> tuple[Figure, dict[str, Axes]]:
    """Paint tables over layers or cuts, one panel a task, all on one scale from 0 to 100.

    A table has one column a ``layer`` (the paper's count) or ``cut``, its first row is lowest, and
    places on the panels count from 0. Colours are options of ``imshow``, in place of that scale.
    """
    scale = {"cmap": "cividis", "vmin": 0, "vmax": 100, "origin": "lower", "aspect": "auto"}
    tallest = max(len(values) for values in tables.values())
    shown, by_task = panels(tables, 1.3 + 0.24 * min(tallest, 16))
    for axes, values in zip(by_task.values(), tables.values(), strict=True):
        image = axes.imshow(values, **{**scale, **colours})
        cuts = values.columns.to_numpy() - int(values.columns.name == "layer")
        below, beside = (range(0, n, 1 + n // 10) for n in (len(cuts), len(values)))
        axes.set_xticks(below, [str(cuts[place]) for place in below])
        axes.set_xlabel("cut" if values.columns.name == "cut" else "layer, from 0 (= cut)")
        name_layers(axes, below, cuts[below], n_layers)
        axes.set_yticks(beside, [str(values.index[place]) for place in beside])
        axes.tick_params(labelleft=True)
        axes.set_ylabel(ylabel)
    every = list(by_task.values())
    shown.colorbar(image, ax=every, location="bottom", shrink=0.6, aspect=30, label=label)
    return shown, by_task


def image_panels(
    titles: Iterable[str], sample: Sample, room: float = 0.6
) -> tuple[Figure, list[Axes]]:
    """Make a figure of titled images, target regions outlined, with inches of room around them."""
    shown = list(titles)
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    made, grid = figure(rows, columns, WIDTH / columns * rows * 1.12 + room)
    for axes in grid:
        axes.axis("off")
    for axes, title in zip(grid, shown, strict=False):
        axes.set_title(title, fontsize=10, weight="normal", parse_math=False)
        for region in (sample.regions[name] for name in sample.targets):
            axes.contour(region, levels=[0.5], colors="black", linewidths=2.2)
            axes.contour(region, levels=[0.5], colors="white", linewidths=1.2)
    return made, grid[: len(shown)]


def map_sheet(
    maps: Mapping[str, npt.ArrayLike], prompt: Prompt, sample: Sample, label: str, **colours: Any
) -> Figure:
    """Show an image, and maps (N,) by title over it in grey, all on one scale of ``imshow``."""
    lines = max(title.count("\n") for title in maps)
    made, (first, *others) = image_panels(["image" + "\n" * lines, *maps], sample)
    first.imshow(prompt.image)
    for axes, values in zip(others, maps.values(), strict=True):
        axes.imshow(prompt.image.convert("L"), cmap="gray", vmin=0, vmax=255)
        laid = prompt.grid.to_picture(values, prompt.image.size)
        heat = axes.imshow(laid, **{"cmap": "inferno", "alpha": 0.8, **colours})
    bar: dict[str, Any] = {"location": "bottom", "shrink": 0.6, "aspect": 30, "pad": 0.02}
    bar["ticks"] = MaxNLocator(4)  # more would touch on a scale that is not even
    made.colorbar(heat, ax=[first, *others], label=label, **bar)
    return made


def sample_sheet(samples: Sequence[Sample], task: str) -> Plot:
    """Show a task's samples: each image with its question and reference answer."""
    made, grid = figure(len(samples), 2, 2.1 * len(samples), width_ratios=(1, 1.9))
    for image, words, sample in zip(grid[::2], grid[1::2], samples, strict=True):
        image.imshow(sample.image, interpolation="nearest")
        image.axis("off")
        words.axis("off")
        words.text(0, 0.98, sample.kind, va="top", weight="bold", parse_math=False)
        lines = [*sample.question.splitlines(), f"→ {sample.answer}"]
        text = "\n".join(fill(line, width=42) for line in lines)
        words.text(0, 0.84, text, va="top", parse_math=False)  # dollars are dollars
    drawn = any(sample.regions for sample in samples)  # which no benchmark of photographs has
    questions = "; ".join(f"{asked(sample.question)} {sample.answer}" for sample in samples)
    alt = f"Images with question and answer: {questions}"
    if drawn:
        scenes = "; ".join(", ".join(sample.objects) for sample in samples)
        alt = f"Drawn scenes with question and answer. They show: {scenes}."
    kinds = ", ".join(dict.fromkeys(sample.kind for sample in samples))
    caption = (
        f"Items of {TASK_TITLES[task]}{' in Shapes' if drawn else ''} ({kinds}), magnified; after "
        "the arrow the reference answer."
    )
    cells = [(sample.id, sample.kind, sample.question, sample.answer) for sample in samples]
    table = pd.DataFrame(cells, columns=["item", "kind", "question", "answer"]).set_index("item")
    return Plot(made, alt[:400], caption, table)
