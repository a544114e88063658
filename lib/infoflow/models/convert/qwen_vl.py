"""Qwen-VL checkpoints as they are published, turned into what ``qwen_model`` loads."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import (
    CONFIG,
    GENERATION,
    PROCESSOR,
    read_json,
    some,
    write_json,
)
from infoflow.models.config import require_config
from infoflow.models.convert.conversion import remapped, thirds, write_tensors
from infoflow.models.convert.published import require_settings
from infoflow.models.convert.tiktoken import IMAGE_START, qwen_tokenizer
from infoflow.models.families.qwen_model import QwenVLConfig, QwenVLForConditionalGeneration
from infoflow.models.families.qwen_vision import VisionShape
from infoflow.options import require_finite, require_whole

VOCABULARY = "qwen.tiktoken"
_MODEL_TYPE = "qwen"
_POOL_HEAD_WIDTH = 128
_MOST_LAYERS = 1000  # the tensors are not counted yet; no published decoder is as deep
_FIXED = {"rotary_pct": 1.0, "scale_attn_weights": True, "tie_word_embeddings": False}
"""What the published code can vary, and Qwen2 cannot."""
_RENAMED = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.ln_f.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}
_IN_LAYER = {
    "ln_1.weight": "input_layernorm.weight",
    "ln_2.weight": "post_attention_layernorm.weight",
    "attn.c_proj.weight": "self_attn.o_proj.weight",
    "mlp.w1.weight": "mlp.up_proj.weight",
    "mlp.w2.weight": "mlp.gate_proj.weight",
    "mlp.c_proj.weight": "mlp.down_proj.weight",
}
_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "layer_norm_epsilon",
    "num_attention_heads",
    "num_hidden_layers",
    "rotary_emb_base",
    "seq_length",
    "vocab_size",
)
_VISUAL_FIELDS = (
    "heads",
    "image_size",
    "image_start_id",
    "layers",
    "mlp_ratio",
    "output_dim",
    "patch_size",
    "width",
)
_CLIP_STATISTICS = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


def convert(folder: Path, target: Path) -> None:
    """Write a published checkpoint in the layout of ``QwenVLForConditionalGeneration``.

    Raises:
        InfoflowError: It is damaged, lacks something, or is of another architecture.
    """
    config = native_config(folder)
    tokenizer = qwen_tokenizer(folder / VOCABULARY)
    named = read_json(folder / CONFIG)["visual"]["image_start_id"]
    found = tokenizer.convert_tokens_to_ids(IMAGE_START)
    if named != found:
        raise InfoflowError(
            f"{folder / VOCABULARY} is not the vocabulary of this checkpoint: {IMAGE_START} has "
            f"the id {found} in it and {named} in {CONFIG}."
        )
    write_tensors(_renamed(folder, config), target)
    write_json(target / CONFIG, config)
    if (folder / GENERATION).is_file():
        told = read_json(folder / GENERATION).get("chat_format")
        write_json(target / GENERATION, {"chat_format": told})
    side = config["vision_config"]["image_size"]
    size = {"size": {"height": side, "width": side}}
    write_json(target / PROCESSOR, size | _CLIP_STATISTICS)
    tokenizer.save_pretrained(target)


def _renamed(folder: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Read the tensors under their new names.

    Raises:
        InfoflowError: They are not exactly the ones that the configuration asks for.
    """
    with torch.device("meta"):
        expected = QwenVLForConditionalGeneration(QwenVLConfig(**config)).state_dict()

    def remap(name: str, tensor: Tensor) -> Mapping[str, Tensor] | None:
        renamed = native(name, tensor)
        return renamed if renamed.keys() <= expected.keys() else None

    misfits = []
    for name, tensor in remapped(folder, remap):
        if expected.pop(name, tensor).shape != tensor.shape:
            misfits.append(name)
        yield name, tensor
    wrong = {"missing": sorted(expected), "of another shape": sorted(misfits)}
    if found := [f"{len(names)} {what} ({some(names)})" for what, names in wrong.items() if names]:
        raise InfoflowError(
            f"the tensors in {folder} are not those its {CONFIG} asks for: {'; '.join(found)}."
        )


def native(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Rename a published tensor; one of no known name keeps it.

    The joint projection of queries, keys and values becomes three: plain thirds. The vision side
    keeps its names.
    """
    if name in _RENAMED:
        return {_RENAMED[name]: tensor}
    if name.startswith("transformer.visual."):
        return {name.removeprefix("transformer."): tensor}
    match = re.fullmatch(r"transformer\.h\.(\d+)\.(.+)", name)
    if match is None:
        return {name: tensor}
    layer, rest = f"model.layers.{match[1]}", match[2]
    if joint := re.fullmatch(r"attn\.c_attn\.(weight|bias)", rest):
        return thirds(tensor, (f"{layer}.self_attn.{part}_proj.{joint[1]}" for part in "qkv"))
    return {f"{layer}.{_IN_LAYER.get(rest, rest)}": tensor}


def native_config(folder: Path) -> dict[str, Any]:
    """Build the configuration from the published one.

    The context is ``seq_length``. Up to there the published code's two ways to reach further, a
    wider rotary base and queries scaled by the logarithm of their place, change nothing; beyond,
    Qwen2 does not have them.

    Raises:
        InfoflowError: It is of another architecture, or lacks something.
    """
    published = read_json(folder / CONFIG)
    if (found := published.get("model_type")) != _MODEL_TYPE:
        raise InfoflowError(
            f"{folder} holds a model of type {found!r}; this family loads {_MODEL_TYPE!r}."
        )
    visual = published.get("visual")
    visual = visual if isinstance(visual, dict) else {}
    missing = [name for name in _FIELDS if name not in published]
    missing += [f"visual.{name}" for name in _VISUAL_FIELDS if name not in visual]
    if missing:
        raise InfoflowError(f"{folder / CONFIG} is not whole; missing: {some(missing)}.")
    require_config(published, folder / CONFIG, _MOST_LAYERS)
    require_whole(visual["output_dim"], f"visual.output_dim in {folder / CONFIG}", 1)
    require_finite(visual["mlp_ratio"], f"visual.mlp_ratio in {folder / CONFIG}", 0.0)
    require_settings(published, folder / CONFIG, _FIXED)
    return {
        "architectures": [QwenVLForConditionalGeneration.__name__],
        "model_type": QwenVLConfig.model_type,
        "hidden_size": published["hidden_size"],
        "intermediate_size": published["intermediate_size"] // 2,  # published: of both branches
        "max_position_embeddings": published["seq_length"],
        "num_attention_heads": published["num_attention_heads"],
        "num_hidden_layers": published["num_hidden_layers"],
        "num_key_value_heads": published["num_attention_heads"],
        "rms_norm_eps": published["layer_norm_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": published["rotary_emb_base"]},
        "tie_word_embeddings": False,
        "vocab_size": published["vocab_size"],
        "vision_config": asdict(_vision_shape(visual)),
    }


def _vision_shape(visual: Mapping[str, Any]) -> VisionShape:
    return VisionShape(
        image_size=visual["image_size"],
        patch_size=visual["patch_size"],
        width=visual["width"],
        layers=visual["layers"],
        heads=visual["heads"],
        mlp_width=int(visual["width"] * visual["mlp_ratio"]),
        output_width=visual["output_dim"],
        pool_heads=visual["output_dim"] // _POOL_HEAD_WIDTH,
        raster=round(visual.get("n_queries", 256) ** 0.5),
    )
