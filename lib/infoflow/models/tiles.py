"""Where the tokens of a processor's pixels lie on the image: found by asking the processor.

It is given an image that brightens from left to right, one from top to bottom, a black and a white
one. What comes out says of every pixel of every tile which point of the image it shows, whatever
was resized, padded, cropped or cut on the way.
"""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from infoflow.models.grid import Grid, Raster, stack

Floats = npt.NDArray[np.float64]
Size = tuple[int, int]
Process = Callable[[Image.Image], Tensor]

_MIXING = ("qformer", "resampler", "perceiver", "abstractor")
_ALIKE = 0.02  # of the image's side: by how much tiles of one raster may differ in size


class Tile(NamedTuple):
    """What a tile shows, as fractions of the image's width and height; beyond 0..1 is padding."""

    left: float
    top: float
    right: float
    bottom: float


def image_grid(
    process: Process,
    model: Any,
    size: Size,
    pixels: Tensor,
    inputs: Mapping[str, Any],
    tokens: Sequence[int],
) -> Grid:
    """Say where image tokens lie on an image of that size.

    Args:
        process: Makes pixel values of an image, as of the prompt's.
        model: The model that the pixels are for.
        size: The image's width and height.
        pixels: What ``process`` made of it.
        inputs: What it gave beside.
        tokens: The places of the image tokens among the N of the image's span.
    """
    n_span, places = tokens[-1] + 1, np.array(tokens)
    mixing = [name for name, _ in model.named_modules() if any(m in name.lower() for m in _MIXING)]
    if mixing:
        return Grid(1, n_span, unplaced=f"they are queries that read the whole of it ({mixing[0]})")
    if "image_grid_thw" in inputs:  # patches of the squashed image, some of which make a token
        _, down, across = (int(n) for n in inputs["image_grid_thw"][0])
        merged = round(sqrt(down * across / len(tokens)))
        rasters = [Raster(Grid(down // merged, across // merged), places)]
    elif getattr(model.config, "image_grid_pinpoints", None) and "image_sizes" in inputs:
        rasters = _of_unpadded_tiles(process, model.config, size, places)
    else:
        rasters = _of_tiles(process, size, pixels, places)
    if sum(len(raster.tokens) for raster in rasters) == 0 or any(
        raster.grid.rows * raster.grid.cols != len(raster.tokens) for raster in rasters
    ):
        shape = tuple(pixels.shape)
        why = f"{len(tokens)} tokens for pixels of shape {shape} are no raster that we know"
        return Grid(1, n_span, unplaced=why)
    if len(rasters) == 1 and len(tokens) == n_span:
        return rasters[0].grid
    return stack(rasters, n_span)


def _of_unpadded_tiles(
    process: Process, config: Any, size: Size, places: npt.NDArray[np.intp]
) -> list[Raster]:
    """LLaVA's tiles: the whole image, then one raster of all tiles, unpadded, rows ended by a mark.

    LLaVA-OneVision shrinks that raster if it is larger than so many tiles.
    """
    side = config.vision_config.image_size // config.vision_config.patch_size
    tiles = _tiles(process, size)[1:]
    if not tiles or None in tiles:
        return []
    padded = _raster(tiles, np.zeros((len(tiles), side, side), dtype=int)).grid
    rows, cols, (width, height) = padded.rows, padded.cols, size
    # as many rows or columns are taken off both ends as LLaVA's rounding gives
    if width / height > cols / rows:
        rows -= (rows - int(round(height * (cols / width), 7))) // 2 * 2
    else:
        cols -= (cols - int(round(width * (rows / height), 7))) // 2 * 2
    scale = (cols, rows, cols, rows)
    off = ((padded.cols - cols) / 2, (padded.rows - rows) / 2) * 2
    full = (padded.cols, padded.rows, padded.cols, padded.rows)
    parts = zip(padded.box, full, off, scale, strict=True)
    left, top, right, bottom = ((edge * n - gone) / kept for edge, n, gone, kept in parts)
    most = str(getattr(config, "vision_aspect_ratio", "")).removeprefix("anyres_max_")
    if most.isdigit() and (ratio := sqrt(rows * cols / (int(most) * side**2))) > 1.1:
        rows, cols = int(rows // ratio), int(cols // ratio)
    base, rest = places[: side**2], places[side**2 :]
    if len(rest) != rows * (cols + 1):
        return []
    fine = rest.reshape(rows, cols + 1)[:, :-1].ravel()
    return [
        Raster(Grid(rows, cols, (left, top, right, bottom)), fine),
        Raster(Grid(side, side), base),
    ]


def _of_tiles(
    process: Process, size: Size, pixels: Tensor, places: npt.NDArray[np.intp]
) -> list[Raster]:
    """Rasters of equally many tokens a tile: tiles of one size make one raster."""
    tall, wide = pixels.shape[-2:]
    n_tiles = pixels[..., 0, 0, 0].numel() if pixels.ndim >= 4 else 0
    if not n_tiles or len(places) % n_tiles:
        return []
    rows = round(sqrt(len(places) / n_tiles * tall / wide))
    if not rows or len(places) // n_tiles % rows:
        return []
    of_tile = places.reshape(n_tiles, rows, -1)
    tiles = _tiles(process, size)
    rasters = []
    while left := [i for i, tile in enumerate(tiles) if tile]:
        first = tiles[left[0]]
        group = [i for i in left if _alike(tiles[i], first)]
        rasters.append(_raster([tiles[i] for i in group], of_tile[group]))
        tiles = [None if i in group else tile for i, tile in enumerate(tiles)]
    return sorted(rasters, key=lambda raster: -len(raster.tokens))


def _alike(tile: Tile | None, other: Tile | None) -> bool:
    if tile is None or other is None:
        return False
    wide = (tile.right - tile.left) - (other.right - other.left)
    tall = (tile.bottom - tile.top) - (other.bottom - other.top)
    return abs(wide) < _ALIKE and abs(tall) < _ALIKE


def _raster(tiles: Sequence[Tile | None], tokens: npt.NDArray[np.intp]) -> Raster:
    """Join tiles of one size, and their tokens (tiles, rows, cols), by where they lie."""
    edges = np.array(tiles)
    x, y = edges[:, 0].min(), edges[:, 1].min()
    wide, tall = (edges[:, 2] - edges[:, 0]).mean(), (edges[:, 3] - edges[:, 1]).mean()
    across = ((edges[:, 0] - x) / wide).round().astype(int)
    down = ((edges[:, 1] - y) / tall).round().astype(int)
    n_down, n_across = int(down.max()) + 1, int(across.max()) + 1
    _, rows, cols = tokens.shape
    joined = np.full((n_down, rows, n_across, cols), -1)
    joined[down, :, across] = tokens
    box = (-x / wide, -y / tall, (1 - x) / wide, (1 - y) / tall)
    scale = (n_across, n_down, n_across, n_down)
    left, top, right, bottom = (float(edge / n) for edge, n in zip(box, scale, strict=True))
    found = joined[joined >= 0].ravel()
    grid = Grid(n_down * rows, n_across * cols, (left, top, right, bottom))
    return Raster(grid, joined.ravel() if len(found) == joined.size else found)


def _tiles(process: Process, size: Size) -> list[Tile | None]:
    """Ask the processor what each of its tiles shows; None of one that is padding alone."""
    width, height = size
    ramps = np.meshgrid(255 * (np.arange(width) + 0.5) / width, np.arange(height), indexing="xy")
    down = 255 * (ramps[1] + 0.5) / height
    black, white, *graded = (
        _pixels(process, values) for values in (0 * down, 255 + 0 * down, ramps[0], down)
    )
    inside = white - black
    found: list[Tile | None] = []
    for tile, light in enumerate(inside):
        seen = np.abs(light) > 0.99 * np.abs(inside).max()
        places = [
            np.divide(ramp[tile] - black[tile], light, where=seen, out=np.zeros_like(light))
            for ramp in graded
        ]
        found.append(_fitted(places[0], places[1], seen) if seen.any() else None)
    return found


def _pixels(process: Process, values: Floats) -> Floats:
    """The first colour of what a processor makes of a grey image: (tiles, height, width)."""
    grey = Image.fromarray(values.round().astype(np.uint8)).convert("RGB")
    made = process(grey).double().numpy()
    return np.asarray(made.reshape(-1, *made.shape[-3:])[:, 0], np.float64)


def _fitted(x: Floats, y: Floats, seen: npt.NDArray[np.bool_]) -> Tile:
    """Fit a line to the places that a tile's columns show, and one to those of its rows."""
    edges = []
    for shown, axis in ((x, 0), (y, 1)):
        n = seen.sum(axis)
        steps = np.flatnonzero(n)
        values = (shown * seen).sum(axis)[steps] / n[steps]
        slope, start = np.polyfit(steps, values, 1)
        edges.append((start - slope / 2, start + slope * (seen.shape[1 - axis] - 0.5)))
    (left, right), (top, bottom) = edges
    return Tile(left, top, right, bottom)
