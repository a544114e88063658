"""Rows in the schema of the hub's data sets, from the hub or from parquet files in a folder."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from infoflow.data.sets.entries import Picture
from infoflow.errors import InfoflowError
from infoflow.files import inside

PICTURE = "image"
"""The column of pictures, with ``bytes`` and ``path`` in each row, as ``datasets`` writes them."""

_Stamp = tuple[int, int]


@dataclass(frozen=True)
class Rows:
    """Rows of one split, their pictures left where they are.

    Attributes:
        where: What they were read from, for errors.
        fields: The other columns that are needed, by name, one entry a row.
        pictures: For each row its picture's file or what gives its bytes, or None without one.
    """

    where: str
    fields: Sequence[dict[str, Any]]
    pictures: Sequence[Picture | None]

    @property
    def has_picture(self) -> list[bool]:
        """For each row whether there is a picture."""
        return [picture is not None for picture in self.pictures]

    def picture(self, row: int) -> Picture:
        """Return the picture of a row.

        Raises:
            InfoflowError: It has none.
        """
        picture = self.pictures[row]
        if picture is None:
            raise InfoflowError(f"row {row} of {self.where} has no picture.")
        return picture


def require_columns(given: Sequence[str], needed: Sequence[str], where: str) -> None:
    """Raise unless a table has the columns that are needed, each once.

    Raises:
        InfoflowError: One is missing or there twice; the error names it.
    """
    missing = [column for column in needed if column not in given]
    if missing:
        raise InfoflowError(
            f"{where} lacks the column(s) {', '.join(missing)}; needed are {', '.join(needed)}; "
            f"it has {', '.join(given)}."
        )
    if double := [column for column in needed if given.count(column) > 1]:
        raise InfoflowError(f"{where} has the column(s) {', '.join(double)} more than once.")


def require_every_picture(rows: Rows) -> None:
    """Raise unless every row has a picture.

    Raises:
        InfoflowError: One has none; the error names the first.
    """
    without = [number for number, has in enumerate(rows.has_picture) if not has]
    if without:
        raise InfoflowError(
            f"{len(without)} rows of {rows.where} have no picture, the first of them row "
            f"{without[0]}."
        )


def pictures_of(
    column: Any, read: Callable[[int], bytes], folder: Path | None, where: str
) -> list[Picture | None]:
    """Find the picture of each row.

    Args:
        column: Arrow's column of pictures: bytes, or a struct of ``bytes`` and ``path``.
        read: Reads the bytes of a row that has some.
        folder: The folder at which a relative path begins; None where none is known. Absolute
            paths, which ``datasets`` writes, are taken as they are.
        where: What the rows are of, for errors.

    Returns:
        For each row its picture's file or what gives its bytes, or None where it has neither.

    Raises:
        InfoflowError: A relative path would leave its folder, or begins nowhere.
    """
    import pyarrow.compute

    if _is_binary(column.type):
        has_bytes, paths = column.is_valid(), [None] * len(column)
    else:
        has_bytes = pyarrow.compute.struct_field(column, "bytes").is_valid()
        paths = pyarrow.compute.struct_field(column, "path").to_pylist()
    return [
        partial(read, row) if has else _file(path, folder, f"row {row} of {where}")
        for row, (has, path) in enumerate(zip(has_bytes.to_pylist(), paths, strict=True))
    ]


def _file(path: str | None, folder: Path | None, where: str) -> Path | None:
    if path is None:
        return None
    if Path(path).is_absolute():
        return Path(path)
    if folder is None:
        raise InfoflowError(f"{where} keeps its picture in the file {path!r}, which is elsewhere.")
    return inside(folder, path, f"the picture of {where}:")


def read_parquet(paths: Sequence[Path], columns: Sequence[str], where: str) -> Rows:
    """Read the rows of some parquet files, in the order given.

    Args:
        paths: The files.
        columns: The columns that are needed, ``image`` among them.
        where: What the files are, for errors.

    Returns:
        The rows; a picture is read with its row group, of which the last one read is kept. One
        whose file was replaced since is refused.

    Raises:
        InfoflowError: A file is damaged, or a column is missing or of another kind.
    """
    fields: list[dict[str, Any]] = []
    pictures: list[Picture | None] = []
    others = [column for column in columns if column != PICTURE]
    for path in paths:
        stamp = _stamp(path)
        with _reading(path):
            file = _open(path)
            require_columns(file.schema_arrow.names, columns, path.name)
            _require_types(file.schema_arrow, others, path.name)
            for group in range(file.num_row_groups):
                # pictures are read too, so that damage to them shows here; they are not kept
                table = file.read_row_group(group, columns=columns)
                fields += table.select(others).to_pylist()
                read, name = partial(_content, path, stamp, group), f"group {group} of {path.name}"
                pictures += pictures_of(table.column(PICTURE), read, path.parent, name)
    return Rows(where, fields, pictures)


def _stamp(path: Path) -> _Stamp:
    """What tells a file from one that takes its place."""
    try:
        status = path.stat()
    except OSError as error:
        raise InfoflowError(f"{path} cannot be read: {error}.") from error
    return status.st_size, status.st_mtime_ns


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except InfoflowError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise InfoflowError(f"{path} cannot be read as parquet: {reason}") from error


def _open(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.ParquetFile(path, page_checksum_verification=True)


def _is_binary(type_: Any) -> bool:
    from pyarrow import types

    return types.is_binary(type_) or types.is_large_binary(type_)


def _require_types(schema: Any, others: Sequence[str], name: str) -> None:
    type_ = schema.field(PICTURE).type
    if not _is_binary(type_) and not _is_picture_struct(type_):
        raise InfoflowError(
            f"the column {PICTURE!r} of {name} is of the type {type_}; needed is a struct of "
            "'bytes' and 'path', as datasets writes pictures, or bytes alone."
        )
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    for key in ("info", "features"):
        features = features.get(key) if isinstance(features, dict) else None
    told = features if isinstance(features, dict) else {}
    require_no_labels([n for n in others if "ClassLabel" in json.dumps(told.get(n))], name)


def _is_picture_struct(type_: Any) -> bool:
    from pyarrow import types

    parts = {part.name: part.type for part in type_} if types.is_struct(type_) else {}
    if not {"bytes", "path"} <= parts.keys() or len(parts) < type_.num_fields:
        return False
    is_text = (types.is_string, types.is_large_string, types.is_null)  # null where none has one
    return _is_binary(parts["bytes"]) and any(test(parts["path"]) for test in is_text)


def require_no_labels(labels: Sequence[str], where: str) -> None:
    """Raise if columns hold numbers of names in place of the names.

    Args:
        labels: The columns of the type ``ClassLabel``.
        where: What they are of, for errors.

    Raises:
        InfoflowError: There is one.
    """
    if labels:
        raise InfoflowError(
            f"the column {labels[0]!r} of {where} holds numbers that stand for names (ClassLabel); "
            "needed are the values themselves."
        )


def _content(path: Path, stamp: _Stamp, group: int, row: int) -> bytes:
    if _stamp(path) != stamp:
        raise InfoflowError(f"{path} was changed after it was loaded; load it again.")
    return _contents_of_group(path, stamp, group)[row] or b""


@lru_cache(maxsize=1)
def _contents_of_group(path: Path, stamp: _Stamp, group: int) -> list[bytes | None]:
    with _reading(path):
        cells = _open(path).read_row_group(group, columns=[PICTURE]).column(PICTURE).to_pylist()
    return [cell["bytes"] if isinstance(cell, dict) else cell for cell in cells]
