"""Class activation maps as arrays: weighting features by gradients, and describing what results."""

import torch
from torch import Tensor

from infoflow.options import require_finite

WEIGHTS = ("mean", "relu-mean", "element-wise")
"""How gradients weight features; see ``activation_map``."""

THRESHOLD = 0.5
"""The share of its maximum below which the authors' released code blanks a map."""


def activation_map(feature: Tensor, gradient: Tensor, weights: str) -> Tensor:
    """Weight a feature by a gradient, both (..., N, C), and sum over channels (Eq. 2-3): (..., N).

    ``"mean"`` (Grad-CAM) weights each channel by its mean gradient over the image tokens;
    ``"relu-mean"``, as the authors' released code, by the mean of the positive gradients;
    ``"element-wise"`` weights each entry by its own gradient, which makes a cell's value the rate
    at which the logit grows with the length of that token's feature. Negative sums become zero.
    """
    wide = torch.promote_types(feature.dtype, torch.float32)
    feature, gradient = feature.to(wide), gradient.to(wide)
    if weights == "element-wise":
        return (gradient * feature).sum(-1).relu()
    if weights == "relu-mean":
        gradient = gradient.relu()
    return (feature @ gradient.mean(-2)[..., None])[..., 0].relu()


def normalise_maps(maps: Tensor) -> Tensor:
    """Divide each map by its maximum, shape (..., h, w); a map of zeros stays one."""
    peaks = maps.amax((-2, -1), keepdim=True)
    return maps / peaks.where(peaks != 0, 1)


def thresholded(maps: Tensor, threshold: float) -> Tensor:
    """Divide each map by its maximum and blank what is below a threshold: shape (..., h, w)."""
    require_finite(threshold, "threshold", 0, 1)
    normalised = normalise_maps(maps)
    return normalised.where(~(normalised < threshold), 0)


def lit_share(maps: Tensor, threshold: float) -> Tensor:
    """Share of cells above a share of their map's maximum: (..., h, w) to (...)."""
    share = (normalise_maps(maps) > threshold).float().mean((-2, -1))
    return share.where(~maps.isnan().any(-1).any(-1), torch.nan)


def map_entropies(maps: Tensor) -> Tensor:
    """Entropy of each map taken as a distribution over its cells, in bits: (..., h, w) to (...).

    It is 0 for a single lit cell, log2(h w) for an even map, and NaN for a map of zeros.
    """
    # divided by the peak first: the sum of raw values could leave the range of the type
    values = normalise_maps(maps).flatten(-2)
    shares = values / values.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1) / torch.log(torch.tensor(2.0))
