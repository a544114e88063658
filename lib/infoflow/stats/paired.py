"""Two models on the same items: did answers change, and is the change small enough not to matter?

A cliff says from where on truncation does no harm; here that is put to the test at one cut. Scores
of the two models are paired by item, so that items which both get right or wrong say nothing.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from infoflow.errors import InfoflowError
from infoflow.stats.intervals import Estimate, Floats, difference_estimate, finite_scores

LEVEL = 0.05  # of a two-sided test; the interval beside it holds the rest


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of paired right and wrong answers, of which some changed.

    The p value is two-sided: how likely a split of the changed items at least as uneven is, if
    losing and gaining are equally likely. It is 1 if no item changed.
    """

    lost: int
    gained: int
    n_items: int
    p_value: float


@dataclass(frozen=True)
class Equivalence(Estimate):
    """How far one model's mean score is above another's, with its paired 95 % interval."""

    margin: float  # the difference that does not matter, stated beforehand

    def __rmul__(self, factor: float) -> Self:
        return replace(super().__rmul__(factor), margin=abs(factor) * self.margin)

    @property
    def equivalent(self) -> bool:
        """Whether the difference is shown to be within the margin (two tests at 2.5 %)."""
        return -self.margin < self.low and self.high < self.margin

    @property
    def unharmed(self) -> bool:
        """Whether the loss, if any, is shown to be less than the margin (one test at 2.5 %)."""
        return -self.margin < self.low

    @property
    def least_margin(self) -> float:
        """The margin above which the two would have been called equivalent."""
        return max(abs(self.low), abs(self.high))


def mcnemar(before: npt.ArrayLike, after: npt.ArrayLike) -> McNemar:
    """Test whether answers got better or worse (McNemar, 1947; exact binomial form).

    Scores are 0 or 1, shape (N,), of the same items in the same order.
    """
    first, second = _paired(before, after)
    if not np.isin([first, second], (0, 1)).all():
        raise InfoflowError("McNemar's test takes scores that are 0 or 1; others were given.")
    lost = int(((first == 1) & (second == 0)).sum())
    gained = int(((first == 0) & (second == 1)).sum())
    return mcnemar_of_counts(lost, gained, len(first))


def mcnemar_of_counts(lost: int, gained: int, n_items: int) -> McNemar:
    """:func:`mcnemar` from published counts, where the answers themselves are not at hand."""
    changed = lost + gained
    if min(lost, gained) < 0 or not 0 < n_items >= changed:
        raise InfoflowError(f"{lost} lost and {gained} gained of {n_items} items cannot be.")
    p_value = float(binomtest(gained, changed).pvalue) if changed else 1.0
    return McNemar(lost, gained, n_items, p_value)


def equivalence(
    before: npt.ArrayLike, after: npt.ArrayLike, margin: float, seed: int = 0
) -> Equivalence:
    """Test whether two models score the same, up to a margin.

    No significant difference is not yet equivalence; an interval inside the margin, the difference
    of mean scores that does not matter, is. Scores, shape (N,), are of the same items in the same
    order; the interval is that of :func:`infoflow.stats.intervals.difference_estimate`.
    """
    if not (np.isfinite(margin) and margin > 0):
        raise InfoflowError(f"margin is {margin}; it must be finite and positive.")
    first, second = _paired(before, after)
    change = difference_estimate(second - first, seed)
    return Equivalence(change.value, change.low, change.high, change.n_items, float(margin))


def _paired(before: npt.ArrayLike, after: npt.ArrayLike) -> tuple[Floats, Floats]:
    first, second = finite_scores(before, 1), finite_scores(after, 1)
    if len(first) != len(second):
        raise InfoflowError(f"{len(first)} scores cannot be paired with {len(second)}, by item.")
    return first, second
