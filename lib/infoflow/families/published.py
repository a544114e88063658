"""What checkpoints in the original LLaVA code's layout share: names, and the decoder's shape."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infoflow.families.checkpoint import CONFIG, read_json

_DECODER = re.compile(r"model\.((?:embed_tokens|norm)\.weight|layers\.\d+\..+)")
_COPIED = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
    "max_position_embeddings",
    "rms_norm_eps",
)
BOS, EOS, PAD = 1, 2, 0
"""LLaMA's own ids. Configurations of early conversions name others, with which none was trained."""


def decoder_name(name: str) -> str | None:
    """Turn a LLaMA tensor's name into its name within transformers' LLaVA; None if it is none."""
    if name == "lm_head.weight":
        return name
    match = _DECODER.fullmatch(name)
    return match and f"model.language_model.{match[1]}"


def llama_config(published: Mapping[str, Any]) -> dict[str, Any]:
    """Take the decoder's shape from a published configuration."""
    shape = {key: published[key] for key in _COPIED if key in published}
    ids = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    return {"model_type": "llama", **shape, **ids}


def generation_config() -> dict[str, Any]:
    """Return the generation settings that name LLaMA's own ids."""
    return {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}


def tower_folder(folder: Path) -> Path | None:
    """Find the vision tower that a published configuration names, if it is on this machine."""
    named = read_json(folder / CONFIG).get("mm_vision_tower")
    if not isinstance(named, str):
        return None
    places = [place for place in (Path(named), folder / named) if (place / CONFIG).is_file()]
    return places[0] if places else None
