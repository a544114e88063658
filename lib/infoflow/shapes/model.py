"""Architecture of the zoo's models: the published ones in small, on transformers' own classes."""

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from infoflow.shapes.tokenizer import BOS, EOS, IMAGE, PAD, vocabulary
from infoflow.shapes.world import CELL, SIZE

CONTEXT_LENGTH = 512
IMAGE_TOKENS = (SIZE // CELL) ** 2
PIXEL_MEAN, PIXEL_STD = 0.5, 0.275
"""Normalisation of pictures in [0, 1], the same for every channel."""


def llava_config() -> LlavaConfig:
    """Configuration of ``tiny-llava-1.5``: CLIP tower, two-layer MLP projector, Llama decoder."""
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=5,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=CELL,
        projection_dim=128,
    )
    text = LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=12,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
    )


def new_llava(seed: int, attention: str = "sdpa") -> LlavaForConditionalGeneration:
    """A freshly initialised ``tiny-llava-1.5``.

    Args:
        seed: Seed of the initial weights.
        attention: Attention implementation, as transformers names it.

    Returns:
        The model in float32 on the CPU.
    """
    torch.manual_seed(seed)
    config = llava_config()
    config._attn_implementation = attention
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        # words start well apart; at the default scale of 0.02 they take long to part
        model.get_input_embeddings().weight.normal_(0, 0.5)
    return model


def normalise(pictures: torch.Tensor) -> torch.Tensor:
    """Turn uint8 pictures (B, 96, 96, 3) into pixel values (B, 3, 96, 96)."""
    return ((pictures.permute(0, 3, 1, 2).float() / 255 - PIXEL_MEAN) / PIXEL_STD).contiguous()
