"""Figures of answers without the picture: against guessing, by habit, and in several ways."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from infoflow.report.display import Plot
from infoflow.report.style import COLOURS, HOUSE_STYLE, TASK_TITLES, WIDTH, listed
from infoflow.stats.intervals import mean_interval

ALL = "all"
SIGNIFICANT = 0.05

Scores = Mapping[str, pd.DataFrame]
Rows = Mapping[str, pd.DataFrame]


def blind_plot(blind: Scores, intact: Rows, model: str) -> Plot:
    """Plot scores without the picture beside guessing and the intact model, by task and kind.

    Args:
        blind: By task, of :func:`infoflow.evaluate.blind.blind_scores`.
        intact: By task, one answer an item of the intact model.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds, in percent by task and kind, ``blind`` with ``low`` and ``high``,
        ``guess`` and ``intact``.
    """
    table = pd.concat({t: _beside(blind[t], intact[t]) for t in blind}, names=["task"])
    places = np.arange(len(table))
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 0.3 * len(table) + 1.1))
        axes = figure.subplots()
        axes.hlines(places, table["low"], table["high"], color=COLOURS["ours"], linewidth=2)
        for column, name, marker, colour, size in (
            ("guess", "best blind guess", "|", "#222222", 14),
            ("intact", "with the picture", "D", COLOURS["control"], 5),
            ("blind", "no image (cut 0)", "o", COLOURS["ours"], 6),
        ):
            axes.plot(*(table[column], places, marker), color=colour, markersize=size, label=name)
        names = [TASK_TITLES[t] if k == ALL else f"{k}  " for t, k in table.index]
        axes.set_yticks(places, names, parse_math=False)
        for label, (_, kind) in zip(axes.get_yticklabels(), table.index, strict=True):
            label.set_fontweight("bold" if kind == ALL else "normal")
        axes.invert_yaxis()
        axes.set_xlim(-2, 102)
        axes.set_xlabel("mean score (%)")
        axes.grid(axis="x", linewidth=0.5, color="#dddddd")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9.5)
    whole = {task: pd.DataFrame(table.xs(task)).loc[ALL] for task in blind}
    told = "; ".join(
        f"{TASK_TITLES[task]} {line['blind']:.1f} % blind, {line['guess']:.1f} % guessed, "
        f"{line['intact']:.1f} % intact"
        for task, line in whole.items()
    )
    counts = ", ".join(f"{f['items'][ALL]:.0f} {TASK_TITLES[t]}" for t, f in blind.items())
    return Plot(
        figure,
        f"Mean scores without the image, of guessing, and with the image: {told}.",
        f"What {model} scores with no image, with 95 % intervals (test items: {counts}), beside "
        "the best guess that ignores the picture and the intact model. "
        f"{_finding(blind)}",
        table,
    )


def _beside(blind: pd.DataFrame, intact: pd.DataFrame) -> pd.DataFrame:
    by_kind = {ALL: intact["score"].mean(), **intact.groupby("kind")["score"].mean()}
    return pd.DataFrame(
        {
            "blind": 100 * blind["score"],
            **{name: 100 * blind[name] for name in ("low", "high", "guess")},
            "intact": [100 * float(by_kind[str(kind)]) for kind in blind.index],
        },
        index=blind.index,
    )


def _finding(blind: Scores) -> str:
    above = [
        f"{TASK_TITLES[task]} ({kind})"
        for task, frame in blind.items()
        for kind in frame.index
        if frame["p_value"][kind] < SIGNIFICANT
    ]
    tested = sum(int(frame["p_value"].notna().sum()) for frame in blind.values())
    if not tested:
        return "No score here is of the kind that the test against guessing takes."
    return (
        f"Better than guessing at the {100 * SIGNIFICANT:.0f} % level, one test a line and no "
        f"correction for {tested} of them: {listed(above) or 'nowhere'}."
    )


def ways_plot(
    ways: Mapping[str, Rows], guesses: Mapping[str, float], seed: int, model: str
) -> Plot:
    """Plot scores for several meanings of "without the picture", one panel a task.

    Args:
        ways: By name of the way, then by task, one answer an item; the first is with the picture.
        guesses: By task, the best blind guess.
        seed: Seed of the bootstrap.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds, in percent, ``score``, ``low`` and ``high`` by task and way.
    """
    tasks = list(guesses)
    lines = {
        (task, way): _with_interval(rows[task]["score"], seed)
        for task in tasks
        for way, rows in ways.items()
    }
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis(["task", "way"])
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 0.28 * len(ways) * len(tasks) + 0.45 * len(tasks) + 0.3))
        panels = figure.subplots(len(tasks), 1, sharex=True, squeeze=False)[:, 0]
        for axes, task in zip(panels, tasks, strict=True):
            part, places = pd.DataFrame(table.xs(task)), np.arange(len(ways))
            colours = [COLOURS["control"], *[COLOURS["ours"]] * (len(ways) - 1)]
            axes.barh(places, part["score"], color=colours, alpha=0.85, height=0.7)
            axes.hlines(places, part["low"], part["high"], color="#222222", linewidth=1.2)
            axes.axvline(100 * guesses[task], linestyle=":", color="#222222", linewidth=1.4)
            axes.set_yticks(places, list(ways), parse_math=False)
            axes.invert_yaxis()
            axes.set_title(TASK_TITLES[task], loc="left")
        panels[-1].set_xlim(0, 102)
        panels[-1].set_xlabel("mean score (%)")
    blind = list(ways)[1:]
    told = "; ".join(f"{TASK_TITLES[task]} {_range(lines, task, list(ways))}" for task in tasks)
    return Plot(
        figure,
        f"Bars of mean scores with the picture and without it. {told}.",
        f"{len(blind)} meanings of “without the picture”, and with it: {model}, mean score and "
        f"95 % interval. Dotted: the best blind guess. {_spread(lines, tasks, blind)}",
        table,
    )


def _with_interval(scores: pd.Series, seed: int) -> dict[str, float]:
    low, high = mean_interval(scores.to_numpy(), seed)
    return {"score": 100 * float(scores.mean()), "low": 100 * low, "high": 100 * high}


def _range(lines: Mapping[Any, Mapping[str, float]], task: str, ways: list[str]) -> str:
    seen, *blind = (lines[task, way]["score"] for way in ways)
    return f"{seen:.1f} % with it, {min(blind):.1f} to {max(blind):.1f} % without"


def _spread(
    lines: Mapping[Any, Mapping[str, float]], tasks: Sequence[str], blind: list[str]
) -> str:
    told = []
    for task in tasks:
        scores = [lines[task, way]["score"] for way in blind]
        told.append(f"{max(scores) - min(scores):.1f} points on {TASK_TITLES[task]}")
    return f"The blind ways lie up to {listed(told)} apart."
