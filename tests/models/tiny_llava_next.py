"""A tiny LLaVA-1.6 with random weights, in the layout of llava-hf/llava-v1.6-vicuna-7b-hf."""

from pathlib import Path

import checkpoints
import torch
from checkpoints import IMAGE, PATCH, TEXT, VISION
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
)

TILE = 28
SIDE = TILE // PATCH
PINPOINTS = [
    [TILE, 2 * TILE],
    [2 * TILE, TILE],
    [2 * TILE, 2 * TILE],
    [3 * TILE, TILE],
    [TILE, 3 * TILE],
]
NEXT_VISION = VISION | {"image_size": TILE}


def random_model(seed=0):
    torch.manual_seed(seed)
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**NEXT_VISION),
        text_config=LlamaConfig(**TEXT),
        image_token_index=IMAGE,
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    model = LlavaNextForConditionalGeneration(config).eval().requires_grad_(False)
    model.model.multi_modal_projector.linear_2.weight.mul_(10)
    return model


def save(folder: Path) -> dict:
    """Write the checkpoint as it is published: old names, shards, its configuration."""
    model = random_model()
    state = {checkpoints.old_name(k): v.half() for k, v in model.state_dict().items()}
    assert "image_newline" in state
    checkpoints.save_shards(state, folder)
    config = {
        "architectures": ["LlavaNextForConditionalGeneration"],
        "ignore_index": -100,
        "image_grid_pinpoints": PINPOINTS,
        "image_token_index": IMAGE,
        "model_type": "llava_next",
        "projector_hidden_act": "gelu",
        "text_config": {
            **{k: v for k, v in TEXT.items() if k != "initializer_range"},
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "torch_dtype": "float16",
        },
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "transformers_version": "4.39.0.dev0",
        "use_image_newline_parameter": True,
        "vision_config": {
            **{k: v for k, v in NEXT_VISION.items() if k != "initializer_range"},
            "model_type": "clip_vision_model",
            "vocab_size": 32000,
        },
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    }
    checkpoints.write(folder / "config.json", config)
    generation = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    checkpoints.write(folder / "generation_config.json", generation)
    processor = {
        "aspect_ratio_setting": "anyres",
        "do_center_crop": True,
        "do_pad": True,
        "image_grid_pinpoints": PINPOINTS,
        "image_processor_type": "LlavaNextImageProcessor",
    }
    checkpoints.save_companions(folder, processor, TILE)
    return {"checkpoint": folder}
