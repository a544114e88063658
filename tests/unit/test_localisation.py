import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from infoflow.data.shapes import samples
from infoflow.errors import InfoflowError
from infoflow.methods.heatmaps import centre_map
from infoflow.methods.localisation import (
    auc,
    coverage,
    localise,
    mass_inside,
    pointing_hit,
    rank_correlation,
    target_mask,
    tokens_on,
)
from infoflow.models.grid import Grid, Raster, stack

HEATS = arrays(np.float64, (4, 5), elements=st.floats(0, 1e6))
MASKS = arrays(np.bool_, (4, 5)).filter(lambda mask: mask.any())


def random_maps(n, grid, seed=0):
    return np.random.default_rng(seed).random((n, grid.rows, grid.cols))


def spot(row, col, shape=(8, 8), value=1.0):
    heat = np.zeros(shape)
    heat[row, col] = value
    return heat


@given(HEATS, MASKS)
def test_a_peak_hits_a_mask_or_the_rest_of_the_picture(heat, mask):
    assume(not mask.all())
    hit = pointing_hit(heat, mask)
    assert 0 <= hit <= 1
    assert hit + pointing_hit(heat, ~mask) == pytest.approx(1)
    if (heat == heat.max()).sum() == 1:
        assert hit == mask.ravel()[heat.argmax()]


@given(HEATS, MASKS)
def test_auc_counts_pairs_of_cells_and_ties_by_half(heat, mask):
    assume(not mask.all())
    pairs = [(one > other) + (one == other) / 2 for one in heat[mask] for other in heat[~mask]]
    assert auc(heat[None], mask) == pytest.approx(np.mean(pairs))
    assert np.isnan(auc(heat[None], np.zeros_like(mask))).all()


@given(HEATS, MASKS)
def test_mass_is_split_between_mask_and_the_rest(heat, mask):
    assume(heat.max() > 0)
    assume(not mask.all())
    inside = mass_inside(heat, mask)
    assert 0 <= inside <= 1
    assert inside + mass_inside(heat, ~mask) == pytest.approx(1)


@given(HEATS, MASKS, st.sampled_from([2.0**-40, 0.5, 2.0, 2.0**30]))
def test_scores_do_not_depend_on_the_scale(heat, mask, scale):
    assume(not ((heat > 0) & (heat * scale < 1e-300)).any())
    assert pointing_hit(heat * scale, mask) == pointing_hit(heat, mask)
    np.testing.assert_allclose(mass_inside(heat * scale, mask), mass_inside(heat, mask))


@given(MASKS, st.just(0.0) | st.floats(0.1, 10))
def test_an_even_map_scores_at_chance(mask, value):
    even = np.full(mask.shape, value)
    assert pointing_hit(even, mask) == pytest.approx(mask.mean())
    assert mass_inside(even, mask) == pytest.approx(mask.mean())


def test_equal_maxima_count_for_their_part():
    heat = np.array([[3.0, 1, 3], [3, 0, 3]])
    mask = np.array([[True, True, False], [False, False, False]])
    assert pointing_hit(heat, mask) == 0.25


def test_undefined_maps_have_no_score():
    mask = np.ones((3, 3), dtype=bool)
    undefined = np.full((3, 3), np.nan)
    assert math.isnan(pointing_hit(undefined, mask))
    assert math.isnan(mass_inside(undefined, mask))


@pytest.mark.parametrize("maps", [np.ones((1, 3, 2)), np.ones((2, 2)), -np.ones((1, 2, 2))])
def test_what_cannot_be_scored_is_refused(maps):
    with pytest.raises(InfoflowError, match=r"cannot be scored; valid: .* \(L, 2, 2\)"):
        localise(maps, Grid(2, 2), np.eye(2, dtype=bool))


@pytest.mark.parametrize(
    "mask", [np.ones((2, 2)), np.zeros((2, 2), bool), np.ones(4, bool), np.ones((2, 2, 3), bool)]
)
def test_what_is_no_region_is_refused(mask):
    with pytest.raises(InfoflowError, match="marks no region"):
        coverage(mask, Grid(2, 2))


BOXES = st.sampled_from([(0, 0, 1, 1), (0, 0.25, 1, 0.75), (0.1, 0, 0.83, 1)])


@given(
    arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))).filter(lambda m: m.any()),
    st.builds(Grid, st.integers(1, 5), st.integers(1, 5), BOXES),
)
def test_cells_share_out_a_region_by_area(mask, grid):
    share = coverage(mask, grid)
    left, top, right, bottom = grid.box
    assert (share >= 0).all()
    assert (share <= 1 + 1e-9).all()
    area = mask.mean() * (right - left) * (bottom - top)
    assert share.mean() == pytest.approx(area)
    if not mask.all():
        rest = coverage(~mask, grid)
        np.testing.assert_allclose(share + rest, coverage(np.ones_like(mask), grid), atol=1e-9)


def test_coverage_by_hand():
    mask = np.zeros((3, 4), dtype=bool)
    mask[0, 0] = True
    np.testing.assert_allclose(coverage(mask, Grid(2, 2)), [[1 / 3, 0], [0, 0]])
    mask[1, 0] = True  # the middle row is split between two cells
    np.testing.assert_allclose(coverage(mask, Grid(2, 2)), [[1 / 2, 0], [1 / 6, 0]], atol=1e-12)


def test_tokens_are_laid_over_the_picture_through_its_padding():
    """A 40 x 80 picture fills the middle rows of a square; its target is its lower right."""
    grid = Grid(8, 8, (0.0, 0.25, 1.0, 0.75))
    mask = np.zeros((40, 80), dtype=bool)
    mask[20:, 65:] = True  # half of column 6, all of column 7, rows 4 and 5
    two = spot(5, 7) + spot(3, 3)
    maps = np.stack([spot(5, 7), spot(4, 6), spot(5, 0), spot(6, 7), two, np.ones((8, 8))])
    found = localise(maps, grid, mask)
    np.testing.assert_allclose(found.hits, [1, 1, 0, 0, 1 / 2, 4 / 64])
    np.testing.assert_allclose(found.mass, [1, 1 / 2, 0, 0, 1 / 2, 3 / 64], atol=1e-9)
    assert (found.hit_chance, found.mass_chance) == pytest.approx((4 / 64, 3 / 64))


def test_an_undefined_layer_leaves_the_others_scored():
    maps = np.stack([np.full((2, 2), np.nan), spot(0, 0, (2, 2))])
    found = localise(maps, Grid(2, 2), np.eye(2, dtype=bool))
    np.testing.assert_array_equal(found.hits, [np.nan, 1])
    np.testing.assert_array_equal(found.mass, [np.nan, 1])


def test_a_map_of_the_target_itself_finds_it():
    for sample in samples("scienceqa", "calibration", 6):
        mask = target_mask(sample)
        assert mask.shape == sample.image.size[::-1]
        assert mask.sum() == sum(sample.regions[name].sum() for name in set(sample.targets))
        share = coverage(mask, Grid(8, 8))
        found = localise(share[None], Grid(8, 8), mask)
        assert found.hits == [1]
        assert found.mass_chance < 0.5
        assert found.mass > 2 * found.mass_chance


def test_a_sample_without_targets_has_no_mask():
    absent = next(s for s in samples("pope", "test") if s.answer == "no" and not s.targets)
    with pytest.raises(InfoflowError, match=absent.id):
        target_mask(absent)


def test_random_maps_expect_chance():
    mask = np.zeros((32, 32), dtype=bool)
    mask[6:12, 8:24] = True
    maps = random_maps(400, Grid(8, 8), seed=1)
    found = localise(maps, Grid(8, 8), mask)
    error = math.sqrt(found.hit_chance * (1 - found.hit_chance) / 400)
    assert abs(found.hits.mean() - found.hit_chance) < 4 * error
    assert found.mass.mean() == pytest.approx(found.mass_chance, rel=0.05)


def test_the_centre_map_peaks_in_the_middle_of_the_picture():
    heat = centre_map(Grid(9, 9, (0.0, 0.2, 1.0, 0.8)))
    assert np.argwhere(heat == heat.max()).tolist() == [[4, 4]]
    assert heat.max() == 1
    np.testing.assert_allclose(heat, heat[::-1, ::-1])
    # the outermost tokens' centres: 4/9 of the width off, 2/9 / 0.6 of the height
    assert heat[4, 0] == pytest.approx(math.exp(-8 * (4 / 9) ** 2))
    assert heat[2, 4] == pytest.approx(math.exp(-8 * (2 / 9 / 0.6) ** 2))
    aside = centre_map(Grid(4, 4, (0.0, 0.0, 0.5, 0.5)))
    assert np.array_equal(
        aside == aside.max(), coverage(np.ones((1, 1), bool), Grid(4, 4, (0, 0, 0.5, 0.5))) > 0
    )


def test_rank_correlation_sees_order_alone():
    maps = random_maps(3, Grid(5, 5))
    np.testing.assert_allclose(rank_correlation(maps, np.exp(maps)), 1)
    np.testing.assert_allclose(rank_correlation(maps, -maps), -1)
    blank = maps.copy()
    blank[0], blank[1] = 0, np.nan
    found = rank_correlation(maps, blank)
    assert np.isnan(found[:2]).all()
    assert found[2] == pytest.approx(1)


def test_tokens_on_a_region_are_those_whose_cell_touches_it():
    mask = np.zeros((40, 50), dtype=bool)
    mask[11, 21:29] = True  # a line within one row of cells and one column
    on = tokens_on(mask, Grid(4, 5)).reshape(4, 5)
    assert np.argwhere(on).tolist() == [[1, 2]]
    mask[11, 21:31] = True
    assert np.argwhere(tokens_on(mask, Grid(4, 5)).reshape(4, 5)).tolist() == [[1, 2], [1, 3]]


def test_where_cells_mix_tokens_those_are_on_it_that_are_mostly_seen_there():
    fine, coarse = Grid(4, 4), Grid(2, 2)
    mixed = stack([Raster(fine, np.arange(16)), Raster(coarse, np.arange(16, 20))], 20)
    mask = np.zeros((8, 8), dtype=bool)
    mask[:4, :4] = True
    on = tokens_on(mask, mixed)
    assert on[:16].reshape(4, 4)[:2, :2].all()
    assert on[:16].sum() == 4
    assert on[16:].tolist() == [True, False, False, False]
