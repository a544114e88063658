"""What a checkpoint folder and its configuration may be, before a model is built from them."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from infoflow.errors import InfoflowError
from infoflow.files import read_json
from infoflow.options import require_finite, require_whole

_LARGEST = 1 << 31
_LAYERS = "(num_hidden_)?layers"
_SIZES = "(.+_)?(size|heads|width)|head_dim|max_position_embeddings|num_query_tokens|raster"
_NUMBERS: dict[str, Callable[[Any, str], Any]] = {
    _SIZES: partial(require_whole, least=1, most=_LARGEST),
    "image_token_(id|index)": partial(require_whole, least=0, most=_LARGEST),
    "(layer|rms)_norm_eps(ilon)?": partial(require_finite, least=1e-30, most=1.0),
    "rope_theta|rotary_emb_base": partial(require_finite, least=1.0),
}

_ARCHIVE = "an archive; unpack it and give the folder"
_ONNX = "an ONNX export; give the checkpoint that it was made from"
_STATE = "training's state; save the model with save_pretrained"
_ADAPTER = "adapter_config.json"
_OTHERS = {
    _ADAPTER: "a LoRA adapter; merge it into its model and save the whole",
    "*.gguf": "a GGUF file; give the checkpoint that it was made from",
    "*.onnx": _ONNX,
    "onnx/*.onnx": _ONNX,
    "consolidated.*.pth": "LLaMA's original layout; convert it with transformers",
    "snapshots/*/config.json": "a repository of the hub's cache; give a folder of its snapshots",
    "checkpoint-*/config.json": "a training's checkpoints; give one of them",
    "global_step*": f"a DeepSpeed {_STATE}",
    "trainer_state.json": f"a {_STATE}",
    "*.zip": _ARCHIVE,
    "*.tar*": _ARCHIVE,
}
"""By a pattern of files: what a folder holds that people take for a checkpoint."""


def require_value(found: Any, what: str, *valid: Any) -> None:
    """Raise unless what is found is one of the valid values."""
    if found not in valid:
        said = " or ".join(map(repr, valid))
        raise InfoflowError(f"{what} is {found!r}; valid: {said}.")


def require_known_layout(folder: Path, original_llava: bool) -> None:
    """Raise if a folder has no configuration, or holds what is known to be something else."""
    if folder.is_file():
        raise InfoflowError(f"{folder} is a file; give the folder of a checkpoint.")
    if not folder.is_dir():
        raise InfoflowError(f"no checkpoint at {folder}: it is not a folder.")
    path = folder / "config.json"
    weights = (*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin"))
    patterns = [_ADAPTER] if weights and path.is_file() else _OTHERS
    for pattern in patterns:
        if any(folder.glob(pattern)):
            raise InfoflowError(f"{folder} holds {_OTHERS[pattern]}.")
    if not path.is_file():
        raise InfoflowError(f"{folder} is not a whole checkpoint; missing: config.json.")
    config = read_json(path)
    if not isinstance(config, dict) or "vision_config" in config or "visual" in config:
        return
    found, architecture = config.get("model_type"), config.get("architectures")
    architecture = architecture[0] if isinstance(architecture, list) and architecture else found
    is_llava = "mm_vision_tower" in config or str(architecture).startswith("Llava")
    if is_llava and not original_llava:
        raise InfoflowError(
            f"{folder} holds LLaVA's original layout ({architecture}); load the converted one, "
            "such as llava-hf/llava-1.5-7b-hf, llava-hf/llava-v1.6-vicuna-7b-hf."
        )
    if not is_llava and "hidden_size" in config and "num_attention_heads" in config:
        raise InfoflowError(f"{folder} holds a model of type {found!r} without a vision side.")


def require_config(config: Mapping[str, Any], path: Path, n_tensors: int) -> None:
    """Raise unless the numbers of a configuration can be a model's: no more layers than tensors."""
    for name, value in config.items():
        what = f"{name} in {path}"
        if name == "quantization_config" or (name == "is_encoder_decoder" and value):
            raise InfoflowError(f"{what} is set; valid: a plain decoder that is not quantised.")
        if isinstance(value, Mapping):
            require_config(value, path, n_tensors)
        elif isinstance(value, float) and not isfinite(value):
            raise InfoflowError(f"{what} is {value}; valid: a finite number.")
        elif value is not None:
            layers = {_LAYERS: partial(require_whole, least=1, most=n_tensors)}
            for pattern, require in (_NUMBERS | layers).items():
                if re.fullmatch(pattern, name):
                    for number in value if isinstance(value, list) else [value]:
                        require(number, what)
