"""An evaluation in shards: each measures its share of a task in a store of its own; one merge.

Shard i of N takes the items i, i + N, i + 2N and so on, not a block: benchmarks are sorted by
picture or by kind of question, so that such shares take about the same time; and what a shard has
measured of few items is part of its share of more.

No shard reads or locks what another writes, so they may run on machines that share nothing but a
folder, and may be killed and begun again each for itself. A finished one leaves a receipt,
``shard.json``, beside its rows; :mod:`infoflow.results.merging` goes by the receipts.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from infoflow.data.load import Task
from infoflow.data.sample import LazySamples
from infoflow.errors import InfoflowError
from infoflow.files import atomic_write
from infoflow.options import require_whole
from infoflow.results.store import Store

RECEIPT = "shard.json"


@dataclass(frozen=True, order=True)
class Shard:
    """One of N shares of a task.

    Attributes:
        count: N.
        number: Which, from 1 to N.

    Raises:
        InfoflowError: There is no such shard.
    """

    count: int
    number: int

    def __post_init__(self) -> None:
        for name in ("count", "number"):
            require_whole(getattr(self, name), f"the {name} of a shard")
        if not 1 <= self.number <= self.count:
            raise InfoflowError(
                f"there is no shard {self}; the first number goes from 1 to the second."
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a shard as it is typed.

        Args:
            text: ``"2/8"`` for the second of eight; ``"rank"`` for the one that a launcher of
                several processes (accelerate, torchrun) gave this process in the environment
                variables ``RANK`` and ``WORLD_SIZE``.

        Raises:
            InfoflowError: The text is neither, or there is no such shard.
        """
        if text == "rank":
            text = _by_rank()
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if not found:
            raise InfoflowError(f"a shard is written like 2/8, the second of eight; got {text!r}.")
        return cls(number=int(found[1]), count=int(found[2]))

    def of(self, task: Task) -> Task:
        """Take this shard's items of a task.

        Raises:
            InfoflowError: There are more shards than items.
        """
        if len(task) < self.count:
            raise InfoflowError(f"{len(task)} items cannot be split into {self.count} shards.")
        samples, places = task.samples, range(len(task))[self.number - 1 :: self.count]
        share = LazySamples(len(places), lambda place: samples[places[place]])
        return replace(task, samples=share)

    def store(self, store: Store) -> Store:
        """Find the store that this shard alone writes to, within another."""
        return Store(store.root / "shards" / f"{self.number}-of-{self.count}")


def sign(shard: Shard, store: Store, key: Mapping[str, Any], names: Sequence[str]) -> Path:
    """Leave the receipt of a finished shard.

    Args:
        shard: The shard.
        store: Its own store.
        key: The result's key.
        names: The names of its items, in order.

    Returns:
        The result's folder, which :func:`infoflow.results.merging.merge` takes.
    """
    folder = store.folder(key)
    receipt = {"number": shard.number, "count": shard.count, "items": list(names)}
    atomic_write(folder / RECEIPT, (json.dumps(receipt, ensure_ascii=False) + "\n").encode())
    return folder


def _by_rank() -> str:
    try:
        return f"{int(os.environ['RANK']) + 1}/{os.environ['WORLD_SIZE']}"
    except (KeyError, ValueError) as error:
        raise InfoflowError(
            "shard 'rank' is for processes started by `accelerate launch` or torchrun, which set "
            "RANK and WORLD_SIZE; else write it like 2/8."
        ) from error
