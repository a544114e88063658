"""Shikra: a CLIP tower, one linear layer and a LLaMA decoder (Chen et al., 2023).

What is published is the difference of its decoder to LLaMA-7B, and the linear layer. The tower is
OpenAI's, which was not trained further.
"""

from collections.abc import Mapping
from typing import ClassVar

from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from infoflow.models.convert.conversion import Conversion
from infoflow.models.convert.llava import MARKS, convert_shikra
from infoflow.models.families.base import PLACEHOLDER, Size
from infoflow.models.families.vicuna import SYSTEM, VicunaFamily


class Shikra(VicunaFamily):
    """Shikra, as ``shikras/shikra-7b-delta-v1`` with its LLaMA and CLIP, or as converted."""

    processor = CLIPImageProcessorPil
    # the spaces beside the marks around the image are no tokens
    template = f"{SYSTEM} USER:{PLACEHOLDER}{{question}} ASSISTANT:"
    connector = "linear layer"
    padding = (255, 255, 255)
    tokens = MARKS
    foreign_tokens = tuple(t for t in VicunaFamily.foreign_tokens if t not in MARKS)
    conversion = Conversion(convert_shikra, "tokenizer.model")
    files = ("*.json", "pytorch_model*.bin", "tokenizer.model")
    parts: ClassVar[Mapping[str, str]] = {
        "base": "huggyllama/llama-7b",
        "vision": "openai/clip-vit-large-patch14",
    }

    def image_ids(self, size: Size) -> list[int]:
        start, end = self.tokenizer.convert_tokens_to_ids(list(MARKS[1:]))
        return [start, *super().image_ids(size), end]
