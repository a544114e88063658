"""Where the tokens of a processor's pixels lie on the image: found by asking the processor.

It is given an image that brightens from left to right, one from top to bottom, a black and a white
one. What comes out says which point of the image every pixel of every tile shows, whatever was
resized, padded or cut on the way.
"""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from transformers.image_processing_utils import select_best_resolution

from infoflow.models.grid import Grid, Raster, stack

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
Process = Callable[[Image.Image], Tensor]
"""Makes pixel values of an image."""

_MIXING = ("qformer", "resampler", "perceiver", "abstractor")
_ALIKE = 0.02  # of the image's side: by how much tiles of one raster may differ in size


def image_grid(
    process: Process,
    model: Any,
    size: tuple[int, int],
    pixels: Tensor,
    inputs: Mapping[str, Any],
    tokens: Sequence[int],
) -> Grid:
    """Say where the image tokens, by their places in the image's span, lie on an image of a size.

    ``pixels`` and ``inputs`` are what the processor made of it for the model.
    """
    places, rasters = np.array(tokens), []
    if any(part in name.lower() for name, _ in model.named_modules() for part in _MIXING):
        why = "they are queries that read the whole of it"
    else:
        why = f"{len(tokens)} tokens for pixels of shape {tuple(pixels.shape)} are no known raster"
        if "image_grid_thw" in inputs:  # patches of the squashed image, some of which make a token
            _, down, across = (int(n) for n in inputs["image_grid_thw"][0])
            merged = round(sqrt(down * across / len(tokens)))
            rasters = [Raster(Grid(down // merged, across // merged), places)]
        elif getattr(model.config, "image_grid_pinpoints", None):
            rasters = _of_unpadded_tiles(model.config, size, places)
        else:
            rasters = _of_tiles(process, size, pixels, places)
    n_span = tokens[-1] + 1
    for grid, of in rasters:
        if grid.rows * grid.cols != len(of) or of.min() < 0:
            rasters = []
    if not rasters:
        return Grid(1, n_span, unplaced=why)
    if len(rasters) == 1 and len(tokens) == n_span:
        return rasters[0].grid
    return stack(rasters, n_span)


def _of_unpadded_tiles(config: Any, size: tuple[int, int], places: Places) -> list[Raster]:
    """LLaVA's tiles: the whole image, then one raster of all tiles, unpadded, rows ended by a mark.

    Padding is taken off in whole rows and columns of tokens, so edges are right to half a cell.
    LLaVA-OneVision shrinks the raster if it is larger than so many tiles.
    """
    tile = config.vision_config.image_size
    side = tile // config.vision_config.patch_size
    _, rows, cols = unpadded(size, config.image_grid_pinpoints, tile, side)
    most = str(getattr(config, "vision_aspect_ratio", "")).removeprefix("anyres_max_")
    if most.isdigit() and (ratio := sqrt(rows * cols / (int(most) * side**2))) > 1.1:
        rows, cols = int(rows // ratio), int(cols // ratio)
    base, rest = places[: side**2], places[side**2 :]
    if len(rest) != rows * (cols + 1):
        return []
    fine = rest.reshape(rows, cols + 1)[:, :-1].ravel()
    return [Raster(Grid(rows, cols), fine), Raster(Grid(side, side), base)]


def unpadded(
    size: tuple[int, int], shapes: Sequence[Sequence[int]], tile: int, side: int
) -> tuple[tuple[int, int], int, int]:
    """How LLaVA cuts an image into tiles of ``side`` x ``side`` tokens.

    Returns:
        Tiles down and across, and how many rows and columns of tokens are kept of them all.
    """
    width, height = size
    shape = select_best_resolution((height, width), shapes)
    down, across = (int(n) // tile for n in shape)
    rows, cols = down * side, across * side
    # the original's rounding; the image's pixels are placed by another one, see LlavaNext
    if width / height > cols / rows:
        rows -= (rows - int(round(height * (cols / width), 7))) // 2 * 2
    else:
        cols -= (cols - int(round(width * (rows / height), 7))) // 2 * 2
    return (down, across), rows, cols


def _of_tiles(
    process: Process, size: tuple[int, int], pixels: Tensor, places: Places
) -> list[Raster]:
    """Rasters of equally many tokens a tile, the finest first: tiles of one size make one."""
    n_tiles = pixels[..., 0, 0, 0].numel() if pixels.ndim >= 4 else 0
    if not n_tiles or len(places) % n_tiles:
        return []
    tall, wide = pixels.shape[-2:]
    rows = round(sqrt(len(places) / n_tiles * tall / wide))
    if not rows or len(places) // n_tiles % rows:
        return []
    tokens, edges = places.reshape(n_tiles, rows, -1), _edges(process, size)
    sizes, rasters, left = edges[:, 2:] - edges[:, :2], [], ~np.isnan(edges[:, 0])
    while left.any():
        alike = left & (np.abs(sizes - sizes[left][0]) < _ALIKE).all(axis=1)
        rasters.append(_joined(edges[alike], tokens[alike]))
        left &= ~alike
    return sorted(rasters, key=lambda raster: -len(raster.tokens))


def _joined(edges: Floats, tokens: Places) -> Raster:
    """Join tiles of one size, and their tokens (tiles, rows, cols), by where they lie."""
    start, tile = edges[:, :2].min(axis=0), (edges[:, 2:] - edges[:, :2]).mean(axis=0)
    across, down = ((edges[:, :2] - start) / tile).round().astype(int).T
    (_, rows, cols), n_down, n_across = tokens.shape, int(down.max()) + 1, int(across.max()) + 1
    joined = np.full((n_down, rows, n_across, cols), -1)
    joined[down, :, across] = tokens
    frame = tile * (n_across, n_down)
    left, top, right, bottom = (float(x) for x in (*(-start / frame), *((1 - start) / frame)))
    grid = Grid(n_down * rows, n_across * cols, (left, top, right, bottom))
    return Raster(grid, joined.ravel())


def _edges(process: Process, size: tuple[int, int]) -> Floats:
    """Ask what each tile shows: left, top, right and bottom as shares of the image, (tiles, 4).

    What lies beyond 0 and 1 is padding; a tile of padding alone is NaN.
    """
    y, x = ((np.indices(size[::-1]).T + 0.5) / size[::-1]).T
    black, white, *graded = (_grey(process, values) for values in (0 * x, 0 * x + 1, x, y))
    light = white - black
    seen = np.abs(light) > 0.99 * np.abs(light).max()
    edges = np.full((len(light), 4), np.nan)
    for tile in np.flatnonzero(seen.any(axis=(1, 2))):
        for axis, ramp in enumerate(graded):  # a line through what columns, then rows, show
            n = seen[tile].sum(axis)
            steps = np.flatnonzero(n)
            shown = np.divide((ramp - black)[tile], light[tile], where=seen[tile], out=0 * light[0])
            slope, first = np.polyfit(steps, shown.sum(axis)[steps] / n[steps], 1)
            edges[tile, axis::2] = first - slope / 2, first + slope * (len(n) - 0.5)
    return edges


def _grey(process: Process, values: Floats) -> Floats:
    """The first colour of what a processor makes of a grey image: (tiles, height, width)."""
    grey = Image.fromarray((255 * values).round().astype(np.uint8)).convert("RGB")
    made = process(grey).double().numpy()
    return np.asarray(made.reshape(-1, *made.shape[-3:])[:, 0], np.float64)
