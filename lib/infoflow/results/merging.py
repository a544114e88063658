"""Merging the shards of an evaluation, checked: no row is missing, none is there twice.

It goes by what lies on the disk alone, so it needs neither the model nor the data.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from infoflow.errors import InfoflowError
from infoflow.files import read_json
from infoflow.options import require_kind, require_whole
from infoflow.results.parts import items_of, read_parts, take_items
from infoflow.results.shards import RECEIPT, Shard
from infoflow.results.store import Store, read_meta


@dataclass(frozen=True)
class _Finished:
    """A finished shard, as it lies on the disk."""

    folder: Path
    shard: Shard
    items: list[str]
    meta: dict[str, Any]


def merge(folders: Iterable[Path | str], store: Store) -> list[Path]:
    """Put the rows of finished shards into one result each, as a single run would have left it.

    Nothing is written before all is checked. A merge that is repeated, or was killed, does no harm.

    Args:
        folders: The results of all shards, of one evaluation or of several; see
            :func:`infoflow.results.shards.sign`.
        store: Where the whole results go.

    Returns:
        The folders of the whole results.

    Raises:
        InfoflowError: A shard is missing, unfinished or given twice; its rows are not those of its
            items, or another shard has them too; the shards are not of one set of items; or the
            store holds other rows of an item.
    """
    finished = sorted((_read(Path(folder)) for folder in folders), key=_result)
    if not finished:
        raise InfoflowError("no shard to merge; give the folders of all of them.")
    found = [_checked(list(shards)) for _, shards in groupby(finished, key=_result)]
    return [store.adopt(key, rows, meta) for key, rows, meta in found]


def _result(finished: _Finished) -> tuple[str, str, int]:
    """Tell what must be merged into one; shards of it come one after the other."""
    return finished.folder.parent.name, finished.folder.name, finished.shard.count


def _read(folder: Path) -> _Finished:
    path = folder / RECEIPT
    if not path.exists():
        raise InfoflowError(f"{folder} is not the result of a finished shard: it has no {RECEIPT}.")
    receipt, meta = read_json(path), read_meta(folder)
    try:
        numbers = [require_whole(receipt[name], name, least=1) for name in ("number", "count")]
        shard = Shard(number=numbers[0], count=numbers[1])
        require_kind(receipt["items"], "list[str]", "items")
        return _Finished(folder.resolve(), shard, receipt["items"], meta)
    except (InfoflowError, KeyError, TypeError) as error:
        raise InfoflowError(f"{path} is damaged ({error}); run the shard again.") from error


def _checked(shards: list[_Finished]) -> tuple[dict[str, Any], pa.Table, dict[str, Any]]:
    """Check the shards of one result; return its key, its rows and what is known about it."""
    shards.sort(key=lambda finished: finished.shard)
    _require_all(shards)
    _require_one_set(shards)
    tables = [_rows(finished) for finished in shards]
    meta = {
        "provenance": _whole_provenance(shards),
        "seconds": round(sum(finished.meta.get("seconds", 0.0) for finished in shards), 3),
        "shards": [_told(finished) for finished in shards],
    }
    return shards[0].meta["key"], take_items(tables, _interleaved(shards)), meta


def _require_all(shards: list[_Finished]) -> None:
    numbers = [finished.shard.number for finished in shards]
    count, what = shards[0].shard.count, f"{shards[0].meta['key']['measure']}"
    if twice := sorted({number for number in numbers if numbers.count(number) > 1}):
        places = ", ".join(str(f.folder) for f in shards if f.shard.number == twice[0])
        raise InfoflowError(f"shard {twice[0]}/{count} of {what} is there twice: {places}.")
    if missing := sorted(set(range(1, count + 1)) - set(numbers)):
        told = ", ".join(map(str, missing))
        raise InfoflowError(f"of {count} shards of {what} these are missing: {told}.")


def _require_one_set(shards: list[_Finished]) -> None:
    """Raise unless the numbers of items are those of one set that was dealt out in turn."""
    lengths = [len(finished.items) for finished in shards]
    total = sum(lengths)
    dealt = [len(range(number, total, len(shards))) for number in range(len(shards))]
    if lengths != dealt:
        raise InfoflowError(
            f"the shards of {shards[0].meta['key']['measure']} have {_listed(lengths)} items, "
            f"which are not the shares of one set; of {total} items they would have "
            f"{_listed(dealt)}. Run all with the same limit."
        )
    owner: dict[str, Shard] = {}
    for finished in shards:
        for name in finished.items:
            if name in owner:
                raise InfoflowError(
                    f"item {name!r} is in shard {owner[name]} and in shard {finished.shard}."
                )
            owner[name] = finished.shard


def _rows(finished: _Finished) -> pa.Table:
    """Read a shard's rows, of its own items alone.

    Raises:
        InfoflowError: An item has been measured twice, or not at all.
    """
    parts = read_parts(finished.folder)
    there = {name for part in parts for name in items_of(part)}
    if missing := [name for name in finished.items if name not in there]:
        raise InfoflowError(
            f"shard {finished.shard} in {finished.folder} lacks the rows of {len(missing)} of its "
            f"{len(finished.items)} items, the first of them {missing[0]!r}; run it again."
        )
    return take_items(parts, finished.items)


def _interleaved(shards: list[_Finished]) -> list[str]:
    """Put the names back into the order of the set they were dealt from."""
    total = sum(len(finished.items) for finished in shards)
    return [shards[place % len(shards)].items[place // len(shards)] for place in range(total)]


def _whole_provenance(shards: list[_Finished]) -> dict[str, Any]:
    """The first shard's, with the count of all; machines and costs of each are told apart."""
    provenance: dict[str, Any] = dict(shards[0].meta.get("provenance", {}))
    if provenance.get("data"):
        total = sum(len(finished.items) for finished in shards)
        provenance["data"] = {**provenance["data"], "count": total}
    return provenance


def _told(finished: _Finished) -> dict[str, Any]:
    meta = finished.meta
    costs = {name: value for name, value in meta.items() if name not in ("key", "provenance")}
    machine = meta.get("provenance", {}).get("machine", {})
    packages = meta.get("provenance", {}).get("packages", {})
    return {"shard": str(finished.shard), **costs, "machine": machine, "packages": packages}


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
