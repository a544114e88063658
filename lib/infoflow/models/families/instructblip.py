"""InstructBLIP: a Q-Former asks the picture what the question needs (Dai et al., 2023).

Its image tokens are 32 queries, which are no places on the picture: each looks at all patches. They
stand before the token that begins the text.
"""

from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import InstructBlipForConditionalGeneration
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import (
    CONFIG,
    load_image_processor,
    load_tokenizer,
    load_weights,
    read_json,
    read_tokenizer,
    require_files,
)
from infoflow.models.families.base import Family, Seen, Size, grid_of_looks, require_shape
from infoflow.models.families.prompts import PLACEHOLDER
from infoflow.models.grid import Grid
from infoflow.models.placement import Placement

QFORMER_TOKENIZER = "qformer_tokenizer"
_BOUNDARY = "</s>"
"""Begins and ends texts: it was trained so, whatever the published settings say."""


class InstructBlip(Family):
    """InstructBLIP with a Vicuna, in the layout of ``Salesforce/instructblip-vicuna-7b``."""

    connector = "Q-Former"
    files = ("*.json", "*.safetensors", f"{QFORMER_TOKENIZER}/*")

    def __init__(
        self, model: Any, tokenizer: Any, image_processor: Any, qformer_tokenizer: Any
    ) -> None:
        super().__init__(model, tokenizer, image_processor)
        self.qformer_tokenizer = qformer_tokenizer
        # where queries look is read from the attention weights, which the fast path does not give
        model.set_attn_implementation({"qformer_config": "eager"})
        model.generation_config.eos_token_id = self.boundary_id

    @classmethod
    def require_own(cls, folder: Path) -> None:
        """Raise unless the decoder is a Vicuna: a Flan-T5 reads the question in an encoder."""
        decoder = read_json(folder / CONFIG).get("text_config")
        found = decoder.get("model_type", "llama") if isinstance(decoder, dict) else "llama"
        if found != "llama":
            raise InfoflowError(
                f"{folder} has a decoder of type {found!r}; this family has a Vicuna, of type "
                "'llama', as Salesforce/instructblip-vicuna-7b."
            )

    @classmethod
    def open(cls, folder: Path, placement: Placement, dtype: torch.dtype) -> Self:
        """Load a checkpoint folder; see ``Family.open``."""
        model = load_weights(
            InstructBlipForConditionalGeneration, folder, "instructblip", placement, dtype
        )
        require_files(folder / QFORMER_TOKENIZER, ("tokenizer.json",))
        asking = read_tokenizer(folder / QFORMER_TOKENIZER)
        processor = load_image_processor(BlipImageProcessorPil, folder)
        return cls(model, load_tokenizer(folder, (_BOUNDARY,)), processor, asking)

    @property
    def language_model(self) -> Any:
        """The Vicuna with its head."""
        return self.model.language_model

    @property
    def decoder(self) -> Any:
        """The LLaMA decoder."""
        return self.model.language_model.model

    @property
    def lm_head(self) -> nn.Module:
        """The linear map to the vocabulary."""
        head: nn.Module = self.model.language_model.lm_head
        return head

    @property
    def image_token_id(self) -> int:
        """The placeholder's id, from the checkpoint's configuration."""
        return int(self.model.config.image_token_id)

    @property
    def boundary_id(self) -> int:
        """The id of the token that begins and ends texts."""
        return int(self.tokenizer.convert_tokens_to_ids(_BOUNDARY))

    @property
    def pixels_a_side(self) -> int:
        """The side of the squashed picture."""
        return int(self.model.config.vision_config.image_size)

    @property
    def _side(self) -> int:
        """Patches along one side of the squashed picture."""
        return self.pixels_a_side // int(self.model.config.vision_config.patch_size)

    def input_ids(self, question: str, size: Size) -> list[int]:
        """Encode the question alone: there is no conversation around it."""
        asked = self.tokenise(question)
        if PLACEHOLDER in question or self.image_token_id in asked:
            raise InfoflowError(
                f"the question contains the image placeholder {PLACEHOLDER!r}: {question!r}. "
                "Leave it out; the picture's place in the prompt is fixed."
            )
        queries = [self.image_token_id] * self.model.config.num_query_tokens
        return [*queries, self.boundary_id, *asked]

    def pixel_values(self, image: Image.Image) -> Tensor:
        """Squash the picture to a square and normalise it."""
        values: Tensor = self.image_processor(image, return_tensors="pt").pixel_values
        return values

    def see(self, pixel_values: Tensor, input_ids: Tensor, size: Size | None) -> Seen:
        """Run the tower, let the queries read it and the question, and project them."""
        side = self.pixels_a_side
        require_shape(pixel_values, 1, 3, side, side)
        patches = self.model.vision_model(pixel_values=pixel_values).last_hidden_state
        output = self.model.qformer(
            input_ids=self._asked(input_ids),
            query_embeds=self.model.query_tokens.to(patches.dtype),
            encoder_hidden_states=patches,
            output_attentions=True,
        )
        n_queries = self.model.config.num_query_tokens
        features = self.model.language_projection(output.last_hidden_state[0, :n_queries])
        looks = torch.stack(output.cross_attentions)[:, 0].mean((0, 1))[:, 1:]
        return Seen(features, looks / looks.sum(-1, keepdim=True))

    def _asked(self, input_ids: Tensor) -> Tensor:
        """Encode for the Q-Former what the prompt's ids, shape (S,), say: shape (1, T)."""
        text = self.tokenizer.decode(
            input_ids[input_ids != self.image_token_id], skip_special_tokens=True
        )
        longest = self.model.config.qformer_config.max_position_embeddings
        ids = self.qformer_tokenizer(text, truncation=True, max_length=longest).input_ids
        return torch.tensor([ids], device=input_ids.device)

    def grid(self, size: Size, seen: Seen) -> Grid:
        """Give each query's value to the patches it looked at, in the shares of its looks.

        Shares are means over heads and layers with cross-attention; the class token's is left out.
        """
        return grid_of_looks(self._side, seen)
