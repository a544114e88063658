"""Parts of a result: the rows of one batch of items as a parquet file, and many parts as a frame.

A part names its items in the file's own metadata, so an item that gave no row counts as done too.
Its file is named by its number and by a digest of its content, ``00003-0123456789abcdef.parquet``,
so that damage is told from a change of the reader. Older parts have no digest in their names.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infoflow.errors import InfoflowError
from infoflow.files import atomic_write

Row = Mapping[str, Any]

ITEM = "item"
"""Column that names the item a row belongs to."""

ITEMS = b"infoflow.data.items"

_KINDS = {"bool", "int", "float", "str", "list", "dict"}
_NAME = re.compile(r"(\d{5,9})(?:-([0-9a-f]{16}))?\.parquet")

logger = logging.getLogger(__name__)


def make_part(rows_of: Mapping[str, Sequence[Row]]) -> pa.Table:
    """Put the rows of some items into one table.

    Args:
        rows_of: The rows of each item, by the item's name.

    Returns:
        The table: the rows in order, with the item's name in the column ``item``.

    Raises:
        InfoflowError: The rows differ in their columns or in a column's type, or a value has no
            type that parquet knows.
    """
    rows = [
        {ITEM: name, **_plain(row)} for name, rows in rows_of.items() for row in _listed(name, rows)
    ]
    return _to_table(rows).replace_schema_metadata({ITEMS: json.dumps(list(rows_of))})


def write_part(folder: Path, part: pa.Table) -> None:
    """Add a part to a folder, behind those that are there.

    Raises:
        InfoflowError: It cannot be written.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(part, sink, write_page_checksum=True)
    content = bytes(sink.getvalue().to_pybytes())
    number = max((number for number, _, _ in _files(folder)), default=-1) + 1
    atomic_write(folder / f"{number:05}-{digest(content)}.parquet", content)


def read_parts(folder: Path) -> list[pa.Table]:
    """Read the parts of a folder, in the order they were written.

    A damaged part is set aside under another name, so that its items are measured again.

    Raises:
        InfoflowError: A part cannot be read, though it may be sound; or two have the same item.
    """
    parts = list(_readable(folder))
    names = [name for part in parts for name in items_of(part)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InfoflowError(f"{folder} holds the rows of item {twice!r} twice.")
    return parts


def read_content(path: Path) -> bytes | None:
    """Read a file of the store; None if there is none.

    Raises:
        InfoflowError: It cannot be read, though it may be sound.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InfoflowError(f"{path} cannot be read: {error.strerror}.") from error


def set_aside(path: Path, why: str) -> None:
    """Give a damaged file another name, and say so.

    Raises:
        InfoflowError: It cannot be renamed, as on a disk that may only be read.
    """
    logger.warning("%s is damaged (%s); it is set aside", path, why)
    try:
        path.replace(path.with_suffix(".damaged"))
    except OSError as error:
        raise InfoflowError(f"{path} is damaged ({why}), and cannot be set aside.") from error


def digest(content: bytes) -> str:
    """Digest a file's content in 16 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:16]


def items_of(part: pa.Table) -> list[str]:
    """List the items whose rows a part holds, those without a row too."""
    return list(json.loads(part.schema.metadata[ITEMS]))


def refuse_other_columns(parts: Iterable[pa.Table], new: pa.Table) -> None:
    """Check that a new part fits the stored ones; a column all empty in a part fits any type.

    Raises:
        InfoflowError: Columns or types differ; the error names the column.
    """
    for part in parts:
        if part.num_rows == 0 or new.num_rows == 0:
            continue
        if odd := set(part.column_names) ^ set(new.column_names):
            names = ", ".join(sorted(odd))
            raise InfoflowError(f"rows of one measure differ in their columns: {names}.")
        for column in new.column_names:
            kinds = {part.schema.field(column).type, new.schema.field(column).type} - {pa.null()}
            if len(kinds) > 1:
                raise InfoflowError(
                    f"column {column!r} mixes {' and '.join(sorted(map(str, kinds)))}."
                )


def take_items(parts: Sequence[pa.Table], names: Sequence[str]) -> pa.Table:
    """Join parts into one that holds the rows of some items, in the order the parts have them.

    Args:
        parts: The parts; each item's rows are in one of them.
        names: The items; the joined part names them in this order.

    Raises:
        InfoflowError: The parts' columns or types do not fit together.
    """
    filled: list[pa.Table] = []
    for part in parts:
        refuse_other_columns(filled, part)
        if part.num_rows:
            filled.append(part)
    if not filled:
        return make_part({name: [] for name in names})
    wanted = pa.array(names, pa.string())
    taken = (part.filter(pc.is_in(part[ITEM], wanted)).replace_schema_metadata() for part in filled)
    joined = pa.concat_tables(taken, promote_options="default").combine_chunks()
    return joined.replace_schema_metadata({ITEMS: json.dumps(list(names))})


def in_order(parts: Sequence[pa.Table], names: Sequence[str]) -> pd.DataFrame:
    """Join parts into one frame that holds the items asked for, in the order asked for."""
    filled = [part.replace_schema_metadata() for part in parts if part.num_rows]
    if not filled:
        return pd.DataFrame({ITEM: pd.Series(dtype="str")})
    rows = pa.concat_tables(filled, promote_options="default").to_pandas()
    rows = rows[rows[ITEM].isin(names)]
    place = {name: index for index, name in enumerate(names)}
    rows = rows.sort_values(ITEM, key=lambda item: item.map(place), kind="stable")
    return rows.reset_index(drop=True)


def _listed(name: str, rows: Sequence[Row]) -> Sequence[Row]:
    if isinstance(rows, list | tuple) and all(isinstance(row, Mapping) for row in rows):
        return rows
    raise InfoflowError(f"the rows of item {name!r} must be a list of mappings; got {rows!r:.80}.")


def _plain(row: Row) -> dict[str, Any]:
    """Turn NumPy's scalars into Python's, so that a column's type does not hang on the batch."""
    if ITEM in row:
        raise InfoflowError(f"a measured row may not have a column {ITEM!r} of its own.")
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in row.items()
    }


def _to_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    columns = list(rows[0]) if rows else [ITEM]
    for row in rows:
        if set(row) != set(columns):
            odd = ", ".join(sorted(set(row) ^ set(columns)))
            raise InfoflowError(f"rows of one measure differ in their columns: {odd}.")
    arrays = {}
    for column in columns:
        values = [row[column] for row in rows]
        kinds = {type(value).__name__ for value in values if value is not None}
        if len(kinds) > 1:
            raise InfoflowError(f"column {column!r} mixes {' and '.join(sorted(kinds))}.")
        if others := kinds - _KINDS:
            raise InfoflowError(f"column {column!r} cannot be stored: it holds a {others.pop()}.")
        try:
            arrays[column] = pa.array(values)
        except pa.ArrowException as error:
            raise InfoflowError(
                f"column {column!r} cannot be stored: {' '.join(str(error).split())}"
            ) from error
    return pa.table(arrays)


def _files(folder: Path) -> list[tuple[int, str | None, Path]]:
    """List the parts of a folder by their numbers, with the digests they should have."""
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InfoflowError(f"{folder} cannot be read: {error.strerror}.") from error
    named = ((_NAME.fullmatch(path.name), path) for path in paths)
    found = [(int(name[1]), name[2], path) for name, path in named if name]
    return sorted(found, key=lambda part: (part[0], part[2]))


def _readable(folder: Path) -> Iterator[pa.Table]:
    """Read parts, and set a damaged one aside so that its items are measured again."""
    for _, expected, path in _files(folder):
        content = read_content(path)
        if content is None:  # another process has set it aside meanwhile
            continue
        if expected is not None and digest(content) != expected:
            set_aside(path, "its content is not what was written")
            continue
        try:
            part = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read()
            items_of(part)
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            if expected is not None or isinstance(error, MemoryError):
                raise InfoflowError(f"{path} cannot be read: {error}.") from error
            set_aside(path, str(error))
        else:
            yield part
