"""The vocabulary of verdicts, how a rule comes to one, and the evidence that rules go by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from infoflow.evaluate.truncation import scores_by_cut
from infoflow.stats.cliff import Cliff
from infoflow.stats.intervals import Estimate
from infoflow.stats.selection import SelectionBias, selection_bias

HOLDS, PARTLY, FAILS = "holds", "holds in part", "fails"
UNDECIDED, UNDEFINED, NOT_RUN = "undecided", "undefined", "not run"
FEWEST = 20  # items that a verdict which goes by an interval takes at least

Rows = Mapping[str, pd.DataFrame]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was measured on one model, by task; what was not is empty, its claims "not run".

    Rows are those of the measure named beside them, of test items unless said otherwise.
    """

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


class Finding(NamedTuple):
    """A verdict, and what was measured, with numbers; both by task where each task has its own."""

    verdict: str  # one of VERDICTS
    measured: str | Mapping[str, str]
    by_task: Mapping[str, str] = {}
    claim: Any = None  # that it is about, infoflow.claims.Claim


OnTask = tuple[str, str] | None
"""Verdict and measurement on one task; None where it cannot tell."""


def joined(found: Mapping[str, OnTask]) -> Finding:
    """Join what was found on several tasks."""
    known = {task: of_task for task, of_task in found.items() if of_task}
    if not known:
        return Finding(UNDECIDED, "nothing was measured that could tell")
    verdicts, measured = ({task: it[i] for task, it in known.items()} for i in (0, 1))
    return Finding(combined(verdicts.values()), measured, verdicts)


def combined(verdicts: Iterable[str]) -> str:
    """Sum up verdicts on several tasks or models: a general claim holds only if it does on each."""
    found = set(verdicts)
    if UNDEFINED in found or found == {HOLDS}:
        return UNDEFINED if UNDEFINED in found else HOLDS
    if found & {HOLDS, PARTLY}:
        return PARTLY
    return FAILS if FAILS in found else UNDECIDED


def decided(estimate: Estimate, above: float = 0.0, below: float | None = None) -> str:
    """Decide by an interval: it holds wholly above one bound, and fails wholly below another.

    Fewer than ``FEWEST`` items decide nothing: a bootstrap of few that happen to agree passes for
    certainty. Where no bound to fail below is given, it is the one to hold above.
    """
    if estimate.n_items < FEWEST:
        return UNDECIDED
    if estimate.low > above:
        return HOLDS
    return FAILS if estimate.high < (above if below is None else below) else UNDECIDED
