"""What the pages on LLaVA-CAM share: maps measured by layer, and their controls."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from infoflow import report
from infoflow.evaluate.cam import ANOTHER, GREY_NOISE
from infoflow.report import COLOURS, TASK_TITLES
from infoflow.stats.cliff import Cliff
from infoflow.stats.intervals import Estimate, mean_estimate

Rows = Mapping[str, pd.DataFrame]

MEASURES = {
    "entropy": "entropy (bits)",
    "lit": "lit cells (%)",
    "peak": "raw peak (logits)",
    "mass": "on target (%)",
}
"""Columns of `cam_by_layer`, and what they are called with their units."""
CONTROLS = {"another's": ANOTHER, "noise": GREY_NOISE}
MOST_BANDS = 2  # lines with their intervals that one panel can hold
DASHES = ("-", "--", "-.", ":")
LINES = {
    "own": ("-", COLOURS["image"]),
    "another's": ("--", COLOURS["control"]),
    "noise": ("-.", COLOURS["user"]),
}


def scaled(rows: pd.DataFrame, column: str) -> pd.Series:
    """Give a column in the unit of `MEASURES`: shares in percent."""
    return rows[column] * (100 if column in ("lit", "mass") else 1)


def with_interval(values: pd.Series, seed: int, form: str) -> str:
    """Write a mean over items with its 95 % interval."""
    known = values.dropna()
    return f"{mean_estimate(known, seed):{form}}" if len(known) else "undefined"


def profile(rows: pd.DataFrame, column: str, seed: int = 0) -> pd.DataFrame:
    """Average one measure of the maps over the items: `mean`, `low`, `high` and `n` by layer.

    Peaks differ by orders of magnitude between items, so theirs is the geometric mean, and maps of
    zeros are left out of it.
    """
    values = scaled(rows, column)
    if column == "peak":
        values = values.where(values > 0).map(np.log)
    lines = {}
    for layer, of_layer in values.groupby(rows["layer"]):
        known = of_layer.dropna()
        found = mean_estimate(known, seed) if len(known) else Estimate(*[np.nan] * 3, 0)
        lines[layer] = (found.value, *found.interval, found.n_items)
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["mean", "low", "high", "n"])
    if column == "peak":
        table[["mean", "low", "high"]] = np.exp(table[["mean", "low", "high"]])
    return table.rename_axis("layer")


def profiles(rows: Rows, cliffs: Mapping[str, Cliff], model: str, seed: int = 0) -> report.Plot:
    """Plot what the maps of each task look like by layer, and how much of them is on target."""
    tables = {(task, name): profile(rows[task], name, seed) for task in rows for name in MEASURES}
    means = pd.concat(tables, names=["task", "measure"])
    styles = dict(
        zip(rows, zip(sns.color_palette("colorblind"), DASHES, strict=False), strict=False)
    )
    figure, panels = report.figure(2, 2, height=5.8)
    banded = len(rows) <= MOST_BANDS
    for axes, name in zip(panels, MEASURES, strict=True):
        for task, (colour, line) in styles.items():
            table = tables[task, name]
            cuts, band = table.index - 1, (table["low"], table["high"])
            axes.plot(cuts, table["mean"], line, color=colour)
            if banded:
                axes.fill_between(cuts, *band, color=colour, alpha=0.14, linewidth=0)
            first = table["mean"].get(cliffs[task].cut + 1, np.nan)  # layer behind the cliff
            axes.plot(cliffs[task].cut, first, "o", color=colour, markersize=7)
            if name == "mass":
                mark_chance(axes, rows[task], colour)
        if name == "peak":
            axes.set_yscale("log")
        elif name != "entropy":  # whose maps all lie in the upper part of its range
            axes.set_ylim(bottom=0)
        finish_panel(axes, MEASURES[name], means.xs(name, level="measure")["mean"].unstack("task"))
    if len(rows) > 1:
        ends = means.xs("entropy", level="measure")["mean"].dropna().groupby("task").last()
        labels = [(height, TASK_TITLES[task], styles[task][0]) for task, height in ends.items()]
        report.label_ends(panels[0], labels, len(table) - 0.6)

    known = {key: table["mean"].dropna() for key, table in tables.items()}
    drawn = [task for task in rows if len(known[task, "peak"])]
    alt = report.by_task(
        drawn,
        lambda task: "{:.1f} to {:.1f} bits, peak {:.1g} to {:.1g}".format(
            *known[task, "entropy"].iloc[[0, -1]], *known[task, "peak"].iloc[[0, -1]]
        ),
    )
    ratios = report.by_task(
        drawn,
        lambda task: "{0:.0f} (layers {1.index[1]} and {1.index[0]})".format(
            known[task, "peak"].max() / known[task, "peak"].min(),
            known[task, "peak"].sort_values().iloc[[0, -1]],
        ),
    )
    shown = "bands: 95 % intervals" if banded else "whose intervals stand in the tables below"
    return report.Plot(
        figure,
        alt="Four panels by layer: entropy, lit cells, raw peak and share on target. From the "
        f"first layer with a map to the last: {alt or 'no map at all'}.",
        caption=f"Maps of {model} by layer, {report.counted(rows)}: means (of the raw peak the "
        f"geometric one), {shown}. Dots: the first layer behind the cliff (cut: "
        f"{report.by_task(rows, lambda task: str(cliffs[task].cut))}). Thin dotted: what an even "
        "map has on target. Dividing a map by its peak hides how large that is: in the highest "
        f"layer it is so many times what it is in the lowest: {ratios or 'undefined'}.",
        table=means,
    )


def finish_panel(axes: Axes, title: str, lines: pd.DataFrame) -> None:
    """Title a panel, count its layers, and shade those of which no line has a value."""
    report.count_layers(axes, len(lines), len(lines) - 1, below="layer, from 0 (= cut)")
    axes.set_title(title, fontsize=10)
    undefined = lines.index[lines.isna().all(axis=1)]
    if len(undefined) == len(lines):
        axes.text(0.5, 0.5, "no regions known", ha="center", transform=axes.transAxes)
        return
    place = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "center"}
    for layer in undefined:
        axes.axvspan(layer - 1.5, layer - 0.5, color="0.92", linewidth=0)
        axes.text(layer - 1, 0.5, "undefined", rotation=90, fontsize=8, **place)


def mark_chance(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Draw what an even map has on target, if the items have targets."""
    chance = 100 * rows["mass_chance"].mean()
    if np.isfinite(chance):
        axes.axhline(chance, color=colour, linewidth=0.8, linestyle=":")


def layer_table(rows: pd.DataFrame, task: str, cliff: Cliff, seed: int = 0) -> report.Table:
    """Say what the maps of one task look like, layer by layer, with 95 % intervals."""
    layers = pd.Index(sorted(rows["layer"].unique()), name="paper's layer")
    zeros = (rows["peak"] == 0).groupby(rows["layer"]).sum()
    data = pd.DataFrame(
        {
            "hidden from cut": layers - 1,
            "cliff": np.where(layers > cliff.cut, "behind", "before"),
            **{
                title: [
                    f"{Estimate(*line):{'.2g' if name == 'peak' else '.1f'}}"
                    if line.n
                    else "undefined"
                    for line in profile(rows, name, seed).itertuples(index=False)
                ]
                for name, title in MEASURES.items()
            },
            "maps of zeros": zeros.to_numpy(),
        },
        index=layers,
    )
    area = rows.groupby("item")["mass_chance"].first()
    chance = f"; an even map has {100 * area.mean():.1f} % there" if area.count() else ""
    return report.Table(
        data,
        f"Maps of {TASK_TITLES[task]} by layer, means over {len(area)} items with 95 % intervals "
        f"(cliff: paper's layer {report.layer_name(cliff.cut, len(layers))}); {area.count()} of "
        f"{len(area)} items have a known target{chance}",
    )


def by_image(rows: pd.DataFrame, control: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of `cam_by_layer` and of `cam_control` by what the explained image shows."""
    others = {name: control[control["picture"] == shown] for name, shown in CONTROLS.items()}
    return {"own": rows, **others}


def control_plot(rows: Rows, control: Rows, model: str) -> report.Plot:
    """Plot how spread out maps are and how much is on target, for own and for other images."""
    means = {
        (task, name): pd.DataFrame(
            {k: profile(part, name)["mean"] for k, part in by_image(rows[task], frame).items()}
        )
        for task, frame in control.items()
        for name in ("entropy", "mass")
    }
    figure, panels = report.figure(len(control), 2, height=2.8 * len(control))
    for axes, ((task, name), table) in zip(panels, means.items(), strict=True):
        for kind, (line, colour) in LINES.items():
            axes.plot(table.index - 1, table[kind], line, color=colour)
        finish_panel(axes, f"{TASK_TITLES[task]}: {MEASURES[name]}", table)
        known = table.dropna()
        if len(known):
            ends = [(known[kind].iloc[-1], kind, LINES[kind][1]) for kind in LINES]
            report.label_ends(axes, ends, len(table) - 0.6)
        if name == "mass":
            axes.set_ylim(bottom=0)
            mark_chance(axes, rows[task], COLOURS["baseline"])
    averages = {task: means[task, "entropy"].mean() for task in control}
    words = report.by_task(
        control, lambda task: ", ".join(f"{averages[task][k]:.1f} bits {k}" for k in LINES)
    )
    return report.Plot(
        figure,
        alt="Entropy and share on target by layer, three lines each. Averaged over layers: "
        f"{words}.",
        caption=f"The same answers explained on other images: {model}, {report.counted(control)}. "
        "Own: the image asked about; another's: that of another item; noise: plain grey with the "
        "noise that all maps are averaged over. On target: against the regions of the item's own "
        f"image, dotted what an even map has there. Averaged over layers: {words}.",
        table=pd.concat(means, names=["task", "measure"]),
    )


def control_table(rows: Rows, control: Rows, seed: int) -> report.Table:
    """Set maps of own images beside those of others, averaged over all layers that have a map."""
    lines = {}
    for task, frame in control.items():
        parts = {k: p.groupby("item", sort=False) for k, p in by_image(rows[task], frame).items()}
        for name in ("entropy", "lit", "mass"):
            means = {k: scaled(part.mean(numeric_only=True), name) for k, part in parts.items()}
            lines[f"{TASK_TITLES[task]}: {MEASURES[name]}"] = {
                **{k: f"{x.mean():.1f}".replace("nan", "undefined") for k, x in means.items()},
                **{
                    f"own - {k}": with_interval(means["own"] - means[k], seed, "+.1f")
                    for k in CONTROLS
                },
            }
        lines[f"{TASK_TITLES[task]}: rank correlation with the own map"] = {
            k: with_interval(parts[k]["correlation"].mean(), seed, "+.2f") for k in CONTROLS
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("maps").fillna("—")
    return report.Table(
        data,
        f"Own images and others, {report.counted(control)}, averaged over layers, with 95 % "
        "intervals over items",
    )
