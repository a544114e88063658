"""LLaVA-1.5: a CLIP tower, a two-layer projector and a LLaMA decoder (Liu et al., 2024)."""

from pathlib import Path
from typing import Self

import torch
from transformers import LlavaForConditionalGeneration
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from infoflow.models.checkpoint import load_image_processor, load_tokenizer, load_weights
from infoflow.models.families.vicuna import VicunaFamily
from infoflow.models.placement import Placement


class Llava15(VicunaFamily):
    """LLaVA-1.5, in the layout of ``llava-hf/llava-1.5-7b-hf`` or in transformers' own."""

    connector = "two-layer MLP"

    @classmethod
    def open(cls, folder: Path, placement: Placement, dtype: torch.dtype) -> Self:
        """Load a checkpoint folder; see ``Family.open``."""
        model = load_weights(LlavaForConditionalGeneration, folder, "llava", placement, dtype)
        # The published processor crops the centre; the original code pads, which loses no border.
        processor = load_image_processor(LlavaImageProcessorPil, folder, do_pad=True)
        return cls(model, load_tokenizer(folder), processor)
