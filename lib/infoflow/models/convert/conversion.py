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
from safetensors.torch import load_file, save_file
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
    refuse_misfits,
    require_files,
    some,
    weight_files,
    weight_map,
    write_json,
)
from infoflow.models.config import require_config

CLIP_STATISTICS = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_KINDS = ((INDEX, WEIGHTS), ("pytorch_model.bin.index.json", "pytorch_model.bin"))
_SHARD_BYTES = 2 << 30
_COMPUTED = {r".*(rotary_emb\.inv_freq|position_ids|\.attn\.(masked_)?bias)": ""}

Rules = Mapping[str, str]
"""Names to names: a pattern of a whole published name, and what it is renamed to. Several names cut
a joint tensor into as many equal parts; none leaves it out."""


class Published(NamedTuple):
    """A published checkpoint: its folder, its tokenizer, and the parts it needs beside it."""

    folder: Path
    tokenizer: Path
    parts: Mapping[str, Path]

    def read(self) -> dict[str, Any]:
        """Read the configuration."""
        return read_json(self.folder / CONFIG)


@dataclass(frozen=True)
class Converted:
    """A checkpoint in the layout that transformers reads.

    Attributes:
        tensors: The weights by their new names; they may still be mapped from a file.
        config: What ``config.json`` holds.
        processor: The image processor's settings.
        generation: The generation settings.
        tokenizer: The tokenizer.
        finish: Makes a tensor of ``tensors``, by its name, the one to be written.
    """

    tensors: Mapping[str, Tensor]
    config: dict[str, Any]
    processor: dict[str, Any]
    generation: dict[str, Any]
    tokenizer: Any
    finish: Callable[[str, Tensor], Tensor] = lambda _, tensor: tensor

    def write(self, source: Path, target: Path, architecture: Any) -> None:
        """Write it into a folder if it is what the architecture takes."""
        require_config(self.config, source / CONFIG, len(self.tensors))
        with torch.device("meta"):
            expected = architecture(architecture.config_class(**self.config)).state_dict()
        refuse_misfits(
            source,
            missing=expected.keys() - self.tensors.keys(),
            unexpected=self.tensors.keys() - expected.keys(),
            misshapen=[
                name
                for name, tensor in self.tensors.items()
                if name in expected and expected[name].shape != tensor.shape
            ],
        )
        write_tensors(self.tensors, target, self.finish)
        for file, content in (
            (CONFIG, self.config),
            (PROCESSOR, self.processor),
            (GENERATION, self.generation),
        ):
            write_json(target / file, content)
        self.tokenizer.save_pretrained(target)


def converted(name: str, published: Published, write: Callable[[Path], None]) -> Path:
    """Convert a checkpoint into the cache, or find it converted; it is whole in any case."""
    folders = (published.folder, *published.parts.values())
    with in_one_line(f"the checkpoint in {published.folder} cannot be converted"):
        shards = [shard for folder in folders for shard in weight_files(folder, _KINDS)]
        files = [*(folder / CONFIG for folder in folders), published.tokenizer, *shards]
        target = cache_folder() / f"{name}-{_fingerprint(files)}"
        if target.is_dir():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        _require_disk_space(target.parent, sum(file.stat().st_size for file in files), name)
        unfinished = target.with_name(f".{target.name}-{uuid4().hex}")
        unfinished.mkdir()
        try:
            write(unfinished)
            if not target.is_dir():  # another process may have been faster
                unfinished.replace(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return target


def find_tokenizer(name: str, folders: Sequence[Path]) -> Path:
    """Find a tokenizer's file in the first of some folders that has it."""
    found = [folder / name for folder in folders if (folder / name).is_file()]
    if not found:
        require_files(folders[0], (name,))
    return found[0]


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Map a published checkpoint's tensors from its files, which must hold what the index says."""
    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder, _KINDS):
        content = _read_shard(file)
        if double := tensors.keys() & content.keys():
            raise InfoflowError(f"the checkpoint in {folder} holds {some(sorted(double))} twice.")
        tensors |= content
    for index in (folder / index for index, _ in _KINDS if (folder / index).is_file()):
        if missing := sorted(set(weight_map(index)) - tensors.keys()):
            raise InfoflowError(
                f"{folder} is not a whole checkpoint: {len(missing)} tensors of its index are "
                f"missing ({some(missing)})."
            )
        metadata, n_bytes = (
            read_json(index).get("metadata"),
            sum(t.nbytes for t in tensors.values()),
        )
        expected = metadata.get("total_size") if isinstance(metadata, dict) else metadata
        if expected is not None and expected != n_bytes:
            raise InfoflowError(
                f"the tensors in {folder} take {n_bytes} bytes; its index says {expected!r}."
            )
        break
    return tensors


def renamed(tensors: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Rename tensors by the first rule that fits each; a tensor that none fits keeps its name."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        matches = ((re.fullmatch(old, name), new) for old, new in (_COMPUTED | rules).items())
        names = next((match.expand(new).split() for match, new in matches if match), [name])
        if double := found.keys() & set(names):
            raise InfoflowError(f"the checkpoint holds {some(sorted(double))} twice.")
        if names:
            parts = tensor.chunk(len(names)) if len(names) > 1 else (tensor,)
            found |= dict(zip(names, parts, strict=True))
    return found


def write_tensors(
    tensors: Mapping[str, Tensor], folder: Path, finish: Callable[[str, Tensor], Tensor]
) -> None:
    """Write tensors as safetensors shards with an index; one shard is in memory at a time."""
    names: dict[str, str] = {}
    number, n_bytes = 1, 0
    for name, tensor in tensors.items():
        names[name] = f"model-{number:05d}.safetensors"
        n_bytes += tensor.nbytes
        if n_bytes >= _SHARD_BYTES:
            number, n_bytes = number + 1, 0
    for file in dict.fromkeys(names.values()):
        # cloned: parts of one published tensor share its memory, which safetensors refuses
        shard = {
            name: finish(name, tensor).clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()
            if names[name] == file
        }
        save_file(shard, folder / file, metadata={"format": "pt"})
        del shard
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": names})


def require_fields(config: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise unless a configuration says what no tensor does, and no default may stand for."""
    if missing := [name for name in names if config.get(name) is None]:
        kind = config.get("model_type")
        raise InfoflowError(f"the {CONFIG} of the {kind!r} is not whole; missing: {some(missing)}.")


def require_settings(config: Mapping[str, Any], path: Path, settings: Mapping[str, Any]) -> None:
    """Raise if a configuration sets something otherwise than the family has it."""
    for name, value in settings.items():
        if config.get(name, value) != value:
            raise InfoflowError(f"{name} in {path} is {config[name]!r}; valid: {value!r}.")


def _read_shard(file: Path) -> dict[str, Tensor]:
    with in_one_line(f"{file} cannot be read as tensors alone"):
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InfoflowError(f"{file} holds more than named tensors; it is not read.")
    return content


def _fingerprint(files: Iterable[Path]) -> str:
    """Tell files from others by path, size and time: reading 25 GB only to name them is dear."""
    digest = hashlib.sha256()
    for file in sorted(files):
        stat = file.stat()
        digest.update(f"{file.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _require_disk_space(folder: Path, n_bytes: int, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise InfoflowError(
            f"converting {name} takes {n_bytes / 1e9:.1f} GB; {folder} has {free / 1e9:.1f} GB "
            "left. INFOFLOW_CACHE names another folder to convert into."
        )
