"""Rows in the schema of the hub's data sets, from the hub or from parquet files in a folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from infoflow.errors import InfoflowError

PICTURE = "image"
"""The column of pictures, with ``bytes`` and ``path`` in each row, as ``datasets`` writes them."""


@dataclass(frozen=True)
class Rows:
    """Rows of one split, their pictures left where they are.

    Attributes:
        where: What they were read from, for errors.
        fields: The other columns that are needed, by name, one entry a row.
        has_picture: For each row whether there is a picture.
        picture: Reads the encoded picture of a row.
    """

    where: str
    fields: Sequence[dict[str, Any]]
    has_picture: Sequence[bool]
    picture: Callable[[int], bytes]


def require_columns(given: Sequence[str], needed: Sequence[str], where: str) -> None:
    """Raise unless a table has the columns that are needed.

    Raises:
        InfoflowError: One is missing; the error names it.
    """
    missing = [column for column in needed if column not in given]
    if missing:
        raise InfoflowError(
            f"{where} lacks the column(s) {', '.join(missing)}; needed are {', '.join(needed)}; "
            f"it has {', '.join(given)}."
        )


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


def read_parquet(paths: Sequence[Path], columns: Sequence[str], where: str) -> Rows:
    """Read the rows of some parquet files, in the order given.

    Args:
        paths: The files.
        columns: The columns that are needed, ``image`` among them.
        where: What the files are, for errors.

    Returns:
        The rows; a picture is read with its row group, of which the last one read is kept.

    Raises:
        InfoflowError: A file is damaged, or a column is missing or of another kind.
    """
    fields: list[dict[str, Any]] = []
    has_picture: list[bool] = []
    places: list[tuple[Path, int, int]] = []
    others = [column for column in columns if column != PICTURE]
    for path in paths:
        file = _open(path)
        require_columns(file.schema_arrow.names, columns, path.name)
        _require_picture_type(file.schema_arrow.field(PICTURE).type, path.name)
        for group in range(file.num_row_groups):
            # the paths alone tell which rows have no picture; no picture is read for that
            table = file.read_row_group(group, columns=[*others, f"{PICTURE}.path"])
            has_picture += table.column(PICTURE).is_valid().to_pylist()
            fields += table.select(others).to_pylist()
            places += [(path, group, row) for row in range(table.num_rows)]
    return Rows(where, fields, has_picture, partial(_picture, places))


def _open(path: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InfoflowError(f"{path} cannot be read as parquet: {error}") from error


def _require_picture_type(type_: Any, name: str) -> None:
    import pyarrow

    if not (pyarrow.types.is_struct(type_) and {"bytes", "path"} <= {part.name for part in type_}):
        raise InfoflowError(
            f"the column {PICTURE!r} of {name} is of the type {type_}; needed is a struct of "
            "'bytes' and 'path', as datasets writes pictures."
        )


def _picture(places: Sequence[tuple[Path, int, int]], index: int) -> bytes:
    path, group, row = places[index]
    return _pictures_of_group(path, group)[row] or b""


@lru_cache(maxsize=1)
def _pictures_of_group(path: Path, group: int) -> list[bytes | None]:
    column = _open(path).read_row_group(group, columns=[f"{PICTURE}.bytes"]).column(PICTURE)
    return [None if cell is None else cell["bytes"] for cell in column.to_pylist()]
