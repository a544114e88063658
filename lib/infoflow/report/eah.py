"""What broadcasting the densest head (EAH) does: sweeps, settings, and the published accounts."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from infoflow.interventions.eah import EAH
from infoflow.report.display import NOT_RUN, Plot, Table
from infoflow.report.interventions import compare_arms
from infoflow.report.style import (
    COLOURS,
    HOUSE_STYLE,
    TASK_TITLES,
    count_layers,
    percent,
    task_panels,
)


def eah_sweeps(
    by_beta: Mapping[float, pd.DataFrame],
    by_layer: Mapping[int, pd.DataFrame],
    intact: pd.DataFrame,
    at: tuple[int, float],
    model: str,
    task: str,
    n_layers: int,
    seed: int = 0,
) -> Plot:
    """Plot what EAH does to the score, by threshold in one layer and by layer at one threshold.

    Args:
        by_beta: Answers under EAH by threshold, in the layer of ``at``.
        by_layer: Answers under EAH by layer, from 0, at the threshold of ``at``.
        intact: The intact model's answers.
        at: The layer and the threshold that are held fixed in turn.
        model: Name of the model, for the caption.
        task: The task.
        n_layers: L of the model.
        seed: Seed of the bootstrap, for scores that are not 0 or 1.

    Returns:
        The plot; its table holds, in points, ``change``, ``low`` and ``high`` (90 % interval) by
        ``sweep`` (``beta`` or ``layer``) and ``value``.
    """
    sweeps: dict[str, Mapping[Any, pd.DataFrame]] = {"beta": by_beta, "layer": by_layer}
    table = pd.concat(
        {
            name: pd.DataFrame.from_dict(
                {float(value): _change(intact, rows, seed) for value, rows in arms.items()},
                orient="index",
            ).sort_index()
            for name, arms in sweeps.items()
        },
        names=["sweep", "value"],
    )
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(2, panel_height=2.8)
        for axes, name in zip(panels, sweeps, strict=True):
            part = pd.DataFrame(table.xs(name))
            axes.axhline(0, color=COLOURS["baseline"], linewidth=0.8)
            axes.fill_between(
                part.index, part["low"], part["high"], color=COLOURS["ours"], alpha=0.18, lw=0
            )
            axes.plot(part.index, part["change"], "-o", color=COLOURS["ours"], markersize=4)
        panels[0].set_xscale("log")
        panels[0].set_xlabel(f"threshold beta, in layer {at[0]}")
        panels[0].set_ylabel("change of the score (points)")
        count_layers(panels[1], n_layers, n_layers - 1, below=f"layer, from 0, beta {at[1]:.3g}")
    told = _sweeps_told(table)
    return Plot(
        figure,
        f"Change of the score under EAH by threshold and by layer. {told}",
        f"{TASK_TITLES[task]} score under EAH less the intact model's "
        f"({percent(intact['score'].mean())}), {len(intact)} items, bands are 90 % intervals "
        f"paired by item: {model}. {told}",
        table,
    )


def _change(intact: pd.DataFrame, rows: pd.DataFrame, seed: int) -> dict[str, float]:
    found = compare_arms(intact, rows, margin=1.0, seed=seed).equivalence
    low, high = found.interval
    return {"change": 100 * found.difference, "low": 100 * low, "high": 100 * high}


def _sweeps_told(table: pd.DataFrame) -> str:
    told = []
    for name, what in (("beta", "threshold"), ("layer", "layer")):
        part = table.xs(name)
        clear = int(((part["low"] > 0) | (part["high"] < 0)).sum())
        low, high = part["change"].min(), part["change"].max()
        span = (
            f"is {high:+.1f} points throughout"
            if f"{low:+.1f}" == f"{high:+.1f}"
            else f"lies between {low:+.1f} (at {part['change'].idxmin():.3g}) and {high:+.1f} "
            f"points (at {part['change'].idxmax():.3g})"
        )
        told.append(f"by {what} the change {span}, {clear} of {len(part)} intervals without zero")
    return f"{told[0][0].upper()}{told[0][1:]}; {told[1]}."


def eah_settings_table(
    settings: Mapping[str, EAH], rows: pd.DataFrame, published_even: Mapping[str, float]
) -> Table:
    """Every setting with the sinks it finds, beside those of even attention.

    Args:
        settings: By name, EAH in one layer each.
        rows: Rows of :func:`infoflow.evaluate.sinks.sink_density_by_head` with their thresholds.
        published_even: By setting, the share of sinks that even attention would have in the
            paper's model, from 0 to 1; left out where the threshold is not the published one.
    """
    lines = {}
    for name, setting in settings.items():
        (layer,) = setting.layers
        at = rows[np.isclose(rows["beta"], setting.beta, rtol=1e-9) & (rows["layer"] == layer + 1)]
        densest = at.groupby("item")["density"].max().mean()
        even = published_even.get(name)
        lines[name] = {
            "layer, from 0": str(layer),
            "beta": f"{setting.beta:.4g}",
            "even attention in the paper's model: sinks": "-" if even is None else percent(even),
            "even attention here: sinks": percent(at["even"].mean()),
            "mean head": percent(at["density"].mean()),
            "densest head": percent(densest),
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("setting")
    idle = [name for name, line in lines.items() if line["mean head"] == percent(1)]
    told = ", ".join(f"{name} {percent(share)}" for name, share in published_even.items())
    return Table(
        data,
        "Settings and the share of image tokens that are sinks by them. Even attention, which "
        f"favours no token, would have in the paper's model: {told}. Settings by which every token "
        f"is a sink in every head here, so that none is picked out: {', '.join(idle) or 'none'}.",
    )


def eah_effects_table(
    published: Mapping[str, Any],
    measured: Mapping[tuple[str, str], tuple[float, float]],
    paper_model: str,
    model: str,
) -> Table:
    """Every account of EAH's effect, by the authors and by others, beside ours.

    Args:
        published: ``eah`` of the paper's values.
        measured: Our metrics, intact and under EAH, from 0 to 1, by task and metric.
        paper_model: The model whose rows stand beside ours.
        model: Name of our model.
    """
    accounts = list(dict.fromkeys((e["by"], e["method"]) for e in published["effects"]))
    heads = {account: _account(*account) for account in accounts}
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for entry in published["effects"]:
        ours = measured.get((entry["task"], entry["metric"]))
        row = lines.setdefault((entry["model"], _metric(entry["task"], entry["metric"])), {})
        row[heads[entry["by"], entry["method"]]] = _printed(entry)
        row["ours, on the benchmark"] = NOT_RUN
        row[f"ours, {model}"] = "-"
        if entry["model"] == paper_model:
            row[f"ours, {model}"] = _ours(ours)
    models = list(dict.fromkeys(name for name, _ in lines))
    lines = dict(sorted(lines.items(), key=lambda line: models.index(line[0][0])))
    columns = [*heads.values(), "ours, on the benchmark", f"ours, {model}"]
    data = pd.DataFrame(
        [{name: row.get(name, "-") for name in columns} for row in lines.values()],
        index=pd.Index([f"{name}: {metric}" for name, metric in lines], name="metric"),
    )
    return Table(data, _effects_told(published["effects"], measured, model), comparison=True)


def _account(by: str, method: str) -> str:
    return f"paper's authors, {method}" if by == "authors" else f"re-run by others, {method}"


def _metric(task: str, metric: str) -> str:
    return metric if metric.startswith(TASK_TITLES[task]) else f"{TASK_TITLES[task]} {metric}"


def _printed(entry: Mapping[str, Any]) -> str:
    spread = f" ± {entry['spread']}" if "spread" in entry else ""
    return f"{_pair(entry['before'], entry['after'], 2)}{spread}"


def _ours(scores: tuple[float, float] | None) -> str:
    return NOT_RUN if scores is None else _pair(100 * scores[0], 100 * scores[1], 1)


def _pair(before: float, after: float, digits: int) -> str:
    return f"{before:.{digits}f} to {after:.{digits}f}"


def _effects_told(
    effects: Sequence[Mapping[str, Any]],
    measured: Mapping[tuple[str, str], tuple[float, float]],
    model: str,
) -> str:
    """The change of each metric in points, account by account."""
    told = []
    for task, metric in dict.fromkeys((e["task"], e["metric"]) for e in effects):
        changes = {"authors": [], "others": []}  # type: dict[str, list[str]]
        for e in effects:
            if (e["task"], e["metric"]) == (task, metric):
                changes[e["by"]].append(f"{e['after'] - e['before']:+.2f}")
        parts = [f"{by} {', '.join(found)}" for by, found in changes.items() if found]
        if (task, metric) in measured:
            before, after = measured[task, metric]
            parts.append(f"{model} {100 * (after - before):+.1f}")
        told.append(f"{_metric(task, metric)}: {'; '.join(parts)}")
    return f"EAH's effect (%), intact to changed. Change in points: {'. '.join(told)}."
