"""An evaluation in shards: each measures its share of a task in a store of its own; one merge.

Shard i of N takes the items i, i + N, i + 2N and so on, not a block: benchmarks are sorted, so that
such shares take about the same time; and what a shard has measured of few items is part of its
share of more. No shard reads or locks what another writes: each may run on a machine of its own,
be killed and begun again. A finished one notes so in its ``meta.json``; the merge goes by these
notes, and needs neither the model nor the data.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from torch.utils.data import Subset

from infoflow.data.load import Task
from infoflow.errors import InfoflowError
from infoflow.results.parts import items_of, join, read_rows, refuse_repeated, select
from infoflow.results.store import Store, read_meta


@dataclass(frozen=True, order=True)
class Shard:
    """One of ``count`` shares of a task; ``number`` goes from 1 to ``count``."""

    count: int
    number: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise InfoflowError(f"there is no shard {self}; valid: from 1/N to N/N.")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a shard as it is typed: ``2/8`` for the second of eight, or ``rank``.

        ``rank`` is the shard that a launcher of several processes (accelerate, torchrun) gave this
        process in the environment variables ``RANK`` and ``WORLD_SIZE``.
        """
        if text == "rank":
            rank, count = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
            text = f"{int(rank) + 1}/{count}" if rank.isdecimal() else "rank"
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if not found:
            raise InfoflowError(
                f"a shard is written like 2/8, the second of eight; got {text!r}. 'rank' is for "
                "processes that `accelerate launch` or torchrun started."
            )
        return cls(number=int(found[1]), count=int(found[2]))

    def of(self, task: Task) -> Task:
        """Take this shard's items of a task."""
        if len(task) < self.count:
            raise InfoflowError(f"{len(task)} items cannot be split into {self.count} shards.")
        places = range(self.number - 1, len(task), self.count)
        own: Any = Subset(task.samples, places)  # type: ignore[arg-type]  # opened when needed
        return replace(task, samples=own)

    def store(self, store: Store) -> Store:
        """Return the store that this shard alone writes to, within another."""
        return Store(store.root / "shards" / f"{self.number}-of-{self.count}")


def sign(shard: Shard, store: Store, key: Mapping[str, Any], names: Sequence[str]) -> None:
    """Note in a shard's own store that it is finished, with the names of its items in order."""
    store.note(key, shard={"number": shard.number, "count": shard.count, "items": list(names)})


@dataclass(frozen=True)
class _Finished:
    folder: Path
    number: int
    count: int
    items: list[str]
    meta: dict[str, Any]

    def rows(self) -> pa.Table:
        """Read the rows of the shard's own items."""
        rows = read_rows(self.folder)
        there = set(items_of(rows))
        if missing := [name for name in self.items if name not in there]:
            raise InfoflowError(
                f"the shard in {self.folder} lacks the rows of {len(missing)} of its "
                f"{len(self.items)} items, the first of them {missing[0]!r}; run it again."
            )
        return select(rows, self.items)

    def summary(self) -> dict[str, Any]:
        """What the shard cost, and where it ran."""
        costs = {n: each for n, each in self.meta.items() if n not in ("key", "provenance")}
        provenance = self.meta.get("provenance", {})
        where = {name: provenance.get(name, {}) for name in ("machine", "packages")}
        return {"shard": f"{self.number}/{self.count}", **costs, **where}


def merge(folders: Iterable[Path | str], store: Store) -> list[Path]:
    """Put the rows of finished shards into one result each, as a single run would have left it.

    The folders are the results of all shards, of one evaluation or of several. Refused are shards
    that are missing, unfinished, given twice or not of one set of items, items without rows or in
    two shards, and rows other than those that the store holds already. Nothing is written before
    all is checked; a merge that is repeated, or was killed, does no harm.
    """
    results = defaultdict(list)
    for finished in map(_read, folders):
        results[*finished.folder.parts[-2:], finished.count].append(finished)
    if not results:
        raise InfoflowError("no shard to merge; give the folders of all of them.")
    found = [_whole(shards) for _, shards in sorted(results.items())]
    return [store.adopt(*result) for result in found]


def _read(folder: Path | str) -> _Finished:
    meta = read_meta(Path(folder))
    if "shard" not in meta:
        raise InfoflowError(f"{folder} is not the result of a finished shard.")
    return _Finished(Path(folder).resolve(), **meta.pop("shard"), meta=meta)


def _whole(shards: list[_Finished]) -> tuple[dict[str, Any], pa.Table, dict[str, Any]]:
    """Check the shards of one result; return its key, its rows and what is known about it."""
    shards.sort(key=lambda finished: finished.number)
    first = shards[0].meta
    names = _names(shards, first["key"]["measure"])
    provenance = first.get("provenance", {})
    if data := provenance.get("data"):
        provenance = {**provenance, "data": {**data, "count": len(names)}}
    meta = {
        "provenance": provenance,
        "seconds": sum(finished.meta.get("seconds", 0.0) for finished in shards),
        "shards": [finished.summary() for finished in shards],
    }
    rows = join([finished.rows() for finished in shards])
    return first["key"], select(rows, names), meta


def _names(shards: list[_Finished], measure: str) -> list[str]:
    """Name the items as they were before they were dealt out in turn; refuse what is not whole."""
    numbers, count = [finished.number for finished in shards], shards[0].count
    refuse_repeated((f"{n}/{count}" for n in numbers), f"a shard of {measure} is there twice")
    if missing := [str(n) for n in range(1, count + 1) if n not in numbers]:
        raise InfoflowError(
            f"of {count} shards of {measure} these are missing: {', '.join(missing)}."
        )
    lengths = [len(finished.items) for finished in shards]
    if lengths != [len(range(place, sum(lengths), count)) for place in range(count)]:
        raise InfoflowError(
            f"the shards of {measure} have {', '.join(map(str, lengths))} items, which are not the "
            "shares of one set. Run all with the same limit."
        )
    names = [shards[place % count].items[place // count] for place in range(sum(lengths))]
    refuse_repeated(names, f"an item is in two shards of {measure}")
    return names
