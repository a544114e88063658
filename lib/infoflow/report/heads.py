"""Attention flow head by head: which heads look at the image, and what their mean hides."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from infoflow.evaluate.flow import head_shares, max_over_heads
from infoflow.report.display import Plot, Table
from infoflow.report.style import (
    COLOURS,
    HOUSE_STYLE,
    TASK_TITLES,
    count_layers,
    label_ends,
    task_panels,
)

Rows = Mapping[str, pd.DataFrame]


def head_maps(rows: Rows, model: str) -> Plot:
    """Show the image's share of every head in every layer, one panel a task.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.flow.flow_by_layer`.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds the mean share in percent, one row a task and layer, one column a
        head.
    """
    maps = {task: 100 * head_shares(frame) for task, frame in rows.items()}
    n_layers, n_heads = next(iter(maps.values())).shape
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(len(rows), panel_height=1.2 + 0.16 * min(n_heads, 16))
        for axes, (task, table) in zip(panels, maps.items(), strict=True):
            values = table.to_numpy().T
            shown = axes.imshow(
                values, cmap="cividis", vmin=0, vmax=100, aspect="auto", origin="lower"
            )
            axes.set_title(TASK_TITLES[task])
            axes.yaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
            axes.set_ylabel("head")
            axes.tick_params(labelleft=True)
            count_layers(axes, n_layers, n_layers - 1, below="layer, from 0 (= cut)")
            axes.set_xlim(-0.5, n_layers - 0.5)
        bar = figure.colorbar(shown, ax=panels, location="bottom", shrink=0.6, aspect=40)
        bar.set_label("image's share of the head's attention (%)")
    told = "; ".join(f"{TASK_TITLES[task]}: {_strongest(table)}" for task, table in maps.items())
    return Plot(
        figure,
        f"Heat maps of the image's share by layer and head. Strongest: {told}.",
        f"The image's share of the attention of each head (counted from 0): {model}, mean over "
        f"{_items(rows)} items a task. {_concentration(rows)}",
        pd.concat(maps, names=["task"]),
    )


def _strongest(table: pd.DataFrame) -> str:
    layer, head = divmod(int(table.to_numpy().argmax()), table.shape[1])
    return f"layer {layer + 1}, head {head}, {table.to_numpy()[layer, head]:.1f} %"


def _items(rows: Rows) -> str:
    counts = sorted({frame["item"].nunique() for frame in rows.values()})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _concentration(rows: Rows) -> str:
    needed = [heads_for_half(head_shares(frame).to_numpy()) for frame in rows.values()]
    n_heads = head_shares(next(iter(rows.values()))).size
    least, most = min(needed), max(needed)
    told = str(least) if least == most else f"{least} to {most}, depending on the task,"
    return (
        f"Of all {n_heads} heads, {told} hold half of what the image gets; "
        f"were all alike it would take {-(-n_heads // 2)}."
    )


def heads_for_half(shares: npt.NDArray[np.floating]) -> int:
    """The smallest number of heads that together hold half of the image's attention.

    Args:
        shares: The image's share of every head, of any shape.
    """
    held = np.cumsum(np.sort(shares, axis=None)[::-1])
    # rounding must not make one head more of two equal halves
    return int(np.argmax(held >= held[-1] / 2 * (1 - 1e-9))) + 1


def head_table(rows: Rows) -> Table:
    """Whether one head looks at the image or all do, task by task.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.flow.flow_by_layer`.
    """
    lines = {}
    for task, frame in rows.items():
        shares = 100 * head_shares(frame)
        even = 100 * frame["uniform_image"].mean()
        most = int(shares.mean(axis=1).to_numpy().argmax())
        its_heads = shares.to_numpy()[most]
        lines[TASK_TITLES[task]] = {
            "even attention %": f"{even:.1f}",
            "layer with the largest share": shares.index[most],
            "its heads, least to most %": f"{its_heads.min():.1f} to {its_heads.max():.1f}",
            "its heads above even": f"{int((its_heads > even).sum())} of {len(its_heads)}",
            "all heads above even": f"{int((shares > even).to_numpy().sum())} of {shares.size}",
            "heads that hold half": f"{heads_for_half(shares.to_numpy())} of {shares.size}",
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
    return Table(data, "The image's share head by head, mean over items")


def head_reductions(rows: Rows, model: str) -> Plot:
    """Plot the image's share with heads averaged (Eq. 9) and with the strongest head at each token.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.flow.flow_by_layer`.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds the mean image share in percent by task and layer: ``mean`` and
        ``max``.
    """
    table = pd.concat({task: _reduced(frame) for task, frame in rows.items()}, names=["task"])
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(len(rows))
        for axes, task in zip(panels, rows, strict=True):
            _draw_reductions(axes, pd.DataFrame(table.xs(task)), TASK_TITLES[task])
        figure.supylabel("image's share (%)", fontsize=10)
    gap = (table["max"] - table["mean"]).groupby("task", sort=False).mean()
    told = "; ".join(f"{TASK_TITLES[str(task)]} {points:+.1f}" for task, points in gap.items())
    return Plot(
        figure,
        "Image share by layer for two ways to reduce heads. The maximum gives the image, averaged "
        f"over layers, so many points more than the mean: {told}.",
        f"The image's share of the answer's attention: {model}, mean over {_items(rows)} items a "
        "task. Solid: heads averaged, as in Eq. 9. Dashed: each token's weight is that of the head "
        "that looks at it most, and the row is divided by its sum. Averaged over layers and tasks "
        f"the second gives the image {_more(float(gap.mean()))}.",
        table,
    )


def _more(points: float) -> str:
    return f"{abs(points):.1f} points {'more' if points >= 0 else 'less'}"


def _reduced(frame: pd.DataFrame) -> pd.DataFrame:
    ways = {"mean": frame, "max": max_over_heads(frame)}
    shares = {way: 100 * rows.groupby("layer")["image"].mean() for way, rows in ways.items()}
    return pd.DataFrame(shares)


def _draw_reductions(axes: Axes, table: pd.DataFrame, title: str) -> None:
    cuts = table.index.to_numpy() - 1
    axes.set_ylim(0, 100)
    styles = {"mean": ("-", COLOURS["image"]), "max": ("--", COLOURS["paper"])}
    for way, (line, colour) in styles.items():
        axes.plot(cuts, table[way], line, color=colour)
    count_layers(axes, len(cuts), int(cuts[-1]), below="layer, from 0 (= cut)")
    ends = [(float(table[way].iloc[-1]), way, colour) for way, (_, colour) in styles.items()]
    label_ends(axes, ends, float(cuts[-1]))
    axes.set_title(title)
