"""Figures of heat maps held against the answer's region: by site and layer, and by what they do."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from infoflow.methods.gradients import LAYER_SITES
from infoflow.methods.heatmaps import ATTENTION, CENTRE, PAPER, Place, Source
from infoflow.methods.maps import WEIGHTS
from infoflow.report.display import Plot
from infoflow.report.style import (
    COLOURS,
    HOUSE_STYLE,
    TASK_TITLES,
    WIDTH,
    count_layers,
    listed,
    task_panels,
)

SITE_NAMES = {
    "input_layernorm": "first norm",
    "self_attn.v_proj": "values",
    "post_attention_layernorm": "second norm",
    "output": "output",
    "projector": "projector",
    "attention": "attention",
    "random": "random map",
    "centre": "centre map",
    "target": "the region itself",
}
"""What pages call the places that maps are read at; the second norm is the paper's site."""

Rows = Mapping[str, pd.DataFrame]

_PAPERS = "paper's CAM"


def source_name(source: Source) -> str:
    """Name a source of maps, its weights in brackets if it has a choice of them."""
    name = SITE_NAMES[source.site]
    return f"{name} ({source.weights})" if source.weights in WEIGHTS else name


def place_name(place: Place) -> str:
    """Name a map: its source, and its layer in the paper's count if it has one."""
    layer = f", layer {place.layer}" if place.layer else ""
    return f"{source_name(place.source)}{layer}"


def mean_by_layer(rows: pd.DataFrame, source: Source, score: str = "hit") -> pd.Series:
    """Mean score in percent of one source's maps by layer; NaN where they are undefined.

    Args:
        rows: Rows of :func:`infoflow.evaluate.localisation.localisation_by_layer`.
        source: Whose maps.
        score: ``"hit"`` or ``"mass"``.
    """
    part = rows[(rows["site"] == source.site) & (rows["weights"] == source.weights)]
    by_layer = part.groupby("layer")[score]
    # a layer that is undefined for one item is for all; its mean must not be that of nothing
    return 100 * by_layer.mean().where(by_layer.count() == by_layer.size())


def site_grid(rows: Rows, model: str) -> Plot:
    """Show how often a CAM's peak hits the answer's region, by site, weighting and layer.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.localisation.localisation_by_layer`.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds the hit rate in percent, one row a task, weighting and site, one
        column a layer; NaN where the map is undefined.
    """
    cells = {(t, w): _cells(frame, w) for t, frame in rows.items() for w in WEIGHTS}
    table = pd.concat(cells, names=["task", "weights"])
    chance = {task: 100 * frame["hit_chance"].mean() for task, frame in rows.items()}
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 1.55 * len(rows) + 0.9))
        grid = figure.subplots(len(rows), len(WEIGHTS), squeeze=False, sharex=True, sharey=True)
        for line, task in zip(grid, rows, strict=True):
            for axes, weights in zip(line, WEIGHTS, strict=True):
                shown = _draw_cells(axes, cells[task, weights])
            line[0].set_ylabel(TASK_TITLES[task], fontweight="bold")
        for axes, weights in zip(grid[0], WEIGHTS, strict=True):
            axes.set_title(weights, fontsize=10)
        for axes in grid[-1]:
            axes.set_xlabel("paper's layer (cut + 1)")
        bar = figure.colorbar(shown, ax=list(grid.flat), location="bottom", shrink=0.6, aspect=40)
        bar.set_label("peak on the answer's region (% of items)")
    return Plot(figure, _grid_alt(table, chance), _grid_caption(rows, table, model), table)


def _cells(rows: pd.DataFrame, weights: str) -> pd.DataFrame:
    means = {site: mean_by_layer(rows, Source(site, weights)) for site in LAYER_SITES}
    return pd.DataFrame(means).T.rename_axis("site").rename_axis(columns="layer")


def _draw_cells(axes: Axes, cells: pd.DataFrame) -> AxesImage:
    shown = axes.imshow(cells.to_numpy(), aspect="auto", cmap="cividis", norm=Normalize(0, 100))
    for row, column in np.argwhere(cells.isna().to_numpy()):
        axes.add_patch(
            Rectangle(
                (column - 0.5, row - 0.5),
                1,
                1,
                facecolor="white",
                edgecolor="#767676",
                hatch="////",
            )
        )
    axes.set_yticks(range(len(cells)), [SITE_NAMES[site] for site in cells.index])
    n_layers = cells.shape[1]
    ticks = sorted({0, *range(-(-n_layers // 4) - 1, n_layers, -(-n_layers // 4)), n_layers - 1})
    axes.set_xticks(ticks, [str(cells.columns[tick]) for tick in ticks])
    axes.tick_params(length=0)
    return shown


def _grid_alt(table: pd.DataFrame, chance: Mapping[str, float]) -> str:
    told = []
    for task, share in chance.items():
        site, weights, layer, most = _best_cell(table, task)
        told.append(
            f"{TASK_TITLES[task]} at most {most:.1f} % ({SITE_NAMES[site]}, {weights}, "
            f"layer {layer}), a random token {share:.1f} %"
        )
    return f"Heat maps of hit rates by site and layer, one a task and weighting: {'; '.join(told)}."


def _grid_caption(rows: Rows, table: pd.DataFrame, model: str) -> str:
    best = [f"{SITE_NAMES[_best_cell(table, task)[0]]} on {TASK_TITLES[task]}" for task in rows]
    undefined = table.isna().to_numpy()
    return (
        f"How often the highest token of LLaVA-CAM touches the region that holds the answer, test "
        f"items: {model}, {counted(rows)}. The best cell belongs to {listed(best)}. A row a site, "
        f"a column a layer (paper's count; cut = layer - 1), a panel a weighting of the gradient. "
        f"Hatched: undefined, {undefined.sum() // len(rows)} of {undefined.size // len(rows)} "
        "cells a task."
    )


def _best_cell(table: pd.DataFrame, task: str) -> tuple[str, str, int, float]:
    """Site, weighting, layer and score of a task's best cell; of several, the first."""
    keys = [key[1:] for key in table.index if key[0] == task]
    cells = table.xs(task).to_numpy(dtype=float)
    row, column = np.unravel_index(int(np.nanargmax(cells)), cells.shape)
    weights, site = keys[int(row)]
    return site, weights, int(table.columns[int(column)]), float(cells[row, column])


def counted(rows: Rows) -> str:
    """Tell how many items of each task have a region."""
    return ", ".join(
        f"{frame['item'].nunique()} items of {TASK_TITLES[task]}" for task, frame in rows.items()
    )


def rival_curves(rows: Rows, chosen: Source, model: str) -> Plot:
    """Plot the hit rate of attention, of the paper's CAM and of a chosen one by layer.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.localisation.localisation_by_layer`.
        chosen: The source of the chosen maps, one a layer.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds hit rates in percent by task and layer.
    """
    lines = {
        "attention": (ATTENTION, "-", COLOURS["image"]),
        _PAPERS: (PAPER, "--", COLOURS["paper"]),
        "chosen CAM": (chosen, "-.", COLOURS["cliff"]),
    }
    tables = {}
    for task, frame in rows.items():
        columns = {name: mean_by_layer(frame, line[0]) for name, line in lines.items()}
        tables[task] = pd.DataFrame(columns).assign(
            **{
                "random token": 100 * frame["hit_chance"].mean(),
                "centre": float(mean_by_layer(frame, CENTRE).iloc[0]),
            }
        )
    table = pd.concat(tables, names=["task"])
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(len(rows))
        for axes, task in zip(panels, rows, strict=True):
            _draw_rivals(axes, tables[task], {name: line[1:] for name, line in lines.items()})
            axes.set_title(TASK_TITLES[task])
        figure.supylabel("peak on the answer's region (%)", fontsize=10)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncol=3)
    told = "; ".join(
        f"{TASK_TITLES[task]}: "
        + ", ".join(
            f"{name} {part[name].max():.1f} % (layer {part[name].idxmax()})" for name in lines
        )
        for task, part in tables.items()
    )
    ahead = [t for t, part in tables.items() if part["attention"].max() >= part[_PAPERS].max()]
    return Plot(
        figure,
        f"Hit rate by layer. Highest points: {told}.",
        f"How often a map's peak touches the answer's region, by layer: {model}, {counted(rows)}. "
        f"At its best layer the attention row does at least as well as the paper's CAM in "
        f"{len(ahead)} of {len(rows)} tasks. Chosen CAM: {source_name(chosen)}. Grey: a "
        "token taken at random (dotted) and a map of the centre (dashed). A gap in a line: the map "
        "is undefined. Upper axis: the paper's layer.",
        table,
    )


def _draw_rivals(axes: Axes, table: pd.DataFrame, styles: Mapping[str, tuple[str, str]]) -> None:
    cuts = table.index.to_numpy() - 1
    axes.set_ylim(0, 103)
    for name, (line, colour) in styles.items():
        axes.plot(cuts, table[name], line, color=colour, label=name)
    for name, line in (("random token", ":"), ("centre", "--")):
        axes.plot(cuts, table[name], line, color=COLOURS["baseline"], linewidth=1.2, label=name)
    count_layers(axes, len(cuts), int(cuts[-1]), below="layer, from 0 (= cut)")
