"""What the audit says of a claim, and what it has to go by."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from infoflow.stats.cliff import Cliff

HOLDS = "holds"
PARTLY = "holds in part"
FAILS = "fails"
UNDECIDED = "undecided"
UNDEFINED = "undefined"
NEEDS_RUN = "needs the 7B run"
FEWEST = 20
"""How many items a verdict that goes by an interval takes at least."""
VERDICTS = {
    HOLDS: "the rule's condition is met, on every task where there are several",
    PARTLY: "it is met on some tasks or models; on others it is not shown, or its opposite is",
    FAILS: "the opposite of the condition is shown",
    UNDECIDED: f"the items are too few to show either; fewer than {FEWEST} decide nothing",
    UNDEFINED: "the claim, as worded, cannot be put to a test, or its quantity does not exist",
    NEEDS_RUN: "it is about a model that nobody has run here",
}
"""The verdicts and what each means."""

Rows = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Finding:
    """What was found about one claim.

    Attributes:
        measured: What was measured or computed, in words with numbers; by task where each of them
            has its own.
        verdict: One of ``VERDICTS``.
    """

    measured: str | Mapping[str, str]
    verdict: str


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was measured on one model; tables by task are empty where nothing was measured.

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
        arms: By name of an intervention, then by task, rows of answers under it; ``"none"`` is the
            untouched model.
    """

    model: str
    n_layers: int
    cliffs: Mapping[str, Cliff]
    cuts: Rows
    calibration: Rows
    guesses: Mapping[str, float]
    flow: Rows = field(default_factory=dict)
    last_layer: Rows = field(default_factory=dict)
    cam: Rows = field(default_factory=dict)
    localisation: Rows = field(default_factory=dict)
    arms: Mapping[str, Rows] = field(default_factory=dict)

    @property
    def frames(self) -> list[pd.DataFrame]:
        """All stored results, for the provenance."""
        tables = (
            self.cuts,
            self.calibration,
            self.flow,
            self.last_layer,
            self.cam,
            self.localisation,
        )
        return [frame for rows in (*tables, *self.arms.values()) for frame in rows.values()]


@dataclass(frozen=True, eq=False)
class Check:
    """How a claim is decided on a model.

    Attributes:
        rule: When it holds and when it fails, in words, fixed before the measurement.
        find: Decides it from the evidence.
    """

    rule: str
    find: Callable[[Evidence], Finding]


@dataclass(frozen=True, eq=False)
class Recomputed:
    """How a claim is decided from printed numbers.

    Attributes:
        rule: When it holds and when it fails, in words.
        find: Decides it from the paper's values.
    """

    rule: str
    find: Callable[[Mapping[str, Any]], Finding]


def by_task(found: Mapping[str, tuple[str, str]]) -> Finding:
    """Join what was found on several tasks: words and a verdict each."""
    if not found:
        return Finding("nothing was measured that could tell", UNDECIDED)
    words = {task: told for task, (told, _) in found.items()}
    return Finding(words, combined(verdict for _, verdict in found.values()))


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


def decided(
    interval: tuple[float, float], n_items: int, *, above: float, below: float | None = None
) -> str:
    """Decide by an interval: it holds wholly above one bound, and fails wholly below another.

    Args:
        interval: The interval.
        n_items: How many items it rests on; fewer than ``FEWEST`` decide nothing, for a bootstrap
            of few items that happen to agree passes for certainty.
        above: What the whole interval must exceed for the claim to hold.
        below: What the whole interval must stay under for it to fail; ``above`` if not given.
    """
    if n_items < FEWEST:
        return UNDECIDED
    if interval[0] > above:
        return HOLDS
    return FAILS if interval[1] < (above if below is None else below) else UNDECIDED
