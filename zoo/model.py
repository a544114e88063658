"""What the zoo's small models share: their sizes, and the pixels they are shown."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import LlamaConfig

from infoflow.data.shapes.world import CELL, SIZE
from zoo.tokenizer import BOS, EOS, PAD

CONTEXT_LENGTH = 512
PATCHES_A_SIDE = SIZE // CELL
N_PATCHES = PATCHES_A_SIDE**2
PIXEL_MEAN, PIXEL_STD = 0.5, 0.275
"""Normalisation of pictures in [0, 1], the same for every channel."""

WIDTH, MLP_WIDTH, HEADS = 128, 384, 4
"""Of vision towers and decoders alike."""
TOWER_LAYERS = 4
"""Layers of a tower whose output is used; towers read further inside have as many before that."""
WORD_SCALE = 0.5
"""What embeddings are drawn with, to start well apart; at 0.02 they take long to part."""

DECODER: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": MLP_WIDTH,
    "num_hidden_layers": 12,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "max_position_embeddings": CONTEXT_LENGTH,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
"""The decoder's shape, one for all: models are to differ in how they see."""


DEEP_DECODER = DECODER | {
    "hidden_size": 96,
    "intermediate_size": 288,
    "num_hidden_layers": 24,
}
"""Twice as many layers, narrower, of about as many weights: for an experiment on depth."""


def llama_config(n_words: int, decoder: Mapping[str, Any] = DECODER) -> LlamaConfig:
    """Configure a Llama decoder for a vocabulary of ``n_words``."""
    ids = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    return LlamaConfig(vocab_size=n_words, **decoder, **ids)


def tower_shape(layers: int) -> dict[str, Any]:
    """Return what the towers' configurations have in common."""
    return {
        "hidden_size": WIDTH,
        "intermediate_size": MLP_WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "patch_size": CELL,
    }


def normalise(pictures: torch.Tensor) -> torch.Tensor:
    """Turn uint8 pictures (B, 96, 96, 3) into pixel values (B, 3, 96, 96)."""
    return ((pictures.permute(0, 3, 1, 2).float() / 255 - PIXEL_MEAN) / PIXEL_STD).contiguous()
