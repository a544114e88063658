"""How sure a number over items is: means, differences of paired scores, ratios of sums."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, norm

from infoflow.errors import InfoflowError, one_line

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

CONFIDENCE = 0.95
_RESAMPLES = 2000
_RESAMPLES_AT_ONCE = 256


@dataclass(frozen=True)
class Estimate:
    """The mean or another value of ``n_items`` items, with its interval from low to high.

    ``f"{100 * estimate:+.1f}"`` writes it as +1.2 [-0.3, +2.7].
    """

    value: float
    low: float
    high: float
    n_items: int

    @property
    def interval(self) -> Interval:
        """Lower and upper end."""
        return self.low, self.high

    def __rmul__(self, factor: float) -> Self:
        low, high = sorted((factor * self.low, factor * self.high))
        return replace(self, value=factor * self.value + 0.0, low=low + 0.0, high=high + 0.0)

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def mean_estimate(scores: npt.ArrayLike, seed: int = 0) -> Estimate:
    """Mean of the scores of N items, shape (N,), with its 95 % interval.

    Scores that are all 0 or 1 get Wilson's interval, since a bootstrap would call 50 right answers
    out of 50 certain. Others get the percentile interval of a bootstrap over items.
    """
    values = finite_scores(scores, 1)
    if np.isin(values, (0, 1)).all():
        wilson = binomtest(int(values.sum()), len(values)).proportion_ci(CONFIDENCE, "wilson")
        return _estimate(values, (wilson.low, wilson.high))
    return _estimate(values, _bootstrapped(values, seed))


def difference_estimate(differences: npt.ArrayLike, seed: int = 0) -> Estimate:
    """Mean of differences between scores paired by item, shape (N,), with its 95 % interval.

    Differences that are all -1, 0 or 1, as between right and wrong answers, get the adjusted Wald
    interval (Bonett and Price, 2012): a bootstrap would call ten unchanged answers certain. Others
    get the percentile interval of a bootstrap over items, whatever their order.
    """
    values = finite_scores(differences, 1)
    if np.isin(values, (-1, 0, 1)).all():
        return _estimate(values, _adjusted_wald(values))
    return _estimate(values, _bootstrapped(values, seed))


def ratio_estimate(part: npt.ArrayLike, whole: npt.ArrayLike, seed: int = 0) -> Estimate:
    """Share of all, items (N,) pooled before dividing, as CHAIRi; the interval is a bootstrap's."""
    parts, wholes = finite_scores(part, 1), finite_scores(whole, 1)
    if len(parts) != len(wholes):
        raise InfoflowError(f"{len(parts)} parts cannot be set over {len(wholes)} wholes.")
    counts = draws(len(parts), _RESAMPLES, seed)
    value = ratio(parts, wholes, np.ones(len(parts)))
    return Estimate(float(value), *percentiles(ratio(parts, wholes, counts)), len(parts))


def ratio(part: Floats, whole: Floats, counts: npt.NDArray[Any]) -> Floats:
    """Sum of parts over sum of wholes, item i there counts[..., i] times; 0 of nothing is 0."""
    above, below = counts @ part, counts @ whole
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def finite_scores(scores: npt.ArrayLike, *least: int, name: str = "") -> Floats:
    """Check scores by item, or by item and cut: at least so many of each, all finite numbers."""
    of_name = f"{name} score".strip()
    with one_line(f"{of_name}s are not numbers", TypeError, ValueError):
        array = np.asarray(scores, dtype=np.float64)
    axes = ("item", "cut")[: len(least)]
    if array.ndim != len(least) or (np.array(array.shape) < least).any():
        valid = " by ".join(f"{few} {axis}(s)" for few, axis in zip(least, axes, strict=True))
        raise InfoflowError(f"{of_name}s have shape {array.shape}; valid: at least {valid}.")
    for place in np.argwhere(~np.isfinite(array)):
        where = " at ".join(f"{axis} {i}" for axis, i in zip(axes, place, strict=True))
        raise InfoflowError(f"{of_name} of {where} is {array[*place]}; all must be finite.")
    return array


@lru_cache(maxsize=4)
def draws(n_items: int, n_resamples: int, seed: int) -> npt.NDArray[np.uint16]:
    """How often each item is drawn in each resample, shape (n_resamples, n_items).

    To draw takes a hundred times as long as to average, and the numbers of a page are of the same
    items: so the last draws are kept.
    """
    rng = np.random.default_rng(seed)
    counts = np.empty((n_resamples, n_items), np.uint16)
    for start in range(0, n_resamples, _RESAMPLES_AT_ONCE):  # as int64 they would fill memory
        size = min(_RESAMPLES_AT_ONCE, n_resamples - start)
        counts[start : start + size] = rng.multinomial(n_items, [1 / n_items] * n_items, size=size)
    counts.flags.writeable = False
    return counts


def resampled_means(scores: Floats, n_resamples: int, seed: int) -> Floats:
    """Means over items drawn with replacement, shape (n_resamples, ...); scores by item first."""
    return draws(len(scores), n_resamples, seed) @ scores / len(scores)


def percentiles(resampled: Floats) -> Interval:
    """The middle 95 % of a bootstrap's values, of shape (n_resamples,)."""
    low, high = np.quantile(resampled, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return float(low), float(high)


def _estimate(values: Floats, interval: Interval) -> Estimate:
    low, high = interval
    return Estimate(float(values.mean()), float(low), float(high), len(values))


def _adjusted_wald(differences: Floats) -> Interval:
    """Interval of the mean of -1, 0 and 1, with one lost and one gained item added."""
    n_items = len(differences) + 2
    lost = (np.sum(differences < 0) + 1) / n_items
    gained = (np.sum(differences > 0) + 1) / n_items
    centre = gained - lost
    reach = norm.isf((1 - CONFIDENCE) / 2)
    half = reach * np.sqrt((gained + lost - centre**2) / n_items)
    return max(centre - half, -1), min(centre + half, 1)


def _bootstrapped(values: Floats, seed: int) -> Interval:
    if np.ptp(values) == 0:
        return values[0], values[0]
    return percentiles(resampled_means(np.sort(values), _RESAMPLES, seed))
