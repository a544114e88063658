"""Rows in the schema of the hub's data sets: from the hub, or from a folder's parquet files.

A row is a dictionary; under ``image`` it holds the image's file, what gives its bytes, or None.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute, parquet

from infoflow.errors import InfoflowError, one_line
from infoflow.files import inside

IMAGE = "image"
ImageSource = Path | Callable[[], bytes]
Row = dict[str, Any]
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"-([0-9]{1,9})-of-([0-9]{1,9})")
# a KeyError is a column that is missing
_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError, OverflowError, KeyError)


def fetch(
    repository: str, config: str | None, revision: str | None, split: str, columns: Iterable[str]
) -> tuple[list[Row], str]:
    """Fetch a split through ``datasets``, from its cache if the commit is known: rows, source."""
    from datasets import load_dataset
    from huggingface_hub import HfApi

    try:
        # results are recorded under the full commit, not under a branch that moves
        known = revision and _COMMIT.fullmatch(revision)
        found = None if known else HfApi().dataset_info(repository, revision=revision, timeout=10.0)
        commit = found.sha if found else revision
        dataset = load_dataset(repository, config, split=split, revision=commit)
        table = dataset.with_format("arrow")[:].select(list(columns))
        cells = table.column(IMAGE)
        rows = _rows(table, lambda row: _bytes(cells[row].as_py()), Path(repository))
    except Exception as error:  # the hub's clients raise errors of several HTTP libraries
        raise InfoflowError(
            f"{repository}, revision {revision!r}, could not be fetched: {type(error).__name__}: "
            f"{error}. Valid: another organisation= or revision=, or load_task(..., source=folder)."
        ) from error
    return rows, f"hub {repository}@{commit}"


def read_parquet(paths: Sequence[Path], columns: Iterable[str]) -> list[Row]:
    """Read the rows of some parquet files; an image is read when it is used, with its row group."""
    rows: list[Row] = []
    for path in paths:
        with _opened(path) as (file, stamp):
            for group in range(file.num_row_groups):
                # images are read too, so that damage to them shows here; they are not kept
                table = file.read_row_group(group, columns=list(columns))
                rows += _rows(table, partial(_image, path, stamp, group), path.parent)
    return rows


@contextmanager
def _opened(path: Path) -> Iterator[tuple[parquet.ParquetFile, tuple[int, int]]]:
    """A file, and what tells it from one that takes its place."""
    with one_line(f"{path} cannot be read as parquet", *_DAMAGE):
        status = path.stat()
        file = parquet.ParquetFile(path, page_checksum_verification=True)
        yield file, (status.st_size, status.st_mtime_ns)


def _image(path: Path, stamp: tuple[int, int], group: int, row: int) -> bytes:
    return _images_of_group(path, stamp, group)[row]


@lru_cache(maxsize=1)
def _images_of_group(path: Path, stamp: tuple[int, int], group: int) -> list[bytes]:
    with _opened(path) as (file, found):
        if found != stamp:
            raise InfoflowError(f"{path} was changed after it was loaded; load it again.")
        return [*map(_bytes, file.read_row_group(group, [IMAGE]).column(IMAGE).to_pylist())]


def _bytes(cell: Any) -> bytes:
    return (cell or {}).get("bytes") or b""


def _rows(table: pa.Table, read: Callable[[int], bytes], folder: Path) -> list[Row]:
    """Rows of a table, their images left where they are: read by number, or in files."""
    cells = table.column(IMAGE)
    has_bytes = compute.struct_field(cells, "bytes").is_valid().to_pylist()
    paths = compute.struct_field(cells, "path").to_pylist()
    others = table.drop_columns([IMAGE]).to_pylist()
    return [
        {**row, IMAGE: partial(read, place) if has else _file(path, folder)}
        for place, (row, has, path) in enumerate(zip(others, has_bytes, paths, strict=True))
    ]


def _file(path: str | None, folder: Path) -> Path | None:
    """The file of an image that a row keeps as a path: absolute, as ``datasets`` writes them."""
    if path is None:
        return None
    return Path(path) if Path(path).is_absolute() else inside(folder, path, "the image")


def shards_of_split(files: Sequence[Path], split: str) -> list[Path]:
    """Find the parquet files of a split by their names, in the order of their numbers."""
    found = [path for path in files if path.stem.split("-")[0] == split]
    shards = {path: (int(m[1]), int(m[2])) for path in found if (m := _SHARD.search(path.stem))}
    if not shards and len(found) < 2:
        return found
    if sorted(shards.values()) != [(number, len(found)) for number in range(len(found))]:
        names = ", ".join(path.name for path in found[:5])
        raise InfoflowError(
            f"the parquet files of the split {split!r} ({names}) are not one whole series; valid: "
            f"one file, or all from {split}-00000-of-0000N to the last, each once."
        )
    return sorted(shards, key=lambda path: shards[path])
