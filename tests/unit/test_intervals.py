"""One interval for one kind of number: ratios of sums, and the same on every page."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from table1_page import paired_scores

from infoflow.errors import InfoflowError
from infoflow.stats.intervals import difference_estimate, draws, mean_estimate, ratio_estimate

N_ITEMS = 200


def counted(rng, share=0.1):
    """Captions of one to five objects, of which a share is made up."""
    mentions = rng.integers(1, 6, N_ITEMS)
    return rng.binomial(mentions, share), mentions


def test_a_ratio_pools_items_before_it_divides():
    found = ratio_estimate([1, 0, 0], [1, 4, 5])
    assert (found.value, found.n_items) == (0.1, 3)
    assert found.interval == (0, 1)
    assert ratio_estimate([0, 0], [0, 0]).interval == (0, 0)


def test_its_interval_is_as_wide_as_the_linearised_ratio_says():
    made_up, mentions = counted(np.random.default_rng(0))
    found = ratio_estimate(made_up, mentions)
    residual = (made_up - found.value * mentions) / mentions.mean()
    reach = norm.isf(0.025) * residual.std() / np.sqrt(N_ITEMS)
    assert found.high - found.low == pytest.approx(2 * reach, rel=0.1)
    assert (found.low + found.high) / 2 == pytest.approx(found.value, rel=0.05)


def test_nineteen_of_twenty_intervals_hold_the_share():
    rng = np.random.default_rng(1)
    intervals = [ratio_estimate(*counted(rng)).interval for _ in range(200)]
    held = np.mean([low <= 0.1 <= high for low, high in intervals])
    assert 0.9 <= held <= 0.99


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(InfoflowError, match="2 parts cannot be set over 3 wholes"):
        ratio_estimate([1, 2], [1, 2, 3])


def test_a_whole_of_one_gives_a_mean():
    scores = np.random.default_rng(2).random(100)
    ratio, mean = ratio_estimate(scores, np.ones(100)), mean_estimate(scores)
    assert ratio.value == pytest.approx(mean.value)
    assert ratio.interval == pytest.approx(mean.interval, abs=0.01)


def test_pages_and_arms_have_one_interval_for_one_ratio():
    made_up, mentions = counted(np.random.default_rng(3))
    rows = pd.DataFrame({"item": [f"i{n:03}" for n in range(N_ITEMS)]})
    rows = rows.assign(hallucinated=made_up, mentions=mentions, found=1, present=2)
    rows = pd.concat([rows.assign(cut=cut) for cut in (1, 2)])
    by_metric = {score.metric: score for score in paired_scores("chair", rows, 1, margin=0.05)}
    assert by_metric["CHAIRi"].intact == ratio_estimate(made_up, mentions)


def test_what_never_fails_is_not_certain():
    assert mean_estimate(np.ones(50)).low < 0.95
    assert difference_estimate(np.zeros(50)).high > 0.01


def test_draws_are_made_once_and_cannot_be_changed():
    counts = draws(6, 300, seed=1)
    assert counts.shape == (300, 6)
    assert (counts.sum(axis=1) == 6).all()
    assert draws(6, 300, seed=1) is counts
    assert (draws(6, 300, seed=2) != counts).any()
    with pytest.raises(ValueError, match="read-only"):
        counts[0] = 1
