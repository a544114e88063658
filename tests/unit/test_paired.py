from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infoflow.errors import InfoflowError
from infoflow.stats.paired import equivalence, mcnemar, mcnemar_of_counts

BITS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)
quick = settings(max_examples=60, deadline=None)


def table(lost, gained, both=0, neither=0):
    """Paired scores with these counts."""
    before = [1] * lost + [0] * gained + [1] * both + [0] * neither
    after = [0] * lost + [1] * gained + [1] * both + [0] * neither
    return np.array(before), np.array(after)


@pytest.mark.parametrize(
    ("lost", "gained", "n_right", "rounded"),
    # Simignore's stored predictions on 2017 items: METHODS, section 2
    [(91, 149, 1314, 2e-4), (37, 60, 1454, 0.025)],
)
def test_published_predictions_have_their_known_p_values(lost, gained, n_right, rounded):
    both = n_right - lost
    result = mcnemar(*table(lost, gained, both, 2017 - both - lost - gained))
    assert (result.lost, result.gained, result.n_items) == (lost, gained, 2017)
    assert result.p_value == pytest.approx(rounded, rel=0.1)


@quick
@given(BITS)
def test_the_p_value_is_the_binomial_tail(pairs):
    before, after = np.array(pairs).T
    result = mcnemar(before, after)
    n, k = result.lost + result.gained, min(result.lost, result.gained)
    tail = 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n
    assert result.p_value == pytest.approx(min(1.0, tail))
    swapped = mcnemar(after, before)
    assert (swapped.lost, swapped.gained) == (result.gained, result.lost)
    assert swapped.p_value == pytest.approx(result.p_value)


def test_unchanged_answers_are_no_evidence():
    assert mcnemar([1, 0, 1], [1, 0, 1]).p_value == 1


def test_the_interval_is_bonett_and_prices():
    result = equivalence(*table(5, 11, 60, 24), margin=0.2)
    lost, gained, z = 6 / 102, 12 / 102, 1.959963984540054
    half = z * np.sqrt((lost + gained - (gained - lost) ** 2) / 102)
    assert result.value == pytest.approx(0.06)
    assert result.interval == pytest.approx((gained - lost - half, gained - lost + half))


def test_few_unchanged_answers_are_not_yet_equivalence():
    assert not equivalence([1] * 10, [1] * 10, margin=0.05).equivalent
    assert equivalence([1] * 1000, [1] * 1000, margin=0.05).equivalent


def test_few_unchanged_graded_scores_are_not_yet_equivalence():
    graded = [0.3, 1, 0.6, 0.9, 0.3, 1, 0, 0.6, 1, 0.3]
    assert not equivalence(graded, graded, margin=0.05).equivalent
    assert equivalence(graded * 100, graded * 100, margin=0.05).equivalent


def test_a_gain_is_unharmed_but_not_equivalent():
    gained = equivalence(*table(0, 30, 50, 20), margin=0.1)
    assert gained.unharmed
    assert not gained.equivalent
    lost = equivalence(*table(30, 0, 50, 20), margin=0.1)
    assert not lost.unharmed
    assert not lost.equivalent


@quick
@given(BITS, st.floats(0.01, 1))
def test_the_least_margin_is_where_the_verdict_turns(pairs, margin):
    before, after = np.array(pairs, dtype=float).T
    result = equivalence(before, after, margin=margin)
    assert result.equivalent == (result.least_margin < margin)
    assert result.interval[0] <= result.interval[1]
    swapped = equivalence(after, before, margin=margin)
    assert swapped.interval == pytest.approx((-result.interval[1], -result.interval[0]))


@pytest.mark.parametrize(("spread", "cover"), [(0.2, 0.9)])
def test_intervals_of_other_scores_hold_what_they_should(spread, cover):
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(100):
        before = rng.random(60)
        after = before + rng.normal(0.1, spread, 60)
        low, high = equivalence(before, after, margin=0.5, seed=seed).interval
        inside += low <= 0.1 <= high
    assert inside / 100 == pytest.approx(cover, abs=0.1)


def test_pairing_is_what_makes_the_interval_narrow():
    before = np.linspace(0, 1, 50)
    result = equivalence(before, before - 0.1, margin=0.2)
    assert result.interval == pytest.approx((-0.1, -0.1))
    assert result.equivalent


def test_the_seed_decides_and_the_order_of_items_does_not():
    rng = np.random.default_rng(0)
    before, after, order = rng.random(30), rng.random(30), rng.permutation(30)
    first = equivalence(before, after, margin=0.1)
    assert first == equivalence(before, after, margin=0.1)
    assert first.interval == equivalence(before[order], after[order], margin=0.1).interval
    assert first.interval != equivalence(before, after, margin=0.1, seed=1).interval


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ([], [], r"shape \(0,\)"),
        ([1, 0], [1], "2 scores cannot be paired with 1"),
        ([[1, 0]], [[1, 0]], r"shape \(1, 2\)"),
        ([1, 0], [1, np.nan], "item 1 is nan; all must be finite"),
        (["a"], ["b"], "not numbers"),
    ],
)
def test_scores_that_are_not_paired_are_refused(before, after, message):
    for test in (mcnemar, lambda *scores: equivalence(*scores, margin=0.1)):
        with pytest.raises(InfoflowError, match=message):
            test(before, after)


def test_mcnemar_is_for_right_and_wrong_only():
    with pytest.raises(InfoflowError, match="0 or 1"):
        mcnemar([0.5, 1], [1, 1])


@pytest.mark.parametrize("margin", [0, -0.1, np.nan, np.inf])
def test_the_margin_must_be_positive(margin):
    with pytest.raises(InfoflowError, match="margin is"):
        equivalence([1, 0], [1, 1], margin=margin)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (3, 9), (91, 149)])
def test_published_counts_are_tested_as_answers_are(lost, gained):
    before = [1] * lost + [0] * gained + [1, 0]
    after = [0] * lost + [1] * gained + [1, 0]
    assert mcnemar_of_counts(lost, gained, len(before)) == mcnemar(before, after)


@pytest.mark.parametrize("counts", [(-1, 2, 5), (3, 3, 5), (0, 0, 0)])
def test_counts_that_cannot_be_are_refused(counts):
    with pytest.raises(InfoflowError, match="cannot be"):
        mcnemar_of_counts(*counts)
