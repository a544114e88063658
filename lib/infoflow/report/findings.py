"""What was found about the papers' claims, as a table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from infoflow.report.display import NOT_RUN, Table
from infoflow.report.style import TASK_TITLES

Findings = Mapping[str, Sequence[Any]]
"""By model, or by where else they come from, findings about the same claims: each with ``claim``,
``verdict``, ``measured`` and ``by_task`` (``infoflow.claims.Finding``)."""


def finding_table(findings: Findings, title: str) -> Table:
    """Set claims, and where they stand, beside what was found on each model, and the verdicts."""
    lines = {}
    for about_one in zip(*findings.values(), strict=True):
        claim = about_one[0].claim
        line = {"paper: place": claim.where, "paper: evidence": claim.evidence}
        for name, finding in zip(findings, about_one, strict=True):
            line[f"verdict, {name}"] = finding.verdict
            line[f"ours, {name}"] = finding_words(finding)
        lines[claim.claim] = line
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("claim")
    untold = [f"ours, {name}" for name in findings if set(data[f"ours, {name}"]) == {NOT_RUN}]
    counts = "; ".join(f"{name}: {verdict_counts(found)}" for name, found in findings.items())
    return Table(data.drop(columns=untold), f"{title}. {counts}", comparison=True)


def finding_words(finding: Any) -> str:
    """What was measured for a claim, task by task, with the verdicts where they differ."""
    if isinstance(finding.measured, str):
        return str(finding.measured)
    differ = len(set(finding.by_task.values())) > 1
    return "; ".join(
        f"{TASK_TITLES[task]} {f'{finding.by_task[task]}: ' if differ else ''}{words}"
        for task, words in finding.measured.items()
    )


def verdict_counts(findings: Sequence[Any]) -> str:
    """How many claims have each verdict, in words."""
    counts = Counter(finding.verdict for finding in findings)
    plurals = {"holds": "hold", "holds in part": "hold in part", "fails": "fail"}
    names = (*plurals, "undecided", "undefined", NOT_RUN)
    return ", ".join(f"{counts[name]} {plurals.get(name, name)}" for name in names if counts[name])
