"""Simignore's figures and tables: how many tokens to hide, which ones, and what was published."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoflow.report.display import NOT_RUN, Plot, Table
from infoflow.report.interventions import compare_arms
from infoflow.report.style import COLOURS, HOUSE_STYLE, TASK_TITLES, WIDTH, percent
from infoflow.stats.paired import mcnemar_of_counts

HIDDEN = {"most": "least", "ends": "intermediate", "random": "random", "least": "most"}
"""What is hidden, in the paper's words, by the order in which Simignore keeps tokens."""
_MARKS = {"least": "o", "intermediate": "D", "random": "^", "most": "s"}
_COLOURS = {
    "least": COLOURS["ours"],
    "intermediate": COLOURS["baseline"],
    "random": COLOURS["control"],
    "most": COLOURS["cliff"],
}
_WORDS = {"least": "least similar", "most": "most similar"}

_APART = 2.5
"""Points of the axis between marks that would lie on each other."""

Measured = Mapping[tuple[str, int], pd.DataFrame]
"""By order of keeping and number of tokens hidden, rows of answers on the same items."""


def ignored_curve(
    measured: Measured,
    intact: pd.DataFrame,
    n_image: int,
    published: Mapping[str, Any],
    model: str,
    task: str,
    seed: int = 0,
) -> Plot:
    """Plot the change of the score against the share of image tokens hidden, ours and published.

    Args:
        measured: The answers, by order and number of tokens hidden.
        intact: The intact model's answers.
        n_image: Image tokens of our model.
        published: ``simignore`` of the paper's values.
        model: Name of the model, for the caption.
        task: The task.
        seed: Seed of the bootstrap, for scores that are not 0 or 1.

    Returns:
        The plot; its table holds, in percent and points, ``score``, ``change``, ``low`` and
        ``high`` (90 % interval, ours only) by ``whose``, ``hidden`` (which tokens) and ``share``.
    """
    ours = _our_points(measured, intact, n_image, seed)
    table = pd.concat({"ours": ours, "paper": _paper_points(published)}, names=["whose"])
    titles = {"ours": model, "paper": f"paper, {published['gains'][0]['model']}"}
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 3.6))
        panels = figure.subplots(1, 2)
        for axes, (whose, title) in zip(panels, titles.items(), strict=True):
            _draw_points(axes, pd.DataFrame(table.xs(whose)), title)
        panels[0].set_ylabel("change of the score (points)")
        figure.supxlabel("image tokens hidden (%)", fontsize=10)
        panels[1].legend(title="hidden tokens", loc="lower left", fontsize=9, title_fontsize=9)
    n_items = len(intact)
    return Plot(
        figure,
        f"Change of the score by share of hidden image tokens. {_curve_told(table)}",
        f"Score on {n_items} items of {TASK_TITLES[task]} less the intact model's "
        f"({percent(intact['score'].mean())}), when that share of the image tokens is hidden from "
        f"all layers: {model}, with 90 % intervals paired by item; right, on another scale, the "
        f"published values on {TASK_TITLES[published['task']]}, which come without intervals. "
        f"{_curve_told(table)}",
        table,
    )


def _our_points(measured: Measured, intact: pd.DataFrame, n_image: int, seed: int) -> pd.DataFrame:
    lines = {}
    for (order, n_ignored), rows in sorted(measured.items(), key=lambda item: item[0][1]):
        found = compare_arms(intact, rows, margin=1.0, seed=seed)
        low, high = found.equivalence.interval
        lines[HIDDEN[order], 100 * n_ignored / n_image] = {
            "score": 100 * found.score,
            "change": 100 * found.equivalence.difference,
            "low": 100 * low,
            "high": 100 * high,
        }
    table = pd.DataFrame.from_dict(lines, orient="index")
    table.index = pd.MultiIndex.from_tuples(list(lines), names=["hidden", "share"])
    return table


def _paper_points(published: Mapping[str, Any]) -> pd.DataFrame:
    n_image, baseline = published["n_image"], published["gains"][0]["baseline"]
    scores = {("least", entry["ignored"]): entry["accuracy"] for entry in published["ignored"]}
    which = published["which"]
    scores |= {(hidden, which["ignored"]): score for hidden, score in which["accuracy"].items()}
    index = [(hidden, 100 * ignored / n_image) for hidden, ignored in scores]
    return pd.DataFrame(
        {"score": list(scores.values()), "change": [s - baseline for s in scores.values()]},
        index=pd.MultiIndex.from_tuples(index, names=["hidden", "share"]),
    )


def _draw_points(axes: Axes, table: pd.DataFrame, title: str) -> None:
    axes.axhline(0, color=COLOURS["baseline"], linewidth=0.8)
    for place, hidden in enumerate(name for name in _MARKS if name in table.index.unique("hidden")):
        part, colour = table.loc[hidden], _COLOURS[hidden]
        is_curve = hidden == "least"
        share = part.index + (0 if is_curve else _APART * (place - 2))
        style = {"marker": _MARKS[hidden], "color": colour, "markersize": 5, "zorder": 3}
        line = "-" if is_curve else "none"
        axes.plot(share, part["change"], linestyle=line, label=_WORDS.get(hidden, hidden), **style)
        if "low" not in part or part["low"].isna().all():
            continue
        if is_curve:
            axes.fill_between(share, part["low"], part["high"], color=colour, alpha=0.18, lw=0)
        else:
            axes.vlines(share, part["low"], part["high"], color=colour, linewidth=1)
    axes.set_xlim(0, 103)
    axes.set_title(title)


def _curve_told(table: pd.DataFrame) -> str:
    """The best share and the end of the curve, ours and the paper's."""
    told = []
    for whose in ("ours", "paper"):
        curve = table.loc[whose].loc["least"]["change"].sort_index()
        told.append(
            f"{whose}: best with {curve.idxmax():.0f} % hidden ({curve.max():+.1f} points), "
            f"{curve.iloc[-1]:+.1f} with {curve.index[-1]:.0f} %"
        )
    return f"Least similar tokens hidden, {'; '.join(told)}."


def which_ignored_table(
    measured: Measured,
    intact: pd.DataFrame,
    n_image: int,
    published: Mapping[str, Any],
    paper_model: str,
    model: str,
    task: str,
) -> Table:
    """Which tokens to hide: the paper's four choices beside ours, at every share measured.

    Args:
        measured: The answers, by order and number of tokens hidden.
        intact: The intact model's answers.
        n_image: Image tokens of our model.
        published: ``simignore`` of the paper's values.
        paper_model: The model they are about.
        model: Name of our model.
        task: The task.
    """
    which = published["which"]
    share = which["ignored"] / published["n_image"]
    counts = sorted({n for order, n in measured if order == "random"})
    data = pd.DataFrame(
        {
            f"paper, {paper_model}: {percent(share)} hidden": [
                f"{which['accuracy'][hidden]:.2f}" for hidden in HIDDEN.values()
            ],
            f"ours, {paper_model} on the benchmark": NOT_RUN,
        },
        index=pd.Index([_WORDS.get(h, h) for h in HIDDEN.values()], name="hidden tokens"),
    )
    spreads = []
    for n_ignored in counts:
        found = [measured.get((order, n_ignored)) for order in HIDDEN]
        scores = [NOT_RUN if rows is None else 100 * rows["score"].mean() for rows in found]
        column = f"ours, {model}: {percent(n_ignored / n_image)} hidden"
        data[column] = [s if isinstance(s, str) else f"{s:.1f}" for s in scores]
        known = [s for s in scores if not isinstance(s, str)]
        spreads.append(f"{max(known) - min(known):.1f} at {percent(n_ignored / n_image)}")
    printed = which["accuracy"].values()
    caption = (
        f"Score by which image tokens are hidden, {TASK_TITLES[task]}, {len(intact)} items (intact "
        f"{percent(intact['score'].mean())}). Points between the best choice and the worst: "
        f"{max(printed) - min(printed):.2f} in the paper, here {' and '.join(spreads)}."
    )
    return Table(data, caption, comparison=True)


def entries_table(ignored: pd.DataFrame, names: Sequence[str], task: str) -> Table:
    """How many tokens K best entries leave in sight, beside a walk to K tokens.

    Args:
        ignored: Rows of :func:`infoflow.evaluate.interventions.tokens_ignored`.
        names: What each choice is, in the order of their numbers.
        task: The task.
    """
    rows = ignored.assign(kept=ignored["n_image"] - ignored["n_ignored"])
    groups = rows.groupby("choice")
    kept = groups["kept"].agg(["mean", "min", "max"])
    data = pd.DataFrame(
        {
            "K": groups["keep"].first().to_numpy(),
            "tokens in sight, mean": kept["mean"].map("{:.1f}".format).to_numpy(),
            "least": kept["min"].to_numpy(),
            "most": kept["max"].to_numpy(),
            "of": groups["n_image"].first().to_numpy(),
        },
        index=pd.Index(names, name="choice"),
    )
    told = ", ".join(f"{n}: {mean:.1f}" for n, mean in zip(names, kept["mean"], strict=True))
    n_items = ignored["item"].nunique()
    return Table(
        data, f"Image tokens in sight, mean of {n_items} items of {TASK_TITLES[task]}. {told}."
    )


def simignore_paper_table(
    arms: Mapping[str, pd.DataFrame],
    published: Mapping[str, Any],
    paper_model: str,
    model: str,
) -> Table:
    """The published gain beside ours, arm by arm.

    Args:
        arms: Our answers: ``none``, ``mask``, ``FastV`` and ``both``, in this order.
        published: ``simignore`` of the paper's values.
        paper_model: The model whose gain to show.
        model: Name of our model.
    """
    gain = next((g for g in published["gains"] if g["model"] == paper_model), None)
    first, *_, last = arms
    printed = dict.fromkeys(arms, "not printed")
    if gain is not None:
        printed |= {first: f"{gain['baseline']:.2f}", last: f"{gain['simignore']:.2f}"}
    data = pd.DataFrame(
        {
            f"paper, {paper_model}": printed,
            f"ours, {paper_model} on the benchmark": dict.fromkeys(arms, NOT_RUN),
            f"ours, {model}": {
                name: f"{100 * rows['score'].mean():.1f}" for name, rows in arms.items()
            },
        }
    ).rename_axis("arm")
    caption = (
        f"{TASK_TITLES[published['task']]} accuracy (%). The paper's gain was measured with both "
        f"methods at work, so it stands in the row “{last}”."
    )
    return Table(data, caption, comparison=True)


def stored_predictions_table(published: Mapping[str, Any]) -> Table:
    """The published gain item by item: McNemar's test of the counts, and the stock scores.

    Args:
        published: ``simignore`` of the paper's values.
    """
    stock = {entry["model"]: entry["accuracy"] for entry in published["stock"]}
    lines, told = {}, []
    for entry in published["stored"]:
        n_items, right = entry["n_items"], entry["right"]
        test = mcnemar_of_counts(entry["lost"], entry["gained"], n_items)
        lines[entry["model"]] = {
            "paper: right before": f"{right['baseline']} of {n_items}",
            "paper: right after": f"{right['simignore']} of {n_items}",
            "paper: lost, gained": f"{test.lost}, {test.gained}",
            "McNemar p": f"{test.p_value:.1g}",
            "before %": f"{100 * right['baseline'] / n_items:.2f}",
            "after %": f"{100 * right['simignore'] / n_items:.2f}",
            "makers' own score %": f"{stock[entry['model']]:.1f}",
        }
        gap = 100 * right["baseline"] / n_items - stock[entry["model"]]
        told.append(f"{entry['model']}: p = {test.p_value:.1g}, baseline {gap:+.2f} points")
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("model")
    caption = (
        "The predictions stored with the paper's code, put to McNemar's test, and their baseline "
        f"against the score of the model's makers. {'; '.join(told)}."
    )
    return Table(data, caption, comparison=True)
