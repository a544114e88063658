"""InternVL-Chat 1.0: LLaVA-1.5 with InternViT-6B for its tower (Chen et al., 2024)."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import (
    CONFIG,
    PROCESSOR,
    load_image_processor,
    load_tokenizer,
    load_weights,
    read_json,
    require_files,
    some,
    write_json,
)
from infoflow.models.convert.conversion import (
    converted,
    is_converted,
    remapped,
    shard_files,
    thirds,
    write_tensors,
)
from infoflow.models.convert.published import (
    decoder_name,
    generation_config,
    llama_config,
    require_fields,
    require_settings,
    tower_folder,
)
from infoflow.models.convert.sentencepiece import llama_tokenizer
from infoflow.models.families.vicuna import VicunaFamily
from infoflow.models.placement import Placement
from infoflow.options import require_whole

TOWER = "model.vision_tower.vision_tower."
NATIVE_TOWER = "model.vision_tower."
_INTERNVIT_6B, _WIDTH_6B, _HEADS_6B = "InternViT-6B", 3200, 25
_SETTINGS = {"image_aspect_ratio": "pad", "mm_vision_select_feature": "patch"}
_STATISTICS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_EMBEDDINGS = {
    "embeddings.class_embedding": "embeddings.cls_token",
    "embeddings.position_embedding": "embeddings.position_embeddings",
    "embeddings.patch_embedding.weight": "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embedding.bias": "embeddings.patch_embeddings.projection.bias",
}
_IN_LAYER = {
    "attn.q_norm.weight": "attention.q_norm.weight",
    "attn.k_norm.weight": "attention.k_norm.weight",
    "attn.proj.weight": "attention.projection_layer.weight",
    "attn.proj.bias": "attention.projection_layer.bias",
    "norm1.weight": "layernorm_before.weight",
    "norm2.weight": "layernorm_after.weight",
    "ls1": "lambda_1",
    "ls2": "lambda_2",
    "mlp.fc1.weight": "mlp.fc1.weight",
    "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.weight": "mlp.fc2.weight",
    "mlp.fc2.bias": "mlp.fc2.bias",
}
_PROJECTOR = {"0": "linear_1", "2": "linear_2"}


class InternVLChat(VicunaFamily):
    """InternVL-Chat, as ``OpenGVLab/InternVL-Chat-ViT-6B-Vicuna-7B`` or as converted.

    Its vocabulary has no token for the picture, so the image token's id is the first one past it.
    """

    connector = "two-layer MLP"
    tower = "internvl_vision"
    files = ("*.json", "pytorch_model*.bin", "tokenizer.model")

    @classmethod
    def prepare(cls, folder: Path, find_part: Callable[[str], Path]) -> Path:
        """Convert the published checkpoint to transformers' LLaVA; see ``Family.prepare``."""
        if is_converted(folder):
            return folder
        require_files(folder, ("tokenizer.model",))
        sources = [folder / CONFIG, folder / "tokenizer.model", *shard_files(folder)]
        return converted("internvl", sources, lambda target: _convert(folder, target))

    @classmethod
    def open(cls, folder: Path, placement: Placement, dtype: torch.dtype) -> Self:
        """Load a checkpoint folder; see ``Family.open``."""
        model = load_weights(LlavaForConditionalGeneration, folder, "llava", placement, dtype)
        processor = load_image_processor(LlavaImageProcessorPil, folder)
        return cls(model, load_tokenizer(folder), processor)


def _convert(folder: Path, target: Path) -> None:
    """Write a published checkpoint in transformers' layout."""
    published = read_json(folder / CONFIG)
    require_settings(published, folder / CONFIG, _SETTINGS)
    shapes: dict[str, torch.Size] = {}

    def remap(name: str, tensor: Tensor) -> Mapping[str, Tensor] | None:
        found = native(name, tensor)
        shapes.update({key: value.shape for key, value in (found or {}).items()})
        return found

    write_tensors(remapped(folder, remap), target)
    vision = vision_config(shapes, folder)
    write_json(target / CONFIG, llava_config(published, vision))
    write_json(target / "generation_config.json", generation_config())
    side = vision["image_size"][0]
    square = {"height": side, "width": side}
    processor = {"do_pad": True, "size": {"shortest_edge": side}, "crop_size": square}
    write_json(target / PROCESSOR, processor | _STATISTICS)
    llama_tokenizer(folder / "tokenizer.model").save_pretrained(target)


def native(name: str, tensor: Tensor) -> Mapping[str, Tensor] | None:
    """Rename a published tensor to what transformers calls it; None if it is none of the model's.

    The joint projection of queries, keys and values becomes three: plain thirds.
    """
    if name.startswith(TOWER):
        return _in_tower(name.removeprefix(TOWER), tensor)
    if match := re.fullmatch(r"model\.mm_projector\.([02])\.(weight|bias)", name):
        part = f"{_PROJECTOR[match[1]]}.{match[2]}"
        return {f"model.multi_modal_projector.{part}": tensor}
    known = decoder_name(name)
    return None if known is None else {known: tensor}


def _in_tower(name: str, tensor: Tensor) -> Mapping[str, Tensor] | None:
    if name in _EMBEDDINGS:
        return {f"{NATIVE_TOWER}{_EMBEDDINGS[name]}": tensor}
    match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)", name)
    if match is None:
        return None
    layer = f"{NATIVE_TOWER}encoder.layer.{match[1]}"
    if match[2] == "attn.qkv.weight":
        return thirds(tensor, (f"{layer}.attention.{part}_proj.weight" for part in "qkv"))
    known = _IN_LAYER.get(match[2])
    return None if known is None else {f"{layer}.{known}": tensor}


def vision_config(shapes: Mapping[str, torch.Size], folder: Path) -> dict[str, Any]:
    """Describe the tower, whose configuration the checkpoint does not hold, by its tensors.

    The pictures' side is that of the positions, which are stored for the side they are used at.

    Raises:
        InfoflowError: Tensors are missing that tell the shape.
    """
    telling = (
        _EMBEDDINGS["embeddings.position_embedding"],
        _EMBEDDINGS["embeddings.patch_embedding.weight"],
    )
    names = [f"{NATIVE_TOWER}{name}" for name in (*telling, "encoder.layer.0.mlp.fc1.weight")]
    if missing := [name for name in names if name not in shapes]:
        raise InfoflowError(f"{folder} is not a whole checkpoint; missing: {some(missing)}.")
    positions, patches, mlp = (shapes[name] for name in names)
    width, patch = positions[-1], patches[-1]
    side = round((positions[1] - 1) ** 0.5) * patch
    layers = {match[1] for key in shapes if (match := re.search(r"encoder\.layer\.(\d+)\.", key))}
    return {
        "model_type": "internvl_vision",
        "hidden_size": width,
        "intermediate_size": mlp[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": _n_heads(width, folder),
        "image_size": [side, side],
        "patch_size": [patch, patch],
        "attention_bias": False,
        "use_qk_norm": True,
        "norm_type": "rms_norm",
        "layer_norm_eps": 1e-6,
        "hidden_act": "gelu",
        "use_mean_pooling": True,
    }


def _n_heads(width: int, folder: Path) -> int:
    """Read how many heads the tower has, which no tensor tells; InternViT-6B's are known.

    Raises:
        InfoflowError: The tower is another one whose configuration is not on this machine, or does
            not have that width.
    """
    named = read_json(folder / CONFIG).get("mm_vision_tower")
    if tower := tower_folder(folder):
        config = read_json(tower / CONFIG)
        require_fields(config, ("hidden_size", "num_attention_heads"))
        if config["hidden_size"] != width:
            raise InfoflowError(
                f"the tower in {tower} is {config['hidden_size']} wide, that of {folder} {width}."
            )
        heads = require_whole(config["num_attention_heads"], f"the heads in {tower}", 1, width)
        if width % heads:
            raise InfoflowError(f"the tower in {tower} has {heads} heads for a width of {width}.")
        return heads
    if _INTERNVIT_6B in str(named) and width == _WIDTH_6B:
        return _HEADS_6B
    raise InfoflowError(
        f"how many heads the tower of {folder} has is not known: {CONFIG} names {named!r}; put "
        f"that tower's {CONFIG} into {folder / str(named)}."
    )


def llava_config(published: Mapping[str, Any], vision: Mapping[str, Any]) -> dict[str, Any]:
    """Build the configuration of transformers' LLaVA from the published one."""
    text = llama_config(published)
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": text["vocab_size"],
        "projector_hidden_act": "gelu",
        "text_config": text,
        "vision_config": dict(vision),
        "vision_feature_layer": published.get("mm_vision_select_layer", -4),
        "vision_feature_select_strategy": "default",
    }
