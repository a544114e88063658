"""The scores of Table 1, intact and truncated, with intervals and paired tests."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from infoflow.claims.findings import Evidence
from infoflow.errors import InfoflowError
from infoflow.stats.intervals import mean_interval
from infoflow.stats.paired import LEVEL, Equivalence, McNemar, equivalence, mcnemar

Floats = npt.NDArray[np.float64]
Parts = tuple[pd.Series, pd.Series]

METRICS = {
    "pope": ("accuracy", "f1"),
    "scienceqa": ("accuracy",),
    "textvqa": ("accuracy",),
    "chair": ("CHAIRs", "CHAIRi", "recall"),
}
"""By task, what Table 1 prints, and for captions recall, since silence has the best CHAIR."""
LOWER_IS_BETTER = ("CHAIRs", "CHAIRi")
PER_ITEM = ("accuracy", "CHAIRs")
"""Scores that are means over items; the others are ratios of sums."""
_RESAMPLES = 2000


@dataclass(frozen=True)
class PairedScore:
    """One score of the intact model and of the truncated one, on the same items.

    Attributes:
        task: The benchmark.
        metric: The score, by its name in :meth:`infoflow.data.load.Task.summary`.
        cut: Where the model was truncated.
        intact: The intact model's score, from 0 to 1.
        intact_interval: Its 95 % interval.
        truncated: The truncated model's.
        change: The paired difference, truncated less intact, with its 90 % interval.
        test: McNemar's test, for scores that are right or wrong.
    """

    task: str
    metric: str
    cut: int
    intact: float
    intact_interval: tuple[float, float]
    truncated: float
    change: Equivalence
    test: McNemar | None

    @property
    def gain(self) -> Equivalence:
        """The change, turned so that more is better."""
        if self.metric not in LOWER_IS_BETTER:
            return self.change
        low, high = self.change.interval
        return Equivalence(
            0.0 - self.change.difference, (-high, -low), self.change.margin, self.change.n_items
        )

    @property
    def tested(self) -> bool:
        """Whether the change has an interval that few unchanged items leave wide.

        The bootstrap of a ratio of sums has not: ten captions of which none changed would pass for
        certainty.
        """
        return self.metric in PER_ITEM


@dataclass(frozen=True, eq=False)
class _Ratios:
    """A score as a mean over groups of ratios of sums; parts of shape (N,), a row an item."""

    above: Floats
    below: Floats
    groups: npt.NDArray[np.int64]

    def score(self, counts: Floats) -> Floats:
        """The score when item i is there counts[..., i] times; a ratio of nothing is 0."""
        ratios = []
        for group in np.unique(self.groups):
            inside = self.groups == group
            above = counts[..., inside] @ self.above[inside]
            below = counts[..., inside] @ self.below[inside]
            ratios.append(np.divide(above, below, out=np.zeros_like(above), where=below > 0))
        return np.asarray(np.mean(ratios, axis=0), dtype=np.float64)


def paired_scores(
    task: str, rows: pd.DataFrame, cut: int, margin: float, seed: int = 0
) -> list[PairedScore]:
    """Score a model intact and truncated at one cut.

    Args:
        task: The benchmark, one of ``METRICS``.
        rows: Rows of :func:`infoflow.evaluate.truncation.truncation_by_cut`.
        cut: Where it is truncated.
        margin: The difference that does not matter, from 0 to 1, chosen before looking.
        seed: Of the bootstrap.

    Returns:
        One entry a metric. Intervals of scores that count right answers or flawed captions are
        those of :mod:`infoflow.stats.paired` and :mod:`infoflow.stats.intervals`; those of ratios
        (F1, CHAIRi, recall) are percentiles of a bootstrap over items.

    Raises:
        InfoflowError: The rows hold no such cut.
    """
    intact = rows[rows["cut"] == rows["cut"].max()].sort_values("item")
    truncated = rows[rows["cut"] == cut].sort_values("item")
    if truncated.empty:
        raise InfoflowError(f"no rows of cut {cut}; there are 0 to {rows['cut'].max()}.")
    return [_paired(task, m, cut, intact, truncated, margin, seed) for m in METRICS[task]]


def scores_of(evidence: Evidence, margin: float, seed: int = 0) -> list[PairedScore]:
    """Score a model intact and truncated at each task's cliff, chosen on other items.

    Args:
        evidence: What was measured on it.
        margin: As for :func:`paired_scores`.
        seed: As for :func:`paired_scores`.
    """
    return [
        score
        for task, rows in evidence.cuts.items()
        for score in paired_scores(task, rows, evidence.cliffs[task].cut, margin, seed)
    ]


def _paired(
    task: str,
    metric: str,
    cut: int,
    intact: pd.DataFrame,
    truncated: pd.DataFrame,
    margin: float,
    seed: int,
) -> PairedScore:
    before, after = ratios(metric, intact), ratios(metric, truncated)
    once = np.ones(len(intact))
    scores = float(before.score(once)), float(after.score(once))
    if metric in PER_ITEM:
        binary = bool(np.isin([before.above, after.above], (0, 1)).all())
        return PairedScore(
            *(task, metric, cut, scores[0]),
            mean_interval(before.above, seed),
            scores[1],
            equivalence(before.above, after.above, margin, seed),
            mcnemar(before.above, after.above) if binary else None,
        )
    rng = np.random.default_rng(seed)
    n_items = len(intact)
    counts = rng.multinomial(n_items, np.full(n_items, 1 / n_items), _RESAMPLES).astype(np.float64)
    drawn = before.score(counts)
    change = _quantiles(after.score(counts) - drawn, LEVEL)
    return PairedScore(
        *(task, metric, cut, scores[0], _quantiles(drawn, 0.025), scores[1]),
        Equivalence(scores[1] - scores[0], change, margin, n_items),
        None,
    )


def _quantiles(drawn: Floats, tail: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return float(low), float(high)


def ratios(metric: str, rows: pd.DataFrame) -> _Ratios:
    """Take a benchmark's score apart into sums over items, to score any resample of them.

    Args:
        metric: One of ``METRICS``.
        rows: One row an item, of :meth:`infoflow.data.load.Task.details`.
    """
    groups = np.zeros(len(rows), dtype=np.int64)
    if {"prediction", "answer", "kind"} <= set(rows) and metric == "f1":
        groups = rows["kind"].factorize(sort=True)[0].astype(np.int64)
    above, below = _PARTS[metric](rows)
    return _Ratios(above.to_numpy(np.float64), below.to_numpy(np.float64), groups)


def _accuracy(rows: pd.DataFrame) -> Parts:
    return rows["score"], pd.Series(1.0, rows.index)


def _f1(rows: pd.DataFrame) -> Parts:
    says, is_yes = rows["prediction"] == "yes", rows["answer"] == "yes"
    return 2.0 * (says & is_yes), says.astype(float) + is_yes


def _chair_s(rows: pd.DataFrame) -> Parts:
    return (rows["hallucinated"] > 0).astype(float), pd.Series(1.0, rows.index)


def _chair_i(rows: pd.DataFrame) -> Parts:
    return rows["hallucinated"], rows["mentions"]


def _recall(rows: pd.DataFrame) -> Parts:
    return rows["found"], rows["present"]


_PARTS: dict[str, Callable[[pd.DataFrame], Parts]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "CHAIRs": _chair_s,
    "CHAIRi": _chair_i,
    "recall": _recall,
}
