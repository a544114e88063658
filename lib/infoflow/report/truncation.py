"""The figure of truncation: score against cut, with the baseline's band and the cliff."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from infoflow.report.display import Plot, Table
from infoflow.report.style import (
    COLOURS,
    HOUSE_STYLE,
    SCORE_NAMES,
    TASK_TITLES,
    count_layers,
    listed,
    percent,
    task_panels,
)
from infoflow.stats.cliff import Cliff
from infoflow.stats.intervals import mean_interval

_FOOT = -12
"""Height of the cliff's bracket: below every score, so that no curve runs through it."""

Scores = Mapping[str, npt.NDArray[np.float64]]


def truncation_curves(
    scores: Scores, cliffs: Mapping[str, Cliff], guesses: Mapping[str, float], model: str
) -> Plot:
    """Plot the mean score at every cut, one panel a task (the paper's Figure 5).

    Args:
        scores: By task, scores of the test items, shape (M, L + 1).
        cliffs: By task, the cliff.
        guesses: By task, the best blind guess (:func:`infoflow.data.load.blind_guess`).
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds the mean score in percent, one row a cut, one column a task.
    """
    table = pd.DataFrame({task: 100 * array.mean(axis=0) for task, array in scores.items()})
    table.index.name = "cut"
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(len(scores), panel_height=3.0)
        for axes, task in zip(panels, scores, strict=True):
            _draw_curve(axes, table[task], cliffs[task], 100 * guesses[task])
            axes.set_title(TASK_TITLES[task])
            axes.set_ylabel(f"{SCORE_NAMES[task]} (%)")
    return Plot(figure, _alt(cliffs), _caption(cliffs, model), table)


def _draw_curve(axes: Axes, means: pd.Series, cliff: Cliff, guess: float) -> None:
    last = int(means.index[-1])
    axes.set_ylim(_FOOT - 10, 108)
    axes.set_yticks(range(0, 101, 20))
    count_layers(axes, last, last, below="cut: layers that see the image")
    axes.tick_params(labelleft=True)
    intact, margin = 100 * cliff.baseline, 100 * cliff.margin
    axes.axhline(intact, color=COLOURS["baseline"], linewidth=0.8)
    axes.axhspan(intact - margin, intact + margin, color=COLOURS["baseline"], alpha=0.25, lw=0)
    axes.axhline(guess, linestyle=":", color=COLOURS["baseline"], linewidth=1.4)
    axes.annotate(
        "blind guess",
        (last, guess),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color="#595959",
        fontsize=9,
    )
    axes.plot(means.index, means, "-o", color=COLOURS["ours"], markersize=4)
    axes.plot(
        *(cliff.best, 100 * cliff.best_score),
        marker="D",
        markersize=8,
        markerfacecolor="none",
        markeredgecolor=COLOURS["paper"],
        markeredgewidth=1.8,
        linestyle="none",
    )
    _draw_cliff(axes, cliff, last)


def _draw_cliff(axes: Axes, cliff: Cliff, last: int) -> None:
    """A line at the cliff, a bracket for its interval, and its name on the side with room."""
    axes.axvline(cliff.cut, color=COLOURS["cliff"], linewidth=1.4)
    axes.plot(cliff.interval, (_FOOT, _FOOT), "-|", color=COLOURS["cliff"], markersize=9)
    to_right = cliff.cut < last / 2
    axes.annotate(
        f"cliff {cliff.cut} [{cliff.interval[0]}, {cliff.interval[1]}]",
        (cliff.interval[1] if to_right else cliff.interval[0], _FOOT),
        xytext=(6 if to_right else -6, 0),
        textcoords="offset points",
        ha="left" if to_right else "right",
        va="center",
        color=COLOURS["cliff"],
        fontsize=9,
    )


def _alt(cliffs: Mapping[str, Cliff]) -> str:
    told = "; ".join(
        f"{TASK_TITLES[task]} cut {c.cut} [{c.interval[0]}, {c.interval[1]}], "
        f"{percent(c.score)} against {percent(c.baseline)} intact"
        for task, c in cliffs.items()
    )
    return f"Mean score by cut, with the cliff of each task: {told}."


def _caption(cliffs: Mapping[str, Cliff], model: str) -> str:
    one = next(iter(cliffs.values()))
    return (
        f"Mean score on the test split ({one.n_test} items a task) when the image is removed from "
        f"every layer above the cut: {model}. Grey band: the intact score give or "
        "take the margin. Red line and bracket: the cliff and its 95 % interval, chosen on "
        f"{one.n_calibration} calibration items. Orange diamond: the paper's reading, the best cut "
        "on the test items themselves. Dotted: the best guess without the picture. Upper axis: the "
        "paper's layer, cut + 1."
    )


def log_prob_curves(
    log_probs: Scores, cliffs: Mapping[str, Cliff], by_score: Mapping[str, Cliff], model: str
) -> Plot:
    """Plot how probable the reference answer is at every cut, one panel a task.

    Args:
        log_probs: By task, log-probabilities per token of the test items, shape (M, L + 1)
            (:func:`infoflow.evaluate.truncation.log_probs_per_token`).
        cliffs: By task, the cliff of the log-probability.
        by_score: By task, the cliff of the score.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds the mean with its 95 % interval, by task and cut.
    """
    table = pd.concat({task: _with_interval(x) for task, x in log_probs.items()}, names=["task"])
    lowest = float(table["low"].min())
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(len(log_probs))
        for axes, task in zip(panels, log_probs, strict=True):
            axes.set_ylim(1.08 * lowest, -0.06 * lowest)
            _draw_log_probs(axes, pd.DataFrame(table.xs(task)), cliffs[task], by_score[task])
            axes.set_title(TASK_TITLES[task])
        figure.supylabel("log-probability of the reference (nats per token)", fontsize=10)
    told = "; ".join(
        f"{TASK_TITLES[task]} {x.mean(0)[0]:.2f} without the image, {x.mean(0)[-1]:.2f} intact, "
        f"cliff {cliffs[task].cut}"
        for task, x in log_probs.items()
    )
    return Plot(
        figure,
        f"Mean log-probability per token by cut: {told}.",
        "Mean log-probability of the reference answer at every cut, read in, not decoded: "
        f"{model}, {next(iter(cliffs.values())).n_test} test items a task. Band: 95 % interval of "
        "the mean. Red line: cliff of the log-probability; dotted: cliff of the score. "
        f"{_order_told(cliffs, by_score)}",
        table,
    )


def _with_interval(log_probs: npt.NDArray[np.float64]) -> pd.DataFrame:
    ends = [mean_interval(of_cut) for of_cut in log_probs.T]
    table = pd.DataFrame(ends, columns=["low", "high"]).rename_axis("cut")
    table.insert(0, "mean", log_probs.mean(axis=0))
    return table


def _draw_log_probs(axes: Axes, table: pd.DataFrame, cliff: Cliff, by_score: Cliff) -> None:
    last = int(table.index[-1])
    count_layers(axes, last, last, below="cut: layers that see the image")
    axes.fill_between(table.index, table["low"], table["high"], color=COLOURS["ours"], alpha=0.2)
    axes.axhline(table["mean"].iloc[-1], color=COLOURS["baseline"], linewidth=0.8)
    axes.plot(table.index, table["mean"], "-o", color=COLOURS["ours"], markersize=4)
    axes.axvline(by_score.cut, color=COLOURS["baseline"], linestyle=":", linewidth=1.4)
    axes.axvline(cliff.cut, color=COLOURS["cliff"], linewidth=1.4)
    to_right = cliff.cut < last / 2
    axes.annotate(
        f"cliff {cliff.cut} [{cliff.interval[0]}, {cliff.interval[1]}]",
        (cliff.cut, 0.04),
        xycoords=("data", "axes fraction"),
        xytext=(5 if to_right else -5, 0),
        textcoords="offset points",
        ha="left" if to_right else "right",
        color=COLOURS["cliff"],
        fontsize=9,
    )


def _order_told(cliffs: Mapping[str, Cliff], by_score: Mapping[str, Cliff]) -> str:
    """Say where the two kinds of cliff agree."""
    names = {
        "deeper": [t for t, c in cliffs.items() if c.cut > by_score[t].cut],
        "shallower": [t for t, c in cliffs.items() if c.cut < by_score[t].cut],
        "the same": [t for t, c in cliffs.items() if c.cut == by_score[t].cut],
    }
    told = [f"{name} in {listed([TASK_TITLES[t] for t in ts])}" for name, ts in names.items() if ts]
    return f"Against the score's, the cliff of the log-probability is {'; '.join(told)}."


def log_prob_table(cliffs: Mapping[str, Cliff], by_score: Mapping[str, Cliff]) -> Table:
    """The cliffs of log-probability and score, and what truncation at the latter costs.

    Args:
        cliffs: By task, the cliff of the log-probability per token.
        by_score: By task, the cliff of the score.
    """
    lines = {}
    for task, c in cliffs.items():
        score = by_score[task]
        low, high = c.difference_interval
        lines[TASK_TITLES[task]] = {
            "cliff of the log-probability": f"{c.cut} [{c.interval[0]}, {c.interval[1]}]",
            "cliff of the score": f"{score.cut} [{score.interval[0]}, {score.interval[1]}]",
            "margin, nats": f"{c.margin:.3f}",
            "intact, nats": f"{c.baseline:.3f}",
            "difference at its cliff": f"{c.difference:+.3f} [{low:+.3f}, {high:+.3f}]",
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
    return Table(data, f"Cliffs of the log-probability per token. {_order_told(cliffs, by_score)}")
