"""What the pages on LLaVA-CAM share: maps described by layer, their controls, maps side by side."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes

from infoflow import report
from infoflow.data.sample import Sample
from infoflow.evaluate.cam import ANOTHER, GREY_NOISE
from infoflow.methods.cam import CAM
from infoflow.methods.localisation import localise, target_mask
from infoflow.methods.maps import map_entropies
from infoflow.models.prompt import Prompt
from infoflow.report import COLOURS, TASK_TITLES
from infoflow.stats.cliff import Cliff
from infoflow.stats.intervals import mean_interval

Rows = Mapping[str, pd.DataFrame]

MEASURES = {
    "entropy": "entropy (bits)",
    "lit": "lit cells (%)",
    "peak": "raw peak (logits)",
    "mass": "on target (%)",
}
"""Columns of `cam_by_layer`, and what they are called with their units."""
CONTROLS = {"another's": ANOTHER, "noise": GREY_NOISE}
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
    known = values.dropna().to_numpy()
    if not len(known):
        return "undefined"
    return f"{form} [{form}, {form}]".format(known.mean(), *mean_interval(known, seed))


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
        known = of_layer.dropna().to_numpy()
        mean = [known.mean(), *mean_interval(known, seed)] if len(known) else [np.nan] * 3
        lines[layer] = [*(np.exp(mean) if column == "peak" else mean), len(known)]
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["mean", "low", "high", "n"])
    return table.astype({"n": int}).rename_axis("layer")


def profiles(rows: Rows, cliffs: Mapping[str, Cliff], model: str, seed: int = 0) -> report.Plot:
    """Plot what the maps of each task look like by layer, and how much of them is on target."""
    tables = {(task, name): profile(rows[task], name, seed) for task in rows for name in MEASURES}
    colours, dashes = sns.color_palette("colorblind"), ("-", "--", "-.", ":")
    styles = dict(zip(rows, zip(colours, dashes, strict=False), strict=False))
    figure, panels = report.figure(2, 2, height=5.8)
    for axes, (column, title) in zip(panels, MEASURES.items(), strict=True):
        for task, (colour, line) in styles.items():
            table = tables[task, column]
            axes.plot(table.index - 1, table["mean"], line, color=colour)
            axes.fill_between(
                table.index - 1, table["low"], table["high"], color=colour, alpha=0.14, linewidth=0
            )
            axes.axvline(cliffs[task].cut - 0.5, color=colour, linewidth=0.8, linestyle=line)
            if column == "mass" and rows[task]["mass_chance"].notna().any():
                chance = 100 * rows[task]["mass_chance"].mean()
                axes.axhline(chance, color=colour, linewidth=0.8, linestyle=":")
        if column == "peak":
            axes.set_yscale("log")
        elif column != "entropy":  # whose maps all lie in the upper part of its range
            axes.set_ylim(bottom=0)
        report.count_layers(axes, len(table), len(table) - 1, below="layer, from 0 (= cut)")
        axes.set_title(title, fontsize=10)
        mark_undefined(axes, {task: tables[task, column]["n"] for task in rows})
    if len(rows) > 1:
        ends = {task: tables[task, "entropy"]["mean"].dropna().iloc[-1:] for task in rows}
        labels = [(x.item(), TASK_TITLES[t], styles[t][0]) for t, x in ends.items() if len(x)]
        report.label_ends(panels[0], labels, len(table) - 0.6)
    alts, ratios = [], []
    for task in rows:
        shape, peak = (tables[task, name]["mean"].dropna() for name in ("entropy", "peak"))
        if len(shape):
            alts.append(
                f"{TASK_TITLES[task]} {shape.iloc[0]:.1f} to {shape.iloc[-1]:.1f} bits, peak "
                f"{peak.iloc[0]:.1g} to {peak.iloc[-1]:.1g}"
            )
        if len(peak):
            ratios.append(
                f"{TASK_TITLES[task]} {peak.max() / peak.min():.0f} (layers {peak.idxmax()} and "
                f"{peak.idxmin()})"
            )
    counts = [f"{rows[task]['item'].nunique()} test items of {TASK_TITLES[task]}" for task in rows]
    cuts = [f"{TASK_TITLES[task]} {cliffs[task].cut}" for task in rows]
    return report.Plot(
        figure,
        alt="Four panels by layer: entropy, lit cells, raw peak and share on target. From the "
        f"first layer with a map to the last: {'; '.join(alts) or 'no map at all'}.",
        caption=f"Maps of {model} by layer, {report.listed(counts)}: means (of the raw peak the "
        "geometric one) with 95 % intervals. The raw peak, which dividing by it hides, is in its "
        f"highest layer so many times that in its lowest: {'; '.join(ratios) or 'undefined'}. "
        f"Vertical lines: the cliff (cut: {report.listed(cuts)}), chosen on as many calibration "
        "items. Dotted: what an even map has on target.",
        table=pd.concat(tables, names=["task", "measure"]),
    )


def mark_undefined(axes: Axes, counts: Mapping[str, pd.Series]) -> None:
    """Shade the layers that have no map in any task, and say so where there is none at all."""
    known = pd.DataFrame(counts).sum(axis=1)
    if not known.any():
        axes.text(0.5, 0.5, "no regions known", ha="center", transform=axes.transAxes)
        return
    for layer in map(int, known.index[known == 0]):
        axes.axvspan(layer - 1.5, layer - 0.5, color="0.92", linewidth=0)
        place = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "center"}
        axes.text(layer - 1, 0.5, "undefined", rotation=90, fontsize=8, **place)


def layer_table(rows: pd.DataFrame, task: str, cliff: Cliff, seed: int = 0) -> report.Table:
    """Say what the maps of one task look like, layer by layer, with 95 % intervals."""
    layers = pd.Index(sorted(rows["layer"].unique()), name="paper's layer")
    by_layer = rows.assign(**{name: scaled(rows, name) for name in MEASURES}).groupby("layer")
    cells = {
        title: [
            _cell(line, "{:.2g}" if name == "peak" else "{:.1f}") for line in table.itertuples()
        ]
        for name, title in MEASURES.items()
        for table in [profile(rows, name, seed)]
    }
    data = pd.DataFrame(
        {
            "hidden from cut": layers - 1,
            "cliff": np.where(layers > cliff.cut, "behind", "before"),
            **cells,
            "maps of zeros": by_layer["peak"].agg(lambda peaks: int((peaks == 0).sum())).to_numpy(),
        },
        index=layers,
    )
    n_items, area = rows["item"].nunique(), rows.drop_duplicates("item")["mass_chance"]
    chance = f"; an even map has {100 * area.mean():.1f} % there" if area.count() else ""
    return report.Table(
        data,
        f"Maps of {TASK_TITLES[task]} by layer, means over {n_items} items with 95 % intervals "
        f"(cliff: paper's layer {report.layer_name(cliff.cut, len(layers))}); {area.count()} of "
        f"{n_items} items have a known target{chance}",
    )


def _cell(line: tuple, form: str) -> str:
    _, mean, low, high, n = line
    return f"{form} [{form}, {form}]".format(mean, low, high) if n else "undefined"


def of_pictures(rows: pd.DataFrame, control: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of `cam_by_layer` and of `cam_control` by what the explained image shows."""
    others = {name: control[control["picture"] == image] for name, image in CONTROLS.items()}
    return {"own": rows, **others}


def control_plot(rows: Rows, control: Rows, model: str) -> report.Plot:
    """Plot how spread out maps are and how much is on target, for own and for other images."""
    means = {
        (task, name): pd.DataFrame(
            {k: profile(part, name)["mean"] for k, part in of_pictures(rows[task], frame).items()}
        )
        for task, frame in control.items()
        for name in ("entropy", "mass")
    }
    figure, panels = report.figure(len(control), 2, height=2.8 * len(control))
    for axes, ((task, name), table) in zip(panels, means.items(), strict=True):
        for kind, (line, colour) in LINES.items():
            axes.plot(table.index - 1, table[kind], line, color=colour)
        report.count_layers(axes, len(table), len(table) - 1, below="layer, from 0 (= cut)")
        axes.set_title(f"{TASK_TITLES[task]}: {MEASURES[name]}", fontsize=10)
        known = table.dropna()
        if known.empty:
            axes.text(0.5, 0.5, "no regions known", ha="center", transform=axes.transAxes)
        else:
            ends = [(known[kind].iloc[-1], kind, LINES[kind][1]) for kind in LINES]
            report.label_ends(axes, ends, known.index[-1] - 1)
        if name == "mass":
            axes.set_ylim(bottom=0)
            chance = 100 * rows[task]["mass_chance"].mean()
            if np.isfinite(chance):
                axes.axhline(chance, color=COLOURS["baseline"], linewidth=0.8, linestyle=":")
    parts = []
    for task in control:
        entropy, mass = (means[task, name].mean() for name in ("entropy", "mass"))
        part = f"{TASK_TITLES[task]} " + ", ".join(f"{entropy[k]:.1f} bits {k}" for k in LINES)
        if mass.notna().any():
            part += "; on target " + ", ".join(f"{mass[k]:.1f} % {k}" for k in LINES)
        parts.append(part)
    averaged = f"Averaged over layers: {'; '.join(parts)}."
    return report.Plot(
        figure,
        alt=f"Entropy and share on target by layer, three lines each. {averaged}",
        caption=f"The same answers explained on other pictures: {model}, {_counted(control)}. Own: "
        "the picture asked about; another's: that of another item; noise: plain grey with the "
        "noise that all maps are averaged over. On target: against the regions of the item's own "
        f"picture, dotted what an even map has there. {averaged}",
        table=pd.concat(means, names=["task", "measure"]),
    )


def control_table(rows: Rows, control: Rows, seed: int) -> report.Table:
    """Set maps of own images beside those of others, averaged over all layers that have a map."""
    lines = {}
    for task, frame in control.items():
        parts = of_pictures(rows[task], frame)
        for name in ("entropy", "lit", "mass"):
            means = pd.DataFrame(
                {k: scaled(p, name).groupby(p["item"], sort=False).mean() for k, p in parts.items()}
            )
            cells = {
                k: f"{x:.1f}" if np.isfinite(x) else "undefined" for k, x in means.mean().items()
            }
            lines[f"{TASK_TITLES[task]}: {MEASURES[name]}"] = cells | {
                f"own - {k}": with_interval(means["own"] - means[k], seed, "{:+.1f}")
                for k in CONTROLS
            }
        lines[f"{TASK_TITLES[task]}: rank correlation with the own map"] = {
            k: with_interval(
                parts[k].groupby("item", sort=False)["correlation"].mean(), seed, "{:+.2f}"
            )
            for k in CONTROLS
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("maps").fillna("—")
    return report.Table(
        data,
        f"Own pictures and others, {_counted(control)}, averaged over layers, with 95 % intervals "
        "over items",
    )


def _counted(rows: Rows) -> str:
    return ", ".join(f"{rows[t]['item'].nunique()} test items of {TASK_TITLES[t]}" for t in rows)


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
    for axes, title in zip(lines[0], ["picture", *map("layer {}".format, layers)], strict=True):
        axes.set_title(title, fontsize=9, weight="normal")
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    table = pd.DataFrame(entropies, index=pd.Index(layers, name="layer"))
    means = "; ".join(f"{name}: {values.mean():.1f}" for name, values in table.items())
    return report.Plot(
        figure,
        alt=f"Rows of maps over their pictures: {', '.join(rows)}; layers "
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
    return report.layer_slider(cam.maps.double().numpy(), numbers, prompt, sample, caption)
