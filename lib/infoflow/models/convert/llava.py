"""Checkpoints in the original LLaVA code's layout, as InternVL-Chat and Shikra are published."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import CONFIG, Checkpoint, read_json, require_value, some
from infoflow.models.convert import CLIP_STATISTICS, Rules, read_renamed, require_settings
from infoflow.models.convert.tokenizers import llama_tokenizer

MARKS = ("<im_patch>", "<im_start>", "<im_end>")
"""The tokens Shikra adds to LLaMA's: in the place of each patch, and around them all."""
_CONNECTOR = "model.multi_modal_projector."
_DECODER: Rules = {
    r"model\.(embed_tokens\.weight|norm\.weight|layers\..+)": r"model.language_model.\1"
}
_TOWER, _NATIVE_TOWER = r"model\.vision_tower\.vision_tower\.", "model.vision_tower."
_LAYER, _NATIVE_LAYER = rf"{_TOWER}encoder\.layers\.(\d+)\.", rf"{_NATIVE_TOWER}encoder.layer.\1."
_INTERNVL: Rules = _DECODER | {
    r"model\.mm_projector\.0\.(.+)": rf"{_CONNECTOR}linear_1.\1",
    r"model\.mm_projector\.2\.(.+)": rf"{_CONNECTOR}linear_2.\1",
    rf"{_TOWER}embeddings\.class_embedding": f"{_NATIVE_TOWER}embeddings.cls_token",
    rf"{_TOWER}embeddings\.position_embedding": f"{_NATIVE_TOWER}embeddings.position_embeddings",
    rf"{_TOWER}embeddings\.patch_embedding\.(.+)": (
        rf"{_NATIVE_TOWER}embeddings.patch_embeddings.projection.\1"
    ),
    rf"{_LAYER}attn\.qkv\.weight": " ".join(
        f"{_NATIVE_LAYER}attention.{part}_proj.weight" for part in "qkv"
    ),
    rf"{_LAYER}attn\.([qk]_norm\.weight)": rf"{_NATIVE_LAYER}attention.\2",
    rf"{_LAYER}attn\.proj\.(.+)": rf"{_NATIVE_LAYER}attention.projection_layer.\2",
    rf"{_LAYER}norm1\.(.+)": rf"{_NATIVE_LAYER}layernorm_before.\2",
    rf"{_LAYER}norm2\.(.+)": rf"{_NATIVE_LAYER}layernorm_after.\2",
    rf"{_LAYER}ls([12])": rf"{_NATIVE_LAYER}lambda_\2",
    rf"{_LAYER}(mlp\..+)": rf"{_NATIVE_LAYER}\2",
}
_SHIKRA: Rules = _DECODER | {r"model\.mm_projector\.(.+)": rf"{_CONNECTOR}linear_1.\1"}
_CLIP: Rules = {
    r"vision_model\.(.+)": rf"{_NATIVE_TOWER}\1",
    r"(text_model|text_projection|visual_projection)\..+|logit_scale": "",
}
_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
"""LLaMA's own ids. Configurations of early conversions name others, with which none was trained."""
_TEXT = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size")
_TEXT_MAY_SAY = (
    *("intermediate_size", "num_key_value_heads", "max_position_embeddings", "rms_norm_eps"),
    *("hidden_act", "attention_bias", "rope_theta", "rope_scaling"),
)
_HEAD_WIDTH = 128  # of InternViT-6B, which no tensor says


def convert_internvl(folder: Path, parts: Mapping[str, Path]) -> Checkpoint:
    """Read InternVL-Chat, whose image token's id is the first one past its vocabulary."""
    config = read_json(folder / CONFIG)
    settings = {"image_aspect_ratio": "pad", "mm_vision_select_feature": "patch"}
    require_settings(config, folder / CONFIG, settings)
    tensors = read_renamed(folder, _INTERNVL)
    vision = _internvit_config(tensors)
    imagenet = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    processor = {"do_pad": True} | _square(vision["image_size"][0]) | imagenet
    native = _llava_config(config, -4, vision, projector_hidden_act="gelu")
    words = llama_tokenizer(folder / "tokenizer.model")
    return Checkpoint(folder, native, tensors, processor, words, _IDS)


def convert_shikra(folder: Path, parts: Mapping[str, Path]) -> Checkpoint:
    """Read Shikra: the difference, added to its LLaMA in memory, its linear layer, CLIP's tower."""
    config, vision = read_json(folder / CONFIG), read_json(parts["vision"] / CONFIG)
    require_settings(config, folder / CONFIG, {"mm_vision_select_feature": "patch"})
    vision = vision.get("vision_config", vision) | {"model_type": "clip_vision_model"}
    width = vision["hidden_size"]
    require_value(width, f"hidden_size in {parts['vision']}", config.get("mm_hidden_size", width))
    delta, base = read_renamed(folder, _SHIKRA), read_renamed(parts["base"], _DECODER)
    decoder = {name: tensor for name, tensor in delta.items() if not name.startswith(_CONNECTOR)}
    if wrong := [name for name, own in decoder.items() if not _fits(own, base.get(name))]:
        odd = f"{len(wrong)} tensors are missing or of another shape ({some(sorted(wrong))})"
        what = f"{parts['base']} is not the LLaMA that {folder} is a difference to"
        raise InfoflowError(f"{what}: {odd}.")
    native = _llava_config(config, -2, vision, projector_hidden_act="linear")
    # transformers' connector has a second layer; this one changes nothing
    second = {
        f"{_CONNECTOR}linear_2.weight": torch.eye(config["hidden_size"]),
        f"{_CONNECTOR}linear_2.bias": torch.zeros(config["hidden_size"]),
    }
    words = llama_tokenizer(folder / "tokenizer.model", MARKS)
    return Checkpoint(
        folder,
        native | {"image_token_index": words.convert_tokens_to_ids(MARKS[0])},
        {name: _added(tensor, base.get(name)) for name, tensor in delta.items()}
        | read_renamed(parts["vision"], _CLIP)
        | second,
        _square(int(vision["image_size"])) | CLIP_STATISTICS,
        words,
        _IDS,
    )


def _fits(delta: Tensor, base: Tensor | None) -> bool:
    # the difference's vocabulary may have grown
    return base is not None and delta.shape[1:] == base.shape[1:] and len(delta) >= len(base)


def _added(delta: Tensor, base: Tensor | None) -> Tensor:
    if base is None:
        return delta
    total = delta.clone()
    total[: len(base)] += base.to(delta.dtype)  # in the difference's type, as its authors do
    return total


def _llava_config(
    published: Mapping[str, Any], layer: int, vision: Mapping[str, Any], **settings: Any
) -> dict[str, Any]:
    said = [name for name in _TEXT_MAY_SAY if published.get(name) is not None]
    text = {name: published[name] for name in (*_TEXT, *said)}
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": published["vocab_size"],
        "text_config": {"model_type": "llama"} | text | _IDS,
        "vision_config": vision,
        "vision_feature_layer": published.get("mm_vision_select_layer", layer),
        "vision_feature_select_strategy": "default",
    } | settings


def _internvit_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Describe the tower by its tensors; positions are stored for the side they are used at."""
    shapes = {name.removeprefix(_NATIVE_TOWER): tensor.shape for name, tensor in tensors.items()}
    _, places, width = shapes["embeddings.position_embeddings"]
    patch = shapes["embeddings.patch_embeddings.projection.weight"][-1]
    side = round((places - 1) ** 0.5) * patch
    return {
        "model_type": "internvl_vision",
        "hidden_size": width,
        "intermediate_size": shapes["encoder.layer.0.mlp.fc1.weight"][0],
        "num_hidden_layers": sum(name.endswith(".mlp.fc1.weight") for name in shapes),
        "num_attention_heads": width // _HEAD_WIDTH,
        "image_size": [side, side],
        "patch_size": [patch, patch],
        "attention_bias": False,
        "use_qk_norm": True,
        "norm_type": "rms_norm",
        "layer_norm_eps": 1e-6,
        "hidden_act": "gelu",
        "use_mean_pooling": True,
    }


def _square(side: int) -> dict[str, Any]:
    return {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
