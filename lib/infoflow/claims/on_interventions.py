"""Claims of the sister papers, decided from answers with and without their methods."""

import pandas as pd

from infoflow.claims.findings import (
    Check,
    Evidence,
    Finding,
    by_task,
    decided,
)
from infoflow.claims.on_truncation import MARGIN, points
from infoflow.claims.scores import ratios
from infoflow.stats.paired import Equivalence, equivalence

NONE, MASK, BROADCAST = "none", "Simignore alone", "EAH as printed"
"""Names of the arms in the evidence."""


def _paired(evidence: Evidence, arm: str, task: str, metric: str) -> Equivalence:
    before, after = (_parts(metric, evidence.arms[name][task]) for name in (NONE, arm))
    return equivalence(before, after, MARGIN)


def _parts(metric: str, rows: pd.DataFrame) -> pd.Series:
    return pd.Series(ratios(metric, rows.sort_values("item")).above)


def _mask_helps(evidence: Evidence) -> Finding:
    found = {}
    for task in evidence.arms.get(MASK, {}):
        change = _paired(evidence, MASK, task, "accuracy")
        found[task] = (points(change), decided(change.interval, change.n_items, above=0.0))
    return by_task(found)


def _broadcast(evidence: Evidence) -> Finding:
    found = {}
    arms = evidence.arms.get(BROADCAST, {})
    if "chair" in arms:
        change = _paired(evidence, BROADCAST, "chair", "CHAIRs")
        fewer = decided((-change.interval[1], -change.interval[0]), change.n_items, above=0.0)
        found["chair"] = (f"CHAIRs {points(change)}", fewer)
    if "pope" in arms:
        change = _paired(evidence, BROADCAST, "pope", "accuracy")
        no_worse = decided(change.interval, change.n_items, above=-MARGIN, below=0.0)
        found["pope"] = (f"accuracy {points(change)}", no_worse)
    return by_task(found)


CHECKS = {
    "simignore-alone": Check(
        "ScienceQA, with the same share of image tokens masked as in the released settings and "
        "nothing else: holds if the 90 % interval of the paired difference is above 0, fails if it "
        "is below.",
        _mask_helps,
    ),
    "eah-measured": Check(
        "With the layer and threshold of the README: on captions, CHAIRs falls (90 % interval of "
        "the paired difference below 0; fails if above); on POPE, a loss of accuracy of "
        f"{100 * MARGIN:g} points or more is ruled out (fails if a loss is shown).",
        _broadcast,
    ),
}
