"""What the page on Table 1 computes: scores intact and truncated, intervals, paired tests."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from infoflow.claims.findings import Evidence
from infoflow.claims.paper import paper_values
from infoflow.errors import InfoflowError
from infoflow.stats.intervals import Floats, draws, mean_estimate, percentiles
from infoflow.stats.paired import Equivalence, McNemar, equivalence, mcnemar

METRICS: dict[str, list[str]] = paper_values()["metrics"]
LOWER_IS_BETTER = ("CHAIRs", "CHAIRi")
# means over items, whose change is tested; a bootstrap of ratios may see too few items change
PER_ITEM = ("accuracy", "CHAIRs")
_RESAMPLES = 2000
_PARTS: dict[str, Callable[[pd.DataFrame], tuple[npt.ArrayLike, npt.ArrayLike]]] = {
    "accuracy": lambda rows: (rows["score"], 1.0),
    "f1": lambda rows: (
        2.0 * ((rows["prediction"] == "yes") & (rows["answer"] == "yes")),
        (rows["prediction"] == "yes").astype(float) + (rows["answer"] == "yes"),
    ),
    "CHAIRs": lambda rows: (rows["hallucinated"] > 0, 1.0),
    "CHAIRi": lambda rows: (rows["hallucinated"], rows["mentions"]),
    "recall": lambda rows: (rows["found"], rows["present"]),
}
"""What is summed above and below the line of a score, of rows of ``Task.details``."""


@dataclass(frozen=True)
class PairedScore:
    """One score of the intact model and of the truncated one, from 0 to 1, on the same items."""

    task: str
    metric: str
    cut: int
    intact: float
    intact_interval: tuple[float, float]  # of 95 %
    truncated: float
    change: Equivalence  # truncated less intact
    test: McNemar | None  # for scores that are right or wrong

    @property
    def gain(self) -> Equivalence:
        """The change, turned so that more is better."""
        return -1 * self.change if self.metric in LOWER_IS_BETTER else self.change


def by_item(metric: str, rows: pd.DataFrame) -> Floats:
    """A score of :data:`PER_ITEM` by item."""
    return np.asarray(_PARTS[metric](rows)[0], dtype=np.float64)


def resampled(metric: str, rows: pd.DataFrame, counts: Floats) -> Floats:
    """A score when item i is there counts[..., i] times; a ratio of nothing is 0."""
    parts = np.broadcast_arrays(*_PARTS[metric](rows))
    above, below = (part.astype(np.float64) for part in parts)
    groups = rows["kind"] if metric == "f1" else np.zeros(len(rows))  # POPE's: a mean of its splits
    ratios = []
    for group in np.unique(groups):
        inside = np.asarray(groups == group)
        up, down = counts[..., inside] @ above[inside], counts[..., inside] @ below[inside]
        ratios.append(np.divide(up, down, out=np.zeros_like(up), where=down > 0))
    return np.asarray(np.mean(ratios, axis=0), dtype=np.float64)


def paired_scores(
    task: str, rows: pd.DataFrame, cut: int, margin: float, seed: int = 0
) -> list[PairedScore]:
    """Score a model intact and truncated at one cut of ``truncation_by_cut``, metric by metric.

    The margin is the difference that does not matter, from 0 to 1, chosen before looking.
    """
    last = rows["cut"].max()
    before, after = (rows[rows["cut"] == at].sort_values("item") for at in (last, cut))
    if after.empty:
        raise InfoflowError(f"no rows of cut {cut}; there are 0 to {last}.")
    once, found = np.ones(len(before)), []
    for metric in METRICS[task]:
        intact, truncated = (float(resampled(metric, part, once)) for part in (before, after))
        test = None
        if metric in PER_ITEM:
            first, then = by_item(metric, before), by_item(metric, after)
            interval = mean_estimate(first, seed).interval
            change = equivalence(first, then, margin, seed)
            if np.isin([first, then], (0, 1)).all():
                test = mcnemar(first, then)
        else:
            counts = np.concatenate(list(draws(len(once), _RESAMPLES, seed)))
            drawn, others = (resampled(metric, part, counts) for part in (before, after))
            interval, ends = percentiles(drawn), percentiles(others - drawn)
            change = Equivalence(truncated - intact, *ends, len(once), margin)
        found.append(PairedScore(task, metric, cut, intact, interval, truncated, change, test))
    return found


def scores_of(evidence: Evidence, margin: float, seed: int = 0) -> list[PairedScore]:
    """:func:`paired_scores` at each task's cliff, which was chosen on other items."""
    return [
        score
        for task, rows in evidence.cuts.items()
        for score in paired_scores(task, rows, evidence.cliffs[task].cut, margin, seed)
    ]
