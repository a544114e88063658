"""InstructBLIP: a Q-Former takes from the image what the question needs (Dai et al., 2023).

Its image tokens are 32 queries, which are no places on the image: each attends to all patches. They
stand before the token that begins the text.
"""

from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from transformers import InstructBlipForConditionalGeneration
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from infoflow.models.checkpoint import load_tokenizer
from infoflow.models.families.base import PLACEHOLDER, Family, ImageFeatures, Size
from infoflow.models.placement import Placement

QFORMER_TOKENIZER = "qformer_tokenizer"
_BOUNDARY = "</s>"
"""Begins and ends texts: it was trained so, whatever the published settings say."""


class InstructBlip(Family):
    """InstructBLIP with a Vicuna; a query's attention is the mean over heads and layers."""

    architecture: ClassVar[Any] = InstructBlipForConditionalGeneration
    processor: ClassVar[Any] = BlipImageProcessorPil
    template = f"{PLACEHOLDER}{{question}}"
    tower = "vision_model.encoder.layers"
    connector = "Q-Former"
    ends = (_BOUNDARY,)
    files = ("*.json", "*.safetensors", f"{QFORMER_TOKENIZER}/*")

    def __init__(
        self, model: Any, tokenizer: Any, image_processor: Any, qformer_tokenizer: Any = None
    ) -> None:
        super().__init__(model, tokenizer, image_processor)
        self.qformer_tokenizer = qformer_tokenizer
        # the fast path does not give attention weights
        model.set_attn_implementation({"qformer_config": "eager"})

    @classmethod
    def open(cls, folder: Path, placement: Placement, dtype: torch.dtype, **parts: Path) -> Self:
        family = super().open(folder, placement, dtype)
        family.qformer_tokenizer = load_tokenizer(folder / QFORMER_TOKENIZER)
        return family

    @property
    def language_model(self) -> Any:
        return self.model.language_model

    def n_image_tokens(self, size: Size) -> int:
        return int(self.model.config.num_query_tokens)

    def inputs(self, ids: list[int], size: Size) -> dict[str, Tensor]:
        return {"qformer_input_ids": self._qformer_ids(torch.tensor(ids))}

    def image_ids(self, size: Size) -> list[int]:
        return [*super().image_ids(size), *self.eos_token_ids]

    def encode_image(
        self, pixel_values: Tensor, input_ids: Tensor, size: Size | None
    ) -> ImageFeatures:
        self.require_shape(pixel_values)
        patches = self.model.vision_model(pixel_values=pixel_values).last_hidden_state
        output = self.model.qformer(
            input_ids=self._qformer_ids(input_ids),
            query_embeds=self.model.query_tokens.to(patches.dtype),
            encoder_hidden_states=patches,
            output_attentions=True,
        )
        n_queries = self.model.config.num_query_tokens
        features = self.model.language_projection(output.last_hidden_state[0, :n_queries])
        attention = torch.stack(output.cross_attentions)[:, 0].mean((0, 1))[:, 1:]
        return ImageFeatures(features, attention / attention.sum(-1, keepdim=True))

    def _qformer_ids(self, input_ids: Tensor) -> Tensor:
        """Encode for the Q-Former what the prompt's ids, shape (S,), say: shape (1, T)."""
        text = self.tokenizer.decode(
            input_ids[input_ids != self.image_token_id], skip_special_tokens=True
        )
        longest = self.model.config.qformer_config.max_position_embeddings
        ids = self.qformer_tokenizer(text, truncation=True, max_length=longest).input_ids
        return torch.tensor([ids], device=input_ids.device)
