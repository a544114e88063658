"""How sure a mean score is: 95 % intervals over items."""

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, bootstrap

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
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise InfoflowError(
            f"scores of shape {values.shape} have no mean interval; "
            "they must be a row of finite numbers, at least one."
        )
    if np.isin(values, (0, 1)).all():
        wilson = binomtest(int(values.sum()), len(values)).proportion_ci(CONFIDENCE, "wilson")
        return float(wilson.low), float(wilson.high)
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
