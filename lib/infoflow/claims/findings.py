"""What is found about a claim, by its rule, from what was measured or printed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from infoflow.claims.paper import paper_values
from infoflow.stats.cliff import Cliff
from infoflow.stats.intervals import Estimate

HOLDS, PARTLY, FAILS = "holds", "holds in part", "fails"
UNDECIDED, UNDEFINED, NOT_RUN = "undecided", "undefined", "not run"
FEWEST = 20
"""How many items a verdict that goes by an interval takes at least."""
VERDICTS = {
    HOLDS: "the rule's condition is met, on every task where there are several",
    PARTLY: "it is met on some tasks or models; on others it is not shown, or its opposite is",
    FAILS: "the opposite of the condition is shown",
    UNDECIDED: f"the items are too few to show either; fewer than {FEWEST} decide nothing",
    UNDEFINED: "the claim, as worded, cannot be put to a test, or its quantity does not exist",
    NOT_RUN: "nobody has measured here what the rule goes by",
}
"""The verdicts and what each means."""

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
    last_layer: Rows = field(default_factory=dict)  # last_layer_gradients
    cam: Rows = field(default_factory=dict)  # cam_by_layer; they need cliffs
    localisation: Rows = field(default_factory=dict)  # localisation_by_layer
    intact: Rows = field(default_factory=dict)  # answers, of the model as it is
    masked: Rows = field(default_factory=dict)  # answers under Simignore, with its released share
    broadcast: Rows = field(default_factory=dict)  # answers under EAH, as printed


class Found(NamedTuple):
    """What a rule finds: a verdict, and what was measured, where several tell by task."""

    verdict: str
    measured: str | Mapping[str, str]
    by_task: Mapping[str, str] = {}


@dataclass(frozen=True)
class Claim:
    """A claim, as ``paper_values.yml`` describes it: who says what where, on which evidence."""

    id: str
    topic: str
    pages: list[str]
    source: str
    place: str
    claim: str
    evidence: str
    rule: str

    @property
    def where(self) -> str:
        """Who says it, and the place."""
        authors = paper_values()["sources"][self.source]["text"].split(",")[:2]
        return f"{','.join(authors)}: {self.place}"

    @property
    def printed(self) -> bool:
        """Whether printed numbers alone decide it."""
        return not RULES[self.id].needs


@dataclass(frozen=True)
class Finding:
    """A claim, its verdict (one of ``VERDICTS``), and what was measured, with numbers.

    Both are told by task as well where each task has its own.
    """

    claim: Claim
    verdict: str
    measured: str | Mapping[str, str]
    by_task: Mapping[str, str]


OnTask = tuple[str, str] | None
"""Verdict and measurement on one task; None where it cannot tell."""
Find = Callable[[Any], Found]
FindOnTask = Callable[[Evidence, str], OnTask]


class Rule(NamedTuple):
    """By what a claim is decided, and which evidence it needs: none if numbers are printed."""

    needs: str
    find: Find


RULES: dict[str, Rule] = {}
"""By claim."""


def rule(claim: str, needs: str = "") -> Callable[[Find], Find]:
    """Make a function of the evidence, or without ``needs`` of the paper's values, a rule."""

    def register(find: Find) -> Find:
        RULES[claim] = Rule(needs, find)
        return find

    return register


def rule_by_task(claim: str, needs: str, *tasks: str) -> Callable[[FindOnTask], FindOnTask]:
    """Make a function of the evidence and one of its tasks a rule on all, or on those named."""

    def register(find: FindOnTask) -> FindOnTask:
        @rule(claim, needs)
        def on_all(evidence: Evidence) -> Found:
            known = [task for task in getattr(evidence, needs) if not tasks or task in tasks]
            return joined({task: find(evidence, task) for task in known})

        return find

    return register


def joined(found: Mapping[str, OnTask]) -> Found:
    """Join what was found on several tasks."""
    known = {task: of_task for task, of_task in found.items() if of_task}
    if not known:
        return Found(UNDECIDED, "nothing was measured that could tell")
    verdicts = {task: verdict for task, (verdict, _) in known.items()}
    measured = {task: words for task, (_, words) in known.items()}
    return Found(combined(verdicts.values()), measured, verdicts)


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


def all_claims() -> list[Claim]:
    """Every claim, in the order of ``paper_values.yml``."""
    return [Claim(**entry) for entry in paper_values()["claims"]]


def findings_of(page: str | None, evidence: Evidence | None = None) -> list[Finding]:
    """Decide the claims that a page shows.

    Args:
        page: The notebook's name; None for the claims of all pages.
        evidence: What was measured on a model: decides the claims that need a measurement. None
            decides those that printed numbers and released code decide alone.

    Returns:
        A finding for each claim; "not run" where the evidence lacks what its rule goes by.
    """

    def find(claim: Claim) -> Found:
        needs, find = RULES[claim.id]
        if evidence is None:
            return find(paper_values())
        return find(evidence) if getattr(evidence, needs) else Found(NOT_RUN, NOT_RUN)

    claims = [claim for claim in all_claims() if page is None or page in claim.pages]
    shown = [claim for claim in claims if claim.printed == (evidence is None)]
    return [Finding(claim, *find(claim)) for claim in shown]


def findings_beside(
    page: str, evidence: Evidence, paper_model: str, source: Any
) -> dict[str, list[Finding]]:
    """Decide a page's claims by model: its own, and the paper's, which nobody has run here.

    The second is left out where the page itself runs the paper's model on the benchmarks.
    """
    found = {evidence.model: findings_of(page, evidence)}
    if source == "shapes" or evidence.model != paper_model:
        nobody = Evidence(paper_model, evidence.n_layers)
        found[f"{paper_model} on the benchmarks"] = findings_of(page, nobody)
    return found
