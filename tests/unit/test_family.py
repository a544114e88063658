"""Many tests at once: Holm's method, p values read off intervals, claims judged together."""

from dataclasses import replace

import numpy as np
import pytest
from claims_page import family_table, family_words, planted
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp

from infoflow.claims import findings_of
from infoflow.claims.findings import (
    FAILS,
    FEWEST,
    HOLDS,
    PARTLY,
    UNDECIDED,
    corrected,
    decided,
    joined,
)
from infoflow.errors import InfoflowError
from infoflow.stats.family import holm, interval_p_value
from infoflow.stats.intervals import (
    Estimate,
    difference_estimate,
    mean_estimate,
    percentiles,
    resampled_means,
)
from infoflow.stats.paired import LEVEL
from infoflow.stats.selection import selection_bias

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_holm_gives_what_r_gives():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm") of R
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@settings(max_examples=100, deadline=None)
@given(P_VALUES)
def test_holm_lies_between_no_correction_and_bonferronis(p_values):
    raw, adjusted = np.array(p_values), holm(p_values)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(len(raw) * raw, 1)).all()
    assert adjusted.min() == min(len(raw) * raw.min(), 1)
    assert (np.diff(adjusted[np.argsort(raw)]) >= 0).all()


@pytest.mark.parametrize("bad", [[], [0.5, 1.1], [-0.1], [np.nan]])
def test_what_is_no_p_value_is_refused(bad):
    with pytest.raises(InfoflowError, match="p value"):
        holm(bad)


def test_a_p_value_read_off_an_interval_is_that_of_the_test():
    rng = np.random.default_rng(0)
    for _ in range(10):
        values = rng.normal(0.1, 1, 500)
        by_t = ttest_1samp(values, 0).pvalue
        assert interval_p_value(mean_estimate(values), 0) == pytest.approx(by_t, abs=0.02)
        right = (rng.random(500) < 0.55).astype(float)
        exact = binomtest(int(right.sum()), 500).pvalue
        assert interval_p_value(mean_estimate(right), 0.5) == pytest.approx(exact, abs=0.04)


@settings(max_examples=200, deadline=None)
@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(0.01, 1), st.floats(-2, 2))
def test_it_is_below_5_percent_exactly_where_the_interval_excludes_the_bound(value, a, b, bound):
    estimate = Estimate(value, value - a, value + b, 100)
    if min(abs(bound - estimate.low), abs(bound - estimate.high)) > 1e-9:
        outside = not estimate.low < bound < estimate.high
        assert (interval_p_value(estimate, bound) < LEVEL) == outside


def test_certainty_is_certain():
    assert interval_p_value(Estimate(0.1, 0.1, 0.1, 30), 0) == 0
    assert interval_p_value(Estimate(0, 0, 0, 30), 0) == 1


def lost_and_gained(rng):
    """Estimates of a family of 20: answers that were lost as often as gained."""
    return [difference_estimate(values) for values in rng.integers(-1, 2, (20, 120))]


def bootstrapped(rng):
    """Estimates of a family of 10: changes around nothing, their intervals by bootstrap."""
    values = rng.normal(size=(100, 10))
    means = resampled_means(values, 1000, seed=int(rng.integers(2**31)))
    pairs = zip(values.mean(axis=0), map(percentiles, means.T), strict=True)
    return [Estimate(mean, *interval, len(values)) for mean, interval in pairs]


@pytest.mark.parametrize("family_of", [lost_and_gained, bootstrapped])
def test_one_wrong_call_in_a_family_of_true_nulls_is_rare(family_of):
    rng, n_families = np.random.default_rng(0), 200
    alone = together = 0.0
    for _ in range(n_families):
        p_values = [interval_p_value(estimate, 0) for estimate in family_of(rng)]
        alone += (min(p_values) < LEVEL) / n_families
        together += (holm(p_values).min() < LEVEL) / n_families
    assert alone > 0.3
    assert together <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / n_families)  # what 200 families can tell


def finding(*estimates, **bounds):
    tasks = ("scienceqa", "pope", "textvqa", "chair")
    found = {t: (decided(e, **bounds), "") for t, e in zip(tasks, estimates, strict=False)}
    return joined(found)


CLEAR = Estimate(1.0, 0.9, 1.1, 100)
JUST = Estimate(1.0, 0.1, 1.9, 100)  # p = 0.03
NOT = Estimate(0.0, -1.0, 1.0, 100)


def test_what_is_just_shown_does_not_stand_among_many():
    alone = [finding(JUST)]
    assert corrected(alone)[0].verdict == alone[0].verdict == HOLDS
    first, second = corrected([finding(JUST, CLEAR), finding(NOT)])
    assert first.by_task == {"scienceqa": UNDECIDED, "pope": HOLDS}
    assert first.verdict == PARTLY
    assert second.verdict == UNDECIDED
    assert first.decisions["scienceqa"][0].p_value == pytest.approx(2 * 0.0294, abs=1e-3)


def test_what_must_all_be_so_falls_with_one_and_fails_with_one():
    both = joined({"pope": ([decided(CLEAR), decided(JUST)], "")})
    assert both.verdict == HOLDS
    assert corrected([both, finding(NOT)])[0].verdict == PARTLY
    failing = joined({"pope": ([decided(-1 * CLEAR), decided(JUST)], "")})
    assert corrected([failing, finding(NOT)])[0].verdict == FAILS


def test_verdicts_without_a_test_stay():
    counted = joined({"pope": (HOLDS, "10 of 10")})
    assert corrected([counted]) == [counted]
    assert corrected([counted, finding(NOT)])[0] == counted


def test_too_few_items_are_a_test_that_shows_nothing():
    few = decided(replace(CLEAR, n_items=FEWEST - 1))
    assert (few.verdict, few.p_value) == (UNDECIDED, 1.0)


def test_the_bound_that_decides_is_the_one_that_is_named():
    assert decided(CLEAR, above=-0.05, below=0.0).tested.endswith("against -0.05")
    assert decided(-1 * CLEAR, above=-0.05, below=0.0).tested.endswith("against +0.00")


def test_the_best_of_many_has_the_p_value_of_its_sign_flips():
    rng = np.random.default_rng(1)
    scores = (rng.random((200, 6)) < 0.5).astype(float)
    p_values = [selection_bias(scores[:, rng.permutation(6)], 0).p_value for _ in range(5)]
    assert min(p_values) > 0.01
    better = np.concatenate([scores, np.zeros((200, 1))], axis=1)
    assert selection_bias(better, 0).p_value == pytest.approx(1 / 2001)
    shown = selection_bias(scores, 0)
    assert (shown.p_value < LEVEL) == (shown.gain > shown.chance_high)


def test_the_page_shows_every_test_and_says_what_changes():
    planted_claims = planted(True)
    found = findings_of(None, planted_claims)
    n_tests = sum(len(tests) for one in found for tests in one.decisions.values())
    table = family_table(found, "a model")
    assert len(table.data) == n_tests > 80
    assert "none of these verdicts changes" in family_words(found)
    just = {"by_task": finding(JUST).by_task, "decisions": finding(JUST).decisions}
    weak = [one._replace(**just) for one in found]
    assert "flow-falls-early (holds, in the family undecided)" in family_words(weak)
    assert (family_table(weak, "a model").data["in the family"] == UNDECIDED).all()
