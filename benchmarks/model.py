"""Models with random weights, at sizes from a few seconds to some minutes of measuring."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from infoflow.models.families import Llava15
from infoflow.models.grid import Grid
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.prompt import find_spans

_IMAGE_ID, _PATCH = 4, 14
_N_SYSTEM, _N_USER = 35, 25
_CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


class Layer(NamedTuple):
    """A decoder layer: the number of its weights, and its width D."""

    parameters: int
    width: int


@dataclass(frozen=True)
class Vision:
    """The shape of a vision tower."""

    layers: int = 2
    width: int = 64
    inner: int = 128
    heads: int = 2


@dataclass(frozen=True)
class Size:
    """The shape of a model and of its prompt, and where it is measured.

    Attributes:
        layers: L.
        width: D.
        inner: Width inside the decoder's feed-forward layers.
        heads: H.
        side: Image tokens along one side of the picture.
        vocabulary: V.
        vision: The tower.
        spread: Standard deviation of the weights: wide enough that attention is not uniform and
            answers depend on the cut.
        device: ``"cpu"`` or ``"cuda"``.
        dtype: Of weights and activations.
    """

    layers: int
    width: int
    inner: int
    heads: int
    side: int
    vocabulary: int = 8000
    vision: Vision = Vision()
    spread: float = 0.05
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    @property
    def layer_parameters(self) -> int:
        """The weights of one decoder layer: four attention matrices and three others."""
        return 4 * self.width**2 + 3 * self.width * self.inner

    @property
    def layer(self) -> Layer:
        """One decoder layer, as its cost is counted."""
        return Layer(self.layer_parameters, self.width)


SIZES = {
    "quick": Size(layers=12, width=256, inner=688, heads=4, side=16),
    "small": Size(layers=16, width=512, inner=1368, heads=8, side=24),
    "deep": Size(layers=32, width=512, inner=1368, heads=8, side=24),
    "llava-1.5-7b": Size(
        layers=32,
        width=4096,
        inner=11008,
        heads=32,
        side=24,
        vocabulary=32064,
        vision=Vision(layers=24, width=1024, inner=4096, heads=16),
        spread=0.02,
        device="cuda",
        dtype=torch.bfloat16,
    ),
}
"""All but ``quick`` have the prompt of LLaVA-1.5: 35 tokens, 576 of the image, 25."""


def random_model(size: Size) -> LlavaForConditionalGeneration:
    """Build transformers' LLaVA with random weights."""
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=size.vision.width,
            intermediate_size=size.vision.inner,
            num_hidden_layers=size.vision.layers,
            num_attention_heads=size.vision.heads,
            image_size=size.side * _PATCH,
            patch_size=_PATCH,
        ),
        text_config=LlamaConfig(
            hidden_size=size.width,
            intermediate_size=size.inner,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            vocab_size=size.vocabulary,
            initializer_range=size.spread,
        ),
        image_token_index=_IMAGE_ID,
        image_seq_length=size.side**2,
    )
    with torch.device(size.device):
        model = AutoModelForImageTextToText.from_config(config, dtype=size.dtype)
    return model.eval().requires_grad_(False)


def random_lvlm(size: Size) -> tuple[LVLM, Prompt]:
    """Load such a model, and make a prompt for it."""
    model = random_model(size)
    # prompts are made of ids here, so there is no tokenizer and no checkpoint
    processor = SimpleNamespace(image_std=_CLIP_STD)
    lvlm = LVLM("random", Llava15(model, None, processor), Path(), revision=None)
    lvlm.eos_token_ids = (size.vocabulary,)  # never generated: every answer has its full length
    words = torch.randint(_IMAGE_ID + 1, size.vocabulary, (_N_SYSTEM + _N_USER,))
    image = torch.full((size.side**2,), _IMAGE_ID)
    input_ids = torch.cat([words[:_N_SYSTEM], image, words[_N_SYSTEM:]]).to(lvlm.device)
    pixel_values = torch.randn(1, 3, size.side * _PATCH, size.side * _PATCH)
    pixel_values = pixel_values.to(lvlm.device, lvlm.dtype)
    with torch.no_grad():
        embeds = lvlm.embed(input_ids, pixel_values)
    return lvlm, Prompt(
        input_ids=input_ids,
        inputs_embeds=embeds,
        pixel_values=pixel_values,
        spans=find_spans(input_ids, _IMAGE_ID),
        grid=Grid(size.side, size.side),
        image=Image.new("RGB", (size.side, size.side)),
        question="",
    )
