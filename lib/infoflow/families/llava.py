"""LLaVA-1.5: a CLIP tower, a two-layer projector and a LLaMA decoder (Liu et al., 2024)."""

from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from infoflow.errors import InfoflowError
from infoflow.families.base import Family
from infoflow.families.checkpoint import load_image_processor, load_tokenizer, load_weights
from infoflow.grid import Grid

PLACEHOLDER = "<image>"
TEMPLATE = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    f"USER: {PLACEHOLDER}\n{{question}} ASSISTANT:"
)
"""The ``vicuna_v1`` conversation with one picture and one question."""


class Llava15(Family):
    """LLaVA-1.5, in the layout of ``llava-hf/llava-1.5-7b-hf`` or in transformers' own."""

    @classmethod
    def open(cls, folder: Path, device: torch.device, dtype: torch.dtype) -> Self:
        """Load a checkpoint folder; see ``Family.open``."""
        model = load_weights(LlavaForConditionalGeneration, folder, "llava", device, dtype)
        # The published processor crops the centre; the original code pads, which loses no border.
        processor = load_image_processor(LlavaImageProcessorPil, folder, do_pad=True)
        return cls(model, load_tokenizer(folder), processor)

    @property
    def decoder(self) -> Any:
        """The LLaMA decoder."""
        return self.model.model.language_model

    @property
    def lm_head(self) -> nn.Module:
        """The linear map to the vocabulary."""
        head: nn.Module = self.model.lm_head
        return head

    @property
    def image_token_id(self) -> int:
        """The placeholder's id, from the checkpoint's configuration."""
        return int(self.model.config.image_token_id)

    @property
    def _side(self) -> int:
        """Image tokens along one side of the padded square."""
        vision = self.model.config.vision_config
        return int(vision.image_size // vision.patch_size)

    def input_ids(self, question: str) -> list[int]:
        """Encode the conversation; the texts before and after the picture are tokenised apart."""
        before, after = TEMPLATE.split(PLACEHOLDER)
        asked = self._tokenise(after.format(question=question))
        if PLACEHOLDER in question or self.image_token_id in asked:
            raise InfoflowError(
                f"the question contains the image placeholder {PLACEHOLDER!r}: {question!r}. "
                "Leave it out; the picture's place in the prompt is fixed."
            )
        image = [self.image_token_id] * self._side**2
        return [self.tokenizer.bos_token_id, *self._tokenise(before), *image, *asked]

    def _tokenise(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def pixel_values(self, image: Image.Image) -> Tensor:
        """Pad the picture to a square with CLIP's mean colour, then resize and normalise it."""
        values: Tensor = self.image_processor(image, return_tensors="pt").pixel_values
        return values

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Run the vision tower and the projector; see ``Family.image_features``."""
        size = self.model.config.vision_config.image_size
        if tuple(pixel_values.shape) != (1, 3, size, size):
            raise InfoflowError(
                f"pixel values of shape {tuple(pixel_values.shape)} do not fit the vision tower; "
                f"valid: (1, 3, {size}, {size})."
            )
        features = self.model.get_image_features(pixel_values=pixel_values, return_dict=True)
        projected: Tensor = features.pooler_output[0]
        return projected

    def grid(self, image: Image.Image) -> Grid:
        """Place the picture in the padded square, to the pixel as the image processor does."""
        width, height = image.size
        square = max(width, height)
        left, top = (square - width) // 2, (square - height) // 2
        box = (left / square, top / square, (left + width) / square, (top + height) / square)
        return Grid(self._side, self._side, box)
