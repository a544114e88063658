"""InstructBLIP in small: an EVA tower, and a Q-Former that reads it for each question anew."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from tokenizers import processors
from torch import Tensor, nn
from transformers import (
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from infoflow.data.shapes.world import SIZE
from infoflow.models.families import Family
from infoflow.models.families.instructblip import QFORMER_TOKENIZER, InstructBlip
from zoo.architectures.base import STATISTICS, Architecture, Asked, Look, draw
from zoo.model import (
    CONTEXT_LENGTH,
    HEADS,
    TOWER_LAYERS,
    WIDTH,
    WORD_SCALE,
    llama_config,
    tower_shape,
)
from zoo.tokenizer import BOS, EOS, IMAGE, PAD, build_tokenizer

N_QUERIES = 16
_QFORMER = {
    "hidden_size": WIDTH,
    "encoder_hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": HEADS,
    "intermediate_size": 160,  # more would not fit into 8 MB
    "max_position_embeddings": 128,
    "cross_attention_frequency": 2,
    # the recipe has no dropout anywhere, and no example comes twice
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


class TinyInstructBlip(Architecture):
    """``tiny-instructblip``: 16 queries, which look at the picture with the question in mind."""

    name = "tiny-instructblip"
    family = InstructBlip
    slots = 4  # each question holds its own image tokens
    steered = True
    n_queries = N_QUERIES
    # at the full rate, which others bear, the loss rose for good near step 390: from 0.39 to 0.63
    shares: ClassVar[Mapping[str, float]] = {"qformer": 0.2, "query_tokens": 0.2}

    def build(self) -> Any:
        """Make the model; see ``Architecture.build``."""
        vision = InstructBlipVisionConfig(
            **tower_shape(TOWER_LAYERS), image_size=SIZE, initializer_range=0.02
        )
        config = InstructBlipConfig(
            vision_config=vision,
            qformer_config=InstructBlipQFormerConfig(vocab_size=self.n_words, **_QFORMER),
            text_config=llama_config(self.n_words),
            num_query_tokens=N_QUERIES,
            image_token_index=IMAGE,
        )
        return InstructBlipForConditionalGeneration(config)

    @torch.no_grad()
    def new_model(self, seed: int, by_hand: bool = True) -> Any:
        """Draw queries and the Q-Former's words too; transformers starts queries at zero."""
        model = super().new_model(seed, by_hand)
        embeddings = model.qformer.embeddings
        draw(model.query_tokens, WORD_SCALE)
        draw(embeddings.word_embeddings.weight, WORD_SCALE)
        draw(embeddings.position_embeddings.weight, WORD_SCALE)
        return model

    def adapter(self, model: Any) -> Family:
        """Put the adapter around a model, with the Q-Former's tokenizer."""
        return InstructBlip(model, self.tokenizer(), self.image_processor(), qformer_tokenizer())

    def steering_ids(self, prompts: Any, question: str) -> list[int]:
        """Encode a question for the Q-Former."""
        ids: list[int] = prompts.qformer_tokenizer(question).input_ids
        return ids

    def image_processor(self) -> Any:
        """Build the image processor, which squashes to a square."""
        return BlipImageProcessorPil(size={"height": SIZE, "width": SIZE}, **STATISTICS)

    def save_companions(self, folder: Path) -> None:
        """Write both tokenizers and the image processor."""
        super().save_companions(folder)
        qformer_tokenizer().save_pretrained(folder / QFORMER_TOKENIZER)

    def tower(self, model: Any) -> nn.Module:
        """Return the vision tower."""
        found: nn.Module = model.vision_model
        return found

    def look(self, tower: nn.Module, pictures: Tensor) -> Look:
        """Read all that the tower gives: the Q-Former sees the class token too."""
        states = tower(pixel_values=self.pixels(pictures)).last_hidden_state
        return Look(states[:, 1:], states[:, 0], states[:, :1])

    def written(self, tower: Any) -> Iterable[Tensor]:
        """List what gives the features their scale: the last norm."""
        return (tower.post_layernorm.weight, tower.post_layernorm.bias)

    @torch.no_grad()
    def start_connector(self, model: Any, mean: Tensor, std: Tensor) -> None:
        """Draw the projection; what the Q-Former gives is normalised, whatever the features."""
        draw(model.language_projection.weight, WIDTH**-0.5)
        model.language_projection.bias.zero_()

    def image_tokens(self, model: Any, look: Look, asked: Asked) -> Tensor:
        """Let the queries read each question's picture with the question: (Q, 16, D)."""
        states = torch.cat([look.others, look.patches], 1)[asked.pictures]
        queries = model.query_tokens.to(states.dtype).expand(len(states), -1, -1)
        is_query = torch.ones(queries.shape[:2], dtype=torch.long, device=states.device)
        output = model.qformer(
            input_ids=asked.ids,
            attention_mask=torch.cat([is_query, (asked.ids != PAD).long()], 1),
            query_embeds=queries,
            encoder_hidden_states=states,
        )
        tokens: Tensor = model.language_projection(output.last_hidden_state[:, :N_QUERIES])
        return tokens


def qformer_tokenizer() -> PreTrainedTokenizerFast:
    """Build the Q-Former's tokenizer: the decoder's words, and a token at either end of a text.

    The published one has BERT's; here, as there, every text is closed in.
    """
    tokenizer = build_tokenizer(CONTEXT_LENGTH)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    return tokenizer
