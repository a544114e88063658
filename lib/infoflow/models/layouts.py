"""Folders that people take for a checkpoint of a family, each named as what it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infoflow.errors import InfoflowError
from infoflow.files import read_json

_LLAVA = (
    "LLaVA's original layout ({architecture}); load the converted one, such as "
    "llava-hf/llava-1.5-7b-hf, llava-hf/llava-v1.6-vicuna-7b-hf"
)
_OTHERS = (
    ("adapter_config.json", "a LoRA adapter; merge it into its model and save the whole"),
    ("*.gguf", "a GGUF file; give the checkpoint that it was made from"),
    ("*.onnx", "an ONNX export; give the checkpoint that it was made from"),
    ("onnx/*.onnx", "an ONNX export; give the checkpoint that it was made from"),
    ("consolidated.*.pth", "LLaMA's original layout; convert it with transformers"),
    ("snapshots/*/config.json", "a repository of the hub's cache; give a folder of its snapshots"),
    ("checkpoint-*/config.json", "a training's checkpoints; give one of them"),
    ("global_step*", "a DeepSpeed training's state; save the model with save_pretrained"),
    ("trainer_state.json", "a training's state; save the model with save_pretrained"),
    ("*.zip", "an archive; unpack it and give the folder"),
    ("*.tar*", "an archive; unpack it and give the folder"),
)
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")


def require_known_layout(folder: Path, original_llava: bool = False) -> None:
    """Raise if a folder holds something that is known, and is no checkpoint of any family.

    Args:
        folder: What was given as a checkpoint.
        original_llava: Whether the original LLaVA's layout is read.

    Raises:
        InfoflowError: It does, or is no folder with a configuration; the error
            says what to give instead.
    """
    if folder.is_file():
        raise InfoflowError(f"{folder} is a file; give the folder of a checkpoint.")
    if not folder.is_dir():
        raise InfoflowError(f"no checkpoint at {folder}: it is not a folder.")
    if (folder / "adapter_config.json").is_file():
        raise InfoflowError(f"{folder} holds {_OTHERS[0][1]}.")
    has_weights = any(any(folder.glob(pattern)) for pattern in _WEIGHTS)
    if not has_weights or not (folder / "config.json").is_file():
        for pattern, what in _OTHERS:
            if any(folder.glob(pattern)):
                raise InfoflowError(f"{folder} holds {what}.")
    if not (folder / "config.json").is_file():
        raise InfoflowError(f"{folder} is not a whole checkpoint; missing: config.json.")
    config = read_json(folder / "config.json")
    if isinstance(config, dict) and (found := _of_config(config, original_llava)):
        raise InfoflowError(f"{folder} holds {found}.")


def _of_config(config: Mapping[str, Any], original_llava: bool) -> str | None:
    """Say what a configuration is of, if it is of none of the families' layouts."""
    if "vision_config" in config or "visual" in config:
        return None
    found, architecture = config.get("model_type"), config.get("architectures")
    architecture = architecture[0] if isinstance(architecture, list) and architecture else found
    if "mm_vision_tower" in config or str(architecture).startswith("Llava"):
        return None if original_llava else _LLAVA.format(architecture=architecture)
    if "hidden_size" in config and "num_attention_heads" in config:
        return f"a model of type {found!r} without a vision side"
    return None
