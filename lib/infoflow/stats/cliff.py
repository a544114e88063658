"""The information-flow cliff: from which depth on the image can be taken away without harm.

``cut`` a counts the leading decoder layers that still see the image, 0 to L. With m(a) the mean
score at cut a, the paper gives the cliff as the depth from which removing all image tokens no
longer hurts, without a formula. Here it is

    cliff = min {a : m(a') >= m(L) - margin for all a' >= a},

chosen on calibration items and reported on test items, which had no part in the choice. The margin
is fixed, so that the cliff does not drift with the number of items asked. The paper's own reading,
the best of all cuts on the test items, is kept beside it as ``best``.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infoflow.errors import InfoflowError
from infoflow.options import require_finite, require_whole
from infoflow.stats.intervals import (
    CONFIDENCE,
    Estimate,
    Floats,
    difference_estimate,
    finite_scores,
    mean_estimate,
    resampled_means,
)

MARGIN = 0.05
"""Loss of mean score that counts as no harm; of the log-probability of a token, in nats, the same
number is 5 % of the token's probability."""

# Equal means may differ in their last bits after summation; no real difference is this small.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Cliff:
    """A cliff layer, how sure it is, and what truncating there does to unseen items.

    Attributes:
        cut: The cliff: number of leading layers that must see the image.
        interval: 95 % percentile interval of the cut: a bootstrap over the calibration items keeps
            an item's scores together. With 16 items it holds the cliff in 6 to 8 of 10 cases only.
        n_layers: Number of layers, L.
        margin: How far below the baseline a mean score still counts as unharmed.
        baseline: Mean score of the intact model on the test items.
        score: Mean score at the cut on the test items.
        difference: ``score - baseline``, paired by item.
        best: The paper's reading: the cut with the highest mean score on the test items themselves,
            the smallest such cut. Its gain is biased upwards by the choice.
        best_score: Mean score at ``best`` on the test items.
        n_calibration: Number of items the cut was chosen on.
        held_out: Whether the test items are others than the calibration items.
    """

    cut: int
    interval: tuple[int, int]
    n_layers: int
    margin: float
    baseline: Estimate
    score: Estimate
    difference: Estimate
    best: int
    best_score: float
    n_calibration: int
    held_out: bool

    def __str__(self) -> str:
        found = f"cut {self.cut}" if self.exists else "no cliff"
        return f"{found} [{self.interval[0]}, {self.interval[1]}]"

    @property
    def exists(self) -> bool:
        """Whether some layer can do without the image; a cut of L truncates nothing."""
        return self.cut < self.n_layers

    @property
    def n_test(self) -> int:
        """Number of items the scores are reported on."""
        return self.baseline.n_items

    @property
    def layer(self) -> int:
        """The cliff in the paper's count: the first layer that need not see the image, from 1."""
        return self.cut + 1


def cliff_layer(
    calibration: npt.ArrayLike,
    test: npt.ArrayLike | None = None,
    *,
    margin: float = MARGIN,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Cliff:
    """Find the cliff on calibration items and measure it on test items.

    Args:
        calibration: Scores of shape (N, L + 1): item by cut, cuts 0 to L, the last being the intact
            model. Any scores will do, if higher is better.
        test: Scores of shape (M, L + 1) of other items. ``None`` reports on the calibration items;
            ``held_out`` then says ``False``, for such a report flatters the cut.
        margin: Loss of mean score that counts as no harm, in the units of the scores.
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
    margin = require_finite(margin, "margin", 0)
    n_resamples = require_whole(n_resamples, "n_resamples", 1)
    seed = require_whole(seed, "seed", 0)

    cut = int(_first_unharmed(chosen_on.mean(axis=0), margin))
    cuts = _first_unharmed(resampled_means(chosen_on, n_resamples, seed), margin)
    tail = (1 - CONFIDENCE) / 2
    low = int(np.quantile(cuts, tail, method="lower"))
    high = int(np.quantile(cuts, 1 - tail, method="higher"))
    means = reported_on.mean(axis=0)
    best = int(np.argmax(means >= means.max() - _ROUNDING))
    at_cut, intact = reported_on[:, cut], reported_on[:, -1]
    return Cliff(
        cut=cut,
        interval=(low, high),
        n_layers=len(means) - 1,
        margin=margin,
        baseline=mean_estimate(intact, seed),
        score=mean_estimate(at_cut, seed),
        difference=difference_estimate(at_cut - intact, seed),
        best=best,
        best_score=float(means[best]),
        n_calibration=len(chosen_on),
        held_out=test is not None,
    )


def _sorted_scores(scores: npt.ArrayLike, name: str) -> Floats:
    """Scores whose rows are sorted, so that no result depends on the order of items."""
    array = finite_scores(scores, 1, 2, name=name)
    return array[np.lexsort(array.T)]


def _first_unharmed(means: Floats, margin: float | Floats) -> npt.NDArray[np.intp]:
    """First cut from which on no mean, of shape (..., L + 1), is below the last by the margin."""
    harmed = means < means[..., -1:] - margin - _ROUNDING
    n_unharmed = np.argmax(harmed[..., ::-1], axis=-1)
    return np.where(harmed.any(axis=-1), means.shape[-1] - n_unharmed, 0)
