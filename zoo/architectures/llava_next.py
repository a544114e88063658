"""LLaVA-1.6 in small: the whole picture at half its size, and beside it the picture in tiles.

Tiles are 48 pixels wide, the published shapes in this unit, so that a picture of Shapes is cut
into 2 x 2 of them at its own size, and only they show letters. Tiles as wide as the picture would
have to be blown up from it, and would show nothing that the whole does not.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

from infoflow.data.shapes.world import SIZE
from infoflow.models.families.llava_next import LlavaNext
from zoo.architectures.base import STATISTICS, Architecture, Asked, Look
from zoo.architectures.llava import clip_config, clip_written, start_mlp
from zoo.model import PATCHES_A_SIDE, llama_config, normalise
from zoo.tokenizer import IMAGE

TILE = SIZE // 2
_SIDE = PATCHES_A_SIDE // 2
_SHAPES = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
_PINPOINTS = [[TILE * down, TILE * across] for down, across in _SHAPES]


class TinyLlavaNext(Architecture):
    """``tiny-llava-1.6``: tiles, newlines, and LLaVA-1.5's tower and projector for all of them."""

    name = "tiny-llava-1.6"
    family = LlavaNext
    language_steps = 2 * Architecture.language_steps  # it is late to find an answer's letter

    def build(self) -> Any:
        """Make the model; see ``Architecture.build``."""
        config = LlavaNextConfig(
            vision_config=clip_config(TILE),
            text_config=llama_config(self.n_words),
            image_token_index=IMAGE,
            image_grid_pinpoints=_PINPOINTS,
            image_seq_length=_SIDE**2,
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
        )
        return LlavaNextForConditionalGeneration(config)

    def image_processor(self) -> Any:
        """Build the image processor, which cuts tiles."""
        return LlavaNextImageProcessorPil(
            size={"shortest_edge": TILE},
            crop_size={"height": TILE, "width": TILE},
            image_grid_pinpoints=_PINPOINTS,
            **STATISTICS,
        )

    def tower(self, model: Any) -> nn.Module:
        """Return the vision tower, which sees one tile at a time."""
        found: nn.Module = model.model.vision_tower
        return found

    def pixels(self, pictures: Tensor) -> Tensor:
        """Give the whole at half its size, and then the tiles: (B, 5, 3, 48, 48)."""
        whole = normalise(_halved(pictures))
        tiles = normalise(pictures).view(-1, 3, 2, TILE, 2, TILE)
        tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        return torch.cat([whole[:, None], tiles], 1)

    def look(self, tower: nn.Module, pictures: Tensor) -> Look:
        """Read patches from the tiles, and the picture's own feature from the whole of it."""
        n = len(pictures)
        out = tower(self.pixels(pictures).flatten(0, 1), output_hidden_states=True)
        views = out.hidden_states[-2][:, 1:].unflatten(0, (n, -1))
        raster = views[:, 1:].reshape(n, 2, 2, _SIDE, _SIDE, -1).transpose(2, 3)
        picture = out.last_hidden_state[:, 0].unflatten(0, (n, -1))[:, 0]
        return Look(raster.flatten(1, 4), picture, views[:, 0])

    def frame_centres(self) -> Tensor:
        """Place each patch's tile: a tile cannot tell which one it is."""
        along = (torch.arange(PATCHES_A_SIDE) // _SIDE) - 0.5
        down, across = torch.meshgrid(along, along, indexing="ij")
        return torch.stack([across, down], -1).flatten(0, 1)

    def written(self, tower: Any) -> Iterable[Tensor]:
        """List what is written to the stream."""
        return clip_written(tower)

    @torch.no_grad()
    def start_connector(self, model: Any, mean: Tensor, std: Tensor) -> None:
        """Draw the projector as LLaVA-1.5's."""
        start_mlp(model.model.multi_modal_projector, mean, std)

    def image_tokens(self, model: Any, look: Look, asked: Asked) -> Tensor:
        """Project all views; the whole comes first, then the tiles' raster with its newlines."""
        n, project = len(look.patches), model.model.multi_modal_projector
        raster = project(look.patches).view(n, PATCHES_A_SIDE, PATCHES_A_SIDE, -1)
        newline = model.model.image_newline.to(raster.dtype)
        ends = newline.expand(n, PATCHES_A_SIDE, 1, -1)
        return torch.cat([project(look.others), torch.cat([raster, ends], 2).flatten(1, 2)], 1)


def _halved(pictures: Tensor) -> Tensor:
    """Resize pictures (B, 96, 96, 3) as Pillow does: columns, then rows, each to whole numbers."""
    planes = pictures.permute(0, 3, 1, 2).float()
    for size in ((SIZE, TILE), (TILE, TILE)):
        planes = functional.interpolate(planes, size, mode="bicubic", antialias=True)
        planes = planes.round().clamp(0, 255)
    return planes.permute(0, 2, 3, 1)
