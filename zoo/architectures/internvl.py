"""InternVL-Chat in small: LLaVA-1.5 with an InternViT, read at hidden state -4."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import InternVLVisionConfig

from infoflow.data.shapes.world import CELL, SIZE
from infoflow.models.families.llava import InternVLChat
from zoo.architectures.base import draw
from zoo.architectures.llava import TinyLlava
from zoo.model import TOWER_LAYERS, tower_shape

_PLACE_SCALE = 0.1


class TinyInternVL(TinyLlava):
    """``tiny-internvl``: three layers of its tower lie behind what is read of it, as published."""

    name = "tiny-internvl"
    family = InternVLChat
    feature_layer = -4

    def vision_config(self) -> Any:
        """Configure an InternViT: root-mean-square norms, also of queries and keys, no QKV bias."""
        return InternVLVisionConfig(
            **tower_shape(TOWER_LAYERS + 3) | {"patch_size": [CELL, CELL]},
            image_size=[SIZE, SIZE],
            attention_bias=False,
            use_qk_norm=True,
            norm_type="rms_norm",
            layer_norm_eps=1e-6,
            hidden_act="gelu",
            use_mean_pooling=True,
        )

    @torch.no_grad()
    def new_model(self, seed: int, by_hand: bool = True) -> Any:
        """Draw class token and positions too, which transformers starts at zero."""
        model = super().new_model(seed, by_hand)
        embeddings = model.model.vision_tower.embeddings
        for weight in (embeddings.cls_token, embeddings.position_embeddings):
            draw(weight, _PLACE_SCALE)
        return model

    def written(self, tower: Any) -> Iterable[Tensor]:
        """List what is written to the stream: embeddings, then every block by its own scale."""
        embeddings = tower.embeddings
        patches = embeddings.patch_embeddings.projection
        yield from (embeddings.cls_token, embeddings.position_embeddings)
        yield from (patches.weight, patches.bias)
        for layer in tower.encoder.layer:
            yield from (layer.lambda_1, layer.lambda_2)
