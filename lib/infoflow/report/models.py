"""Truncation of several models on one page: their curves over depth, a panel a task."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns

from infoflow.claims.findings import Evidence
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.report.display import Plot
from infoflow.report.style import HOUSE_STYLE, SCORE_NAMES, TASK_TITLES, listed, task_panels

_MARKERS = "osD^vPX*"
"""A second cue beside the colour."""


def curves_by_model(evidence: Mapping[str, Evidence]) -> Plot:
    """Plot every model's mean score against the share of its layers that see the image.

    Models differ in their number of layers, so depth is counted as cut / L.

    Args:
        evidence: By model, with scores at every cut and cliffs.

    Returns:
        The plot; its table holds mean scores in percent (index: task, model, cut; column
        ``score``), with the ``depth``.
    """
    table = pd.concat([_curves(one) for one in evidence.values()])
    tasks = list(dict.fromkeys(table.index.get_level_values("task")))
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(len(tasks), panel_height=3.0)
        for axes, task in zip(panels, tasks, strict=True):
            for look, (name, one) in zip(_looks(len(evidence)), evidence.items(), strict=True):
                curve = table.xs((task, name), level=("task", "model"))
                axes.plot(curve["depth"], curve["score"], label=name, ms=3.5, lw=1.2, **look)
                cliff = one.cliffs[task].cut
                at_cliff = curve.loc[cliff]
                axes.plot(at_cliff["depth"], at_cliff["score"], ms=10, mew=1.6, mfc="none", **look)
            axes.set_ylim(-4, 108)
            axes.set_title(TASK_TITLES[task])
            axes.set_ylabel(f"{SCORE_NAMES[task]} (%)")
            axes.tick_params(labelleft=True)
        for axes in panels[-2:]:
            axes.set_xlabel("share of the layers that see the image")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=3, fontsize=9)
    return Plot(figure, _alt(evidence, tasks), _caption(evidence, tasks), table)


def _looks(n_models: int) -> Sequence[dict[str, Any]]:
    colours = sns.color_palette("colorblind", n_models).as_hex()
    marks = (_MARKERS[i % len(_MARKERS)] for i in range(n_models))
    return [{"color": c, "marker": mark} for c, mark in zip(colours, marks, strict=True)]


def _curves(evidence: Evidence) -> pd.DataFrame:
    """Mean scores of one model, in percent."""
    lines = {
        (task, evidence.model, cut): {"depth": cut / evidence.n_layers, "score": 100 * mean}
        for task, rows in evidence.cuts.items()
        for cut, mean in enumerate(scores_by_cut(rows).mean(axis=0))
    }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(["task", "model", "cut"])


def _alt(evidence: Mapping[str, Evidence], tasks: Sequence[str]) -> str:
    told = (
        f"{TASK_TITLES[task]}: "
        + ", ".join(
            f"{name} {one.cliffs[task].cut} of {one.n_layers}" for name, one in evidence.items()
        )
        for task in tasks
    )
    return f"Mean score by depth, a line a model. Cliffs, as cuts: {'; '.join(told)}."


def _caption(evidence: Mapping[str, Evidence], tasks: Sequence[str]) -> str:
    depths = {
        task: [one.cliffs[task].cut / one.n_layers for one in evidence.values()] for task in tasks
    }
    spans = listed(
        [f"{TASK_TITLES[task]} {min(d):.2f} to {max(d):.2f}" for task, d in depths.items()]
    )
    first = next(iter(evidence.values())).cliffs[tasks[0]]
    return (
        f"Mean score of {listed(list(evidence))} on {first.n_test} test items a task, against the "
        "share of their layers that see the image. Hollow mark: the cliff, chosen on "
        f"{first.n_calibration} calibration items. The cliffs lie at these depths: {spans}."
    )
