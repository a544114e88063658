"""Table 1: the intact model against truncation at the cliff, the paper's numbers and ours."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from infoflow.claims.arithmetic import most_changes, standard_error
from infoflow.claims.findings import Evidence
from infoflow.claims.paper import is_twin
from infoflow.claims.scores import LOWER_IS_BETTER, METRICS, PairedScore
from infoflow.report.display import NOT_RUN, Plot, Table
from infoflow.report.style import COLOURS, HOUSE_STYLE, TASK_TITLES, WIDTH, listed

Scores = Mapping[str, Sequence[PairedScore]]
"""Paired scores by model."""

Paper = Mapping[str, Any]

_NAMES = {"accuracy": "accuracy", "f1": "F1"}


def score_name(task: str, metric: str) -> str:
    """Name a score for reading."""
    return f"{TASK_TITLES[task]} {_NAMES.get(metric, metric)}"


def table1_table(
    paper: Paper,
    ours: Scores,
    benchmark: Scores,
    wholes: Mapping[str, Mapping[str, int | None]] | None = None,
) -> Table:
    """The paper's Table 1, row by row, with our models on Shapes and on the benchmarks.

    Args:
        paper: The paper's values.
        ours: By model, scores on Shapes. A zoo model stands in the row of the model whose
            architecture it has: ``tiny-llava-1.5`` beside ``llava-1.5-7b``.
        benchmark: By model, scores on the paper's benchmarks, as far as they were run.
        wholes: By model and task, how many items the benchmark has, of which a run may have taken
            only the first; None where that is not known.
    """
    lines = []
    for row in paper["table1"]:
        stored, of_all = benchmark.get(row["model"], ()), (wholes or {}).get(row["model"], {})
        for task, metrics in METRICS.items():
            for metric in metrics:
                printed = printed_pair(row["scores"].get(task, {}), metric)
                here = [name for name in ours if is_twin(name, row["model"])]
                line = {
                    "model": row["printed"],
                    "score": score_name(task, metric),
                    "paper: intact": _printed(printed, "baseline"),
                    "paper: at cliff": _printed(printed, "cliff"),
                    "7B on the benchmark": _run(stored, task, metric, of_all.get(task)),
                    "ours on Shapes": " | ".join(
                        _pair(ours[name], task, metric, name) for name in here
                    )
                    or NOT_RUN,
                }
                if printed or here or line["7B on the benchmark"] != NOT_RUN:
                    lines.append(line)
    data = pd.DataFrame(lines).set_index("model")
    shown = listed(
        [f"{name} ({next(iter(s)).change.n_items} items a task)" for name, s in ours.items()]
    )
    caption = (
        f"Intact model to truncated at the cliff (%). Ours: {shown or NOT_RUN}; the cliff is "
        "chosen on as many other items. CHAIRs and CHAIRi: less is better; recall keeps silence "
        "from winning. A dash stands where the paper prints nothing."
    )
    return Table(data, caption, comparison=True)


def printed_pair(scores: Mapping[str, Any], metric: str) -> Mapping[str, float] | None:
    """Find what Table 1 prints for a metric; captions have one value, of the label printed."""
    if "value" in scores:
        return scores["value"] if metric == f"CHAIR{scores['printed_label']}" else None
    return scores.get(metric)


def _printed(pair: Mapping[str, float] | None, when: str) -> str:
    return f"{pair[when]:.2f}" if pair else "-"


def _pair(scores: Sequence[PairedScore], task: str, metric: str, name: str) -> str:
    found = _found(scores, task, metric)
    return f"{name}: {_told(found)}" if found else NOT_RUN


def _run(scores: Sequence[PairedScore], task: str, metric: str, whole: int | None) -> str:
    """Tell a score on the benchmark itself, of how many of its items."""
    found = _found(scores, task, metric)
    if found is None:
        return NOT_RUN
    n_items = found.change.n_items
    if whole is None or n_items >= whole:
        return f"{_told(found)} (n = {n_items})"
    return f"{_told(found)} (first {n_items} of {whole})"


def _found(scores: Sequence[PairedScore], task: str, metric: str) -> PairedScore | None:
    return next((s for s in scores if (s.task, s.metric) == (task, metric)), None)


def _told(score: PairedScore) -> str:
    return f"{100 * score.intact:.1f} to {100 * score.truncated:.1f}"


def table1_rules(evidence: Mapping[str, Evidence]) -> Table:
    """How our numbers were made: in whose words was asked, and which rule read the answers.

    Args:
        evidence: What the numbers rest on, by model.
    """
    lines = []
    for model, found in evidence.items():
        for task, rows in found.cuts.items():
            key = rows.attrs["record"]["key"]
            source, _, wording = key["source"].partition(", worded ")
            lines.append(
                {
                    "model": model,
                    "task": TASK_TITLES[task],
                    "scoring rule": key["rule"],
                    "wording": wording or "Shapes' own",
                    "items": f"{source}, {key['split']}",
                }
            )
    return Table(
        pd.DataFrame(lines).set_index("model"),
        "Wording and rule that made our numbers; another of either is another score",
    )


def table1_tests(ours: Scores) -> Table:
    """Every score of ours with its interval, the paired change and its tests.

    Args:
        ours: By model, the scores.
    """
    lines = []
    for model, scores in ours.items():
        for s in scores:
            low, high = (100 * end for end in s.intact_interval)
            change_low, change_high = (100 * end for end in s.change.interval)
            lines.append(
                {
                    "model": model,
                    "score": score_name(s.task, s.metric),
                    "n": s.change.n_items,
                    "cliff: cut": s.cut,
                    "intact % [95 %]": f"{100 * s.intact:.1f} [{low:.1f}, {high:.1f}]",
                    "at cliff %": f"{100 * s.truncated:.1f}",
                    "change, points [90 %]": f"{100 * s.change.difference:+.1f} "
                    f"[{change_low:+.1f}, {change_high:+.1f}]",
                    "lost": s.test.lost if s.test else "-",
                    "gained": s.test.gained if s.test else "-",
                    "McNemar p": f"{s.test.p_value:.2g}" if s.test else "-",
                    "no harm": _shown(s, s.gain.unharmed),
                    "better": _shown(s, s.gain.interval[0] > 0),
                }
            )
    data = pd.DataFrame(lines).set_index("model")
    all_scores = [s for scores in ours.values() for s in scores if s.tested]
    unharmed = sum(s.gain.unharmed for s in all_scores)
    better = sum(s.gain.interval[0] > 0 for s in all_scores)
    worse = sum(s.gain.interval[1] < 0 for s in all_scores)
    margin = 100 * all_scores[0].change.margin
    caption = (
        f"Paired, on test items that had no part in choosing the cliff. Of {len(all_scores)} "
        f"scores that are means over items, {unharmed} are shown to lose less than {margin:g} "
        f"points, {better} to gain, {worse} to lose. Lost and gained count items for accuracy, "
        "captions for CHAIRs."
    )
    return Table(data, caption)


def _shown(score: PairedScore, condition: bool) -> str:
    if not score.tested:
        return "-"
    return "shown" if condition else "not shown"


def table1_gains(paper: Paper, ours: Scores) -> Plot:
    """Plot the gain of truncating at the cliff, the paper's and ours, each with its error.

    Args:
        paper: The paper's values.
        ours: By model, our scores.

    Returns:
        The plot; its table holds gain, low and high in points, by whose and score. A gain counts
        upwards for every score, so fewer hallucinations are a gain.
    """
    table = pd.concat([_paper_gains(paper), _our_gains(ours)])
    every = [score_name(task, metric) for task, metrics in METRICS.items() for metric in metrics]
    names = [name for name in every if name in table.index.get_level_values("score")]
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 0.62 * len(names) + 1.3))
        axes = figure.subplots()
        axes.axvline(0, color=COLOURS["baseline"], linewidth=0.8)
        for place, name in enumerate(names):
            part = table.xs(name, level="score")
            shifts = np.linspace(-0.3, 0.3, len(part)) if len(part) > 1 else [0.0]
            for shift, (who, row) in zip(shifts, part.iterrows(), strict=True):
                is_ours = who in ours
                colour = COLOURS["ours" if is_ours else "paper"]
                axes.hlines(place + shift, row["low"], row["high"], color=colour, linewidth=1.4)
                axes.plot(row["gain"], place + shift, "o" if is_ours else "D", color=colour, ms=5)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("gain by truncating at the cliff (points)")
        handles = [
            mpl.lines.Line2D([], [], marker=marker, color=COLOURS[whose], label=label)
            for marker, whose, label in (
                ("D", "paper", "paper, unpaired"),
                ("o", "ours", "ours, paired"),
            )
        ]
        axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    papers = table[~table.index.get_level_values("model").isin(list(ours))]
    within = int(((papers["low"] <= 0) & (papers["high"] >= 0)).sum())
    mine = table.drop(papers.index)
    scored = zip(mine.index.get_level_values("score"), mine["gain"], strict=True)
    told = "; ".join(f"{score} {gain:+.1f}" for score, gain in scored)
    return Plot(
        figure,
        f"Gains in points with their errors. Of the paper's {len(papers)} gains {within} lie "
        f"within the error of two unpaired runs. Ours: {told}.",
        "Gain by truncating at the cliff. Orange: the paper's Table 1, one diamond a model, with "
        "the 95 % interval of the difference of two independent runs of as many items as the "
        f"benchmark has: {within} of {len(papers)} include 0. Blue: {listed(list(ours))}, paired "
        "by item, 90 % interval. Paired answers of the paper's models might tell more; they "
        "were not published.",
        table,
    )


def _paper_gains(paper: Paper) -> pd.DataFrame:
    lines = {}
    for row in paper["table1"]:
        for task, metrics in METRICS.items():
            for metric in metrics:
                if pair := printed_pair(row["scores"].get(task, {}), metric):
                    sign = -1 if metric in LOWER_IS_BETTER else 1
                    gain = sign * (pair["cliff"] - pair["baseline"])
                    half = 196 * 2**0.5 * _error(pair["baseline"], paper["n_items"][task])
                    line = {"gain": gain, "low": gain - half, "high": gain + half}
                    lines[row["printed"], score_name(task, metric)] = line
    return _gain_frame(lines)


def _error(percent: float, n_items: int) -> float:
    return standard_error(percent / 100, n_items)


def _our_gains(ours: Scores) -> pd.DataFrame:
    return _gain_frame(
        {
            (model, score_name(s.task, s.metric)): {
                "gain": 100 * s.gain.difference,
                "low": 100 * s.gain.interval[0],
                "high": 100 * s.gain.interval[1],
            }
            for model, scores in ours.items()
            for s in scores
        }
    )


def _gain_frame(lines: Mapping[tuple[str, str], Mapping[str, float]]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(dict(lines), orient="index").rename_axis(["model", "score"])


def sampling_table(paper: Paper) -> Table:
    """What the paper's gains on ScienceQA come to in items, beside their sampling error.

    Args:
        paper: The paper's values.
    """
    n_items = paper["n_items"]["scienceqa"]
    lines = {}
    for row in paper["table1"]:
        pair = row["scores"]["scienceqa"]["accuracy"]
        gain = pair["cliff"] - pair["baseline"]
        net = round(gain / 100 * n_items)
        most = most_changes(net, n_items)
        lines[row["printed"]] = {
            "paper: gain, points": f"{gain:+.2f}",
            "as items": f"{net} of {n_items}",
            "standard error of one score": f"{100 * _error(pair['baseline'], n_items):.2f}",
            "significant only if": f"at most {most} answers changed" if most else "never",
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("model")
    return Table(data, "ScienceQA in Table 1: gains in items, and what would make them significant")
