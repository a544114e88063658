"""Where the tokens of a processor's pixels lie on the image: found by asking the processor.

It is given images that brighten from left to right and from top to bottom, a black and a white one.
What comes out says which point every pixel shows, whatever was resized, padded or cut on the way.
"""

from collections.abc import Callable, Mapping
from inspect import signature
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from infoflow.models.grid import Grid, Raster, stack

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
Process = Callable[[Image.Image], Tensor]  # makes pixel values of an image
_MIXING = ("qformer", "resampler", "perceiver", "abstractor")
_ALIKE = 0.1  # by what share cells of one raster may differ in size


def image_grid(
    process: Process, model: Any, size: tuple[int, int], inputs: Mapping[str, Any], tokens: Places
) -> Grid:
    """Say where image tokens, by their places in the span, lie; inputs are beside the pixels."""
    n_span = int(tokens[-1]) + 1
    if any(part in name.lower() for name, _ in model.named_modules() for part in _MIXING):
        return Grid(1, n_span, unplaced="they are queries that read the whole of it")
    cells, rasters = _cells(process, model, size, inputs, len(tokens)), []
    left = len(cells) == len(tokens) and np.isfinite(cells[:, 0])
    while np.any(left):
        extent = cells[:, 2:]
        alike = left & (np.abs(extent / extent[left][0] - 1) < _ALIKE).all(axis=1)
        rasters.append(_raster(cells[alike], tokens[alike]))
        left &= ~np.isin(tokens, rasters[-1].tokens)  # what shows the same is a raster of its own
    if not rasters or any(-1 in raster.tokens for raster in rasters):
        return Grid(1, n_span, unplaced=f"{len(tokens)} tokens are no known raster of its pixels")
    rasters.sort(key=lambda raster: -len(raster.tokens))
    is_whole = np.array_equal(rasters[0].tokens, np.arange(n_span))
    return rasters[0].grid if is_whole else stack(rasters, n_span)


def _cells(
    process: Process, model: Any, size: tuple[int, int], inputs: Mapping[str, Any], n_tokens: int
) -> Floats:
    """What each token shows: the centre's x and y, width and height, in shares of sides: (N, 4).

    NaN is a mark or padding. The cells of one tile are of one size.
    """
    packs = getattr(model.model, "pack_image_features", None)  # LLaVA's tiles lose their padding
    a_tile = None
    if packs:
        vision = model.config.vision_config
        a_tile = (vision.image_size // vision.patch_size) ** 2
    y, x = ((np.indices(size[::-1]).T + 0.5) / size[::-1]).T
    shown = (_by_cell(process(_grey(grey)), n_tokens, a_tile) for grey in (0 * x, 0 * x + 1, x, y))
    black, white, *graded = shown
    light = white - black
    unseen = light < 0.5 * light.max(initial=0)
    point = np.ma.masked_array((graded - black) / np.where(unseen, 1, light), [unseen, unseen])
    centre, spread = (each.filled(np.nan) for each in (point.mean(-1), point.std(-1)))
    side = sqrt(12) * np.nanmedian(spread, axis=-1, keepdims=True)  # of evenly spread points
    found = np.concatenate([centre, np.broadcast_to(side, centre.shape)])
    cells = torch.from_numpy(found).permute(1, 2, 0)  # (tiles, cells, 4)
    if packs:
        settings = ("vision_feature_select_strategy", "vision_aspect_ratio")
        taken = signature(packs).parameters
        known = {name: getattr(model.config, name) for name in settings if name in taken}
        mark = torch.full((4,), torch.nan, dtype=cells.dtype)
        cells = packs([cells], inputs["image_sizes"], image_newline=mark, **known)[0][0]
    return np.asarray(cells.reshape(-1, 4), np.float64)


def _by_cell(pixels: Tensor, n_tokens: int, a_tile: int | None) -> Floats:
    """Sort the first colour of pixels by the tokens made of them: (tiles, tokens, pixels)."""
    if pixels.ndim < 4:  # a row a patch, colour by colour; patches that make a token adjoin
        n_merged = max(1, len(pixels) // n_tokens)
        patches = pixels.reshape(len(pixels), 3, -1)[: len(pixels) // n_merged * n_merged, 0]
        return patches.reshape(1, -1, n_merged * patches.shape[1]).double().numpy()
    tiles = pixels.flatten(0, -4)[:, 0].double().numpy()
    n_tiles, tall, wide = tiles.shape
    n_cells = a_tile or max(1, n_tokens // n_tiles)
    rows = max(1, round(sqrt(n_cells * tall / wide)))
    cols = n_cells // rows
    height, width = tall // rows, wide // cols
    tiles = tiles[:, : rows * height, : cols * width].reshape(n_tiles, rows, height, cols, width)
    return tiles.swapaxes(2, 3).reshape(n_tiles, rows * cols, -1)


def _grey(values: Floats) -> Image.Image:
    """Round to a pixel's 256 values up or down at random: the mean over a cell stays as fine."""
    rounding = np.random.default_rng(0).random(values.shape)
    return Image.fromarray((255 * values + rounding).astype(np.uint8)).convert("RGB")


def _raster(cells: Floats, tokens: Places) -> Raster:
    """Lay tokens out in rows and columns; a place without one holds -1."""
    (col, cols, left, right), (row, rows, top, bottom) = (_axis(*cells.T[i::2]) for i in (0, 1))
    laid = np.full((rows, cols), -1)
    laid[row, col] = tokens
    return Raster(Grid(rows, cols, (left, top, right, bottom)), laid.ravel())


def _axis(centres: Floats, sides: Floats) -> tuple[Places, int, float, float]:
    """Number the columns, or rows, that cells stand in, and find the image's edges among them."""
    ordered = np.sort(centres)
    firsts = ordered[np.diff(ordered, prepend=-np.inf) > sides[0] / 4]
    number, n = np.searchsorted(firsts, centres, side="right") - 1, len(firsts)
    inner = slice(1, -1) if n > 4 else slice(None)  # padding moves the outermost
    means = (np.bincount(number, centres) / np.bincount(number))[inner]
    fit = np.polyfit(np.arange(n)[inner], means, 1) if n > 1 else (sides[0], means[0])
    step, start = float(fit[0]), float(fit[1]) - float(fit[0]) / 2
    return number, n, -start / (n * step), (1 - start) / (n * step)
