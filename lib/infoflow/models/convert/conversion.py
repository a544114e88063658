"""Published checkpoints that transformers does not read, converted once into folders that it does.

Weights come as pickled shards, and are read as tensors alone: no code in them can run. They stay
mapped from the disk until they are written as safetensors, so that neither the whole checkpoint nor
a second copy is ever in memory.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import torch
from safetensors.torch import save_file
from torch import Tensor

from infoflow.errors import InfoflowError
from infoflow.files import cache_folder
from infoflow.models.checkpoint import (
    CONFIG,
    GENERATION,
    INDEX,
    PROCESSOR,
    WEIGHTS,
    in_one_line,
    read_json,
    read_tensors,
    refuse_misfits,
    require_files,
    some,
    weight_files,
    weight_map,
    write_json,
)
from infoflow.models.config import require_config, require_value

CLIP_STATISTICS = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_WEIGHTS = (WEIGHTS, INDEX, "pytorch_model.bin", "pytorch_model.bin.index.json")
_SHARD_BYTES = 2 << 30
_COMPUTED = {r".*(rotary_emb\.inv_freq|position_ids|\.attn\.(masked_)?bias)": ""}

Rules = dict[str, str]
"""By a pattern of a published name: what it is renamed to. Several names cut a joint tensor into as
many equal parts; none leaves it out."""


@dataclass(frozen=True)
class Converted:
    """A checkpoint in the layout that transformers reads."""

    tensors: Mapping[str, Tensor]  # by their new names, still mapped from files
    config: dict[str, Any]
    processor: dict[str, Any]
    generation: dict[str, Any]
    tokenizer: Any
    finish: Callable[[str, Tensor], Tensor] = lambda _, tensor: tensor  # before one is written


class Conversion(NamedTuple):
    """How a family's checkpoints are converted."""

    run: Callable[[Path, Path, Mapping[str, Path]], Converted]  # of folder, tokenizer, and parts
    vocabulary: str  # the tokenizer's file


def converted(
    conversion: Conversion, architecture: Any, folder: Path, parts: Mapping[str, Path]
) -> Path:
    """Convert a checkpoint into the cache, or find it converted; it is whole in any case."""
    folders = (folder, *parts.values())
    places = [each / conversion.vocabulary for each in folders]
    tokenizer = next((place for place in places if place.is_file()), places[0])
    require_files(tokenizer.parent, (tokenizer.name,))
    for part in parts.values():
        require_files(part, (CONFIG,))
    with in_one_line(f"the checkpoint in {folder} cannot be converted"):
        shards = [shard for each in folders for shard in weight_files(each, _WEIGHTS)]
        files = sorted([*(each / CONFIG for each in folders), tokenizer, *shards])
        target = cache_folder() / f"{architecture.__name__}-{_fingerprint(files)}"
        if target.is_dir():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        needed, free = sum(f.stat().st_size for f in files), shutil.disk_usage(target.parent).free
        if free < needed:
            raise InfoflowError(
                f"converting {folder} takes {needed / 1e9:.1f} GB; {target.parent} has "
                f"{free / 1e9:.1f} GB left. INFOFLOW_CACHE names another folder to convert into."
            )
        unfinished = target.with_name(f".{target.name}-{uuid4().hex}")
        unfinished.mkdir()
        try:
            _write(conversion.run(folder, tokenizer, parts), folder, unfinished, architecture)
            if not target.is_dir():  # another process may have been faster
                unfinished.replace(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return target


def _write(found: Converted, source: Path, target: Path, architecture: Any) -> None:
    """Write a checkpoint into a folder if it is what the architecture takes."""
    require_config(found.config, source / CONFIG, len(found.tensors))
    with torch.device("meta"):
        expected = architecture(architecture.config_class(**found.config)).state_dict()
    own, tensors = found.tensors.keys(), found.tensors
    both = own & expected.keys()
    misshapen = [name for name in both if tensors[name].shape != expected[name].shape]
    refuse_misfits(source, expected.keys() - own, own - expected.keys(), misshapen)
    _write_tensors(tensors, target, found.finish)
    write_json(target / CONFIG, found.config)
    write_json(target / PROCESSOR, found.processor)
    write_json(target / GENERATION, found.generation)
    found.tokenizer.save_pretrained(target)


def read_renamed(folder: Path, rules: Rules) -> dict[str, Tensor]:
    """Map a published checkpoint's tensors from its files, by their new names.

    The first rule that fits a name renames it; a tensor that none fits keeps its name.
    """
    tensors, found = read_tensors(weight_files(folder, _WEIGHTS)), dict[str, Tensor]()
    _require_index(folder, tensors)
    for name, tensor in tensors.items():
        matches = ((re.fullmatch(old, name), new) for old, new in (_COMPUTED | rules).items())
        names = next((match.expand(new).split() for match, new in matches if match), [name])
        if double := found.keys() & set(names):
            raise InfoflowError(f"the checkpoint in {folder} holds {some(sorted(double))} twice.")
        parts = tensor.chunk(len(names)) if len(names) > 1 else [tensor] * len(names)
        found |= dict(zip(names, parts, strict=True))
    return found


def _require_index(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise unless a checkpoint holds what its index, if there is one, says."""
    index = next((folder / name for name in _WEIGHTS[1::2] if (folder / name).is_file()), None)
    if index is None:
        return
    missing = sorted(weight_map(index).keys() - tensors.keys())
    metadata, n_bytes = read_json(index).get("metadata"), sum(t.nbytes for t in tensors.values())
    size = metadata.get("total_size", n_bytes) if isinstance(metadata, dict) else n_bytes
    if missing or size != n_bytes:
        raise InfoflowError(
            f"{folder} is not a whole checkpoint: {len(missing)} tensors of its index are "
            f"missing ({some(missing)}); they take {n_bytes} bytes, its index says {size!r}."
        )


def _write_tensors(
    tensors: Mapping[str, Tensor], folder: Path, finish: Callable[[str, Tensor], Tensor]
) -> None:
    """Write tensors as safetensors shards with an index; one shard is in memory at a time."""
    files: dict[str, str] = {}
    number, n_bytes = 1, 0
    for name, tensor in tensors.items():
        files[name] = f"model-{number:05d}.safetensors"
        n_bytes += tensor.nbytes
        if n_bytes >= _SHARD_BYTES:
            number, n_bytes = number + 1, 0
    for file in sorted(set(files.values())):
        # cloned: parts of one published tensor share its memory, which safetensors refuses
        shard = {
            name: finish(name, tensor).clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
            if files[name] == file
        }
        save_file(shard, folder / file, metadata={"format": "pt"})
        del shard
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": files})


def require_fields(config: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise unless a configuration says what no tensor does."""
    if missing := [name for name in names if config.get(name) is None]:
        kind = config.get("model_type")
        raise InfoflowError(f"the {CONFIG} of the {kind!r} is not whole; missing: {some(missing)}.")


def require_settings(config: Mapping[str, Any], path: Path, settings: Mapping[str, Any]) -> None:
    """Raise if a configuration sets something otherwise than the family has it."""
    for name, value in settings.items():
        require_value(config.get(name, value), f"{name} in {path}", value)


def _fingerprint(files: Iterable[Path]) -> str:
    """Tell files from others by path, size and time: reading 25 GB only to name them is dear."""
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{file.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
