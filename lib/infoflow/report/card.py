"""The model card's figure and tables: scores by kind with intervals, bars, and two seeds."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoflow.report.display import Plot, Table
from infoflow.report.style import (
    COLOURS,
    HOUSE_STYLE,
    SCORE_NAMES,
    TASK_TITLES,
    WIDTH,
    count_layers,
    task_panels,
)
from infoflow.stats.intervals import mean_interval

Rows = Mapping[str, pd.DataFrame]


def kind_scores(rows: Rows, seed: int) -> pd.DataFrame:
    """Mean scores by task and kind, intact and with no image, with 95 % intervals.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.truncation.truncation_by_cut`.
        seed: Seed of the bootstrap.

    Returns:
        One row a kind (index: task, kind; kind ``"all"`` for the task) with ``items`` and, in
        percent, ``score``, ``low``, ``high``, ``blind``, ``blind_low``, ``blind_high``.
    """
    lines = {}
    for task, frame in rows.items():
        whole = frame.assign(kind="all")
        groups = [whole] if frame["kind"].nunique() == 1 else [whole, frame]
        for kind, group in pd.concat(groups).groupby("kind", sort=False):
            intact = group.loc[group["cut"] == group["cut"].max(), "score"]
            blind = group.loc[group["cut"] == 0, "score"]
            lines[TASK_TITLES[task], str(kind)] = {
                "items": len(intact),
                **_in_percent(("score", "low", "high"), intact, seed),
                **_in_percent(("blind", "blind_low", "blind_high"), blind, seed),
            }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(["task", "kind"])


def _in_percent(names: tuple[str, str, str], scores: pd.Series, seed: int) -> dict[str, float]:
    values = (scores.mean(), *mean_interval(scores.to_numpy(), seed))
    return {name: 100 * float(value) for name, value in zip(names, values, strict=True)}


def kind_plot(scores: pd.DataFrame, model: str) -> Plot:
    """Plot scores by kind, intact and with no image.

    Args:
        scores: Of :func:`kind_scores`.
        model: Name of the model.
    """
    places = np.arange(len(scores))
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 0.34 * len(scores) + 1.1))
        axes = figure.subplots()
        for text, (name, low, high), shift, colour, marker in (
            ("intact", ("score", "low", "high"), -0.13, COLOURS["ours"], "o"),
            ("no image", ("blind", "blind_low", "blind_high"), 0.13, COLOURS["baseline"], "s"),
        ):
            axes.hlines(places + shift, scores[low], scores[high], color=colour, linewidth=2)
            axes.plot(
                *(scores[name], places + shift, marker), color=colour, markersize=6, label=text
            )
        names = [_line_name(t, k) for t, k in scores.index]
        axes.set_yticks(places, names, parse_math=False)
        for label, (_, kind) in zip(axes.get_yticklabels(), scores.index, strict=True):
            label.set_fontweight("bold" if kind == "all" else "normal")
        axes.invert_yaxis()
        axes.set_xlim(-2, 102)
        axes.set_xlabel("mean score (%)")
        axes.grid(axis="x", linewidth=0.5, color="#dddddd")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=10)
    whole = scores.xs("all", level="kind")
    told = "; ".join(
        f"{task} {row['score']:.1f} % intact, {row['blind']:.1f} % with no image"
        for task, row in whole.iterrows()
    )
    counts = ", ".join(f"{int(n)} {task}" for task, n in whole["items"].items())
    return Plot(
        figure,
        f"Mean scores by task and kind: {told}.",
        f"Mean score of {model} by task and kind of item, intact (circles) and with no image "
        f"(squares), with 95 % intervals. Items of the test split: {counts}.",
        scores,
    )


def _line_name(task: str, kind: str) -> str:
    return task if kind == "all" else f"{kind}  "


def kind_table(scores: pd.DataFrame) -> Table:
    """Print the scores of :func:`kind_scores`."""
    data = pd.DataFrame(
        {
            "kind": scores.index.get_level_values("kind"),
            "items": scores["items"].astype(int).to_numpy(),
            "intact %": _with_interval(scores, "score", "low", "high"),
            "no image %": _with_interval(scores, "blind", "blind_low", "blind_high"),
            "drop, points": (scores["score"] - scores["blind"]).map("{:.1f}".format).to_numpy(),
        },
        index=pd.Index(scores.index.get_level_values("task"), name="task"),
    )
    return Table(data, "Scores by kind, with 95 % intervals over items")


def _with_interval(scores: pd.DataFrame, name: str, low: str, high: str) -> list[str]:
    return [f"{r[name]:.1f} [{r[low]:.1f}, {r[high]:.1f}]" for _, r in scores.iterrows()]


def bar_table(checks: Mapping[str, tuple[float, str, float]]) -> Table:
    """Set measured values beside the bars the model was to reach.

    Args:
        checks: By description: the value in percent, ``">="``, ``"<="`` or ``"<"``, and the bar.
    """
    reached = {
        ">=": lambda value, bar: value >= bar,
        "<=": lambda value, bar: value <= bar,
        "<": lambda value, bar: value < bar,
    }
    lines = {
        name: {
            "measured": f"{value:.1f}",
            "bar": f"{sign} {bar:g}",
            "reached": "yes" if reached[sign](value, bar) else "no",
        }
        for name, (value, sign, bar) in checks.items()
    }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("what (%)")
    return Table(data, "What was asked of the model, and what it does")


def seed_table(two_seeds: Mapping[str, Any]) -> Table:
    """How far scores and cliffs move when the model is trained again with another seed.

    Args:
        two_seeds: Content of ``second_seed.json``: under ``seeds``, by seed and task,
            ``mean_score`` (one a cut, from 0 to 1) and ``cliff`` (``cut`` and ``interval``);
            under ``items``, their number by split.
    """
    lines: dict[str, dict[str, str]] = {}
    for seed, tasks in two_seeds["seeds"].items():
        for task, result in tasks.items():
            low, high = result["cliff"]["interval"]
            line = lines.setdefault(TASK_TITLES[task], {})
            line[f"seed {seed}: intact %"] = f"{100 * result['mean_score'][-1]:.1f}"
            line[f"seed {seed}: cliff"] = f"{result['cliff']['cut']} [{low}, {high}]"
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
    counts = ", ".join(f"{n} {split}" for split, n in two_seeds["items"].items())
    return Table(data, f"Two training runs with different seeds ({counts} items a task)")


def seed_plot(two_seeds: Mapping[str, Any]) -> Plot:
    """Plot the mean score at every cut for each training seed, one panel a task.

    Args:
        two_seeds: As for :func:`seed_table`.

    Returns:
        The plot; its table holds the mean score in percent, one row a cut.
    """
    seeds = two_seeds["seeds"]
    tasks = list(next(iter(seeds.values())))
    curves = {
        TASK_TITLES[task]: pd.DataFrame(
            {
                f"seed {seed}": 100 * np.array(results[task]["mean_score"])
                for seed, results in seeds.items()
            }
        ).rename_axis("cut")
        for task in tasks
    }
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(len(tasks))
        for axes, task in zip(panels, tasks, strict=True):
            cliffs = [results[task]["cliff"] for results in seeds.values()]
            _draw_seeds(axes, curves[TASK_TITLES[task]], cliffs)
            axes.set_title(TASK_TITLES[task])
            axes.set_ylabel(f"{SCORE_NAMES[task]} (%)")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=2, fontsize=10)
    moves = {
        TASK_TITLES[task]: [results[task]["cliff"]["cut"] for results in seeds.values()]
        for task in tasks
    }
    moved = {task: max(cuts) - min(cuts) for task, cuts in moves.items()}
    told = "; ".join(f"{task} cuts {' and '.join(map(str, cuts))}" for task, cuts in moves.items())
    return Plot(
        figure,
        f"Mean score by cut for seeds {' and '.join(seeds)}, with their cliffs: {told}.",
        f"Mean score on {two_seeds['items']['test']} test items a task, for the same recipe with "
        f"seeds {' and '.join(seeds)}. {_moves(moved)} Brackets below: each seed's cliff and its "
        f"95 % interval, chosen on {two_seeds['items']['calibration']} calibration items. Upper "
        "axis: the paper's layer, cut + 1.",
        pd.concat(curves, axis="columns"),
    )


def _moves(moved: Mapping[str, int]) -> str:
    if not any(moved.values()):
        return "The cliff lies at the same cut with each seed, in every task."
    farthest = max(moved, key=lambda task: moved[task])
    cuts = "cut" if moved[farthest] == 1 else "cuts"
    return (
        f"The cliff moves with the seed in {sum(map(bool, moved.values()))} of {len(moved)} tasks, "
        f"at most by {moved[farthest]} {cuts} ({farthest})."
    )


def _draw_seeds(axes: Axes, means: pd.DataFrame, cliffs: list[Mapping[str, Any]]) -> None:
    last = int(means.index[-1])
    axes.set_ylim(-28, 108)
    axes.set_yticks(range(0, 101, 20))
    count_layers(axes, last, last, below="cut: layers that see the image")
    axes.tick_params(labelleft=True)
    for (name, curve), cliff, foot, colour, marker, line in zip(
        *(
            means.items(),
            cliffs,
            (-10, -20),
            (COLOURS["ours"], COLOURS["paper"]),
            "os",
            ("-", "--"),
        ),
        strict=True,
    ):
        axes.plot(
            means.index,
            curve,
            color=colour,
            marker=marker,
            linestyle=line,
            markersize=4,
            label=str(name),
        )
        axes.plot(cliff["interval"], (foot, foot), "-|", color=colour, markersize=7)
        axes.plot(cliff["cut"], foot, marker=marker, color=colour, markersize=5)
