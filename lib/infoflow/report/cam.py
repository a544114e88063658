"""LLaVA-CAM over a task, by layer: what maps look like, and what they owe to the picture."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoflow.report.display import Plot, Table
from infoflow.report.style import (
    HOUSE_STYLE,
    TASK_TITLES,
    WIDTH,
    count_layers,
    label_ends,
    layer_name,
    listed,
)
from infoflow.stats.cliff import Cliff
from infoflow.stats.intervals import mean_interval

Rows = Mapping[str, pd.DataFrame]

MEASURES = {
    "entropy": "entropy (bits)",
    "lit": "lit cells (%)",
    "peak": "raw peak (logits)",
    "mass": "on target (%)",
}
"""What is told of a map, and in which unit: columns of ``cam_by_layer``."""

_PERCENT = ("lit", "mass", "mass_chance")
_AXIS = "layer, from 0 (= cut)"
_LINES = ("-", "--", "-.", ":")


def cam_profile(rows: pd.DataFrame, column: str, seed: int = 0) -> pd.DataFrame:
    """Average one measure of the maps over the items, layer by layer.

    Peaks differ by orders of magnitude between items, so theirs is the geometric mean, and maps of
    zeros are left out of it.

    Args:
        rows: Rows of :func:`infoflow.evaluate.cam.cam_by_layer`.
        column: One of ``MEASURES``.
        seed: Seed of the bootstrap of the intervals.

    Returns:
        One row a layer: ``mean``, the 95 % interval ``low`` and ``high``, and ``n``, over how many
        items; NaN where no item has a value. Shares in percent.
    """
    is_peak = column == "peak"
    values = rows[column] * (100 if column in _PERCENT else 1)
    if is_peak:
        values = values.where(values > 0).map(np.log)
    lines = {}
    for layer, of_layer in values.groupby(rows["layer"]):
        known = of_layer.dropna().to_numpy()
        told = np.full(3, np.nan)
        if len(known):
            told = np.array([known.mean(), *mean_interval(known, seed)])
        lines[layer] = [*(np.exp(told) if is_peak else told), len(known)]
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["mean", "low", "high", "n"])
    return table.astype({"n": int}).rename_axis("layer")


def cam_profiles(rows: Rows, cliffs: Mapping[str, Cliff], model: str, seed: int = 0) -> Plot:
    """Plot what the maps of some tasks look like by layer, and how much of them is on target.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.cam.cam_by_layer`.
        cliffs: By task, the cliff.
        model: Name of the model, for the caption.
        seed: Seed of the bootstrap of the intervals.

    Returns:
        The plot; its table holds :func:`cam_profile` by task, measure and layer.
    """
    profiles = {
        (task, column): cam_profile(frame, column, seed)
        for task, frame in rows.items()
        for column in MEASURES
    }
    colours = dict(zip(rows, sns.color_palette("colorblind").as_hex(), strict=False))
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 5.8))
        for axes, (column, title) in zip(figure.subplots(2, 2).flat, MEASURES.items(), strict=True):
            for (task, colour), line in zip(colours.items(), _LINES, strict=False):
                _draw_profile(axes, profiles[task, column], colour, line)
                axes.axvline(cliffs[task].cut - 0.5, color=colour, linewidth=0.8, linestyle=line)
            _finish(axes, column, title, profiles, colours)
            if column == "mass":
                _draw_chances(axes, rows, colours)
    return Plot(
        figure,
        _profiles_alt(profiles, rows),
        _profiles_caption(rows, cliffs, model),
        pd.concat(profiles, names=["task", "measure"]),
    )


def _draw_profile(axes: Axes, profile: pd.DataFrame, colour: str, line: str) -> None:
    cuts = profile.index.to_numpy() - 1
    axes.plot(cuts, profile["mean"], line, color=colour)
    axes.fill_between(cuts, profile["low"], profile["high"], color=colour, alpha=0.14, linewidth=0)


def _finish(
    axes: Axes,
    column: str,
    title: str,
    profiles: Mapping[tuple[str, str], pd.DataFrame],
    colours: Mapping[str, str],
) -> None:
    shown = {task: profiles[task, column] for task in colours}
    if column == "peak":
        axes.set_yscale("log")
    elif column != "entropy":  # whose maps all lie in the upper part of its range
        axes.set_ylim(bottom=0)
    n_layers = max(len(profile) for profile in shown.values())
    count_layers(axes, n_layers, n_layers - 1, below=_AXIS)
    axes.set_title(title, fontsize=10)
    _mark_undefined(axes, shown)
    if all(profile["mean"].isna().all() for profile in shown.values()):
        axes.text(0.5, 0.5, "no regions known", ha="center", transform=axes.transAxes)
    if column == "entropy" and len(colours) > 1:
        ends = {t: profile["mean"].dropna().iloc[-1:] for t, profile in shown.items()}
        labels = [(float(x.iloc[0]), TASK_TITLES[t], colours[t]) for t, x in ends.items() if len(x)]
        label_ends(axes, labels, n_layers - 0.6)


def _mark_undefined(axes: Axes, profiles: Mapping[str, pd.DataFrame]) -> None:
    """Shade the layers that have no map in any task."""
    counts = pd.DataFrame({task: profile["n"] for task, profile in profiles.items()}).sum(axis=1)
    if not counts.any():
        return
    for layer in map(int, counts.index[counts == 0]):
        axes.axvspan(layer - 1.5, layer - 0.5, color="0.92", linewidth=0)
        axes.text(
            *(layer - 1, 0.5, "undefined"),
            transform=axes.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="center",
            fontsize=8,
        )


def _draw_chances(axes: Axes, rows: Rows, colours: Mapping[str, str]) -> None:
    for task, colour in colours.items():
        chance = 100 * rows[task]["mass_chance"].mean()
        if np.isfinite(chance):
            axes.axhline(chance, color=colour, linewidth=0.8, linestyle=":")


def _profiles_alt(profiles: Mapping[tuple[str, str], pd.DataFrame], rows: Rows) -> str:
    told = []
    for task in rows:
        shape, peak = (profiles[task, column]["mean"].dropna() for column in ("entropy", "peak"))
        if len(shape):
            told.append(
                f"{TASK_TITLES[task]} {shape.iloc[0]:.1f} to {shape.iloc[-1]:.1f} bits, peak "
                f"{peak.iloc[0]:.1g} to {peak.iloc[-1]:.1g}"
            )
    return (
        "Four panels by layer: entropy, lit cells, raw peak and share on target. From the first "
        f"layer with a map to the last: {'; '.join(told) or 'no map at all'}."
    )


def _profiles_caption(rows: Rows, cliffs: Mapping[str, Cliff], model: str) -> str:
    counts = {TASK_TITLES[task]: frame["item"].nunique() for task, frame in rows.items()}
    items = listed([f"{count} test items of {title}" for title, count in counts.items()])
    told = listed([f"{TASK_TITLES[t]} {cliffs[t].cut}" for t in rows])
    ratios = [_peak_ratio(rows[task], TASK_TITLES[task]) for task in rows]
    return (
        f"Maps of {model} by layer, {items}: means (of the raw peak the geometric one) with "
        "95 % intervals. The raw peak, which dividing by it hides, is in its highest layer so many "
        f"times that in its lowest: {'; '.join(filter(None, ratios)) or 'undefined'}. Vertical "
        f"lines: the cliff (cut: {told}), chosen on as many calibration items. Dotted: what an "
        "even map has on target."
    )


def _peak_ratio(rows: pd.DataFrame, title: str) -> str:
    peaks = cam_profile(rows, "peak")["mean"].dropna()
    if peaks.empty:
        return ""
    ratio = peaks.max() / peaks.min()
    return f"{title} {ratio:.0f} (layers {peaks.idxmax()} and {peaks.idxmin()})"


def cam_table(rows: pd.DataFrame, task: str, cliff: Cliff, seed: int = 0) -> Table:
    """What the maps of one task look like, layer by layer, with 95 % intervals.

    Args:
        rows: Rows of :func:`infoflow.evaluate.cam.cam_by_layer`.
        task: The task.
        cliff: Its cliff.
        seed: Seed of the bootstrap of the intervals.
    """
    layers = sorted(rows["layer"].unique())
    zeros = rows[rows["peak"] == 0].groupby("layer")["item"].count().reindex(layers, fill_value=0)
    data = pd.DataFrame(
        {
            "hidden from cut": [layer - 1 for layer in layers],
            "cliff": ["behind" if layer > cliff.cut else "before" for layer in layers],
            **{
                title: _cells(
                    cam_profile(rows, column, seed), "{:.2g}" if column == "peak" else "{:.1f}"
                )
                for column, title in MEASURES.items()
            },
            "maps of zeros": zeros.to_numpy(),
        },
        index=pd.Index(layers, name="paper's layer"),
    )
    n_items = rows["item"].nunique()
    area = rows.drop_duplicates("item")["mass_chance"]
    known = f"{area.count()} of {n_items} items have a known target"
    chance = f"; an even map has {100 * area.mean():.1f} % there" if area.count() else ""
    return Table(
        data,
        f"Maps of {TASK_TITLES[task]} by layer, means over {n_items} items with 95 % intervals "
        f"(cliff: paper's layer {layer_name(cliff.cut, len(layers))}); {known}{chance}",
    )


def _cells(profile: pd.DataFrame, form: str) -> list[str]:
    return [
        "undefined" if np.isnan(mean) else f"{form} [{form}, {form}]".format(mean, low, high)
        for mean, low, high in profile[["mean", "low", "high"]].itertuples(index=False)
    ]
