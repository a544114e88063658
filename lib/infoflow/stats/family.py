"""Many tests at once: the p value of an interval, and which of a family hold together."""

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from infoflow.errors import InfoflowError
from infoflow.stats.intervals import CONFIDENCE, Estimate, Floats, finite_scores


def interval_p_value(estimate: Estimate, bound: float) -> float:
    """The two-sided p value that an estimate differs from a bound, read off its 95 % interval.

    The interval's arm that points at the bound is taken for as many standard errors as Student's t
    has at 95 % (Altman and Bland, 2011; one arm, as these intervals need not be symmetric). So p is
    below 0.05 exactly if the interval excludes the bound; much smaller ones trust the tails of t.
    """
    distance = abs(estimate.value - bound)
    end = estimate.low if estimate.value > bound else estimate.high
    if distance == 0:
        return 1.0
    arm = abs(estimate.value - end)
    if arm == 0:
        return 0.0
    freedom = estimate.n_items - 1
    return float(2 * t.sf(t.isf((1 - CONFIDENCE) / 2, freedom) * distance / arm, freedom))


def holm(p_values: npt.ArrayLike) -> Floats:
    """Adjust the p values of a family of tests, shape (N,), by Holm's method (1979).

    If those are called significant whose adjusted value is below 0.05, the chance of one false call
    or more among all N is at most 5 %, however the tests depend on each other.

    Raises:
        InfoflowError: A value is not between 0 and 1, or there is none.
    """
    values = finite_scores(p_values, 1, name="p value")
    if not ((values >= 0) & (values <= 1)).all():
        raise InfoflowError("p values lie between 0 and 1; others were given.")
    order = np.argsort(values, kind="stable")
    times = np.arange(len(values), 0, -1)  # the smallest is one of N, the next of N - 1
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(times * values[order]), 1)
    return adjusted
