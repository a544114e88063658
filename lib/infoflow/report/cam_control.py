"""LLaVA-CAM on pictures that do not show what is asked for, beside that on the items' own."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoflow.evaluate.cam import ANOTHER, GREY_NOISE
from infoflow.report.cam import MEASURES, cam_profile
from infoflow.report.display import Plot, Table
from infoflow.report.style import COLOURS, HOUSE_STYLE, TASK_TITLES, WIDTH, count_layers, label_ends
from infoflow.stats.intervals import mean_interval

Rows = Mapping[str, pd.DataFrame]

_STYLES = {
    "own": ("-", COLOURS["image"]),
    "another's": ("--", COLOURS["control"]),
    "noise": ("-.", COLOURS["user"]),
}
_NAMES = {"another's": ANOTHER, "noise": GREY_NOISE}
_AXIS = "layer, from 0 (= cut)"


def cam_control_plot(rows: Rows, control: Rows, model: str) -> Plot:
    """Plot how spread out maps are and how much is on target, for own and for other pictures.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.cam.cam_by_layer`.
        control: By task, rows of :func:`infoflow.evaluate.cam.cam_control`.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds the mean over items by task, measure and layer of ``own``,
        ``another's`` and ``noise``.
    """
    columns = ("entropy", "mass")
    means = {
        (task, column): _means(rows[task], control[task], column)
        for task in control
        for column in columns
    }
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 2.8 * len(control)))
        grid = figure.subplots(len(control), 2, squeeze=False)
        for line, task in zip(grid, control, strict=True):
            for axes, column in zip(line, columns, strict=True):
                _draw(axes, means[task, column])
                axes.set_title(f"{TASK_TITLES[task]}: {MEASURES[column]}", fontsize=10)
            line[1].set_ylim(bottom=0)
            chance = 100 * rows[task]["mass_chance"].mean()
            if np.isfinite(chance):
                line[1].axhline(chance, color=COLOURS["baseline"], linewidth=0.8, linestyle=":")
    told = "; ".join(_told(means, task) for task in control)
    return Plot(
        figure,
        f"Entropy and share on target by layer, three lines each. Averaged over layers: {told}.",
        f"The same answers explained on other pictures: {model}, {_count(control)}. Own: the "
        "picture asked about; another's: that of another item; noise: plain grey with the noise "
        "that all maps are averaged over. On target: against the regions of the item's own "
        f"picture, dotted what an even map has there. Averaged over layers: {told}.",
        pd.concat(means, names=["task", "measure"]),
    )


def cam_control_table(rows: Rows, control: Rows, seed: int) -> Table:
    """Maps of own pictures beside those of others, averaged over all layers that have a map.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.cam.cam_by_layer`.
        control: By task, rows of :func:`infoflow.evaluate.cam.cam_control`.
        seed: Seed of the bootstrap of the intervals.
    """
    lines = {}
    for task, others in control.items():
        for column in ("entropy", "lit", "mass"):
            lines[f"{TASK_TITLES[task]}: {MEASURES[column]}"] = _line(
                rows[task], others, column, seed
            )
        lines[f"{TASK_TITLES[task]}: rank correlation with the own map"] = {
            name: _with_interval(_per_item(_of(others, picture), "correlation"), seed, "{:+.2f}")
            for name, picture in _NAMES.items()
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("maps").fillna("—")
    return Table(
        data,
        f"Own pictures and others, {_count(control)}, averaged over layers, with 95 % intervals "
        "over items",
    )


def _line(rows: pd.DataFrame, others: pd.DataFrame, column: str, seed: int) -> dict[str, str]:
    own = _per_item(rows, column)
    line = {"own": _mean(own)}
    for name, picture in _NAMES.items():
        line[name] = _mean(_per_item(_of(others, picture), column))
    for name, picture in _NAMES.items():
        difference = (own - _per_item(_of(others, picture), column)).dropna()
        line[f"own - {name}"] = _with_interval(difference, seed, "{:+.1f}")
    return line


def _mean(values: pd.Series) -> str:
    return f"{values.mean():.1f}" if values.count() else "undefined"


def _with_interval(values: pd.Series, seed: int, form: str) -> str:
    known = values.dropna().to_numpy()
    if not len(known):
        return "undefined"
    low, high = mean_interval(known, seed)
    return f"{form} [{form}, {form}]".format(known.mean(), low, high)


def _of(control: pd.DataFrame, picture: str) -> pd.DataFrame:
    return control[control["picture"] == picture]


def _per_item(frame: pd.DataFrame, column: str) -> pd.Series:
    """An item's mean over its layers; shares in percent."""
    scale = 100 if column in ("lit", "mass") else 1
    return scale * frame.groupby("item", sort=False)[column].mean()


def _means(own: pd.DataFrame, control: pd.DataFrame, column: str) -> pd.DataFrame:
    frames = {"own": own, **{name: _of(control, p) for name, p in _NAMES.items()}}
    return pd.DataFrame({name: cam_profile(f, column)["mean"] for name, f in frames.items()})


def _draw(axes: Axes, table: pd.DataFrame) -> None:
    cuts = table.index.to_numpy() - 1
    for name, (line, colour) in _STYLES.items():
        axes.plot(cuts, table[name], line, color=colour)
    count_layers(axes, len(cuts), int(cuts[-1]), below=_AXIS)
    known = table.dropna()
    if known.empty:
        axes.text(0.5, 0.5, "no regions known", ha="center", transform=axes.transAxes)
        return
    ends = [(float(known[n].iloc[-1]), n, colour) for n, (_, colour) in _STYLES.items()]
    label_ends(axes, ends, float(known.index[-1] - 1))


def _told(means: Mapping[tuple[str, str], pd.DataFrame], task: str) -> str:
    entropy, mass = (means[task, column].mean() for column in ("entropy", "mass"))
    told = ", ".join(f"{entropy[name]:.1f} bits {name}" for name in _STYLES)
    if mass.isna().all():
        return f"{TASK_TITLES[task]} {told}"
    return f"{TASK_TITLES[task]} {told}; on target " + ", ".join(
        f"{mass[name]:.1f} % {name}" for name in _STYLES
    )


def _count(control: Rows) -> str:
    counts = [
        f"{frame['item'].nunique()} test items of {TASK_TITLES[task]}"
        for task, frame in control.items()
    ]
    return ", ".join(counts)
