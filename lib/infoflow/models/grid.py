"""Where image tokens lie on the image: from one value a token to one value a pixel."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.ndimage import map_coordinates

from infoflow.errors import InfoflowError
from infoflow.options import require_whole

Box = tuple[float, float, float, float]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """A raster of cells, the place of the image within it, and what each cell has of each token.

    In most models a cell is a token. Where it is not, ``spread`` says how the cells' values come
    from the tokens': of an image at two resolutions a cell averages a fine and a coarse token;
    queries that attend to the whole image give their values to the cells they attended to.

    Attributes:
        rows: Rows of cells.
        cols: Cells in a row; cell ``i`` lies in row ``i // cols``, column ``i % cols``.
        box: The part of the raster's frame that the original image covers, as fractions
            (left, top, right, bottom) of the frame's width and height. An image padded to a
            square covers a band of the frame; a squashed one covers all of it, (0, 0, 1, 1).
        spread: What each cell takes of each token: a sparse matrix of shape (rows * cols, N), not
            negative. None if token ``i`` is cell ``i``.
        unplaced: Why it is not known where the tokens lie, if so: then they are one row of cells.
    """

    rows: int
    cols: int
    box: Box = (0.0, 0.0, 1.0, 1.0)
    spread: Any = field(default=None, compare=False, repr=False)
    unplaced: str = ""

    @property
    def n_tokens(self) -> int:
        """N, the number of image tokens."""
        return self.rows * self.cols if self.spread is None else int(self.spread.shape[1])

    def cells(self, values: npt.ArrayLike) -> npt.NDArray[Any]:
        """Turn one value a token into one value a cell: (..., N) to (..., rows, cols)."""
        array = np.asarray(values)
        if array.ndim < 1 or array.shape[-1] != self.n_tokens:
            raise self._misfit(array.shape, f"(..., {self.n_tokens})")
        if self.spread is not None:
            flat = self.spread @ array.reshape(-1, self.n_tokens).T
            array = flat.T.astype(array.dtype).reshape(*array.shape[:-1], -1)
        return array.reshape(*array.shape[:-1], self.rows, self.cols)

    def to_picture(self, values: npt.ArrayLike, size: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Resample one value a token or a cell to one value a pixel of the original image.

        Each pixel's centre is taken at its exact place in the frame. Values are interpolated
        bilinearly between cell centres and held constant beyond the outermost ones.

        Args:
            values: One value a token, shape (N,), or one a cell, shape (rows, cols).
            size: Width and height of the image in pixels, as ``PIL.Image.size``.

        Returns:
            The map over the image, shape (height, width).

        Raises:
            InfoflowError: An argument has another shape, or where the tokens lie is not known.
        """
        if self.unplaced:
            where = "where the image tokens lie on the image is not known"
            raise InfoflowError(f"{where}: {self.unplaced}. Valid: maps by token (CAM.by_token).")
        array = np.asarray(values, dtype=np.float32)
        if array.shape == (self.n_tokens,):
            array = self.cells(array)
        if array.shape != (self.rows, self.cols):
            raise self._misfit(array.shape, f"({self.n_tokens},) or ({self.rows}, {self.cols})")
        width, height = require_size(size)
        left, top, right, bottom = self.box
        x = _cell_coordinates(_centres(width), left, right, self.cols)
        y = _cell_coordinates(_centres(height), top, bottom, self.rows)
        sampled: npt.NDArray[np.float32] = map_coordinates(
            array, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest"
        )
        return sampled

    def _misfit(self, shape: tuple[int, ...], valid: str) -> InfoflowError:
        return InfoflowError(
            f"a map of shape {shape} does not fit a grid of {self.rows} x {self.cols} cells for "
            f"{self.n_tokens} tokens; valid: {valid}."
        )


def require_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return an image's width and height in pixels, two whole numbers of at least 1."""
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise InfoflowError(f"size is {size!r}; valid: (width, height) in pixels.")
    width, height = (require_whole(side, f"a side of size {tuple(size)}", 1) for side in size)
    return width, height


def coverage(mask: npt.ArrayLike, grid: Grid) -> Floats:
    """Compute which part of each token's cell a region (H, W) of the image covers: shape (h, w).

    Exact for cells that end within a pixel; padding around the image is covered by nothing.
    """
    region = np.asarray(mask)
    if region.ndim != 2 or region.dtype != np.bool_ or not region.any():
        given = f"a mask of shape {region.shape} ({region.dtype})"
        raise InfoflowError(f"{given} marks no region; valid: boolean, (H, W), not empty.")
    left, top, right, bottom = grid.box
    over_rows = _overlaps(top, bottom, region.shape[0], grid.rows)
    over_cols = _overlaps(left, right, region.shape[1], grid.cols)
    return over_rows @ region @ over_cols.T


class Raster(NamedTuple):
    """One of several rasters of tokens on one image: each cell of a grid is a token, by place."""

    grid: Grid
    tokens: npt.NDArray[np.intp]


def stack(rasters: Sequence[Raster], n_tokens: int) -> Grid:
    """Lay several rasters of one image over each other: the mean of them all on the first's.

    Others are interpolated at its cell centres, so a map that is constant stays so.
    """
    finest = rasters[0].grid
    parts = [_resampled(finest, raster, n_tokens) for raster in rasters]
    return Grid(finest.rows, finest.cols, finest.box, spread=sum(parts[1:], parts[0]) / len(parts))


def _resampled(finest: Grid, raster: Raster, n_tokens: int) -> sparse.csr_array:
    """Interpolate a raster's tokens at the finest one's cell centres: (rows * cols, N)."""
    coarse, n_cells = raster.grid, len(raster.tokens)
    (left, top, right, bottom), (x, y, x_end, y_end) = finest.box, coarse.box
    across = _interpolation((left, right), finest.cols, (x, x_end), coarse.cols)
    down = _interpolation((top, bottom), finest.rows, (y, y_end), coarse.rows)
    entries = np.ones(n_cells), (np.arange(n_cells), raster.tokens)
    tokens = sparse.csr_array(entries, shape=(n_cells, n_tokens))
    return sparse.csr_array(sparse.kron(down, across)) @ tokens


def _interpolation(
    fine: tuple[float, float], n_fine: int, coarse: tuple[float, float], n_coarse: int
) -> sparse.csr_array:
    """Weigh an axis' cells at the cell centres of another, by where the image lies on each."""
    on_image = (_centres(n_fine) - fine[0]) / (fine[1] - fine[0])
    place = _cell_coordinates(on_image, *coarse, n_coarse)
    weights = [np.interp(place, np.arange(n_coarse), unit) for unit in np.eye(n_coarse)]
    return sparse.csr_array(np.stack(weights, axis=1))


def _centres(n: int) -> Floats:
    return (np.arange(n) + 0.5) / n


def _cell_coordinates(on_image: Floats, start: float, stop: float, n_cells: int) -> Floats:
    """Place points of the image on an axis whose integers are cell centres."""
    return (start + on_image * (stop - start)) * n_cells - 0.5


def _overlaps(start: float, stop: float, n_pixels: int, n_cells: int) -> Floats:
    """Which part of each cell each pixel takes, along one axis: shape (n_cells, n_pixels)."""
    edges = (start + np.linspace(0, 1, n_pixels + 1) * (stop - start)) * n_cells
    cells = np.arange(n_cells)[:, None]
    ends, starts = np.minimum(edges[1:], cells + 1), np.maximum(edges[:-1], cells)
    return np.maximum(ends - starts, 0)
