"""Where image tokens lie on the picture: from one value a token to one value a pixel."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.ndimage import map_coordinates

from infoflow.errors import InfoflowError

Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
"""The box of a picture that fills the frame."""


@dataclass(frozen=True)
class Grid:
    """A raster of cells, the place of the picture within it, and what each cell has of each token.

    In most models a cell is a token. Where it is not, ``spread`` says how the cells' values come
    from the tokens': of a picture seen at two resolutions a cell averages a fine and a coarse
    token; queries that look at the whole picture give their values to the cells they looked at.

    Attributes:
        rows: Rows of cells.
        cols: Cells in a row; cell ``i`` lies in row ``i // cols``, column ``i % cols``.
        box: The part of the raster's frame that the original picture covers, as fractions
            (left, top, right, bottom) of the frame's width and height. A picture padded to a
            square covers a band of the frame; a squashed one covers all of it, (0, 0, 1, 1).
        spread: What each cell takes of each token: a sparse matrix of shape (rows * cols, N), not
            negative. None if token ``i`` is cell ``i``.
    """

    rows: int
    cols: int
    box: Box = WHOLE
    spread: Any = field(default=None, compare=False, repr=False)

    @property
    def n_tokens(self) -> int:
        """N, the number of image tokens."""
        return self.rows * self.cols if self.spread is None else int(self.spread.shape[1])

    def cells(self, values: npt.ArrayLike) -> npt.NDArray[Any]:
        """Turn one value a token into one value a cell: (..., N) to (..., rows, cols).

        Raises:
            InfoflowError: ``values`` does not hold one value a token.
        """
        array = np.asarray(values)
        if array.ndim < 1 or array.shape[-1] != self.n_tokens:
            raise self._misfit(array.shape, f"(..., {self.n_tokens})")
        if self.spread is not None:
            flat = self.spread @ array.reshape(-1, self.n_tokens).T
            array = flat.T.astype(array.dtype).reshape(*array.shape[:-1], -1)
        return array.reshape(*array.shape[:-1], self.rows, self.cols)

    def to_picture(self, values: npt.ArrayLike, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Resample one value a token or a cell to one value a pixel of the original picture.

        Each pixel's centre is looked up at its exact place in the frame, so padding needs no
        rounding to whole cells. Values are interpolated bilinearly between cell centres and held
        constant beyond the outermost ones.

        Args:
            values: One value a token, shape (N,), or one a cell, shape (rows, cols).
            size: Width and height of the picture in pixels, as ``PIL.Image.size``.

        Returns:
            The map over the picture, shape (height, width).

        Raises:
            InfoflowError: ``values`` has another shape, or ``size`` is not positive.
        """
        array = np.asarray(values, dtype=np.float32)
        if array.shape == (self.n_tokens,):
            array = self.cells(array)
        if array.shape != (self.rows, self.cols):
            raise self._misfit(array.shape, f"({self.n_tokens},) or ({self.rows}, {self.cols})")
        width, height = size
        if width < 1 or height < 1:
            raise InfoflowError(f"picture size {size!r} is empty; give (width, height) in pixels.")
        left, top, right, bottom = self.box
        x = _cell_coordinates(left, right, width, self.cols)
        y = _cell_coordinates(top, bottom, height, self.rows)
        sampled: npt.NDArray[np.float32] = map_coordinates(
            array, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest"
        )
        return sampled

    def _misfit(self, shape: tuple[int, ...], valid: str) -> InfoflowError:
        return InfoflowError(
            f"a map of shape {shape} does not fit a grid of {self.rows} x {self.cols} cells for "
            f"{self.n_tokens} tokens; valid: {valid}."
        )


class Raster(NamedTuple):
    """One of several rasters of tokens that see the same picture.

    Attributes:
        grid: Where its cells lie on the picture; a cell is a token.
        tokens: Which image token each cell is, shape (rows * cols,).
    """

    grid: Grid
    tokens: npt.NDArray[np.intp]


def stack(rasters: Sequence[Raster], n_tokens: int) -> Grid:
    """Lay several rasters of one picture over each other: the mean of them all on the first's.

    The other rasters are interpolated bilinearly at the first one's cell centres, each at its
    exact place on the picture. So a map that is constant stays so.

    Args:
        rasters: The finest one first.
        n_tokens: N. Tokens that no raster holds lie nowhere on the picture.
    """
    finest = rasters[0].grid
    parts = [_resampled(finest, raster, n_tokens) for raster in rasters]
    return Grid(finest.rows, finest.cols, finest.box, spread=sum(parts[1:], parts[0]) / len(parts))


def _resampled(finest: Grid, raster: Raster, n_tokens: int) -> sparse.csr_array:
    """Look a raster's tokens up at the finest one's cell centres: (rows * cols, N)."""
    (left, top, right, bottom), grid = finest.box, raster.grid
    over_x = _interpolation((left, right), finest.cols, (grid.box[0], grid.box[2]), grid.cols)
    over_y = _interpolation((top, bottom), finest.rows, (grid.box[1], grid.box[3]), grid.rows)
    cells = sparse.csr_array(sparse.kron(over_y, over_x))
    tokens = sparse.csr_array(
        (np.ones(len(raster.tokens)), (np.arange(len(raster.tokens)), raster.tokens)),
        shape=(len(raster.tokens), n_tokens),
    )
    return cells @ tokens


def _interpolation(
    fine: tuple[float, float], n_fine: int, coarse: tuple[float, float], n_coarse: int
) -> sparse.csr_array:
    """Weigh the cells of one axis at the cell centres of another: shape (n_fine, n_coarse).

    Args:
        fine: Where the picture starts and ends on the axis that is looked up, as fractions.
        n_fine: Its cells.
        coarse: Where the picture starts and ends on the axis that is looked at.
        n_coarse: Its cells.
    """
    on_picture = ((np.arange(n_fine) + 0.5) / n_fine - fine[0]) / (fine[1] - fine[0])
    place = (coarse[0] + on_picture * (coarse[1] - coarse[0])) * n_coarse - 0.5
    place = place.clip(0, n_coarse - 1)
    below = np.minimum(place.astype(int), max(n_coarse - 2, 0))
    weights = place - below
    above = np.minimum(below + 1, n_coarse - 1)
    row = np.arange(n_fine)
    return sparse.csr_array(
        (np.concatenate([1 - weights, weights]), (np.tile(row, 2), np.concatenate([below, above]))),
        shape=(n_fine, n_coarse),
    )


def _cell_coordinates(
    start: float, stop: float, n_pixels: int, n_cells: int
) -> npt.NDArray[np.float64]:
    """Place pixel centres on an axis whose integers are cell centres: shape (n_pixels,)."""
    centres = (np.arange(n_pixels) + 0.5) / n_pixels
    return (start + centres * (stop - start)) * n_cells - 0.5
