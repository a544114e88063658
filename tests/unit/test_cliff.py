import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from infoflow.errors import InfoflowError
from infoflow.stats.cliff import MARGIN, cliff_layer
from infoflow.stats.intervals import difference_estimate, mean_estimate

SCORES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=7),
    elements=st.sampled_from([0.0, 1 / 3, 0.5, 1.0]),
)
QUICK = {"n_resamples": 50}


def step(at: int, n_cuts: int = 7, n_items: int = 20, low: float = 0.0) -> np.ndarray:
    scores = np.full((n_items, n_cuts), low)
    scores[:, at:] = 1.0
    return scores


@pytest.mark.parametrize("at", range(7))
def test_a_step_is_found_at_the_step(at):
    cliff = cliff_layer(step(at), step(at))
    assert cliff.cut == cliff.best == at
    assert cliff.interval == (at, at)
    assert cliff.layer == at + 1
    assert (cliff.score.value, cliff.baseline.value, cliff.difference.value) == (1, 1, 0)
    assert cliff.exists == (at < 6)
    assert str(cliff) == (f"cut {at} [{at}, {at}]" if at < 6 else "no cliff [6, 6]")


def test_every_later_cut_must_be_unharmed():
    curve = np.array([0.9, 0.9, 0.2, 0.9, 0.9])
    assert cliff_layer([curve, curve], margin=0.0).cut == 3
    assert cliff_layer([curve, curve], margin=0.7).cut == 0


def test_the_margin_is_what_may_be_lost():
    scores = np.ones((10, 4))
    scores[:1, 0] = 0
    scores[:3, 1] = 0
    scores[:2, 2] = 0  # means 0.9, 0.7, 0.8, 1.0
    cuts = {m: cliff_layer(scores, margin=m).cut for m in (0.0, 0.1, 0.2, 0.29, 0.3)}
    assert cuts == {0.0: 3, 0.1: 3, 0.2: 2, 0.29: 2, 0.3: 0}


def test_it_is_chosen_on_calibration_and_reported_on_test():
    calibration = step(2, n_cuts=5)
    test = np.tile([0.0, 0.0, 0.25, 1.0, 0.75], (8, 1))
    cliff = cliff_layer(calibration, test)
    assert (cliff.cut, cliff.score.value, cliff.baseline.value) == (2, 0.25, 0.75)
    assert cliff.difference.value == -0.5
    assert cliff.difference.interval == (-0.5, -0.5)
    assert (cliff.best, cliff.best_score) == (3, 1.0)
    assert (cliff.n_calibration, cliff.n_test, cliff.held_out) == (20, 8, True)
    assert not cliff_layer(calibration).held_out


def test_the_best_cut_is_the_smallest_of_equals():
    scores = np.tile([0.1, 0.6, 0.6, 0.2], (3, 1))
    assert cliff_layer(scores).best == 1


@pytest.mark.parametrize("n_items", [16, 60, 500])
def test_the_margin_does_not_depend_on_the_number_of_items(n_items):
    scores = step(1, n_cuts=3, n_items=n_items)
    scores[: n_items // 16, 1] = 0  # 1 of 16 is more than 5 points, and 3 of 60 are not
    cliff = cliff_layer(scores, **QUICK)
    assert cliff.margin == MARGIN == 0.05
    assert cliff.cut == (1 if 20 * (n_items // 16) <= n_items else 2)


def test_scores_have_the_intervals_that_other_pages_give_them():
    scores = np.random.default_rng(0).random((40, 5)) < np.linspace(0.2, 0.9, 5)
    cliff = cliff_layer(scores, scores[:30], seed=3)
    at_cut, intact = scores[:30, cliff.cut].astype(float), scores[:30, -1].astype(float)
    assert cliff.baseline == mean_estimate(intact, 3)
    assert cliff.score == mean_estimate(at_cut, 3)
    assert cliff.difference == difference_estimate(at_cut - intact, 3)
    assert cliff.n_test == 30


def planted(n_layers: int, fall: float, n_items: int, rng: np.random.Generator) -> np.ndarray:
    """Items that are right from a depth of their own on; one answer in 200 is flipped."""
    right = 0.4 + 0.55 * (1 - np.exp(-np.arange(n_layers + 1) / fall))
    scores = rng.random((n_items, 1)) < right
    return scores ^ (rng.random(scores.shape) < 0.005)


@pytest.mark.parametrize(("n_layers", "fall", "cut"), [(12, 3, 7), (24, 6, 14)])
def test_the_rule_finds_a_planted_cliff_unless_items_are_very_few(n_layers, fall, cut):
    rng = np.random.default_rng(0)
    held, means = {}, {}
    for n_items in (16, 60, 120, 250, 500):
        found = [
            cliff_layer(planted(n_layers, fall, n_items, rng), n_resamples=200) for _ in range(200)
        ]
        means[n_items] = np.mean([cliff.cut for cliff in found])
        held[n_items] = np.mean([x.interval[0] <= cut <= x.interval[1] for x in found])
    # 16 items are too few for the interval and for the mean, as book/method.md says
    assert held.pop(16) < 0.9
    del means[16]
    assert min(held.values()) >= 0.9, held
    # one layer is the least an interval can hold, so that it holds too much where few suffice
    assert max(held.values()) <= 0.99 or n_layers == 12, held
    assert np.ptp(list(means.values())) < 1, means
    assert all(abs(mean - cut) < 1 for mean in means.values()), means


def test_the_difference_is_paired():
    # items differ much, but truncation takes 0.1 from each: only a paired interval is narrow
    baseline = np.linspace(0, 1, 50)
    scores = np.stack([baseline - 0.1, baseline], axis=1)
    cliff = cliff_layer(scores, margin=0.2)
    assert cliff.cut == 0
    assert cliff.difference.interval == pytest.approx((-0.1, -0.1))
    assert np.ptp(cliff.baseline.interval) > 0.1


def test_the_cuts_interval_shows_an_uncertain_cliff():
    # at cut 1 one item of 40 fails, which a resample misses with probability (39/40)^40 = 0.36
    scores = step(1, n_cuts=3, n_items=40)
    scores[0, 1] = 0
    cliff = cliff_layer(scores, margin=0.0)
    assert cliff.cut == 2
    assert cliff.interval == (1, 2)


@settings(max_examples=60, deadline=None)
@given(SCORES, st.floats(0, 1), st.floats(0, 1))
def test_a_larger_margin_never_gives_a_later_cliff(scores, one, other):
    less, more = sorted((one, other))
    assert (
        cliff_layer(scores, margin=more, **QUICK).cut
        <= cliff_layer(scores, margin=less, **QUICK).cut
    )


@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_equal_scores_at_all_cuts_have_no_cliff(scores):
    flat = np.repeat(scores[:, :1], scores.shape[1], axis=1)
    cliff = cliff_layer(flat, margin=0.0, **QUICK)
    assert (cliff.cut, cliff.interval, cliff.best) == (0, (0, 0), 0)


@settings(max_examples=60, deadline=None)
@given(SCORES, st.randoms(use_true_random=False))
def test_the_order_of_items_changes_nothing(scores, random):
    shuffled = list(scores)
    random.shuffle(shuffled)
    assert cliff_layer(scores, **QUICK) == cliff_layer(shuffled, **QUICK)


@settings(max_examples=60, deadline=None)
@given(SCORES, st.floats(0, 1))
def test_the_cut_is_what_the_definition_says(scores, margin):
    means = scores.mean(axis=0)
    unharmed = means >= means[-1] - margin - 1e-9
    expected = min(a for a in range(len(means)) if unharmed[a:].all())
    assert cliff_layer(scores, margin=margin, **QUICK).cut == expected


def test_the_seed_decides_the_resamples():
    scores = np.random.default_rng(0).random((30, 4))
    assert cliff_layer(scores, seed=1) == cliff_layer(scores, seed=1)
    assert cliff_layer(scores, seed=1) != cliff_layer(scores, seed=2)


@pytest.mark.parametrize(
    ("calibration", "arguments", "message"),
    [
        (np.empty((0, 3)), {}, r"calibration scores have shape \(0, 3\)"),
        (np.ones(3), {}, r"shape \(3,\)"),
        (np.ones((3, 1)), {}, r"at least 1 item\(s\) by 2 cut\(s\)"),
        ([[1.0], [1.0, 0.0]], {}, "calibration scores are not numbers"),
        ([["yes", "no"]], {}, "not numbers"),
        ([[0.0, 1.0], [1.0, np.nan]], {}, "item 1 at cut 1 is nan"),
        (np.ones((3, 4)), {"test": np.ones((3, 5))}, "calibration has 4 cuts and test 5"),
        (np.ones((3, 4)), {"test": [[1, 1, 1, np.inf]]}, "test score of item 0 at cut 3 is inf"),
        (np.ones((3, 4)), {"margin": -0.1}, "margin is -0.1"),
        (np.ones((3, 4)), {"margin": np.nan}, "margin is nan"),
        (np.ones((3, 4)), {"n_resamples": 0}, "n_resamples is 0"),
    ],
)
def test_bad_scores_have_one_clear_error(calibration, arguments, message):
    with pytest.raises(InfoflowError, match=message):
        cliff_layer(calibration, **arguments)
