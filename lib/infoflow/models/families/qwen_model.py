"""Qwen-VL as one model: transformers' Qwen2 with Qwen-VL's own vision side (Bai et al., 2023).

Its parameters have the names of the published code, ``visual.py`` of ``Qwen/Qwen-VL``.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen2Config, Qwen2ForCausalLM

_EPS = 1e-6


@dataclass(frozen=True)
class VisionShape:
    """The sizes of the vision side: of its tower, and of the resampler behind it."""

    image_size: int  # the square image's side, in pixels
    patch_size: int
    width: int  # channels of a patch inside the tower
    layers: int
    heads: int
    mlp_width: int  # channels between the two maps of a layer's MLP
    output_width: int  # D, channels of an image token
    pool_heads: int  # heads of the resampler
    raster: int = 16  # a side of the tower's learnt positions, and of the queries' own

    @property
    def n_queries(self) -> int:
        return self.raster**2


class QwenVision(nn.Module):
    """The tower, the resampler and the map to the decoder's embeddings."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.shape = shape
        width, out = shape.width, shape.output_width
        self.conv1 = nn.Conv2d(3, width, shape.patch_size, stride=shape.patch_size, bias=False)
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(shape.n_queries, width))
        self.ln_pre = nn.LayerNorm(width, eps=_EPS)
        layers = nn.Sequential(*(_Layer(shape) for _ in range(shape.layers)))
        self.transformer = nn.Sequential(OrderedDict(resblocks=layers))
        self.attn_pool = Resampler(shape)
        self.ln_post = nn.LayerNorm(out, eps=_EPS)
        self.proj = nn.Parameter(out**-0.5 * torch.randn(out, out))

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Turn an image into tokens (N, D) and their attention, heads averaged, (N, patches)."""
        patches = self.conv1(pixel_values)
        side = patches.shape[-1]
        states = self.ln_pre(patches.flatten(2).mT + stretched(self.positional_embedding, side))
        read, attention = self.attn_pool(self.transformer(states), side)
        return (self.ln_post(read) @ self.proj)[0], attention[0]


class Resampler(nn.Module):
    """Queries on a raster, each reading all patches; positions only steer what they attend to."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        width = shape.output_width
        # sines and cosines, published rounded to bfloat16 and trained with so: never computed anew
        self.pos_embed = nn.Parameter(torch.zeros(shape.n_queries, width), False)
        self.query = nn.Parameter(0.02 * torch.randn(shape.n_queries, width))
        self.kv_proj = nn.Linear(shape.width, width, bias=False)
        self.ln_q = nn.LayerNorm(width, eps=_EPS)
        self.ln_kv = nn.LayerNorm(width, eps=_EPS)
        self.attn = nn.MultiheadAttention(width, shape.pool_heads, batch_first=True)

    def forward(self, patches: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Read patches (1, side * side, width): what was read, (1, N, D), and the attention."""
        values = self.ln_kv(self.kv_proj(patches))
        queries = (self.ln_q(self.query) + self.pos_embed)[None]
        keys = values + stretched(self.pos_embed, side)
        read, attention = self.attn(queries, keys, values, need_weights=True)
        return read, attention


class _Layer(nn.Module):
    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        maps = {"c_fc": (shape.width, shape.mlp_width), "c_proj": (shape.mlp_width, shape.width)}
        self.ln_1 = nn.LayerNorm(shape.width, eps=_EPS)
        self.attn = _Attention(shape)
        self.ln_2 = nn.LayerNorm(shape.width, eps=_EPS)
        self.mlp = nn.ModuleDict({name: nn.Linear(*sizes) for name, sizes in maps.items()})

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.attn(self.ln_1(states))
        inner = functional.gelu(self.mlp["c_fc"](self.ln_2(states)))
        return cast(Tensor, states + self.mlp["c_proj"](inner))


class _Attention(nn.Module):
    """Attention of the tower, whose joint projection gives query, key and value head by head."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.in_proj = nn.Linear(shape.width, 3 * shape.width)
        self.out_proj = nn.Linear(shape.width, shape.width)

    def forward(self, states: Tensor) -> Tensor:
        by_head = self.in_proj(states).unflatten(-1, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        mixed = functional.scaled_dot_product_attention(*by_head)
        return cast(Tensor, self.out_proj(mixed.transpose(1, 2).flatten(2)))


class QwenVLConfig(Qwen2Config):  # type: ignore[misc]
    """The decoder's configuration, as Qwen2's; ``vision_config`` holds a ``VisionShape``."""

    model_type = "qwen_vl"

    vision_config: dict[str, Any] | None = None


class QwenVLForConditionalGeneration(Qwen2ForCausalLM):  # type: ignore[misc]
    """A Qwen-7B decoder, which is layer by layer a Qwen2, and ``visual``."""

    config_class = QwenVLConfig

    def __init__(self, config: QwenVLConfig) -> None:
        super().__init__(config)
        self.visual = QwenVision(VisionShape(**(config.vision_config or {})))
        self.post_init()


def stretched(positions: Tensor, side: int) -> Tensor:
    """Stretch the positions of a raster (n * n, C), in float32 as published: (side * side, C)."""
    n = round(len(positions) ** 0.5)
    if n == side:
        return positions
    raster = positions.float().T.reshape(1, -1, n, n)
    wide = functional.interpolate(raster, size=(side, side), mode="bicubic", align_corners=False)
    return wide[0].flatten(1).T.to(positions.dtype)
