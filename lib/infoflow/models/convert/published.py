"""What checkpoints in the original LLaVA code's layout share: names, and the decoder's shape."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import CONFIG, read_json, some

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
    "hidden_act",
    "attention_bias",
    "rope_theta",
    "rope_scaling",
)
_NEEDED = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size")
BOS, EOS, PAD = 1, 2, 0
"""LLaMA's own ids. Configurations of early conversions name others, with which none was trained."""


def decoder_name(name: str) -> str | None:
    """Turn a LLaMA tensor's name into its name within transformers' LLaVA; None if it is none."""
    if name == "lm_head.weight":
        return name
    match = _DECODER.fullmatch(name)
    return match and f"model.language_model.{match[1]}"


def llama_config(published: Mapping[str, Any]) -> dict[str, Any]:
    """Take the decoder's shape from a published configuration.

    Raises:
        InfoflowError: The configuration does not tell it.
    """
    require_fields(published, _NEEDED)
    shape = {key: published[key] for key in _COPIED if published.get(key) is not None}
    ids = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    return {"model_type": "llama", **shape, **ids}


def require_fields(config: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise unless a configuration tells what no tensor does, and no default may stand for.

    Raises:
        InfoflowError: A field is missing.
    """
    if missing := [name for name in names if config.get(name) is None]:
        kind = config.get("model_type")
        raise InfoflowError(f"the {CONFIG} of the {kind!r} is not whole; missing: {some(missing)}.")


def require_settings(config: Mapping[str, Any], path: Path, settings: Mapping[str, Any]) -> None:
    """Raise if a configuration sets something otherwise than the family has it.

    Args:
        config: The configuration; what it does not set is taken to be so.
        path: Its file.
        settings: What the family has.

    Raises:
        InfoflowError: It does.
    """
    for name, value in settings.items():
        if config.get(name, value) != value:
            raise InfoflowError(f"{name} in {path} is {config[name]!r}; valid: {value!r}.")


def generation_config() -> dict[str, Any]:
    """Return the generation settings that name LLaMA's own ids."""
    return {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}


def tower_folder(folder: Path) -> Path | None:
    """Find the vision tower that a published configuration names, if it is on this machine.

    A relative name is looked for in the working folder, then in the checkpoint's.
    """
    named = read_json(folder / CONFIG).get("mm_vision_tower")
    if not isinstance(named, str):
        return None
    places = [place for place in (Path(named), folder / named) if (place / CONFIG).is_file()]
    return places[0] if places else None
