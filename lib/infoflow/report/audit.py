"""The audit's figure and tables: claims, their evidence, what was found, and the verdict."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from infoflow.claims.arithmetic import ReadRows, feasible_f1, span_words
from infoflow.claims.findings import (
    FAILS,
    HOLDS,
    NEEDS_RUN,
    PARTLY,
    UNDECIDED,
    UNDEFINED,
    VERDICTS,
    Finding,
)
from infoflow.claims.on_paper import scienceqa_fits, table1_pairs
from infoflow.report.display import Plot, Table, Words
from infoflow.report.style import COLOURS, HOUSE_STYLE, TASK_TITLES, WIDTH

Claims = Sequence[Mapping[str, Any]]
Found = Mapping[str, Mapping[str, Finding]]
"""By model, findings by claim."""

_SHADES = {
    **{HOLDS: "#0173b2", PARTLY: "#8fc4e8", FAILS: "#d55e00"},
    **{UNDECIDED: "#e3e3e3", UNDEFINED: "#9e9e9e", NEEDS_RUN: "#ffffff"},
}
_LIGHT_TEXT = (HOLDS, FAILS)


def verdict_table() -> Table:
    """What each verdict means."""
    data = pd.DataFrame({"meaning": VERDICTS}).rename_axis("verdict")
    return Table(data, "The verdicts")


def rule_table(claims: Claims, checks: Mapping[str, Any]) -> Table:
    """The rule by which each claim is decided, fixed beforehand.

    Args:
        claims: Of the paper's values.
        checks: The checks by claim, each with its ``rule``.
    """
    shown = [claim for claim in claims if claim["id"] in checks]
    data = pd.DataFrame(
        {"claim": [c["claim"] for c in shown], "rule": [checks[c["id"]].rule for c in shown]},
        index=pd.Index([c["id"] for c in shown], name="name"),
    )
    return Table(data, f"The rules of {len(shown)} claims")


def claim_table(claims: Claims, found: Found, title: str, sources: Mapping[str, Any]) -> Table:
    """Claims, what their paper offers for them, what was found on each model, and the verdicts.

    Args:
        claims: Those to show.
        found: By model, or by another name for where the findings come from, the findings.
        title: What the claims are about.
        sources: ``sources`` of the paper's values.
    """
    lines = []
    for claim in claims:
        source = ",".join(sources[claim["source"]]["text"].split(",")[:2])
        line = {
            "claim": claim["claim"],
            "paper: place": f"{source}: {claim['place']}",
            "paper: evidence": claim["evidence"],
        }
        for name, findings in found.items():
            finding = findings[claim["id"]]
            line[f"ours, {name}"] = _told(finding)
            line[f"verdict, {name}"] = finding.verdict
        if claim["kind"] == "measured":
            line["verdict, the paper's models"] = NEEDS_RUN
        lines.append(line)
    data = pd.DataFrame(lines).set_index("claim")
    counts = "; ".join(
        f"{name}: {_counted([findings[c['id']] for c in claims])}"
        for name, findings in found.items()
    )
    return Table(data, f"Claims on {title}. {counts}", comparison=True)


def _told(finding: Finding) -> str:
    if isinstance(finding.measured, str):
        return finding.measured
    return "; ".join(f"{TASK_TITLES[task]} {words}" for task, words in finding.measured.items())


def _counted(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.verdict for finding in findings)
    return ", ".join(
        f"{counts[verdict]} {_plural(verdict)}" for verdict in VERDICTS if counts[verdict]
    )


def _plural(verdict: str) -> str:
    return {HOLDS: "hold", PARTLY: "hold in part", FAILS: "fail"}.get(verdict, verdict)


def verdict_grid(claims: Claims, found: Found) -> Plot:
    """Show every verdict at a glance: one row a claim, one column for each place it was tried.

    Args:
        claims: The claims.
        found: By model, the findings; a claim it lacks was not tried there.

    Returns:
        The plot; its table holds the verdicts.
    """
    table = pd.DataFrame(
        {
            name: [f[c["id"]].verdict if c["id"] in f else "" for c in claims]
            for name, f in found.items()
        },
        index=pd.Index([c["id"] for c in claims], name="claim"),
    )
    measured = [c["kind"] == "measured" for c in claims]
    table["the paper's models"] = np.where(measured, NEEDS_RUN, "")
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 0.26 * len(table) + 0.8))
        axes = figure.subplots()
        for row, (_, verdicts) in enumerate(table.iterrows()):
            for column, verdict in enumerate(verdicts):
                if verdict:
                    _cell(axes, row, column, verdict)
        axes.set_xlim(-0.5, table.shape[1] - 0.5)
        axes.set_ylim(len(table) - 0.5, -0.5)
        axes.set_yticks(range(len(table)), list(table.index), fontsize=8.5)
        axes.set_xticks(range(table.shape[1]), list(table.columns))
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    told = "; ".join(f"{name}: {_counted(list(f.values()))}" for name, f in found.items())
    return Plot(
        figure,
        f"A grid of {len(table)} claims and their verdicts. {told}.",
        f"Every claim of the audit by name, with its verdict. {told}. What the paper says of its "
        f"own models was measured for none of them here: {sum(measured)} claims need a run.",
        table,
    )


def _cell(axes: Any, row: int, column: int, verdict: str) -> None:
    axes.add_patch(
        mpl.patches.Rectangle(
            (column - 0.48, row - 0.44),
            *(0.96, 0.88),
            facecolor=_SHADES[verdict],
            edgecolor="#bbbbbb",
            linewidth=0.6,
        )
    )
    colour = "white" if verdict in _LIGHT_TEXT else "black"
    axes.text(column, row, verdict, ha="center", va="center", fontsize=8.5, color=colour)


def f1_plot(paper: Mapping[str, Any]) -> Plot:
    """Show which pairs of accuracy and F1 balanced yes/no answers can have, and Table 1's pairs.

    Args:
        paper: The paper's values.

    Returns:
        The plot; its table holds the printed pairs and the bounds of F1, in percent.
    """
    accuracies = table1_pairs(paper, "pope", "accuracy")
    f1s = table1_pairs(paper, "pope", "f1")
    lines = {}
    for model, accuracy in accuracies.items():
        for when in ("baseline", "cliff"):
            low, high = feasible_f1(accuracy[when] / 100)
            printed = {"accuracy": accuracy[when], "f1": f1s[model][when]}
            lines[f"{model}, {when}"] = {**printed, "lowest": 100 * low, "highest": 100 * high}
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("row of Table 1")
    outside = table[(table["f1"] < table["lowest"]) | (table["f1"] > table["highest"])]
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 3.6))
        axes = figure.subplots()
        grid = np.linspace(0.7, 1, 121)
        bounds = 100 * np.array([feasible_f1(value) for value in grid])
        axes.fill_between(100 * grid, *bounds.T, color=COLOURS["image"], alpha=0.25, linewidth=0)
        axes.plot(table["accuracy"], table["f1"], "D", color=COLOURS["paper"], markersize=5)
        for place, model in enumerate(sorted(accuracies, key=lambda m: accuracies[m]["cliff"])):
            last = table.loc[f"{model}, cliff"]
            # in turn below and above, so that neighbours do not cover each other
            to_right, up = ((5, -9), (-5, 7))[place % 2]
            axes.annotate(
                model,
                (last["accuracy"], last["f1"]),
                xytext=(to_right, up),
                textcoords="offset points",
                ha="left" if to_right > 0 else "right",
                fontsize=9,
            )
        axes.set_xlim(72, 100)
        axes.set_ylim(60, 101)
        axes.set_xlabel("accuracy (%)")
        axes.set_ylabel("F1 (%)")
    told = (
        "; ".join(
            f"{name} at {row['f1']:.2f}, possible is {row['lowest']:.2f} to {row['highest']:.2f}"
            for name, row in outside.iterrows()
        )
        or "none"
    )
    return Plot(
        figure,
        f"Accuracy against F1 with the region that balanced answers can reach; outside: {told}.",
        "POPE in Table 1 (diamonds: baseline and cliff of each model) against what balanced yes/no "
        f"answers can have (blue). Of {len(table)} pairs {len(outside)} lie outside: {told}.",
        table,
    )


def count_table(paper: Mapping[str, Any]) -> Table:
    """Which counts of right items each printed ScienceQA percentage can stand for.

    Args:
        paper: The paper's values.
    """
    n_items, n_all = paper["n_items"]["scienceqa"], paper["n_items"]["scienceqa_all"]
    fits = scienceqa_fits(paper)
    data = pd.DataFrame(
        {
            "paper: printed": [f"{row['printed']:.2f}" for row in fits],
            "paper: state": [row["state"] for row in fits],
            f"of {n_items} with an image": [_counts(row["of those with an image"]) for row in fits],
            f"of {n_all} in all": [_counts(row["of all"]) for row in fits],
        },
        index=pd.Index([row["model"] for row in fits], name="model"),
    )
    fitting = sum(bool(row["of those with an image"]) for row in fits)
    return Table(
        data,
        f"Right answers that print as Table 1's ScienceQA percentages: {fitting} of {len(fits)} "
        f"can be a count out of {n_items}",
        comparison=True,
    )


def _counts(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts)) or "no count"


def row_table(rows: Mapping[str, ReadRows], model: str) -> Table:
    """Which rows of the logits the released code would read on our own prompts.

    Args:
        rows: By task, the rows for one prompt of it.
        model: Name of the model.
    """
    lines = {
        TASK_TITLES[task]: {
            "rows it would read": span_words(r.read),
            "of them inside the image": str(r.inside_image),
            "rows that predict the answer": span_words(r.right),
        }
        for task, r in rows.items()
    }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("first item of")
    inside = sum(r.inside_image > 0 for r in rows.values())
    return Table(
        data,
        f"The released code's rule on prompts of {model}: on {inside} of {len(rows)} it reads "
        "inside the image",
    )


def planted_words(found: Found) -> Words:
    """What the rules say of made-up evidence.

    Args:
        found: By what was planted, the findings.
    """
    told = " ".join(
        f"With {name}: {_counted(list(findings.values()))}." for name, findings in found.items()
    )
    return Words(
        f"{told} The map of the last layer is undefined by nature where the claims are planted: no "
        "evidence could make it lit."
    )
