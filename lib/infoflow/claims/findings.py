"""What is found about a claim, by its rule, from what was measured or printed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from infoflow.claims.paper import paper_values
from infoflow.stats.cliff import Cliff
from infoflow.stats.intervals import Estimate

HOLDS = "holds"
PARTLY = "holds in part"
FAILS = "fails"
UNDECIDED = "undecided"
UNDEFINED = "undefined"
NOT_RUN = "not run"
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

NONE, MASK, BROADCAST = "none", "Simignore alone", "EAH as printed"
"""Names of the arms in the evidence; ``NONE`` is the untouched model."""

Rows = Mapping[str, pd.DataFrame]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was measured on one model; what was not is empty, and its claims are "not run".

    Attributes:
        model: Its name.
        n_layers: L.
        cliffs: By task, the cliff chosen on calibration items.
        cuts: By task, test rows of :func:`infoflow.evaluate.truncation.truncation_by_cut`.
        calibration: The same of the calibration items.
        guesses: By task, the best blind guess on the test items.
        flow: By task, rows of :func:`infoflow.evaluate.flow.flow_by_layer`.
        last_layer: By task, rows of :func:`infoflow.evaluate.last_layer.last_layer_gradients`.
        cam: By task, rows of :func:`infoflow.evaluate.cam.cam_by_layer`.
        localisation: By task, rows of
            :func:`infoflow.evaluate.localisation.localisation_by_layer`.
        arms: By name of an intervention (``NONE``, ``MASK``, ``BROADCAST``), then by task, rows of
            :func:`infoflow.evaluate.interventions.answers_under`.
    """

    model: str
    n_layers: int
    cliffs: Mapping[str, Cliff] = field(default_factory=dict)
    cuts: Rows = field(default_factory=dict)
    calibration: Rows = field(default_factory=dict)
    guesses: Mapping[str, float] = field(default_factory=dict)
    flow: Rows = field(default_factory=dict)
    last_layer: Rows = field(default_factory=dict)
    cam: Rows = field(default_factory=dict)
    localisation: Rows = field(default_factory=dict)
    arms: Mapping[str, Rows] = field(default_factory=dict)

    @property
    def frames(self) -> list[pd.DataFrame]:
        """All stored results, for the provenance."""
        tables = (self.cuts, self.calibration, self.flow, self.last_layer, self.cam)
        of_tasks = (*tables, self.localisation, *self.arms.values())
        return [frame for rows in of_tasks for frame in rows.values()]


class Found(NamedTuple):
    """What a rule finds.

    Attributes:
        verdict: One of ``VERDICTS``.
        measured: What was measured or computed, with numbers; by task where each has its own.
        by_task: The verdict of each task, where there is one.
    """

    verdict: str
    measured: str | Mapping[str, str]
    by_task: Mapping[str, str] = {}


@dataclass(frozen=True)
class Claim:
    """A claim, as ``paper_values.yml`` has it.

    Attributes:
        id: Its name.
        topic: What it is about.
        pages: The notebooks that show what was found about it.
        source: Which of ``sources`` makes it.
        place: Where.
        claim: The sentence, in our words.
        evidence: What the source offers for it.
    """

    id: str
    topic: str
    pages: tuple[str, ...]
    source: str
    place: str
    claim: str
    evidence: str

    @property
    def rule(self) -> str:
        """When it holds and when it fails, in words, fixed before the measurement."""
        return RULES[self.id].words

    @property
    def printed(self) -> bool:
        """Whether printed numbers alone decide it."""
        return not RULES[self.id].needs


@dataclass(frozen=True)
class Finding:
    """What was found about one claim.

    Attributes:
        claim: The claim.
        verdict: One of ``VERDICTS``.
        measured: What was measured or computed, with numbers; by task where each has its own.
        by_task: The verdict of each task, where there is one.
    """

    claim: Claim
    verdict: str
    measured: str | Mapping[str, str]
    by_task: Mapping[str, str]


class Rule(NamedTuple):
    """How a claim is decided: in words, from which of the evidence, and by what."""

    words: str
    needs: str
    find: Callable[[Any], Found]


RULES: dict[str, Rule] = {}
"""By claim."""


def rule(
    claim: str, words: str, needs: str = ""
) -> Callable[[Callable[[Any], Found]], Callable[[Any], Found]]:
    """Make a function of the evidence, or without ``needs`` of the paper's values, a rule."""

    def register(find: Callable[[Any], Found]) -> Callable[[Any], Found]:
        RULES[claim] = Rule(words, needs, find)
        return find

    return register


OnTask = tuple[str, str] | None
"""The verdict and what was measured on one task; None where it cannot tell."""
FindOnTask = Callable[[Evidence, str], OnTask]


def rule_by_task(claim: str, needs: str, words: str) -> Callable[[FindOnTask], FindOnTask]:
    """Make a function of the evidence and one of its tasks a rule on all of them."""

    def register(find: FindOnTask) -> FindOnTask:
        def on_all(evidence: Evidence) -> Found:
            return joined({task: find(evidence, task) for task in getattr(evidence, needs)})

        rule(claim, words, needs)(on_all)
        return find

    return register


def joined(found: Mapping[str, OnTask]) -> Found:
    """Join what was found on several tasks: a verdict and a measurement each."""
    known = {task: of_task for task, of_task in found.items() if of_task}
    if not known:
        return Found(UNDECIDED, "nothing was measured that could tell")
    verdicts = {task: verdict for task, (verdict, _) in known.items()}
    measured = {task: measured for task, (_, measured) in known.items()}
    return Found(combined(verdicts.values()), measured, verdicts)


def combined(verdicts: Iterable[str]) -> str:
    """Sum up verdicts on several tasks or models: a general claim holds only if it does on each."""
    found = set(verdicts)
    if UNDEFINED in found:
        return UNDEFINED
    if found == {HOLDS}:
        return HOLDS
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
    entries = paper_values()["claims"]
    return [Claim(**{**entry, "pages": tuple(entry["pages"])}) for entry in entries]


def findings_of(page: str | None, evidence: Evidence | None = None) -> list[Finding]:
    """Decide the claims that a page shows.

    Args:
        page: The notebook's name; None for the claims of all pages.
        evidence: What was measured on a model: decides the claims that need a measurement. None
            decides those that printed numbers and released code decide alone.

    Returns:
        A finding for each claim; "not run" where the evidence lacks what its rule goes by.
    """
    claims = [c for c in all_claims() if page is None or page in c.pages]
    shown = [c for c in claims if c.printed == (evidence is None)]
    return [Finding(claim, *_found(RULES[claim.id], evidence)) for claim in shown]


def _found(by: Rule, evidence: Evidence | None) -> Found:
    if evidence is None:
        return by.find(paper_values())
    return by.find(evidence) if getattr(evidence, by.needs) else Found(NOT_RUN, NOT_RUN)
