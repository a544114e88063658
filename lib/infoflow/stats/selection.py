"""The best of many candidates: what choosing gains by chance."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from infoflow.options import require_whole
from infoflow.stats.intervals import Floats, finite_scores

_DRAWS = 2000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class SelectionBias:
    """The gain of the best cut over the intact model, and how much of it is the choice.

    Gains are of mean scores on test items, over ``n_cuts`` truncated cuts. ``chance`` is the mean
    gain if truncating changed every item for the better as often as for the worse, ``chance_high``
    what it stays below in 95 % of the draws; ``p_value`` is the share of draws, the data themselves
    being one, that gain as much. ``half_gain`` is that of the best cut where it was
    chosen, on random halves of the items, ``other_half_gain`` that of the same cut elsewhere.
    """

    best_cut: int
    gain: float
    chance: float
    chance_high: float
    p_value: float
    half_gain: float
    other_half_gain: float
    n_cuts: int
    n_items: int


def selection_bias(scores: npt.ArrayLike, first: int, seed: int = 0) -> SelectionBias:
    """Measure what the best of many cuts owes to being the best of many.

    The chance is that of a sign-flip test: whether an item's changes count as gains or as losses is
    drawn at random, once for all cuts, so that neighbouring cuts stay as alike as they are.

    Scores of test items have the shape (M, L + 1): item by cut, the last being the intact model.
    ``first`` is the first candidate, such as the cliff chosen on other items: cuts below it are
    known to do harm, and nobody would choose them.
    """
    table = finite_scores(scores, 2, 2)
    first = require_whole(first, "first", least=0, most=table.shape[1] - 2)
    table = table[np.lexsort(table.T)]  # so that the order of items does not matter
    changes = table[:, first:] - table[:, -1:]
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=(_DRAWS, len(changes)))
    by_chance = (signs @ changes / len(changes)).max(axis=1)
    means = changes.mean(axis=0)
    chosen, elsewhere = _halves(changes, rng)
    return SelectionBias(
        best_cut=first + int(np.argmax(means >= means.max() - _ROUNDING)),
        gain=float(means.max()),
        chance=float(by_chance.mean()),
        chance_high=float(np.quantile(by_chance, 0.95)),
        p_value=float(1 + (by_chance >= means.max() - _ROUNDING).sum()) / (1 + _DRAWS),
        half_gain=float(chosen.mean()),
        other_half_gain=float(elsewhere.mean()),
        n_cuts=changes.shape[1] - 1,
        n_items=len(table),
    )


def _halves(changes: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Choose the best cut on random halves: its gain there and on the other half, (draws,) each."""
    n_items = len(changes)
    half = n_items // 2
    in_half = rng.permuted(np.arange(n_items) < half + np.zeros((_DRAWS, 1)), axis=1)
    of_half = in_half @ changes / half
    of_other = ~in_half @ changes / (n_items - half)
    best = np.argmax(of_half >= of_half.max(axis=1, keepdims=True) - _ROUNDING, axis=1)
    draws = np.arange(_DRAWS)
    return of_half[draws, best], of_other[draws, best]
