"""The information-flow cliff: from which depth on the image can be taken away without harm.

``cut`` a counts the leading decoder layers that still see the image, 0 to L. With m(a) the mean
score at cut a, the paper gives the cliff as the depth from which removing all image tokens no
longer hurts, without a formula. Here it is

    cliff = min {a : m(a') >= m(L) - margin for all a' >= a},

chosen on calibration items and reported on test items, which had no part in the choice. The paper's
own reading, the best of all cuts on the test items, is kept beside it as ``best``.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infoflow.errors import InfoflowError
from infoflow.options import require_finite, require_whole
from infoflow.stats.intervals import (
    CONFIDENCE,
    Floats,
    Interval,
    draws,
    finite_scores,
    percentiles,
)

# Equal means may differ in their last bits after summation; no real difference is this small.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Cliff:
    """A cliff layer, how sure it is, and what truncating there does to unseen items.

    All intervals are 95 % percentile intervals of a bootstrap over items, in which the scores of an
    item at all cuts stay together.

    Attributes:
        cut: The cliff: number of leading layers that must see the image.
        interval: Interval of the cut over resamples of the calibration items, margin held fixed.
        margin: How far below the baseline a mean score still counts as unharmed.
        baseline: Mean score of the intact model on the test items.
        baseline_interval: Interval of the baseline.
        score: Mean score at the cut on the test items.
        difference: ``score - baseline``.
        difference_interval: Interval of the paired difference.
        best: The paper's reading: the cut with the highest mean score on the test items themselves,
            the smallest such cut. Its gain is biased upwards by the choice.
        best_score: Mean score at ``best`` on the test items.
        n_calibration: Number of items the cut was chosen on.
        n_test: Number of items the scores are reported on.
        held_out: Whether the test items are others than the calibration items.
    """

    cut: int
    interval: tuple[int, int]
    margin: float
    baseline: float
    baseline_interval: Interval
    score: float
    difference: float
    difference_interval: Interval
    best: int
    best_score: float
    n_calibration: int
    n_test: int
    held_out: bool

    @property
    def layer(self) -> int:
        """The cliff in the paper's count: the first layer that need not see the image, from 1."""
        return self.cut + 1


def cliff_layer(
    calibration: npt.ArrayLike,
    test: npt.ArrayLike | None = None,
    *,
    margin: float | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Cliff:
    """Find the cliff on calibration items and measure it on test items.

    Args:
        calibration: Scores of shape (N, L + 1): item by cut, cuts 0 to L, the last being the intact
            model. Any scores will do, if higher is better.
        test: Scores of shape (M, L + 1) of other items. ``None`` reports on the calibration items;
            ``held_out`` then says ``False``, for such a report flatters the cut.
        margin: Loss of mean score that counts as no harm. ``None`` takes half the width of the
            bootstrap interval of the baseline m(L) on the calibration items: a loss the baseline
            itself is not known to. It is 0 where the intact model scores the same on every item.
        n_resamples: Number of bootstrap resamples.
        seed: Seed of the resampling. The order of the items does not matter.

    Raises:
        InfoflowError: Scores are empty, of the wrong shape, not numbers or not finite, the two sets
            differ in their number of cuts, or a parameter is out of range.
    """
    chosen_on = _sorted_scores(calibration, "calibration")
    reported_on = chosen_on if test is None else _sorted_scores(test, "test")
    if chosen_on.shape[1] != reported_on.shape[1]:
        raise InfoflowError(
            f"calibration has {chosen_on.shape[1]} cuts and test {reported_on.shape[1]}; "
            "they must be the same."
        )
    n_resamples = require_whole(n_resamples, "n_resamples", 1)
    seed = require_whole(seed, "seed", 0)
    if margin is not None:
        margin = require_finite(margin, "margin", 0)

    resampled = _resampled_means(chosen_on, n_resamples, seed)
    if margin is None:
        low, high = percentiles(resampled[:, -1])
        margin = (high - low) / 2
    cut = int(_first_unharmed(chosen_on.mean(axis=0), margin))
    cuts = _first_unharmed(resampled, margin)
    tail = (1 - CONFIDENCE) / 2
    low_cut = int(np.quantile(cuts, tail, method="lower"))
    high_cut = int(np.quantile(cuts, 1 - tail, method="higher"))

    means = reported_on.mean(axis=0)
    resampled = _resampled_means(reported_on, n_resamples, seed)
    best = int(np.argmax(means >= means.max() - _ROUNDING))
    return Cliff(
        cut=cut,
        interval=(low_cut, high_cut),
        margin=margin,
        baseline=float(means[-1]),
        baseline_interval=percentiles(resampled[:, -1]),
        score=float(means[cut]),
        difference=float(means[cut] - means[-1]),
        difference_interval=percentiles(resampled[:, cut] - resampled[:, -1]),
        best=best,
        best_score=float(means[best]),
        n_calibration=len(chosen_on),
        n_test=len(reported_on),
        held_out=test is not None,
    )


def _sorted_scores(scores: npt.ArrayLike, name: str) -> Floats:
    """Scores whose rows are sorted, so that no result depends on the order of items."""
    array = finite_scores(scores, 1, 2, name=name)
    return array[np.lexsort(array.T)]


def _first_unharmed(means: Floats, margin: float) -> npt.NDArray[np.intp]:
    """First cut from which on no mean, of shape (..., L + 1), is below the last by the margin."""
    harmed = means < means[..., -1:] - margin - _ROUNDING
    n_unharmed = np.argmax(harmed[..., ::-1], axis=-1)
    return np.where(harmed.any(axis=-1), means.shape[-1] - n_unharmed, 0)


def _resampled_means(scores: Floats, n_resamples: int, seed: int) -> Floats:
    """Mean scores of shape (n_resamples, L + 1) over items drawn with replacement."""
    counts = draws(len(scores), n_resamples, seed)
    return np.concatenate([drawn @ scores for drawn in counts]) / len(scores)
