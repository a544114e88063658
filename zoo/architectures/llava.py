"""LLaVA-1.5 and Shikra in small: a CLIP tower, and an MLP or one linear layer behind it."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from infoflow.data.shapes.world import SIZE
from infoflow.models.convert.llava import MARKS
from infoflow.models.families import Family
from infoflow.models.families.llava import Llava15, Shikra
from zoo.architectures.base import (
    STATISTICS,
    Architecture,
    Asked,
    Look,
    draw,
    draw_standardising,
)
from zoo.model import (
    DECODER,
    DEEP_DECODER,
    N_PATCHES,
    TOWER_LAYERS,
    WIDTH,
    llama_config,
    tower_shape,
)
from zoo.tokenizer import IMAGE, Specials

SQUARE = {
    "size": {"shortest_edge": SIZE},
    "crop_size": {"height": SIZE, "width": SIZE},
    **STATISTICS,
}


class TinyLlava(Architecture):
    """``tiny-llava-1.5``: hidden state -2 of a CLIP tower, a two-layer MLP."""

    name = "tiny-llava-1.5"
    family: ClassVar[type[Family]] = Llava15
    activation: ClassVar[str] = "gelu"
    feature_layer: ClassVar[int] = -2
    decoder: ClassVar[Mapping[str, Any]] = DECODER

    def build(self) -> Any:
        """Make the model; see ``Architecture.build``."""
        config = LlavaConfig(
            vision_config=self.vision_config(),
            text_config=llama_config(self.n_words, self.decoder),
            image_token_index=IMAGE,
            image_seq_length=N_PATCHES,
            vision_feature_layer=self.feature_layer,
            vision_feature_select_strategy="default",
            projector_hidden_act=self.activation,
        )
        return LlavaForConditionalGeneration(config)

    def vision_config(self) -> Any:
        """Configure the tower."""
        return clip_config(SIZE)

    def image_processor(self) -> Any:
        """Build the image processor, which pads to a square."""
        return LlavaImageProcessorPil(do_pad=True, **SQUARE)

    def tower(self, model: Any) -> nn.Module:
        """Return the vision tower."""
        found: nn.Module = model.model.vision_tower
        return found

    def look(self, tower: nn.Module, pictures: Tensor) -> Look:
        """Read the features from inside the tower, without the class token's."""
        out = tower(self.pixels(pictures), output_hidden_states=True)
        patches = out.hidden_states[self.feature_layer][:, 1:]
        return Look(patches, out.last_hidden_state[:, 0], patches[:, :0])

    def written(self, tower: Any) -> Iterable[Tensor]:
        """List what is written to the stream."""
        return clip_written(tower)

    @torch.no_grad()
    def start_connector(self, model: Any, mean: Tensor, std: Tensor) -> None:
        """Draw the projector so that its hidden units start at zero mean and unit variance."""
        start_mlp(model.model.multi_modal_projector, mean, std)

    def image_tokens(self, model: Any, look: Look, asked: Asked) -> Tensor:
        """Project the patches."""
        tokens: Tensor = model.model.multi_modal_projector(look.patches)
        return tokens


class DeepLlava(TinyLlava):
    """``tiny-llava-1.5`` of 24 narrower layers, which answers what depth alone changes."""

    decoder = DEEP_DECODER


class TinyShikra(TinyLlava):
    """``tiny-shikra``: one linear layer, and marks around the picture."""

    name = "tiny-shikra"
    family = Shikra
    specials = Specials(image=MARKS[0], marks=MARKS[1:])
    activation = "linear"

    def image_processor(self) -> Any:
        """Build the image processor; its adapter has padded before."""
        return CLIPImageProcessorPil(**SQUARE)

    @torch.no_grad()
    def start_connector(self, model: Any, mean: Tensor, std: Tensor) -> None:
        """Draw the one layer; transformers' second one changes nothing and is not trained."""
        projector = model.model.multi_modal_projector
        draw_standardising(projector.linear_1, mean, std)
        projector.linear_2.weight.copy_(torch.eye(WIDTH))
        projector.linear_2.bias.zero_()
        projector.linear_2.requires_grad_(False)


def clip_config(side: int) -> CLIPVisionConfig:
    """Configure a CLIP tower for pictures of that side, its features read before the last layer."""
    shape = tower_shape(TOWER_LAYERS + 1)
    return CLIPVisionConfig(**shape, image_size=side, projection_dim=WIDTH)


def clip_written(tower: Any) -> Iterable[Tensor]:
    """List what a CLIP tower writes to its stream: what its first norm gives, then every block."""
    yield from (tower.pre_layrnorm.weight, tower.pre_layrnorm.bias)
    for layer in tower.encoder.layers:
        for out in (layer.self_attn.out_proj, layer.mlp.fc2):
            yield from (out.weight, out.bias)


def start_mlp(projector: Any, mean: Tensor, std: Tensor) -> None:
    """Draw a two-layer projector for features of these statistics."""
    draw_standardising(projector.linear_1, mean, std)
    draw(projector.linear_2.weight, projector.linear_2.in_features**-0.5)
    projector.linear_2.bias.zero_()
