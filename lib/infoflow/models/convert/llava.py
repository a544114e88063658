"""Checkpoints in the original LLaVA code's layout, as InternVL-Chat and Shikra are published."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import CONFIG, read_json, some
from infoflow.models.convert.conversion import (
    CLIP_STATISTICS,
    Converted,
    Published,
    Rules,
    read_tensors,
    renamed,
    require_fields,
    require_settings,
)
from infoflow.models.convert.tokenizers import llama_tokenizer, read_pieces
from infoflow.options import require_whole

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
_GROWN = ("model.embed_tokens.weight", "lm_head.weight")

_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
"""LLaMA's own ids. Configurations of early conversions name others, with which none was trained."""

_TEXT_NEEDS = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size")
_TEXT_MAY_SAY = (
    *("intermediate_size", "num_key_value_heads", "max_position_embeddings", "rms_norm_eps"),
    *("hidden_act", "attention_bias", "rope_theta", "rope_scaling"),
)
_TOWER_NEEDS = ("hidden_size", "image_size", "num_attention_heads", "patch_size")
_INTERNVIT_6B, _WIDTH_6B, _HEADS_6B = "InternViT-6B", 3200, 25


def convert_internvl(published: Published) -> Converted:
    """Convert InternVL-Chat, whose image token's id is the first one past its vocabulary."""
    folder, config = published.folder, published.read()
    settings = {"image_aspect_ratio": "pad", "mm_vision_select_feature": "patch"}
    require_settings(config, folder / CONFIG, settings)
    tensors = renamed(read_tensors(folder), _INTERNVL)
    vision = _internvit_config(tensors, folder)
    imagenet = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    text = _llama_config(config)
    return Converted(
        tensors,
        _llava_config(config, text, vision, "gelu", text["vocab_size"], feature_layer=-4),
        {"do_pad": True} | _square(vision["image_size"][0]) | imagenet,
        _IDS,
        llama_tokenizer(published.tokenizer),
    )


def convert_shikra(published: Published) -> Converted:
    """Convert Shikra: the difference added to its LLaMA, its linear layer, and CLIP's tower."""
    folder, config, base = published.folder, published.read(), published.parts["base"]
    require_settings(config, folder / CONFIG, {"mm_vision_select_feature": "patch"})
    vision = read_json(published.parts["vision"] / CONFIG)
    vision = dict(vision.get("vision_config", vision)) | {"model_type": "clip_vision_model"}
    require_fields(vision, _TOWER_NEEDS)
    if config.get("mm_hidden_size", vision["hidden_size"]) != vision["hidden_size"]:
        raise InfoflowError(
            f"the tower in {published.parts['vision']} is {vision['hidden_size']} wide; {folder} "
            f"was trained with one of {config['mm_hidden_size']}."
        )
    text, n_words = _llama_config(config), len(read_pieces(published.tokenizer))
    delta = read_tensors(folder)
    addends = renamed(_addends(delta, read_tensors(base), folder, base), _SHIKRA)
    # transformers' connector has a second layer; this one changes nothing
    second = {
        f"{_CONNECTOR}linear_2.weight": torch.eye(text["hidden_size"]),
        f"{_CONNECTOR}linear_2.bias": torch.zeros(text["hidden_size"]),
    }
    tower = renamed(read_tensors(published.parts["vision"]), _CLIP)
    return Converted(
        renamed(delta, _SHIKRA) | tower | second,
        _llava_config(config, text, vision, "linear", n_words, feature_layer=-2),
        _square(int(vision["image_size"])) | CLIP_STATISTICS,
        _IDS,
        llama_tokenizer(published.tokenizer, {mark: n_words + i for i, mark in enumerate(MARKS)}),
        partial(_added, addends),
    )


def _addends(
    delta: Mapping[str, Tensor], base: Mapping[str, Tensor], folder: Path, of_base: Path
) -> dict[str, Tensor]:
    """Take what is added to a difference from its base, whose vocabulary may be shorter."""
    names = list(renamed(delta, {r"model\.mm_projector\..+": ""}))
    wrong = [
        name
        for name in names
        if name not in base
        or delta[name].shape[1:] != base[name].shape[1:]
        or not (len(base[name]) == len(delta[name]) or name in _GROWN)
        or len(base[name]) > len(delta[name])
    ]
    if wrong:
        raise InfoflowError(
            f"{of_base} is not the LLaMA that {folder} is a difference to: {len(wrong)} tensors "
            f"are missing or of another shape ({some(sorted(wrong))})."
        )
    return {name: base[name] for name in names}


def _added(addends: Mapping[str, Tensor], name: str, delta: Tensor) -> Tensor:
    """Add a tensor's base in the difference's type, as its authors do."""
    if (addend := addends.get(name)) is None:
        return delta
    total = delta.clone()
    total[: len(addend)] += addend.to(delta.dtype)
    return total


def _llava_config(
    published: Mapping[str, Any],
    text: Mapping[str, Any],
    vision: Mapping[str, Any],
    activation: str,
    image_token: int,
    feature_layer: int,
) -> dict[str, Any]:
    return {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": image_token,
        "projector_hidden_act": activation,
        "text_config": text,
        "vision_config": vision,
        "vision_feature_layer": published.get("mm_vision_select_layer", feature_layer),
        "vision_feature_select_strategy": "default",
    }


def _llama_config(published: Mapping[str, Any]) -> dict[str, Any]:
    require_fields(published, _TEXT_NEEDS)
    names = (*_TEXT_NEEDS, *_TEXT_MAY_SAY)
    said = {name: published[name] for name in names if published.get(name) is not None}
    return {"model_type": "llama", **said, **_IDS}


def _internvit_config(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, Any]:
    """Describe the tower, whose configuration the checkpoint does not hold, by its tensors.

    The images' side is that of the positions, which are stored for the side they are used at.
    """
    names = ("position_embeddings", "patch_embeddings.projection.weight")
    first_mlp = f"{_NATIVE_TOWER}encoder.layer.0.mlp.fc1.weight"
    names = (*(f"{_NATIVE_TOWER}embeddings.{name}" for name in names), first_mlp)
    if missing := [name for name in names if name not in tensors]:
        raise InfoflowError(f"{folder} is not a whole checkpoint; missing: {some(missing)}.")
    positions, patches, mlp = (tensors[name].shape for name in names)
    width, patch = positions[-1], patches[-1]
    side = round((positions[1] - 1) ** 0.5) * patch
    layers = {found[1] for name in tensors if (found := re.search(r"encoder\.layer\.(\d+)", name))}
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
    """Read how many heads the tower has, which no tensor says; InternViT-6B's are known."""
    named = read_json(folder / CONFIG).get("mm_vision_tower")
    if tower := tower_folder(folder):
        config = read_json(tower / CONFIG)
        require_fields(config, ("hidden_size", "num_attention_heads"))
        heads = require_whole(config["num_attention_heads"], f"the heads in {tower}", 1, width)
        if config["hidden_size"] != width or width % heads:
            raise InfoflowError(
                f"the tower in {tower} has {heads} heads and is {config['hidden_size']} wide; that "
                f"of {folder} is {width} wide."
            )
        return heads
    if _INTERNVIT_6B in str(named) and width == _WIDTH_6B:
        return _HEADS_6B
    raise InfoflowError(
        f"how many heads the tower of {folder} has is not known: {CONFIG} names {named!r}; put "
        f"that tower's {CONFIG} into {folder / str(named)}."
    )


def _square(side: int) -> dict[str, Any]:
    return {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}


def tower_folder(folder: Path) -> Path | None:
    """Find the vision tower that a published configuration names, if it is on this machine.

    A relative name is looked for in the working folder, then in the checkpoint's.
    """
    named = read_json(folder / CONFIG).get("mm_vision_tower")
    places = (Path(named), folder / named) if isinstance(named, str) else ()
    return next((place for place in places if (place / CONFIG).is_file()), None)
