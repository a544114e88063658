"""Is a heat map right? Maps of image tokens, held against the regions an answer depends on.

Maps are float arrays, not negative, NaN throughout where undefined; an undefined map scores NaN,
never a number. They are scored token by token: resampled to pixels, a peak inside the image would
be blended with its neighbours and one on the border would not, and the border would win.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from infoflow.data.sample import Sample
from infoflow.errors import InfoflowError
from infoflow.methods.flow import AttentionFlow, reduce_heads
from infoflow.models.grid import Grid
from infoflow.models.prompt import Prompt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_CENTRE_WIDTH = 0.25
_TOUCHES = 1e-6


@dataclass(frozen=True, eq=False)
class Localisation:
    """How well the maps of one image find a region.

    Attributes:
        hits: Whether each map's highest token touches the region, shape (L,); see ``pointing_hit``.
        mass: How much of each map lies in the region, shape (L,); see ``mass_inside``.
        hit_chance: What a token taken at random scores: the share of tokens that touch the region.
        mass_chance: What an even map scores: the region's share of the tokens' area.
    """

    hits: Floats
    mass: Floats
    hit_chance: float
    mass_chance: float


def target_mask(sample: Sample) -> Mask:
    """Join the regions that a sample's answer can be read from: shape (H, W)."""
    if not sample.targets:
        raise InfoflowError(f"{sample.id} names no region that its answer could be read from.")
    joined: Mask = np.logical_or.reduce([sample.regions[name] for name in sample.targets])
    return joined


def localise(maps: npt.ArrayLike, grid: Grid, mask: npt.ArrayLike) -> Localisation:
    """Score maps of image tokens against a region of the image.

    Args:
        maps: One a layer, shape (L, h, w).
        grid: Where the tokens lie on the image.
        mask: The region, boolean of shape (H, W).

    Raises:
        InfoflowError: A map does not fit the grid or is negative somewhere, or the region is empty.
    """
    share = coverage(mask, grid)
    touched = share > _TOUCHES
    heats = np.asarray(maps)
    return Localisation(
        hits=np.array([pointing_hit(heat, touched) for heat in heats]),
        mass=np.array([mass_inside(heat, share) for heat in heats]),
        hit_chance=float(touched.mean()),
        mass_chance=float(share.mean()),
    )


def coverage(mask: npt.ArrayLike, grid: Grid) -> Floats:
    """Compute which part of each token's cell a region (H, W) of the image covers: shape (h, w).

    Exact for cells that end within a pixel; padding around the image is covered by nothing.
    """
    region = np.asarray(mask)
    if region.ndim != 2 or region.dtype != np.bool_ or not region.any():
        raise InfoflowError(
            f"a mask of shape {region.shape} ({region.dtype}) with {np.count_nonzero(region)} "
            "entries set marks no region; it must be boolean, (H, W), and not empty."
        )
    left, top, right, bottom = grid.box
    over_rows = _overlaps(top, bottom, region.shape[0], grid.rows)
    over_cols = _overlaps(left, right, region.shape[1], grid.cols)
    covered: Floats = over_rows @ region @ over_cols.T
    return covered


def pointing_hit(heat: npt.ArrayLike, touched: npt.ArrayLike) -> float:
    """Play the pointing game: is the map's highest token on target (Zhang et al., 2018)?

    It is if its cell touches the region: tokens cannot point more finely. Of several highest tokens
    each counts for its part, so an even map scores as a random token does.
    """
    values, on_target = _checked(heat, touched)
    if np.isnan(values).any():
        return float("nan")
    return float(on_target[values == values.max()].mean())


def mass_inside(heat: npt.ArrayLike, share: npt.ArrayLike) -> float:
    """Share of the map's sum that lies in a region; a map of zeros scores as an even one does."""
    values, weights = _checked(heat, share)
    peak = values.max()  # by which maps are divided: the sum of tiny values would be lost
    return float(np.average(weights, weights=values / peak) if peak else weights.mean())


def attention_maps(flow: AttentionFlow, prompt: Prompt) -> Floats:
    """Lay the answer's attention to image tokens out as maps, heads averaged: (L, h, w)."""
    rows = reduce_heads(flow.rows)[:, prompt.spans.image]
    return prompt.grid.cells(rows.double().numpy())


def random_maps(n: int, grid: Grid, seed: int = 0) -> Floats:
    """Draw maps of independent, uniform cells: shape (n, h, w), in [0, 1)."""
    return np.random.default_rng(seed).random((n, grid.rows, grid.cols))


def centre_map(grid: Grid) -> Floats:
    """Draw a Gaussian about the middle of the image, where photographs have their subject: (h, w).

    Its standard deviation is a quarter of the image's side.
    """
    left, top, right, bottom = grid.box
    x = ((np.arange(grid.cols) + 0.5) / grid.cols - left) / (right - left)
    y = ((np.arange(grid.rows) + 0.5) / grid.rows - top) / (bottom - top)
    squared = (y[:, None] - 0.5) ** 2 + (x - 0.5) ** 2
    return np.exp(-squared / (2 * _CENTRE_WIDTH**2))


def rank_correlation(maps: npt.ArrayLike, others: npt.ArrayLike) -> Floats:
    """Spearman's correlation of cells, map by map: two of shape (L, h, w) to (L,).

    NaN where a map is undefined or the same in every cell.
    """
    a, b = np.asarray(maps, dtype=float), np.asarray(others, dtype=float)
    if a.shape != b.shape or a.ndim != 3:
        raise InfoflowError(
            f"maps of shapes {a.shape} and {b.shape} cannot be compared; both must be (L, h, w)."
        )
    differ = (np.ptp(a, (1, 2)) > 0) & (np.ptp(b, (1, 2)) > 0)
    return np.array(
        [
            spearmanr(x, y, axis=None).statistic if both_differ else np.nan
            for x, y, both_differ in zip(a, b, differ, strict=True)
        ]
    )


def _checked(heat: npt.ArrayLike, target: npt.ArrayLike) -> tuple[Floats, Floats]:
    values, weights = np.asarray(heat, dtype=float), np.asarray(target, dtype=float)
    if values.shape != weights.shape or values.ndim != 2:
        raise InfoflowError(
            f"a map of shape {values.shape} does not fit a target of shape {weights.shape}; "
            "both must hold one value a token, (h, w)."
        )
    if (values < 0).any():
        raise InfoflowError("a heat map must not be negative.")
    return values, weights


def _overlaps(start: float, stop: float, n_pixels: int, n_cells: int) -> Floats:
    """Which part of each cell each pixel takes, along one axis: shape (n_cells, n_pixels)."""
    edges = (start + np.linspace(0, 1, n_pixels + 1) * (stop - start)) * n_cells
    cells = np.arange(n_cells)[:, None]
    ends, starts = np.minimum(edges[1:], cells + 1), np.maximum(edges[:-1], cells)
    overlaps: Floats = np.maximum(ends - starts, 0)
    return overlaps
