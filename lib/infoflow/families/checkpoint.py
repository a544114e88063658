"""Reading a checkpoint folder: whole, or one error that says what is missing."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer
from transformers.utils import logging

from infoflow.errors import InfoflowError
from infoflow.placement import (
    Placement,
    Weights,
    count_numbers,
    map_devices,
    naming_exhaustion,
)
from infoflow.quantisation import quantisation_settings

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_COMPANIONS = (CONFIG, PROCESSOR, "tokenizer.json")
# Buffers that older conversions stored; transformers computes them.
_HARMLESS = ("rotary_emb.inv_freq", "embeddings.position_ids")


def weight_files(folder: Path) -> list[Path]:
    """List the safetensors files of a checkpoint, sorted by name.

    Raises:
        InfoflowError: There are none, or the index names files that are not there.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise InfoflowError(f"{folder} holds no weights: neither {WEIGHTS} nor {INDEX}.")
    shards = sorted(set(read_json(folder / INDEX).get("weight_map", {}).values()))
    if not shards:
        raise InfoflowError(f"{folder / INDEX} names no weights; the checkpoint is damaged.")
    require_files(folder, shards)
    return [folder / shard for shard in shards]


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of the weights, file after file in order of name."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def load_weights(
    architecture: Any, folder: Path, model_type: str, placement: Placement, dtype: torch.dtype
) -> Any:
    """Load the weights of a checkpoint folder into an architecture, strictly.

    Args:
        architecture: The transformers class to load.
        folder: The checkpoint.
        model_type: What its configuration must call itself.
        placement: Where the weights go.
        dtype: What they are converted to.

    Returns:
        The model, in evaluation mode, its parameters frozen, attention through SDPA.

    Raises:
        InfoflowError: A file is missing or damaged, the checkpoint is of another architecture, its
            tensors are not exactly the ones that the configuration asks for, or they do not fit.
    """
    if not folder.is_dir():
        raise InfoflowError(f"no checkpoint at {folder}: it is not a folder.")
    require_files(folder, _COMPANIONS)
    found = read_json(folder / CONFIG).get("model_type")
    if found != model_type:
        raise InfoflowError(
            f"{folder} holds a model of type {found!r}; this family loads {model_type!r}."
        )
    files = weight_files(folder)
    try:
        weights = Weights(folder, count_numbers(files), dtype)
        device_map = map_devices(placement, weights, lambda: _without_weights(architecture, folder))
        with _quiet(), naming_exhaustion(placement, weights):
            model, report = architecture.from_pretrained(
                folder,
                dtype=dtype,
                device_map=device_map,
                quantization_config=quantisation_settings(placement.quantise, dtype),
                attn_implementation="sdpa",
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except InfoflowError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InfoflowError(f"the checkpoint in {folder} cannot be loaded: {reason}") from error
    _refuse_strangers(folder, report)
    return model.eval().requires_grad_(False)


def load_tokenizer(folder: Path) -> Any:
    """Load a checkpoint's tokenizer.

    Raises:
        InfoflowError: Its files are damaged, or it has no token to begin a sequence with.
    """
    tokenizer = read_tokenizer(folder)
    if tokenizer.bos_token_id is None:
        raise InfoflowError(f"the tokenizer in {folder} names no bos_token.")
    return tokenizer


def read_tokenizer(folder: Path) -> Any:
    """Load a tokenizer, whether or not it has a token to begin a sequence with.

    Raises:
        InfoflowError: Its files are damaged.
    """
    try:
        with _quiet():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception on a damaged file
        raise InfoflowError(f"the tokenizer in {folder} cannot be read: {error}") from error


def load_image_processor(processor: Any, folder: Path, **options: Any) -> Any:
    """Load a checkpoint's image processor.

    Args:
        processor: The transformers class to load.
        folder: The checkpoint.
        **options: What to set otherwise than the checkpoint does.

    Raises:
        InfoflowError: Its configuration is damaged.
    """
    return processor(**read_json(folder / PROCESSOR) | options)


def _without_weights(architecture: Any, folder: Path) -> Any:
    """Build a checkpoint's model on no device, to see of what it is made."""
    with torch.device("meta"):
        return architecture(architecture.config_class.from_pretrained(folder))


def _refuse_strangers(folder: Path, report: dict[str, Any]) -> None:
    """Raise unless the checkpoint's tensors are exactly the architecture's."""
    unexpected = [k for k in report["unexpected_keys"] if not k.endswith(_HARMLESS)]
    wrong = {
        "missing": sorted(report["missing_keys"]),
        "unexpected": sorted(unexpected),
        "of another shape": sorted(str(key[0]) for key in report["mismatched_keys"]),
    }
    found = [f"{len(keys)} {what} ({some(keys)})" for what, keys in wrong.items() if keys]
    if found:
        raise InfoflowError(
            f"the tensors in {folder} are not those its {CONFIG} asks for: {'; '.join(found)}."
        )


def some(names: Sequence[str], limit: int = 3) -> str:
    """Name the first few of many."""
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def require_files(folder: Path, names: Sequence[str]) -> None:
    """Raise unless a checkpoint has some files.

    Raises:
        InfoflowError: One is missing.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InfoflowError(f"{folder} is not a whole checkpoint; missing: {some(missing)}.")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        InfoflowError: The file is missing, damaged, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InfoflowError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise InfoflowError(f"{path} is not a JSON object.")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the loading report: whatever it would say is raised as an error instead."""
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
