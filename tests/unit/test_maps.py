import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from infoflow.methods.cam import CAM, WEIGHTS, activation_map, map_entropies, normalise_maps

MAPS = arrays("float32", (3, 4, 5), elements=st.floats(0, 2.0**100, width=32)).map(torch.from_numpy)


def lit_share(maps):
    return CAM(maps, maps.flatten(-2), torch.tensor([1])).lit


def test_weightings_by_hand():
    feature = torch.tensor([[1.0, 2.0], [-3.0, 1.0]])
    gradient = torch.tensor([[2.0, -1.0], [-1.0, 3.0]])
    found = {name: activation_map(feature, gradient, name).tolist() for name in WEIGHTS}
    assert found == {
        "mean": [0.5 * 1 + 1 * 2, 0],  # the second: 0.5 * -3 + 1 * 1 < 0
        "relu-mean": [1 * 1 + 1.5 * 2, 0],  # the second: 1 * -3 + 1.5 * 1 < 0
        "element-wise": [0, 3 + 3],  # the first: 2 - 2
    }


@pytest.mark.parametrize("weights", WEIGHTS)
def test_half_precision_is_weighted_in_single(weights):
    feature, gradient = torch.randn(2, 3, 500, 64).bfloat16()
    found = activation_map(feature, gradient, weights)
    assert found.dtype == torch.float32
    assert torch.equal(found, activation_map(feature.float(), gradient.float(), weights))


@given(MAPS)
def test_normalised_maps_peak_at_one_or_are_zero(maps):
    normalised = normalise_maps(maps)
    peaks = normalised.amax((-2, -1))
    assert torch.equal(peaks, (maps.amax((-2, -1)) > 0).float())
    assert normalised.isfinite().all()
    assert (normalised >= 0).all()


@given(MAPS)
def test_entropy_is_between_one_cell_and_an_even_map(maps):
    entropies = map_entropies(maps)
    empty = maps.amax((-2, -1)) == 0
    assert torch.equal(entropies.isnan(), empty)
    assert (entropies[~empty] >= 0).all()
    assert (entropies[~empty] <= math.log2(20) + 1e-5).all()


def test_entropy_and_lit_share_of_known_maps():
    one, even = torch.zeros(4, 4), torch.full((4, 4), 7e-20)
    one[2, 1] = 5
    half = torch.zeros(4, 4)
    half[:2] = 3.0
    maps = torch.stack([one, even, half])
    torch.testing.assert_close(map_entropies(maps), torch.tensor([0.0, 4.0, 3.0]))
    assert lit_share(maps).tolist() == [1 / 16, 1, 0.5]


def test_what_is_undefined_stays_undefined():
    maps = torch.full((1, 3, 3), math.nan)
    assert normalise_maps(maps).isnan().all()
    assert lit_share(maps).isnan().all()
    assert map_entropies(maps).isnan().all()
