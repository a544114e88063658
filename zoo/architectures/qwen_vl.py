"""Qwen-VL in small: a ViT of its own, a resampler whose queries read it, a Qwen2 decoder."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from infoflow.data.shapes.world import CELL, SIZE
from infoflow.models.convert.tokenizers import END_OF_TEXT, IMAGE_END, IMAGE_PAD, IMAGE_START
from infoflow.models.families.qwen_model import (
    QwenVision,
    QwenVLConfig,
    QwenVLForConditionalGeneration,
    VisionShape,
    stretched,
)
from infoflow.models.families.qwen_vl import QwenVL
from zoo.architectures.base import STATISTICS, Architecture, Asked, Look, draw
from zoo.model import (
    DECODER,
    HEADS,
    MLP_WIDTH,
    PATCHES_A_SIDE,
    TOWER_LAYERS,
    WIDTH,
)
from zoo.tokenizer import EOS, PAD, Specials

SHAPE = VisionShape(
    image_size=SIZE,
    patch_size=CELL,
    width=WIDTH,
    layers=TOWER_LAYERS,
    heads=HEADS,
    mlp_width=MLP_WIDTH,
    output_width=WIDTH,
    pool_heads=HEADS,
    raster=PATCHES_A_SIDE // 2,
)
"""As published, there is one query for four patches."""


class TinyQwenVL(Architecture):
    """``tiny-qwen-vl``: 16 image tokens, each read from all patches by one cross-attention."""

    name = "tiny-qwen-vl"
    family = QwenVL
    n_queries = SHAPE.n_queries
    language_steps = 2 * Architecture.language_steps  # it is late to tell two signs apart
    specials = Specials(end=END_OF_TEXT, image=IMAGE_PAD, marks=(IMAGE_START, IMAGE_END))

    def build(self) -> Any:
        """Make the model; see ``Architecture.build``."""
        config = QwenVLConfig(
            vocab_size=self.n_words,
            vision_config=asdict(SHAPE),
            **DECODER,
            bos_token_id=None,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
        model = QwenVLForConditionalGeneration(config)
        pool = model.visual.attn_pool
        pool.pos_embed = nn.Parameter(sine_cosine_positions(SHAPE.raster, WIDTH), False)
        return model

    def image_processor(self) -> Any:
        """Build the image processor, which squashes to a square."""
        return BlipImageProcessorPil(size={"height": SIZE, "width": SIZE}, **STATISTICS)

    def tower(self, model: Any) -> nn.Module:
        """Return what comes before the resampler."""
        return _Tower(model.visual)

    def look(self, tower: nn.Module, pictures: Tensor) -> Look:
        """Read the last layer; with no class token, the picture's feature is the patches' mean."""
        patches = tower(self.pixels(pictures))
        return Look(patches, patches.mean(1), patches[:, :0])

    def written(self, tower: Any) -> Iterable[Tensor]:
        """List what is written to the stream: what the first norm gives, then every block."""
        yield from (tower.ln_pre.weight, tower.ln_pre.bias)
        for layer in tower.transformer.resblocks:
            for out in (layer.attn.out_proj, layer.mlp["c_proj"]):
                yield from (out.weight, out.bias)

    @torch.no_grad()
    def start_connector(self, model: Any, mean: Tensor, std: Tensor) -> None:
        """Draw the maps into and out of the resampler, whose norms take care of the rest."""
        draw(model.visual.attn_pool.kv_proj.weight, WIDTH**-0.5)
        model.visual.attn_pool.kv_proj.weight.div_(std)
        draw(model.visual.proj, WIDTH**-0.5)

    def image_tokens(self, model: Any, look: Look, asked: Asked) -> Tensor:
        """Let the queries read each picture: ``QwenVision``'s second half, for many at once."""
        pool = model.visual.attn_pool
        values = pool.ln_kv(pool.kv_proj(look.patches))
        queries = (pool.ln_q(pool.query) + pool.pos_embed).expand(len(values), -1, -1)
        keys = values + stretched(pool.pos_embed, PATCHES_A_SIDE)
        read, _ = pool.attn(queries, keys, values, need_weights=False)
        tokens: Tensor = model.visual.ln_post(read) @ model.visual.proj
        return tokens


def sine_cosine_positions(side: int, width: int) -> Tensor:
    """Compute the fixed positions of a raster, row by row: shape (side * side, width).

    The first half of the channels tells the column and the second half the row, each by sines and
    then cosines of waves from short to long (Vaswani et al., 2017, section 3.5).
    """
    n_waves = width // 4
    waves = 10000.0 ** (-torch.arange(n_waves, dtype=torch.float64) / n_waves)
    angles = torch.arange(side, dtype=torch.float64)[:, None] * waves
    place = torch.cat([angles.sin(), angles.cos()], dim=-1)
    by_column = place[None].expand(side, -1, -1)
    by_row = place[:, None].expand(-1, side, -1)
    return torch.cat([by_column, by_row], dim=-1).flatten(0, 1).to(torch.get_default_dtype())


class _Tower(nn.Module):
    """``QwenVision``'s first half, on its own weights."""

    def __init__(self, visual: QwenVision) -> None:
        super().__init__()
        self.conv1, self.ln_pre = visual.conv1, visual.ln_pre
        self.positional_embedding = visual.positional_embedding
        self.transformer = visual.transformer

    def forward(self, pixel_values: Tensor) -> Tensor:
        patches = self.conv1(pixel_values).flatten(2).mT
        states = patches + stretched(self.positional_embedding, PATCHES_A_SIDE)
        features: Tensor = self.transformer(self.ln_pre(states))
        return features
