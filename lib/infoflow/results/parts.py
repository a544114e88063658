"""Rows as one table that names its items, and its parts on the disk: one file a batch of items.

The items stand in the table's own metadata, so that one which gave no row counts as done too. A
file is named by its number and by a digest of its content, ``00003-0123456789abcdef.parquet``.
"""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infoflow.errors import InfoflowError, one_line
from infoflow.files import atomic_write

Row = Mapping[str, Any]
ITEM = "item"
"""Column that names the item a row belongs to."""
_ITEMS = b"infoflow.data.items"
_EMPTY = pa.table({ITEM: pa.array([], pa.string())})
_NAME = re.compile(r"\d{5,9}-[0-9a-f]{16}\.parquet")
logger = logging.getLogger(__name__)


def make_table(rows_of: Mapping[str, Sequence[Row]]) -> pa.Table:
    """Put the rows of some items, by the item's name, into a table; refuse rows that differ."""
    rows: list[Row] = []
    for name, given in rows_of.items():
        valid = f"must be a list of mappings, none with {ITEM!r} of its own"
        with one_line(f"the rows of item {name!r} {valid}", TypeError):
            rows += [dict(item=name, **row) for row in given]
    _refuse_other_columns([list(row) for row in rows])
    with one_line("the rows cannot be stored", pa.ArrowException):
        table = pa.Table.from_pylist(rows) if rows else _EMPTY
    return _naming(table, rows_of)


def _naming(rows: pa.Table, names: Iterable[str]) -> pa.Table:
    return rows.replace_schema_metadata({_ITEMS: json.dumps(list(names))})


def _refuse_other_columns(columns: Sequence[Sequence[str]]) -> None:
    for others in columns[1:]:
        if odd := set(others) ^ set(columns[0]):
            names = ", ".join(sorted(odd))
            raise InfoflowError(f"rows of one measure differ in their columns: {names}.")


def items_of(rows: pa.Table) -> list[str]:
    """List the items of a table, those without a row too."""
    return list(json.loads(rows.schema.metadata[_ITEMS]))


def join(tables: Sequence[pa.Table]) -> pa.Table:
    """Join tables; refuse other columns or types. Whole numbers in one of them fit floats."""
    filled = [table for table in tables if table.num_rows]
    _refuse_other_columns([table.column_names for table in filled])
    with one_line("rows of one measure differ in the type of a column", pa.ArrowException):
        joined = pa.concat_tables(filled or [_EMPTY], promote_options="permissive")
    return _naming(joined, [name for table in tables for name in items_of(table)])


def select(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """Keep the rows of some items, in the order they are named in."""
    places = pc.index_in(rows[ITEM], pa.array(names, pa.string()))
    order = pc.sort_indices(places)  # stable; rows of other items come last
    kept = rows.take(order[: len(places) - places.null_count])
    return _naming(kept.combine_chunks(), names)


def write_part(folder: Path, rows: pa.Table) -> None:
    """Add rows to a folder, in a file behind those that are there."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    content = sink.getvalue().to_pybytes()
    number = max((int(path.name.partition("-")[0]) for path in _files(folder)), default=-1) + 1
    atomic_write(folder / f"{number:05}-{digest(content)}.parquet", content)


def read_rows(folder: Path) -> pa.Table:
    """Read all parts of a folder as one table, in order; damaged ones are set aside."""
    parts = []
    for path in _files(folder):
        content = read_content(path)
        if content is None:  # another process has set it aside meanwhile
            continue
        if digest(content) == path.stem.partition("-")[2]:
            parts.append(pq.ParquetFile(pa.BufferReader(content)).read())
        else:
            set_aside(path, "its content is not what was written")
    rows = join(parts)
    refuse_repeated(items_of(rows), f"{folder} holds the rows of an item twice")
    return rows


def refuse_repeated(names: Iterable[str], refusal: str) -> None:
    """Refuse names of which one is there twice; the refusal ends with it."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InfoflowError(f"{refusal}: {twice[0]!r}.")


def read_content(path: Path) -> bytes | None:
    """Read a file of the store; None if there is none."""
    with one_line(f"{path} cannot be read", OSError), suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def set_aside(path: Path, why: str) -> None:
    """Give a damaged file another name, and say so."""
    logger.warning("%s is damaged (%s); it is set aside", path, why)
    with one_line(f"{path} is damaged ({why}), and cannot be set aside", OSError):
        path.replace(path.with_suffix(".damaged"))


def canonical(content: Mapping[str, Any]) -> bytes:
    """Write plain JSON values in the one form that is digested."""
    failed = "a result's key must be plain JSON values"
    with one_line(failed, TypeError, ValueError, RecursionError):
        text = json.dumps(dict(content), sort_keys=True, ensure_ascii=False, allow_nan=False)
        return text.encode()


def digest(content: bytes) -> str:
    """Digest a file's content in 16 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:16]


def _files(folder: Path) -> list[Path]:
    with one_line(f"{folder} cannot be read", OSError), suppress(FileNotFoundError):
        found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: (len(path.name), path.name))
    return []
