"""The vocabulary of verdicts, how a rule comes to one, and the evidence that rules go by."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pandas as pd

from infoflow.evaluate.truncation import scores_by_cut
from infoflow.stats.cliff import Cliff
from infoflow.stats.family import holm, interval_p_value
from infoflow.stats.intervals import Estimate
from infoflow.stats.paired import LEVEL
from infoflow.stats.selection import SelectionBias, selection_bias

HOLDS, PARTLY, FAILS = "holds", "holds in part", "fails"
UNDECIDED, UNDEFINED, NOT_RUN = "undecided", "undefined", "not run"
FEWEST = 20  # items that a verdict which goes by an interval takes at least

Rows = Mapping[str, pd.DataFrame]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Rows by task of the measures named beside them, of test items; empty: claims "not run"."""

    model: str
    n_layers: int
    cliffs: Mapping[str, Cliff] = field(default_factory=dict)  # chosen on calibration items
    cuts: Rows = field(default_factory=dict)  # truncation_by_cut
    calibration: Rows = field(default_factory=dict)  # the same of calibration items
    guesses: Mapping[str, float] = field(default_factory=dict)  # the best blind ones
    flow: Rows = field(default_factory=dict)  # flow_by_layer
    knockout: Rows = field(default_factory=dict)  # knockout_by_layer
    last_layer: Rows = field(default_factory=dict)  # last_layer_gradients
    cam: Rows = field(default_factory=dict)  # cam_by_layer; they need cliffs
    localisation: Rows = field(default_factory=dict)  # localisation_by_layer
    intact: Rows = field(default_factory=dict)  # answers, of the model as it is
    masked: Rows = field(default_factory=dict)  # answers under Simignore, with its released share
    broadcast: Rows = field(default_factory=dict)  # answers under EAH, as printed
    similarity: Rows = field(default_factory=dict)  # similarity_by_layer
    words: Rows = field(default_factory=dict)  # words_by_cut, said with the first third of layers
    frozen: Rows = field(default_factory=dict)  # frozen_by_cut

    def bias(self, task: str, seed: int = 0) -> SelectionBias | None:
        """What a task's best cut from its cliff on owes to the choice; None if there is none."""
        scores, first = scores_by_cut(self.cuts[task]), self.cliffs[task].cut
        possible = first < self.n_layers and len(scores) > 1
        return selection_bias(scores, first, seed) if possible else None


@dataclass(frozen=True)
class Decision:
    """A verdict that a test gave, with its two-sided p value and in words what was tested."""

    verdict: str
    p_value: float
    n_items: int
    tested: str


class Finding(NamedTuple):
    """A verdict, and what was measured, with numbers; both by task where each task has its own."""

    verdict: str  # one of VERDICTS
    measured: str | Mapping[str, str]
    by_task: Mapping[str, str] = {}
    claim: Any = None  # that it is about, infoflow.claims.Claim
    decisions: Mapping[str, Sequence[Decision]] = {}  # by task, where tests gave the verdict


OnTask = tuple[str | Decision | Sequence[Decision], str] | None
"""Verdict and measurement on one task; None where it cannot tell.

For the verdict may stand the test that gives it, or several, which must all be so.
"""


def joined(found: Mapping[str, OnTask]) -> Finding:
    """Join what was found on several tasks."""
    known = {task: of_task for task, of_task in found.items() if of_task}
    if not known:
        return Finding(UNDECIDED, "nothing was measured that could tell")
    verdicts: dict[str, str] = {}
    decisions: dict[str, Sequence[Decision]] = {}
    for task, (given, _) in known.items():
        if isinstance(given, str):
            verdicts[task] = given
            continue
        decisions[task] = [given] if isinstance(given, Decision) else given
        verdicts[task] = all_of(decisions[task])
    measured = {task: words for task, (_, words) in known.items()}
    return Finding(combined(verdicts.values()), measured, verdicts, decisions=decisions)


def corrected(findings: Sequence[Finding]) -> list[Finding]:
    """Judge all tests behind some findings as one family, by Holm's method.

    Returns:
        The findings with adjusted p values; a test that does not stand is undecided, and verdicts
        are summed up anew. Those that no test gave stay.
    """
    family = [d for finding in findings for of_task in finding.decisions.values() for d in of_task]
    if not family:
        return list(findings)
    adjusted = iter(holm([decision.p_value for decision in family]))

    def stands(decision: Decision) -> Decision:
        p_value = float(next(adjusted))
        verdict = decision.verdict if p_value < LEVEL else UNDECIDED
        return replace(decision, p_value=p_value, verdict=verdict)

    judged = []
    for finding in findings:
        decisions = {t: [stands(d) for d in of_task] for t, of_task in finding.decisions.items()}
        verdicts = {**finding.by_task, **{task: all_of(d) for task, d in decisions.items()}}
        verdict = combined(verdicts.values()) if decisions else finding.verdict
        judged.append(finding._replace(verdict=verdict, by_task=verdicts, decisions=decisions))
    return judged


def all_of(decisions: Sequence[Decision]) -> str:
    """Sum up what must all be so: one that fails is enough."""
    verdicts = [decision.verdict for decision in decisions]
    return FAILS if FAILS in verdicts else combined(verdicts)


def combined(verdicts: Iterable[str]) -> str:
    """Sum up verdicts on several tasks or models: a general claim holds only if it does on each."""
    found = set(verdicts)
    if UNDEFINED in found or found == {HOLDS}:
        return UNDEFINED if UNDEFINED in found else HOLDS
    if found & {HOLDS, PARTLY}:
        return PARTLY
    return FAILS if FAILS in found else UNDECIDED


def decided(estimate: Estimate, above: float = 0.0, below: float | None = None) -> Decision:
    """Decide by an interval: it holds wholly above one bound, and fails wholly below another.

    Fewer than ``FEWEST`` items decide nothing: a bootstrap of few that happen to agree passes for
    certainty. Where no bound to fail below is given, it is the one to hold above; it is never
    lower, so that of the two tests at 2.5 % one at most can err.
    """
    verdict, bound, p_value = UNDECIDED, above, 1.0
    highest = above if below is None else below
    if estimate.n_items >= FEWEST:
        if estimate.low > above:
            verdict = HOLDS
        elif estimate.high < highest:
            verdict, bound = FAILS, highest
        p_value = interval_p_value(estimate, bound)
    tested = f"{estimate:+z.3f} against {bound:+z.2f}"
    return Decision(verdict, p_value, estimate.n_items, tested)
