"""Parts of a result: the rows of one batch of items as a parquet file, and many parts as a frame.

A part names its items in the file's own metadata, so an item that gave no row counts as done too.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infoflow.errors import InfoflowError

Row = Mapping[str, Any]

ITEM = "item"
"""Column that names the item a row belongs to."""

ITEMS = b"infoflow.items"

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
    rows = [{ITEM: name, **_plain(row)} for name, rows in rows_of.items() for row in rows]
    return _to_table(rows).replace_schema_metadata({ITEMS: json.dumps(list(rows_of))})


def to_bytes(part: pa.Table) -> bytes:
    """Encode a part as a parquet file, with checksums that tell damage when it is read."""
    sink = pa.BufferOutputStream()
    pq.write_table(part, sink, write_page_checksum=True)
    return bytes(sink.getvalue().to_pybytes())


def read_parts(folder: Path) -> list[pa.Table]:
    """Read the parts of a folder, in the order they were written.

    A damaged part is set aside under another name, so that its items are measured again.
    """
    return list(_readable(sorted(folder.glob("*.parquet"))))


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
        try:
            arrays[column] = pa.array(values)
        except pa.ArrowException as error:
            raise InfoflowError(f"column {column!r} cannot be stored: {error}") from error
    return pa.table(arrays)


def _readable(paths: Iterable[Path]) -> Iterator[pa.Table]:
    """Read parts, and set a damaged one aside so that its items are measured again."""
    for path in paths:
        try:
            part = pq.ParquetFile(path, page_checksum_verification=True).read()
            items_of(part)
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            logger.warning("%s is damaged, its items are measured again (%s)", path, error)
            path.replace(path.with_suffix(".damaged"))
        else:
            yield part
