"""The best of many candidates, chosen on some items and scored on others: no selection bias."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infoflow.errors import InfoflowError
from infoflow.stats.intervals import mean_interval


@dataclass(frozen=True)
class HeldOutChoice:
    """The best candidate of one split, scored on another.

    Attributes:
        index: The candidate: one number for each axis of candidates.
        calibration: Its mean score on the items it was chosen by.
        test: Its mean score on the other items.
        interval: The 95 % interval of that.
    """

    index: tuple[int, ...]
    calibration: float
    test: float
    interval: tuple[float, float]


def choose_held_out(calibration: npt.ArrayLike, test: npt.ArrayLike) -> HeldOutChoice:
    """Choose the best candidate (a layer, a site, a variant) on one split, score it on another.

    Scores are those of N and of M other items, shapes (N, ...) and (M, ...): candidates last. One
    that is undefined for some item of either split is not chosen.
    """
    known, new = np.asarray(calibration, dtype=float), np.asarray(test, dtype=float)
    if known.shape[1:] != new.shape[1:] or known.ndim < 2 or not (len(known) and len(new)):
        raise InfoflowError(
            f"scores of shapes {known.shape} and {new.shape} are not those of the same candidates "
            "on two splits; valid: (N, *candidates) and (M, *candidates)."
        )
    means = np.where(np.isnan(new).any(0), np.nan, known.mean(0))
    if np.isnan(means).all():
        raise InfoflowError("no candidate is defined for every item.")
    best = int(np.nanargmax(means))
    index = tuple(int(i) for i in np.unravel_index(best, means.shape))
    scores = new.reshape(len(new), -1)[:, best]
    return HeldOutChoice(index, float(means[index]), float(scores.mean()), mean_interval(scores))
