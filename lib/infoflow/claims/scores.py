"""The scores of Table 1, intact and truncated, with intervals and paired tests."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from infoflow.claims.findings import Evidence
from infoflow.errors import InfoflowError
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.stats.intervals import Floats, draws, mean_interval, percentiles
from infoflow.stats.paired import Equivalence, McNemar, equivalence, mcnemar
from infoflow.stats.selection import SelectionBias, selection_bias

METRICS = {
    "pope": ("accuracy", "f1"),
    "scienceqa": ("accuracy",),
    "textvqa": ("accuracy",),
    "chair": ("CHAIRs", "CHAIRi", "recall"),
}
"""By task, what Table 1 prints, and for captions recall, since silence has the best CHAIR."""
LOWER_IS_BETTER = ("CHAIRs", "CHAIRi")
PER_ITEM = ("accuracy", "CHAIRs")  # means over items; the others are ratios of sums
_RESAMPLES = 2000


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

    @property
    def tested(self) -> bool:
        """Whether few unchanged items leave the change's interval wide: not a ratio's bootstrap."""
        return self.metric in PER_ITEM


@dataclass(frozen=True, eq=False)
class Ratios:
    """A score as a mean over groups of ratios of sums; parts of shape (N,), a row an item."""

    above: Floats
    below: Floats
    groups: npt.NDArray[np.intp]

    def score(self, counts: Floats) -> Floats:
        """The score when item i is there counts[..., i] times; a ratio of nothing is 0."""
        ratios = []
        for group in np.unique(self.groups):
            inside = self.groups == group
            above = counts[..., inside] @ self.above[inside]
            below = counts[..., inside] @ self.below[inside]
            ratios.append(np.divide(above, below, out=np.zeros_like(above), where=below > 0))
        return np.asarray(np.mean(ratios, axis=0), dtype=np.float64)


def ratios(metric: str, rows: pd.DataFrame) -> Ratios:
    """Take a benchmark's score apart into sums over items, to score any resample of them.

    The rows, one an item, are those of :meth:`infoflow.data.task.Task.details`.
    """
    groups = np.zeros(len(rows), dtype=np.intp)
    if metric == "f1" and "kind" in rows:
        groups = rows["kind"].factorize(sort=True)[0]
    above, below = (np.broadcast_to(part, len(rows)) for part in _PARTS[metric](rows))
    return Ratios(above.astype(np.float64), below.astype(np.float64), groups)


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
"""What is summed above and below the line of a ratio."""


def paired_scores(
    task: str, rows: pd.DataFrame, cut: int, margin: float, seed: int = 0
) -> list[PairedScore]:
    """Score a model intact and truncated at one cut of ``truncation_by_cut``, metric by metric.

    The margin is the difference that does not matter, from 0 to 1, chosen before looking.
    """
    intact = rows[rows["cut"] == rows["cut"].max()].sort_values("item")
    truncated = rows[rows["cut"] == cut].sort_values("item")
    if truncated.empty:
        raise InfoflowError(f"no rows of cut {cut}; there are 0 to {rows['cut'].max()}.")
    return [
        _paired(task, metric, cut, ratios(metric, intact), ratios(metric, truncated), margin, seed)
        for metric in METRICS[task]
    ]


def _paired(
    task: str, metric: str, cut: int, before: Ratios, after: Ratios, margin: float, seed: int
) -> PairedScore:
    once = np.ones(len(before.above))
    first, then = float(before.score(once)), float(after.score(once))
    if metric in PER_ITEM:
        change = equivalence(before.above, after.above, margin, seed)
        binary = np.isin([before.above, after.above], (0, 1)).all()
        test = mcnemar(before.above, after.above) if binary else None
        interval = mean_interval(before.above, seed)
        return PairedScore(task, metric, cut, first, interval, then, change, test)
    counts = np.concatenate(list(draws(len(once), _RESAMPLES, seed)))
    drawn = before.score(counts)
    low, high = percentiles(after.score(counts) - drawn)
    change = Equivalence(then - first, low, high, len(once), margin)
    return PairedScore(task, metric, cut, first, percentiles(drawn), then, change, None)


def scores_of(evidence: Evidence, margin: float, seed: int = 0) -> list[PairedScore]:
    """:func:`paired_scores` at each task's cliff, which was chosen on other items."""
    return [
        score
        for task, rows in evidence.cuts.items()
        for score in paired_scores(task, rows, evidence.cliffs[task].cut, margin, seed)
    ]


def biases_of(evidence: Evidence, seed: int = 0) -> dict[str, SelectionBias | None]:
    """What the best cut from each task's cliff on owes to the choice, as :func:`bias_of`."""
    return {task: bias_of(evidence, task, seed) for task in evidence.cuts}


def bias_of(evidence: Evidence, task: str, seed: int = 0) -> SelectionBias | None:
    """The bias of one task; None where its cliff is cut L, or with one item."""
    scores, first = scores_by_cut(evidence.cuts[task]), evidence.cliffs[task].cut
    possible = first < evidence.n_layers and len(scores) > 1
    return selection_bias(scores, first, seed) if possible else None
