"""Charts that several pages share: lines over layers, heat maps, maps on an image, samples."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any, NamedTuple

import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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

_CHARACTERS = 42
"""Of a line of text beside an image."""


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
) -> tuple[Figure, dict[str, Axes]]:
    """Plot lines over layers or cuts, one panel a task; the upper axis counts as the paper does.

    Args:
        table: One row a task and ``layer`` (the paper's count, all L) or ``cut`` (to L at most).
            A column a line, or a column a line and statistic: ``mean``, and ``low`` and ``high``
            of a band.
        lines: The lines to draw, by column; their names stand at their ends.
        ylabel: What the vertical axes show, with its unit.
        below: What the lower axis counts.
        ylim: Limits of the vertical axes.

    Returns:
        The figure and the panels by task, for what a page adds.
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
            ends.append((float(mean.iloc[-1]), name, colour))
        count_layers(axes, len(cuts), int(cuts[-1]), below=below)
        label_ends(axes, ends, float(cuts[-1]))
    shown.supylabel(ylabel, fontsize=10)
    return shown, by_task


def heat_maps(
    tables: Mapping[str, pd.DataFrame],
    label: str,
    ylabel: str,
    n_layers: int,
    **colours: Any,
) -> tuple[Figure, dict[str, Axes]]:
    """Paint tables over layers or cuts, one panel a task, all on one scale from 0 to 100.

    Args:
        tables: By task, one column a ``layer`` (the paper's count) or ``cut``, and one row a head
            or whatever else, the first one lowest.
        label: What the colours mean, with its unit.
        ylabel: What the rows are.
        n_layers: L.
        **colours: As of :meth:`matplotlib.axes.Axes.imshow`, in place of that scale.

    Returns:
        The figure and the panels by task, for what a page adds; places count from 0.
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
        name_layers(
            axes, below, [str(cuts[i] + 1) if cuts[i] < n_layers else "intact" for i in below]
        )
        axes.set_yticks(beside, [str(values.index[place]) for place in beside])
        axes.tick_params(labelleft=True)
        axes.set_ylabel(ylabel)
    every = list(by_task.values())
    bar = shown.colorbar(image, ax=every, location="bottom", shrink=0.6, aspect=30)
    bar.set_label(label)
    return shown, by_task


def image_panels(
    titles: Iterable[str], sample: Sample, room: float = 0.6
) -> tuple[Figure, list[Axes]]:
    """Make a figure of images, four in a row; what the answer can be read from is outlined.

    Args:
        titles: What stands above each image.
        sample: The sample; its target regions are outlined, white on black.
        room: Height left for what is written above and below all of them, in inches.
    """
    shown = list(titles)
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    made, grid = figure(rows, columns, WIDTH / columns * rows * 1.12 + room)
    for axes in grid:
        axes.axis("off")
    for axes, title in zip(grid, shown, strict=False):
        axes.set_title(title, fontsize=10, weight="normal", parse_math=False)
        outline_targets(axes, sample)
    return made, grid[: len(shown)]


def outline_targets(axes: Axes, sample: Sample) -> None:
    """Outline the regions the answer can be read from, white on black."""
    for name in sample.targets:
        axes.contour(sample.regions[name], levels=[0.5], colors="black", linewidths=2.2)
        axes.contour(sample.regions[name], levels=[0.5], colors="white", linewidths=1.2)


def map_sheet(
    maps: Mapping[str, npt.ArrayLike], prompt: Prompt, sample: Sample, label: str, **colours: Any
) -> Figure:
    """Show an image, and maps laid over it in grey, all on one colour scale.

    Args:
        maps: By what stands above it, one value an image token, shape (N,).
        prompt: The image and question.
        sample: The sample; its target regions are outlined.
        label: What the colours mean, with its unit.
        **colours: Scale of the colours, as of :meth:`matplotlib.axes.Axes.imshow`.
    """
    lines = max(title.count("\n") for title in maps)
    made, (first, *others) = image_panels(["image" + "\n" * lines, *maps], sample)
    first.imshow(prompt.image)
    for axes, values in zip(others, maps.values(), strict=True):
        axes.imshow(prompt.image.convert("L"), cmap="gray", vmin=0, vmax=255)
        laid = prompt.grid.to_picture(values, prompt.image.size)
        heat = axes.imshow(laid, **{"cmap": "inferno", "alpha": 0.8, **colours})
    every = [first, *others]
    bar = made.colorbar(heat, ax=every, location="bottom", shrink=0.6, aspect=30, pad=0.02)
    bar.set_label(label)
    return made


def sample_sheet(samples: Sequence[Sample], task: str) -> Plot:
    """Show samples: each image with its question and reference answer.

    Args:
        samples: The samples, of Shapes or of a benchmark itself.
        task: Their task.

    Returns:
        The plot; its table holds id, kind, question and answer.
    """
    made, grid = figure(len(samples), 2, 2.1 * len(samples), width_ratios=(1, 1.9))
    for image, words, sample in zip(grid[::2], grid[1::2], samples, strict=True):
        image.imshow(sample.image, interpolation="nearest")
        image.axis("off")
        words.axis("off")
        words.text(0, 0.98, sample.kind, va="top", weight="bold", parse_math=False)
        lines = [*sample.question.splitlines(), f"→ {sample.answer}"]
        text = "\n".join(fill(line, _CHARACTERS) for line in lines)
        words.text(0, 0.84, text, va="top", parse_math=False)  # dollars are dollars
    drawn = any(sample.regions for sample in samples)  # which no benchmark of photographs has
    scenes = "; ".join(", ".join(sample.objects) for sample in samples)
    questions = "; ".join(f"{asked(sample.question)} {sample.answer}" for sample in samples)
    alt = (
        f"Drawn scenes with question and answer. They show: {scenes}."
        if drawn
        else f"Pictures with question and answer: {questions}"
    )
    kinds = ", ".join(dict.fromkeys(sample.kind for sample in samples))
    columns = ["id", "kind", "question", "answer"]
    told = pd.DataFrame([[getattr(s, name) for name in columns] for s in samples], columns=columns)
    return Plot(
        made,
        alt[:400],
        f"Items of {TASK_TITLES[task]}{' in Shapes' if drawn else ''} ({kinds}), magnified; after "
        "the arrow the reference answer.",
        told.rename(columns={"id": "item"}).set_index("item"),
    )
