"""Is a heat map right? Maps of image tokens, held against the regions an answer depends on.

Maps are not negative, or NaN throughout where undefined, and score NaN then. They are scored token
by token: resampled to pixels, peaks inside would be blended, and those on the border would win.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from infoflow.data.sample import Sample
from infoflow.errors import InfoflowError
from infoflow.models.grid import Floats, Grid, coverage

Mask = npt.NDArray[np.bool_]
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
    return np.logical_or.reduce([sample.regions[name] for name in sample.targets])


def localise(maps: npt.ArrayLike, grid: Grid, mask: npt.ArrayLike) -> Localisation:
    """Score maps of image tokens against a region of the image.

    Args:
        maps: One value a cell, shape (L, h, w), not negative; NaN throughout where undefined.
        grid: Where the cells lie on the image.
        mask: The region, boolean of shape (H, W).

    Raises:
        InfoflowError: A map does not fit the grid or is negative somewhere, or the region is empty.
    """
    heats, share = np.asarray(maps, dtype=float), coverage(mask, grid)
    if heats.shape[1:] != share.shape or (heats < 0).any():
        valid = f"at least zero, and of shape (L, {grid.rows}, {grid.cols})"
        raise InfoflowError(f"maps of shape {heats.shape} cannot be scored; valid: {valid}.")
    touched = share > _TOUCHES
    return Localisation(
        hits=np.array([pointing_hit(heat, touched) for heat in heats]),
        mass=np.array([mass_inside(heat, share) for heat in heats]),
        hit_chance=float(touched.mean()),
        mass_chance=float(share.mean()),
    )


def tokens_on(mask: npt.ArrayLike, grid: Grid) -> Mask:
    """Mark the image tokens that are seen mostly in cells that touch a region (H, W): (N,)."""
    touched = (coverage(mask, grid) > _TOUCHES).astype(float)
    return np.array(
        [mass_inside(cells, touched) > 0.5 for cells in grid.cells(np.eye(grid.n_tokens))]
    )


def pointing_hit(heat: Floats, touched: Mask) -> float:
    """Play the pointing game: is the map's highest token on target (Zhang et al., 2018)?

    Of several highest tokens each counts for its part: an even map scores as a random token does.
    """
    if np.isnan(heat).any():
        return float("nan")
    return float(touched[heat == heat.max()].mean())


def mass_inside(heat: Floats, share: Floats) -> float:
    """Share of the map's sum that lies in a region; a map of zeros scores as an even one does."""
    peak = heat.max()  # by which maps are divided: the sum of tiny values would be lost
    return float(np.average(share, weights=heat / peak) if peak else share.mean())


def rank_correlation(maps: npt.ArrayLike, others: npt.ArrayLike) -> Floats:
    """Spearman's correlation of cells, map by map, NaN if there is none: (L, h, w) to (L,)."""
    pairs = zip(np.asarray(maps, dtype=float), np.asarray(others, dtype=float), strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of maps that are the same in every cell
        return np.array([spearmanr(one, other, axis=None).statistic for one, other in pairs])


def auc(maps: npt.ArrayLike, inside: Mask) -> Floats:
    """How often a cell inside is above one outside, ties half; NaN for none: (L, h, w) to (L,)."""
    heats = np.asarray(maps)
    if not inside.any():
        return np.full(len(heats), np.nan)
    lead = heats[:, inside, None] - heats[:, None, ~inside]
    return np.asarray((1 + np.sign(lead).mean(axis=(1, 2))) / 2)
