"""LLaVA-1.6 (NeXT): LLaVA that sees the whole image and, beside it, the image in tiles.

The decoder gets the tokens of the whole image, squashed to one tile, and then those of all tiles as
one raster without the padding, each row ended by a learned newline (Liu et al., 2024).
"""

from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaNextForConditionalGeneration
from transformers.image_processing_utils import select_best_resolution
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

from infoflow.errors import InfoflowError
from infoflow.models.families.base import ImageFeatures, Size
from infoflow.models.families.llava import VicunaFamily
from infoflow.models.grid import Grid, Raster, stack


class Tiling(NamedTuple):
    """How an image is cut into tiles, and how many rows and columns of tokens are kept of them."""

    tiles: tuple[int, int]  # down and across
    rows: int  # without those of the padding
    cols: int

    @property
    def n_tokens(self) -> int:
        return self.rows * (self.cols + 1)  # newlines included


class LlavaNext(VicunaFamily):
    """LLaVA-1.6, in the layout of ``llava-hf/llava-v1.6-vicuna-7b-hf``."""

    architecture: ClassVar[Any] = LlavaNextForConditionalGeneration
    processor: ClassVar[Any] = LlavaNextImageProcessorPil
    padding = None  # its processor pads to shapes of tiles

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        super().__init__(model, tokenizer, image_processor)
        # one list of shapes for both, so that the image is cut as its tokens are counted
        image_processor.image_grid_pinpoints = model.config.image_grid_pinpoints

    def n_image_tokens(self, size: Size) -> int:
        return self.patches_a_side**2 + self.tiling(size).n_tokens

    def inputs(self, ids: list[int], size: Size) -> dict[str, Tensor]:
        return {"image_sizes": torch.tensor([size[::-1]])}

    def tiling(self, size: Size) -> Tiling:
        width, height = size
        shape = select_best_resolution((height, width), self.model.config.image_grid_pinpoints)
        down, across = (int(n) // self.pixels_a_side for n in shape)
        rows, cols = down * self.patches_a_side, across * self.patches_a_side
        # the original's rounding; the image's pixels are placed by another one, see _box
        if width / height > cols / rows:
            rows -= (rows - int(round(height * (cols / width), 7))) // 2 * 2
        else:
            cols -= (cols - int(round(width * (rows / height), 7))) // 2 * 2
        return Tiling((down, across), rows, cols)

    def encode_image(
        self, pixel_values: Tensor, input_ids: Tensor, size: Size | None
    ) -> ImageFeatures:
        if size is None:
            raise InfoflowError("the image is cut by its size; give size=(width, height), too.")
        down, across = self.tiling(size).tiles
        self.require_shape(pixel_values, 1 + down * across)
        found = self.model.get_image_features(pixel_values, [size[::-1]], return_dict=True)
        return ImageFeatures(found.pooler_output[0])

    def grid(self, size: Size, image: ImageFeatures) -> Grid:
        side, tiling = self.patches_a_side, self.tiling(size)
        n_tokens = side**2 + tiling.n_tokens
        base = Raster(Grid(side, side), np.arange(side**2))
        if not tiling.rows * tiling.cols:  # so long and thin that the tiles keep nothing of it
            return stack([base], n_tokens)
        places = side**2 + np.arange(tiling.n_tokens).reshape(tiling.rows, -1)[:, :-1].ravel()
        fine = Raster(Grid(tiling.rows, tiling.cols, self._box(size, tiling)), places)
        return stack([fine, base], n_tokens)

    def tower_patches(self, states: Tensor, size: Size) -> Tensor:
        """Pack the tiles' patches as their tokens are packed; a newline is no patch, but zero."""
        patches = states[:, -(self.patches_a_side**2) :]
        newline = patches.new_zeros(patches.shape[-1])
        return self.model.model.pack_image_features([patches], [size[::-1]], "", newline)[0][0]

    def _box(self, size: Size, tiling: Tiling) -> tuple[float, float, float, float]:
        tall, wide = (n * self.pixels_a_side for n in tiling.tiles)
        scale, shape = min(wide / size[0], tall / size[1]), np.array([wide, tall])
        image = np.minimum(np.ceil(np.array(size) * scale), shape).astype(int)
        frame = np.array([tiling.cols, tiling.rows]) * (self.pixels_a_side // self.patches_a_side)
        start = (shape - image) // 2 - (shape - frame) // 2
        left, top, right, bottom = (float(x) for x in (*start / frame, *(start + image) / frame))
        return left, top, right, bottom
