"""What a heat map does: curves of a changed picture, and what is left of it with random weights."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoflow.errors import InfoflowError
from infoflow.methods.heatmaps import Place, Source
from infoflow.report.display import Plot, Table
from infoflow.report.localisation import SITE_NAMES, place_name, source_name
from infoflow.report.style import COLOURS, HOUSE_STYLE, WIDTH
from infoflow.stats.intervals import mean_interval

_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))

Rows = Mapping[str, pd.DataFrame]


def perturbation_plot(rows: Rows, model: str) -> Plot:
    """Plot deletion and insertion curves, averaged over items.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.perturbation.perturbation_curves`.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds the mean probability, one row a curve and fraction, one column a
        map.
    """
    every = _joined(rows)
    named = every.assign(map=[place_name(place) for place in places_of(every)])
    order = list(dict.fromkeys(named["map"]))
    means = named.pivot_table(index=["curve", "fraction"], columns="map", values="probability")
    table = means[order]
    under = {
        curve: {name: _area(table.xs(curve)[name]) for name in order}
        for curve in ("deletion", "insertion")
    }
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 4.2))
        panels = figure.subplots(1, 2, sharey=True)
        for axes, curve in zip(panels, ("deletion", "insertion"), strict=True):
            _draw_curves(axes, pd.DataFrame(table.xs(curve)))
            axes.set_title(curve)
        panels[0].set_ylabel("probability of the answer")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncol=2)
    own = [name for name in order if name != SITE_NAMES["target"]]
    first = min(own, key=under["deletion"].__getitem__)
    last = max(own, key=under["insertion"].__getitem__)
    told = "; ".join(
        f"{name} {under['deletion'][name]:.3f} and {under['insertion'][name]:.3f}" for name in order
    )
    return Plot(
        figure,
        f"Deletion and insertion curves. Areas under them: {told}.",
        f"Probability of the model's answer while the picture goes hottest pixels first (deletion: "
        f"a right map falls soon) or appears so on a blurred one (insertion: a right map rises "
        f"soon): {model}, means over {every['item'].nunique()} items. Smallest area of deletion: "
        f"{first}; largest of insertion: {last}.",
        table,
    )


def _joined(rows: Rows) -> pd.DataFrame:
    """The rows of all tasks; an item's name is its own only within its task."""
    if all(frame.empty for frame in rows.values()):
        raise InfoflowError("no item names a region that its answer could be read from.")
    return pd.concat(
        [frame.assign(item=task + " " + frame["item"]) for task, frame in rows.items()]
    )


def _area(curve: pd.Series) -> float:
    return float(np.trapezoid(curve.to_numpy(), curve.index.to_numpy()))


def places_of(rows: pd.DataFrame) -> Sequence[Place]:
    """The place of every row."""
    return [Place(*key) for key in zip(rows["site"], rows["weights"], rows["layer"], strict=True)]


def _draw_curves(axes: Axes, table: pd.DataFrame) -> None:
    palette = [COLOURS[name] for name in ("cliff", "paper", "image", "control", "baseline")]
    for index, name in enumerate(table.columns):
        last = name == SITE_NAMES["target"]
        colour = "black" if last else palette[index % len(palette)]
        style = _STYLES[index % len(_STYLES)]
        axes.plot(100 * table.index, table[name], linestyle=style, color=colour, label=name)
    axes.set(xlabel="part of the picture changed (%)", ylim=(0, 1.03), xlim=(0, 100))


def sanity_table(rows: Rows, model: str, seed: int) -> Table:
    """Say how alike maps of the trained model and of random weights are, all layers together.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.perturbation.randomised_maps`.
        model: Name of the model.
        seed: Seed of the bootstrap of the intervals.
    """
    every = _joined(rows)
    lines = {}
    for site, weights in every[["site", "weights"]].drop_duplicates().itertuples(index=False):
        part = every[(every["site"] == site) & (every["weights"] == weights)]
        defined = part[part["correlation"].notna()]
        per_item = defined.groupby("item")["correlation"].mean()
        low, high = mean_interval(per_item.to_numpy(), seed)
        lines[source_name(Source(site, weights))] = {
            "rank correlation": f"{per_item.mean():+.2f} [{low:+.2f}, {high:+.2f}]",
            "trained: hit %": f"{100 * defined['hit'].mean():.1f}",
            "random weights: hit %": f"{100 * defined['random_hit'].mean():.1f}",
            "random token %": f"{100 * part['hit_chance'].mean():.1f}",
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("maps")
    n_items = every["item"].nunique()
    return Table(
        data,
        f"Maps of {model} and of the same model with random weights, {n_items} items, mean over "
        "all layers where both are defined",
    )
