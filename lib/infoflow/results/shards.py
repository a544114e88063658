"""An evaluation in shards: each measures its share of a task in a store of its own; one merge.

Shard i of N takes the items i, i + N, i + 2N and so on, not a block: benchmarks are sorted. No
shard reads or locks what another writes; the merge goes by the ``meta.json`` of finished ones.
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

Finished = tuple[Path, dict[str, Any]]  # the folder of a finished shard, and its meta.json


@dataclass(frozen=True)
class Shard:
    """One of ``count`` shares of a task; ``number`` goes from 1 to ``count``."""

    count: int
    number: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise InfoflowError(f"there is no shard {self.number}/{self.count}.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a shard as typed: ``2/8``, or ``rank``, which a launcher gave (``RANK``)."""
        rank, count = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
        if text == "rank" and rank.isdecimal():
            text = f"{int(rank) + 1}/{count}"
        if not re.fullmatch("[0-9]{1,9}/[0-9]{1,9}", text):
            rank = "'rank' is for processes that `accelerate launch` or torchrun started"
            raise InfoflowError(f"a shard is written like 2/8; got {text!r}. {rank}.")
        number, count = text.split("/")
        return cls(int(count), int(number))

    def of(self, task: Task) -> Task:
        if len(task) < self.count:
            raise InfoflowError(f"{len(task)} items cannot be split into {self.count} shards.")
        places = range(self.number - 1, len(task), self.count)
        own: Any = Subset(task.samples, places)  # type: ignore[arg-type]  # opened when needed
        return replace(task, samples=own)

    def store(self, store: Store) -> Store:
        return Store(store.root / "shards" / f"{self.number}-of-{self.count}")


def sign(shard: Shard, store: Store, key: Mapping[str, Any], names: Sequence[str]) -> None:
    """Note in a shard's own store that it is finished, with the names of its items in order."""
    store.note(key, shard={"number": shard.number, "count": shard.count, "items": list(names)})


def merge(folders: Iterable[Path | str], store: Store) -> list[Path]:
    """Put the rows of all shards, of one evaluation or several, into one result each.

    Nothing is written before all are found whole; rows that the store holds already stay, and a
    merge that is repeated, or was killed, does no harm.
    """
    results: dict[Any, list[Finished]] = defaultdict(list)
    for folder in map(Path, folders):
        meta = read_meta(folder)
        if "shard" not in meta:
            raise InfoflowError(f"{folder} is not the result of a finished shard.")
        results[*folder.resolve().parts[-2:], meta["shard"]["count"]].append((folder, meta))
    if not results:
        raise InfoflowError("no shard to merge; give the folders of all of them.")
    found = [_whole(shards) for _, shards in sorted(results.items())]
    return [store.adopt(*result) for result in found]


def _whole(shards: list[Finished]) -> tuple[dict[str, Any], pa.Table, dict[str, Any]]:
    shards.sort(key=lambda finished: int(finished[1]["shard"]["number"]))
    metas = [meta for _, meta in shards]
    first = metas[0]
    names = _names([meta["shard"] for meta in metas], first["key"]["measure"])
    rows = join([_own_rows(*finished) for finished in shards])
    provenance = first.get("provenance", {})
    meta = {
        "provenance": provenance | {"data": provenance.get("data", {}) | {"count": len(names)}},
        "seconds": sum(meta.get("seconds", 0.0) for meta in metas),
        "shards": [_summary(meta) for meta in metas],
    }
    return first["key"], select(rows, names), meta


def _names(shards: Sequence[Mapping[str, Any]], measure: str) -> list[str]:
    """Name the items as they were before they were dealt out in turn; refuse what is not whole."""
    numbers, count = [shard["number"] for shard in shards], shards[0]["count"]
    if numbers != list(range(1, count + 1)):
        given = ", ".join(map(str, numbers))
        raise InfoflowError(f"{measure} needs each of its {count} shards once; given: {given}.")
    lengths = [len(shard["items"]) for shard in shards]
    if lengths != [len(range(place, sum(lengths), count)) for place in range(count)]:
        have = f"the shards of {measure} have {', '.join(map(str, lengths))} items"
        raise InfoflowError(f"{have}, which are not the shares of one set; use the same limit.")
    names = [shards[place % count]["items"][place // count] for place in range(sum(lengths))]
    refuse_repeated(names, f"an item is in two shards of {measure}")
    return names


def _own_rows(folder: Path, meta: Mapping[str, Any]) -> pa.Table:
    rows, names = read_rows(folder), meta["shard"]["items"]
    if missing := sorted({*names} - {*items_of(rows)}):
        raise InfoflowError(f"{folder} lacks the rows of {missing[0]!r}; run the shard again.")
    return select(rows, names)


def _summary(meta: Mapping[str, Any]) -> dict[str, Any]:
    shard, provenance = meta["shard"], meta.get("provenance", {})
    costs = {n: each for n, each in meta.items() if n not in ("key", "provenance", "shard")}
    where = {name: provenance.get(name, {}) for name in ("machine", "packages")}
    return {"shard": f"{shard['number']}/{shard['count']}", **costs, **where}
