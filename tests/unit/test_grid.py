import numpy as np
import pytest
from scipy import sparse

from infoflow.errors import InfoflowError
from infoflow.models.grid import Grid, Raster, stack


def test_a_constant_map_stays_constant():
    grid = Grid(3, 5, (0.0, 0.2, 1.0, 0.8))
    picture = grid.to_picture(np.full(15, 0.25), (40, 24))
    assert picture.shape == (24, 40)
    assert picture.dtype == np.float32
    np.testing.assert_allclose(picture, 0.25)


def test_tokens_run_row_by_row_and_one_token_a_pixel_is_the_identity():
    values = np.arange(6, dtype=np.float32)
    picture = Grid(2, 3).to_picture(values, (3, 2))
    np.testing.assert_array_equal(picture, values.reshape(2, 3))
    np.testing.assert_array_equal(picture, Grid(2, 3).to_picture(values.reshape(2, 3), (3, 2)))


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0.0, 0.0, 1.0, 1.0), (37, 53)),
        ((0.0, 0.1875, 1.0, 0.8125), (80, 50)),  # wide: bands above and below are padding
        ((0.25, 0.0, 0.75, 1.0), (30, 60)),  # tall
        ((0.1, 0.0, 0.97, 1.0), (29, 41)),  # a box that ends inside a token
    ],
)
def test_every_pixel_is_looked_up_at_its_exact_place_in_the_frame(box, size):
    rows, cols = 6, 8
    x = (np.arange(cols) + 0.5) / cols
    y = (np.arange(rows) + 0.5) / rows
    width, height = size
    left, top, right, bottom = box
    frame_x = left + (np.arange(width) + 0.5) / width * (right - left)
    frame_y = top + (np.arange(height) + 0.5) / height * (bottom - top)
    # a plane is its own bilinear interpolation, held constant beyond the outermost centres
    picture = Grid(rows, cols, box).to_picture(x[None, :] + 10 * y[:, None], size)
    expected = frame_x.clip(x[0], x[-1])[None, :] + 10 * frame_y.clip(y[0], y[-1])[:, None]
    np.testing.assert_allclose(picture, expected, rtol=1e-5)


def test_padding_is_cut_off():
    # 4 x 4 tokens over a picture twice as wide as high: the outer rows are padding only
    values = np.array([[9] * 4, [1] * 4, [1] * 4, [9] * 4])
    picture = Grid(4, 4, (0.0, 0.25, 1.0, 0.75)).to_picture(values, (8, 400))
    np.testing.assert_allclose(picture[100:300], 1)  # between the centres of the inner rows
    assert picture.max() < 5.1  # the border lies halfway to the padding's centres


@pytest.mark.parametrize("shape", [(5,), (3, 2), (2, 3, 1), ()])
def test_a_map_of_another_shape_is_one_clear_error(shape):
    with pytest.raises(InfoflowError, match="grid of 2 x 3 cells"):
        Grid(2, 3).to_picture(np.zeros(shape), (4, 4))


def test_an_empty_picture_is_one_clear_error():
    with pytest.raises(InfoflowError, match=r"\(0, 4\)"):
        Grid(2, 3).to_picture(np.zeros(6), (0, 4))


def test_cells_take_their_shares_of_the_tokens():
    spread = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 2.0]])
    grid = Grid(1, 2, spread=sparse.csr_array(spread))
    values = np.array([[1.0, 3.0, 5.0], [np.nan] * 3], dtype=np.float32)
    np.testing.assert_array_equal(grid.cells(values), [[[2.0, 10.0]], [[np.nan, np.nan]]])
    assert grid.cells(values).dtype == np.float32
    np.testing.assert_array_equal(grid.to_picture(values[0], (2, 1)), [[2.0, 10.0]])
    np.testing.assert_array_equal(grid.to_picture([[2.0, 10.0]], (2, 1)), [[2.0, 10.0]])
    with pytest.raises(InfoflowError, match=r"2 cells for 3 tokens; valid: \(\.\.\., 3\)"):
        grid.cells(np.zeros((4, 2)))


def test_a_token_is_a_cell_by_default():
    values = np.arange(24.0).reshape(4, 6)
    np.testing.assert_array_equal(Grid(2, 3).cells(values), values.reshape(4, 2, 3))
    assert Grid(2, 3).n_tokens == 6


@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), (0.0, -0.02, 1.0, 1.03)])
def test_stacked_rasters_average_at_their_places_on_the_picture(box):
    """A plane is its own interpolation, so both rasters must agree on it, and their mean too."""
    size, coarse = (64, 48), Grid(6, 6, (0.1, 0.1, 0.9, 0.8))
    fine = Grid(12, 16, box)

    def plane(grid):
        left, top, right, bottom = grid.box
        x = ((np.arange(grid.cols) + 0.5) / grid.cols - left) / (right - left)
        y = ((np.arange(grid.rows) + 0.5) / grid.rows - top) / (bottom - top)
        return (x[None, :] + 10 * y[:, None]).ravel()

    values = np.full(36 + 192 + 5, 1e6)  # five tokens lie nowhere
    values[:36], values[41:] = plane(coarse), plane(fine)
    rasters = [Raster(fine, 41 + np.arange(192)), Raster(coarse, np.arange(36))]
    grid = stack(rasters, len(values))
    assert (grid.rows, grid.cols, grid.box, grid.n_tokens) == (12, 16, box, 233)
    inner = (slice(2, -2), slice(2, -2))  # beyond the outermost centres maps are held constant
    np.testing.assert_allclose(
        grid.cells(values)[inner], plane(fine).reshape(12, 16)[inner], atol=1e-9
    )
    np.testing.assert_allclose(grid.cells(np.ones(233)), 1)
    assert grid.to_picture(values, size).shape == (48, 64)
