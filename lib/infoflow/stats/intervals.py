"""How sure a mean over items is: of scores, and of differences between paired scores."""

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, bootstrap, norm

from infoflow.errors import InfoflowError

CONFIDENCE = 0.95
_RESAMPLES = 2000


def mean_interval(scores: npt.ArrayLike, seed: int = 0) -> tuple[float, float]:
    """Interval of the mean of some items' scores.

    Scores that are all 0 or 1 get Wilson's interval, since a bootstrap would call 50 right answers
    out of 50 certain. Others get the percentile interval of a bootstrap over items.

    Args:
        scores: One score an item, shape (N,).
        seed: Seed of the bootstrap.

    Returns:
        Lower and upper end of the 95 % interval, in the unit of the scores.

    Raises:
        InfoflowError: There is no score, or one is not finite.
    """
    values = _finite(scores)
    if np.isin(values, (0, 1)).all():
        wilson = binomtest(int(values.sum()), len(values)).proportion_ci(CONFIDENCE, "wilson")
        return float(wilson.low), float(wilson.high)
    return _resampled(values, CONFIDENCE, seed)


def difference_interval(
    differences: npt.ArrayLike, seed: int = 0, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval of the mean difference between scores that are paired by item.

    Differences that are all -1, 0 or 1, as between right and wrong answers, get the adjusted Wald
    interval (Bonett and Price, 2012): a bootstrap would call ten unchanged answers certain. Others
    get the percentile interval of a bootstrap over items.

    Args:
        differences: One difference an item, shape (N,), in any order.
        seed: Seed of the bootstrap.
        confidence: How often such intervals hold the true mean.

    Returns:
        Lower and upper end of the interval, in the unit of the scores.

    Raises:
        InfoflowError: There is no difference, or one is not finite.
    """
    values = _finite(differences)
    if np.isin(values, (-1, 0, 1)).all():
        return _adjusted_wald(values, confidence)
    return _resampled(np.sort(values), confidence, seed)


def _finite(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1 or not len(row) or not np.isfinite(row).all():
        raise InfoflowError(
            f"scores of shape {row.shape} have no mean interval; "
            "they must be a row of finite numbers, at least one."
        )
    return row


def _adjusted_wald(differences: npt.NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Interval of the mean of -1, 0 and 1, with one lost and one gained item added."""
    n_items = len(differences) + 2
    lost = (np.sum(differences < 0) + 1) / n_items
    gained = (np.sum(differences > 0) + 1) / n_items
    centre = gained - lost
    reach = norm.isf((1 - confidence) / 2)
    half = reach * np.sqrt((gained + lost - centre**2) / n_items)
    return float(max(centre - half, -1)), float(min(centre + half, 1))


def _resampled(
    values: npt.NDArray[np.float64], confidence: float, seed: int
) -> tuple[float, float]:
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
