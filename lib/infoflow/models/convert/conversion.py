"""Published checkpoints that transformers does not read, converted once into folders that it does.

Weights come as pickled shards; they are read as tensors alone, under which no code in them can run.
Tensor by tensor they are renamed and written as safetensors, so that neither the whole checkpoint
nor a second copy is ever in memory.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from infoflow.errors import InfoflowError
from infoflow.files import cache_folder
from infoflow.models.checkpoint import (
    CONFIG,
    INDEX,
    WEIGHTS,
    in_one_line,
    read_json,
    some,
    weight_files,
    weight_map,
    write_json,
)
from infoflow.models.layouts import require_known_layout

BIN, BIN_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_KINDS = ((INDEX, WEIGHTS), (BIN_INDEX, BIN))
_SHARD_BYTES = 2 << 30
_BUFFERS = ("rotary_emb.inv_freq", "position_ids", ".attn.bias", ".attn.masked_bias")

Remap = Callable[[str, Tensor], Mapping[str, Tensor] | None]
"""Turns a published tensor into those of transformers' layout; None if it does not know it."""


def is_converted(folder: Path) -> bool:
    """Say whether a folder is already in the layout that transformers reads.

    Raises:
        InfoflowError: It is no folder, or has no readable configuration.
    """
    require_known_layout(folder, original_llava=True)
    return "vision_config" in read_json(folder / CONFIG)


def converted(name: str, sources: Iterable[Path], write: Callable[[Path], None]) -> Path:
    """Convert a checkpoint, or find it converted.

    Args:
        name: What to call the folder in the cache.
        sources: The files it is made from, its configuration first: if one of them changes, it is
            converted anew.
        write: Writes the converted checkpoint into an empty folder.

    Returns:
        The converted folder; it is whole, whatever happened meanwhile.

    Raises:
        InfoflowError: A file is missing, the disk has no room for the converted one, or ``write``
            found the checkpoint damaged.
    """
    files = list(sources)
    with in_one_line(f"the checkpoint in {files[0].parent} cannot be converted"):
        return _converted(name, sorted(files), write)


def _converted(name: str, files: list[Path], write: Callable[[Path], None]) -> Path:
    target = cache_folder() / f"{name}-{_fingerprint(files)}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    _require_room(target.parent, sum(file.stat().st_size for file in files), name)
    unfinished = target.with_name(f".{target.name}-{uuid4().hex}")
    unfinished.mkdir()
    try:
        write(unfinished)
        if not target.is_dir():  # another process may have been faster
            unfinished.replace(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def shard_files(folder: Path) -> list[Path]:
    """List a published checkpoint's files of weights, safetensors before pickled ones.

    Raises:
        InfoflowError: There are none, or the index is damaged or names files that are not there.
    """
    return weight_files(folder, _KINDS)


def read_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Read a published checkpoint's tensors, file after file.

    Raises:
        InfoflowError: A file is damaged or holds more than tensors, or their bytes or names are
            not those of the index.
    """
    n_bytes, names = 0, set()
    for file in shard_files(folder):
        tensors = _read_shard(file)
        for name in list(tensors):
            tensor = tensors.pop(name)
            n_bytes += tensor.numel() * tensor.element_size()
            names.add(name)
            yield name, tensor
    _check_index(folder, names, n_bytes)


def tensor_lookup(folder: Path) -> Callable[[str], Tensor | None]:
    """Open a published checkpoint for reading single tensors by name; None for one it lacks.

    Raises:
        InfoflowError: A file is missing or damaged.
    """
    readers: dict[str, Callable[[str], Tensor]] = {}
    for file in shard_files(folder):
        if file.suffix == ".safetensors":
            with in_one_line(f"{file} cannot be read"):
                opened = safe_open(file, framework="pt")
            names = opened.keys()  # type: ignore[no-untyped-call]
            readers.update(dict.fromkeys(names, opened.get_tensor))
        else:
            content = _read_shard(file)
            readers.update(dict.fromkeys(content, content.__getitem__))
    return lambda name: readers[name](name) if name in readers else None


def remapped(folder: Path, remap: Remap) -> Iterator[tuple[str, Tensor]]:
    """Read a checkpoint's tensors under the names of transformers' layout.

    Buffers that transformers computes itself are left out.

    Raises:
        InfoflowError: It holds tensors that do not belong to the architecture; see also
            ``read_tensors``.
    """
    strangers = []
    for name, tensor in read_tensors(folder):
        if name.endswith(_BUFFERS):
            continue
        known = remap(name, tensor)
        if known is None:
            strangers.append(name)
        elif not strangers:
            yield from known.items()
    if strangers:
        raise InfoflowError(
            f"the tensors in {folder} are not those of the architecture: {len(strangers)} "
            f"unexpected ({some(sorted(strangers))})."
        )


def write_tensors(tensors: Iterable[tuple[str, Tensor]], folder: Path) -> None:
    """Write tensors as safetensors shards with an index, a shard at a time.

    Raises:
        InfoflowError: One of them comes twice.
    """
    weight_map: dict[str, str] = {}
    total, n_shards = 0, 0
    pending: dict[str, Tensor] = {}

    def flush() -> None:
        nonlocal n_shards, pending
        if pending:
            n_shards += 1
            file = f"model-{n_shards:05d}.safetensors"
            save_file(pending, folder / file, metadata={"format": "pt"})
            weight_map.update(dict.fromkeys(pending, file))
            pending = {}

    for name, tensor in tensors:
        if name in weight_map or name in pending:
            raise InfoflowError(f"the checkpoint holds {name} twice.")
        # cloned: parts of one published tensor share its memory, which safetensors refuses
        pending[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
        total += tensor.numel() * tensor.element_size()
        if sum(t.numel() * t.element_size() for t in pending.values()) >= _SHARD_BYTES:
            flush()
    flush()
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def thirds(tensor: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    """Cut a joint query-key-value tensor into its three parts, by their names."""
    return dict(zip(names, tensor.chunk(3), strict=True))


def _read_shard(file: Path) -> dict[str, Any]:
    with in_one_line(f"{file} cannot be read as tensors alone"):
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InfoflowError(f"{file} holds more than named tensors; it is not read.")
    return content


def _check_index(folder: Path, names: set[str], n_bytes: int) -> None:
    """Raise unless what was read is what the index, if there is one, says there is."""
    for index, _ in _KINDS:
        if not (folder / index).is_file():
            continue
        if missing := sorted(set(weight_map(folder / index)) - names):
            raise InfoflowError(
                f"{folder} is not a whole checkpoint: {len(missing)} tensors of its index are "
                f"missing ({some(missing)})."
            )
        metadata = read_json(folder / index).get("metadata") or {}
        expected = metadata.get("total_size") if isinstance(metadata, dict) else metadata
        if expected is not None and expected != n_bytes:
            raise InfoflowError(
                f"the tensors in {folder} take {n_bytes} bytes; its index says {expected!r}."
            )
        return


def _fingerprint(files: Iterable[Path]) -> str:
    """Tell files from others by path, size and time: reading 25 GB only to name them is dear."""
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{file.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _require_room(folder: Path, n_bytes: int, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise InfoflowError(
            f"converting {name} takes {n_bytes / 1e9:.1f} GB; {folder} has {free / 1e9:.1f} GB "
            "left. INFOFLOW_CACHE names another folder to convert into."
        )
