"""Models with random weights, at sizes from a few seconds to some minutes of measuring."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from infoflow.families import Llava15
from infoflow.grid import Grid
from infoflow.lvlm import LVLM, Prompt
from infoflow.prompt import find_spans

_IMAGE_ID, _VOCABULARY, _PATCH = 4, 8000, 14
_N_SYSTEM, _N_USER = 35, 25


@dataclass(frozen=True)
class Size:
    """The shape of a decoder and of its prompt.

    Attributes:
        layers: L.
        width: D.
        heads: H.
        side: Image tokens along one side of the picture.
    """

    layers: int
    width: int
    heads: int
    side: int


SIZES = {
    "quick": Size(layers=12, width=256, heads=4, side=16),
    "small": Size(layers=16, width=512, heads=8, side=24),
    "deep": Size(layers=32, width=512, heads=8, side=24),
}
"""``small`` and ``deep`` have the prompt of LLaVA-1.5: 35 tokens, 576 of the image, 25."""


def random_lvlm(size: Size) -> tuple[LVLM, Prompt]:
    """Build a LLaVA-1.5 with random weights, and a prompt for it."""
    torch.manual_seed(0)
    text = LlamaConfig(
        hidden_size=size.width,
        intermediate_size=8 * size.width // 3,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        vocab_size=_VOCABULARY,
        # wide enough that attention is not uniform and answers depend on the cut
        initializer_range=0.05,
    )
    vision = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=size.side * _PATCH,
        patch_size=_PATCH,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=_IMAGE_ID,
        image_seq_length=size.side**2,
    )
    model = LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    # prompts are made of ids here, so there is no tokenizer, image processor or checkpoint
    lvlm = LVLM("random", Llava15(model, None, None), Path(), revision=None)
    lvlm.eos_token_ids = (_VOCABULARY,)  # never generated: every answer has its full length
    words = torch.randint(_IMAGE_ID + 1, _VOCABULARY, (_N_SYSTEM + _N_USER,))
    image = torch.full((size.side**2,), _IMAGE_ID)
    input_ids = torch.cat([words[:_N_SYSTEM], image, words[_N_SYSTEM:]])
    pixel_values = torch.randn(1, 3, size.side * _PATCH, size.side * _PATCH)
    return lvlm, Prompt(
        input_ids=input_ids,
        inputs_embeds=lvlm.embed(input_ids, pixel_values),
        pixel_values=pixel_values,
        spans=find_spans(input_ids, _IMAGE_ID),
        grid=Grid(size.side, size.side),
        image=Image.new("RGB", (size.side, size.side)),
        question="",
    )
