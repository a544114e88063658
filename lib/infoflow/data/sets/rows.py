"""Rows in the schema of the hub's data sets: from the hub, or from a folder's parquet files.

A row is a dictionary; under ``image`` it holds the image's file, what gives its bytes, or None.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import compute, parquet

from infoflow.errors import InfoflowError, one_line
from infoflow.files import inside

IMAGE = "image"
ImageSource = Path | Callable[[], bytes]
Row = dict[str, Any]

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAMES = {
    "organisation": re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII),
    "revision": re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*", re.ASCII),
}
_TIMEOUT = 10.0  # seconds for which the hub may be silent
_BYTES = (pa.binary(), pa.large_binary())
_PATHS = (pa.string(), pa.large_string(), pa.null())  # null: none has one
_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError, OverflowError)

_SHARD = re.compile(r"(.*?)-?([0-9]{1,9})-of-([0-9]{1,9})")
_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})()")  # the same three parts, without an N
_SPLITS = {"train", "validation", "val", "dev", "test"}  # words that a file's name may begin with


class HubSet(NamedTuple):
    """A data set of the hub; without a revision, the commit that is the newest is looked up."""

    organisation: str
    name: str
    config: str | None = None
    revision: str | None = None


def fetch(
    benchmark: str, hub: HubSet, split: str, columns: Sequence[str]
) -> tuple[list[Row], str, str]:
    """Fetch a split through ``datasets``: its rows, how errors name them, and their source.

    A full commit as the revision needs no network once ``datasets`` has the split in its cache;
    ``HF_HUB_OFFLINE=1`` spares the half minute of attempts to reach one.
    """
    from datasets import load_dataset

    revision = "main" if hub.revision is None else hub.revision
    for what, given in (("organisation", hub.organisation), ("revision", revision)):
        if not isinstance(given, str) or not _NAMES[what].fullmatch(given) or ".." in given:
            raise InfoflowError(f"{what} is {given!r}; valid: the name of one on the hub.")
    repository = f"{hub.organisation}/{hub.name}"
    where = f"{repository}, split {split!r}"
    try:
        commit = _commit(repository, hub.revision)
        dataset = load_dataset(repository, hub.config, split=split, revision=commit)
        table = dataset.with_format("arrow")[:]
    except Exception as error:  # the hub's clients raise errors of several HTTP libraries
        version = f" at revision {hub.revision!r}" if hub.revision else ""
        raise InfoflowError(
            f"{benchmark} could not be fetched from the hub ({repository}{version}): "
            f"{type(error).__name__}: {error}. Valid: another organisation= or revision=, or the "
            f"data on this machine: load_task({benchmark!r}, source=folder)."
        ) from error
    _require_columns(table.schema, columns, where)
    cells = table.column(IMAGE)
    rows = _rows(table.select(columns), lambda row: _bytes(cells[row].as_py()), None, where)
    return rows, where, f"hub {repository}@{commit}"


def _commit(repository: str, revision: str | None) -> str:
    """Look up the full commit: results are recorded under it, not under a branch that moves."""
    if revision and _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(repository, revision=revision, timeout=_TIMEOUT).sha)


def read_parquet(paths: Sequence[Path], columns: Sequence[str]) -> list[Row]:
    """Read the rows of some parquet files, in the order given.

    An image is read with its row group, of which the last one read is kept. One whose file was
    replaced since is refused.
    """
    rows: list[Row] = []
    for path in paths:
        with _reading(path):
            stamp = _stamp(path)
            file = parquet.ParquetFile(path, page_checksum_verification=True)
            _require_columns(file.schema_arrow, columns, path.name)
            for group in range(file.num_row_groups):
                # images are read too, so that damage to them shows here; they are not kept
                table = file.read_row_group(group, columns=list(columns))
                read = partial(_image, path, stamp, group)
                rows += _rows(table, read, path.parent, f"group {group} of {path.name}")
    return rows


def _reading(path: Path) -> AbstractContextManager[None]:
    return one_line(f"{path} cannot be read as parquet", *_DAMAGE)


def _stamp(path: Path) -> tuple[int, int]:
    """What tells a file from one that takes its place."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _image(path: Path, stamp: tuple[int, int], group: int, row: int) -> bytes:
    with _reading(path):
        if _stamp(path) != stamp:
            raise InfoflowError(f"{path} was changed after it was loaded; load it again.")
        return _images_of_group(path, stamp, group)[row]


@lru_cache(maxsize=1)
def _images_of_group(path: Path, stamp: tuple[int, int], group: int) -> list[bytes]:
    file = parquet.ParquetFile(path, page_checksum_verification=True)
    return [_bytes(cell) for cell in file.read_row_group(group, [IMAGE]).column(IMAGE).to_pylist()]


def _bytes(cell: Any) -> bytes:
    return (cell["bytes"] if isinstance(cell, dict) else cell) or b""


def _rows(
    table: pa.Table, read: Callable[[int], bytes], folder: Path | None, where: str
) -> list[Row]:
    """Rows of a table, their images left where they are: read by number, or in files."""
    cells = table.column(IMAGE)
    if cells.type in _BYTES:
        has_bytes, paths = cells.is_valid(), [None] * len(cells)
    else:
        has_bytes = compute.struct_field(cells, "bytes").is_valid()
        paths = compute.struct_field(cells, "path").to_pylist()
    images = [
        partial(read, row) if has else _file(path, folder, f"row {row} of {where}")
        for row, (has, path) in enumerate(zip(has_bytes.to_pylist(), paths, strict=True))
    ]
    others = table.drop_columns([IMAGE]).to_pylist()
    return [{**row, IMAGE: image} for row, image in zip(others, images, strict=True)]


def _file(path: str | None, folder: Path | None, where: str) -> Path | None:
    if path is None:
        return None
    if Path(path).is_absolute():  # as datasets writes them
        return Path(path)
    if folder is None:
        raise InfoflowError(f"{where} keeps its picture in the file {path!r}, which is elsewhere.")
    return inside(folder, path, f"the picture of {where}:")


def _require_columns(schema: pa.Schema, columns: Sequence[str], where: str) -> None:
    """Raise unless a table has these columns, each once, with images and no numbers of labels."""
    given = schema.names
    if missing := [column for column in columns if column not in given]:
        raise InfoflowError(
            f"{where} lacks the column(s) {', '.join(missing)}; needed are {', '.join(columns)}; "
            f"it has {', '.join(given)}."
        )
    if double := [column for column in columns if given.count(column) > 1]:
        raise InfoflowError(f"{where} has the column(s) {', '.join(double)} more than once.")
    kind = schema.field(IMAGE).type
    if not _holds_images(kind):
        raise InfoflowError(
            f"the column {IMAGE!r} of {where} is of the type {kind}; valid: a struct of 'bytes' "
            "and 'path', as datasets writes pictures, or bytes alone."
        )
    with one_line(f"{where} has damaged metadata", json.JSONDecodeError):
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    for key in ("info", "features"):
        features = features.get(key) if isinstance(features, dict) else None
    for column in columns if isinstance(features, dict) else ():
        if "ClassLabel" in json.dumps(features.get(column)):
            raise InfoflowError(
                f"the column {column!r} of {where} holds numbers that stand for names "
                "(ClassLabel); needed are the values themselves."
            )


def _holds_images(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return kind in _BYTES
    parts = {part.name: part.type for part in kind}
    once = len(parts) == kind.num_fields
    return once and parts.get("bytes") in _BYTES and parts.get("path") in _PATHS


def files_of_split(
    parquet: Sequence[Path], split: str, pieces: Sequence[str] = ()
) -> dict[str, list[Path]]:
    """Find the files of a split by their names or folders, or else of its pieces; or none."""
    others = _SPLITS.union(pieces)
    words = {path: path.stem.split("-")[0] for path in parquet}
    for names in ((split,), pieces):
        found = {
            name: [
                path
                for path, word in words.items()
                if word == name or (path.parent.name == name and word not in others)
            ]
            for name in names
        }
        if found and all(found.values()):
            return {name: _in_order(paths, name) for name, paths in found.items()}
    return {}


def _in_order(paths: Sequence[Path], split: str) -> list[Path]:
    """Order files by their numbers, which must be those of one whole series."""
    folders = sorted({str(path.parent) for path in paths})
    if len(folders) > 1:
        raise InfoflowError(
            f"parquet files of the split {split!r} lie in several folders "
            f"({', '.join(folders)}); give the one that is meant as the source."
        )
    shards = [match for path in paths if (match := _SHARD.match(path.stem))]
    if len(paths) == 1 and not shards:
        return list(paths)
    names = ", ".join(path.name for path in paths[:5]) + (", ..." if len(paths) > 5 else "")
    these = f"the parquet files of the split {split!r} ({names})"
    series = shards or [match for path in paths if (match := _NUMBERED.fullmatch(path.stem))]
    if len(series) < len(paths) or len({match.groups()[::2] for match in series}) > 1:
        raise InfoflowError(
            f"{these} are not of one series; valid: one file, or files with numbers, such as "
            "test-00000-of-00002."
        )
    numbers = [int(match[2]) for match in series]
    n_files = int(shards[0][3]) if shards else len(paths)
    first = 0 if shards else min(1, *numbers)
    present, expected = set(numbers), range(first, first + n_files)
    if missing := list(islice((n for n in expected if n not in present), 5)):
        raise InfoflowError(f"{these} lack number {', '.join(map(str, missing))} of {n_files}.")
    if len(numbers) > n_files:
        raise InfoflowError(f"{these} are more than the {n_files} that their names tell of.")
    return [path for _, path in sorted(zip(numbers, paths, strict=True))]


def require_size_of_card(files: Mapping[str, Sequence[Path]], n_rows: int, folder: Path) -> None:
    """Hold the number of rows against those in the cards beside the files and in folders above."""
    first = next(chain(*files.values()))
    for place in (path for path in first.parents if path == folder or folder in path.parents):
        sizes = [card for card in _cards(place, first.parent.name) if card.keys() >= files.keys()]
        totals = [sum(card[split] for split in files) for card in sizes]
        if totals and n_rows not in totals:
            raise InfoflowError(
                f"the parquet files of {', '.join(files)} in {first.parent} hold {n_rows} rows; "
                f"the data set's card in {place} tells of {' or '.join(map(str, totals))}."
            )


def _cards(place: Path, config: str) -> list[dict[str, int]]:
    """For each config, or for the one of this name, the number of rows of each split."""
    from datasets import DatasetInfo
    from datasets.info import DatasetInfosDict

    infos: dict[str, DatasetInfo] = {}
    # a card is anything: YAML or JSON with wrong fields of any type
    with one_line(f"the data set's card in {place} cannot be read", Exception):
        if _is_card(place / "README.md") or (place / "dataset_infos.json").is_file():
            infos |= DatasetInfosDict.from_directory(str(place))
        if (place / "dataset_info.json").is_file():
            infos["the only one"] = DatasetInfo.from_directory(str(place))
        sizes = {
            name: {split: int(part.num_examples) for split, part in (info.splits or {}).items()}
            for name, info in infos.items()
        }
    return [sizes[config]] if config in sizes else list(sizes.values())


def _is_card(readme: Path) -> bool:
    """Whether a README is a data set's card, and not somebody's own notes."""
    try:
        return "dataset_info:" in readme.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return False
