"""Results on disk: the rows of every item measured, and where they come from.

A result lives in ``<root>/<measure>/<digest of its key>/``: ``meta.json`` has the key, provenance,
wall time and peak memory so far, ``00000-<digest>.parquet`` the rows of a batch of items. A file is
written under another name and renamed, so a process may be killed at any moment; what does not fit
its digest is set aside and measured again. Reading what is all there takes no lock.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
from filelock import FileLock
from tqdm import tqdm

from infoflow.errors import InfoflowError, one_line
from infoflow.files import atomic_write
from infoflow.results import parts
from infoflow.results.parts import ITEM, Row, canonical, digest, items_of, join, select
from infoflow.results.provenance import peak_memory
from infoflow.results.shipped import agree, shipped_rows

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
Key = Mapping[str, Any]
META = "meta.json"
_PEAKS = ("peak_rss_mb", "peak_gpu_mb")


class _Record(dict[str, Any]):
    def __deepcopy__(self, memo: Any) -> "_Record":
        return self  # pandas copies what stands in attrs at every step


class DamagedMetaError(InfoflowError):
    """What is known about a result cannot be trusted; its rows can."""


class Store:
    """A folder of results that can be added to, interrupted and shared between processes.

    Args:
        root: The folder. By default ``$INFOFLOW_RESULTS``, else ``results`` in the nearest folder
            upwards that holds an ``experiments.yml``, else in the working folder. Nothing is
            written before there is a result.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root) if root is not None else _default_root()
        self._handed_out: dict[Path, dict[str, Any]] = {}

    @property
    def records(self) -> list[dict[str, Any]]:
        """What is known about each result handed out, and its largest number of items with rows."""
        return list(self._handed_out.values())

    def collect(
        self,
        key: Key,
        items: Sequence[Item],
        measure: Callable[[Item], Sequence[Row]],
        *,
        item_id: Callable[[Item], str] = lambda item: item.id,  # type: ignore[attr-defined]
        batch: int = 16,
        progress: str | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Measure every item that has not been measured yet, and return the rows of all.

        Args:
            key: What the result depends on, as plain JSON values, the ``"measure"`` among them, but
                not the number of items: more build on fewer.
            items: What to measure, in the order the rows are wanted in.
            measure: Gives the rows of one item; the columns are the same in every row.
            item_id: Names an item; no two items may have the same name.
            batch: Items measured between two writes to the disk.
            progress: What the progress bar says; ``None`` or ``INFOFLOW_QUIET=1`` for no bar.
            provenance: Kept in ``meta.json``.

        Returns:
            The rows, items in the order given, with the item's name in the column ``item``. Their
            record stands in ``attrs["record"]``, and in :attr:`records`.
        """
        names = [item_id(item) for item in items]
        parts.refuse_repeated(names, "two items have one name")
        folder = self.folder(key)
        rows = parts.read_rows(folder)
        if not (set(items_of(rows)).issuperset(names) and self._known(key)):
            with _locked(folder):
                rows = parts.read_rows(folder)  # another process may have added some
                done = set(items_of(rows))
                # by its place: an item in memory holds its image
                waiting = [place for place, name in enumerate(names) if name not in done]
                if waiting or not self._known(key):
                    self.note(key, **({"provenance": provenance} if provenance else {}))
                taken = self._from_package(key, {names[p]: items[p] for p in waiting}, measure)
                rows, done = join([rows, taken]), set(items_of(taken))
                waiting = [place for place in waiting if names[place] not in done]
                with _bar(progress, len(items), len(items) - len(waiting)) as bar:
                    for start in range(0, len(waiting), batch):
                        began, rows_of = time.perf_counter(), {}
                        for place in waiting[start : start + batch]:
                            rows_of[names[place]] = measure(items[place])
                            bar.update()
                        part = parts.make_table(rows_of)
                        rows = join([rows, part])  # refuses other columns
                        parts.write_part(folder, part)
                        self.note(key, seconds=time.perf_counter() - began, **peak_memory())
        frame: pd.DataFrame = select(rows, names).to_pandas()
        record = _Record({**self.meta(key), "n_items": frame[ITEM].nunique()})
        frame.attrs["record"] = record
        most = max(record["n_items"], self._handed_out.get(folder, record)["n_items"])
        self._handed_out[folder] = {**record, "n_items": most}
        return frame

    def _from_package(
        self, key: Key, waiting: Mapping[str, Item], measure: Callable[[Item], Sequence[Row]]
    ) -> pa.Table:
        """Take the rows that come with the package, if those of one item, measured anew, agree."""
        there = shipped_rows(key)
        fitting = [name for name in items_of(there) if name in waiting]
        if len(fitting) < 2:
            return parts.make_table({})
        first = next((name for name in there[ITEM].to_pylist() if name in waiting), fitting[0])
        part = parts.make_table({first: measure(waiting[first])})
        if agree(part, select(there, [first])):
            part = join([part, select(there, [name for name in fitting if name != first])])
            self.note(key, shipped=len(fitting) - 1, **peak_memory())
        else:
            logger.warning("rows of %s that come with the package differ from this code's", first)
        parts.write_part(self.folder(key), part)
        return part

    def adopt(self, key: Key, rows: pa.Table, meta: Mapping[str, Any]) -> Path:
        """Take over rows measured in shards, with what is known; items that are there stay."""
        folder = self.folder(key)
        with _locked(folder):
            there = parts.read_rows(folder)
            join([there, rows])  # refuses other columns
            if self._known(key).get("shards") != meta["shards"]:
                self.note(key, **meta)
            done = set(items_of(there))
            if new := [name for name in items_of(rows) if name not in done]:
                parts.write_part(folder, select(rows, new))
        return folder

    def folder(self, key: Key) -> Path:
        measure = key.get("measure")
        if not isinstance(measure, str) or not measure.isidentifier():
            raise InfoflowError(f"a result's key needs a measure that is a name; got {dict(key)}.")
        return self.root / measure / digest(canonical(key))

    def meta(self, key: Key) -> dict[str, Any]:
        """Read what is known about a result; damage is an error until it is collected again."""
        return read_meta(self.folder(key))

    def note(self, key: Key, **news: Any) -> None:
        """Add to what is known about a result; costs add to those before."""
        known = self._known(key)
        news |= {name: max(known.get(name, 0.0), news[name]) for name in _PEAKS if name in news}
        if "seconds" in news:
            news["seconds"] = round(known.get("seconds", 0.0) + news["seconds"], 3)
        meta = {"key": json.loads(canonical(key)), **known, **news}
        if meta != known:
            signed = {**meta, "digest": digest(canonical(meta))}
            text = json.dumps(signed, indent=2, ensure_ascii=False) + "\n"
            atomic_write(self.folder(key) / META, text.encode())

    def _known(self, key: Key) -> dict[str, Any]:
        """Read what is known about a result; what is damaged is set aside."""
        try:
            return self.meta(key)
        except DamagedMetaError as error:
            parts.set_aside(self.folder(key) / META, str(error))
            return {}


def read_meta(folder: Path) -> dict[str, Any]:
    """Read what is known about the result in a folder; empty if there is no ``meta.json``."""
    content = parts.read_content(folder / META)
    if content is None:
        return {}
    try:
        meta = dict(json.loads(content))
        if meta.pop("digest") != digest(canonical(meta)):
            raise ValueError("it is not what was written")
        place = (meta["key"]["measure"], digest(canonical(meta["key"])))
        if place != folder.resolve().parts[-2:]:
            raise ValueError(f"it is of another folder than its key's, {'/'.join(place)}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedMetaError(f"{folder / META} is damaged: {error}.") from error
    return meta


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    with one_line(f"nothing can be written to {folder}", OSError):
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink()  # of a process that was killed while it wrote
    try:
        yield
    finally:
        lock.release()


def _default_root() -> Path:
    if named := os.environ.get("INFOFLOW_RESULTS"):
        return Path(named)
    here = Path.cwd()
    project = (folder for folder in (here, *here.parents) if (folder / "experiments.yml").exists())
    return next(project, here) / "results"


def _bar(progress: str | None, total: int, initial: int) -> "tqdm[Any]":
    quiet = progress is None or bool(os.environ.get("INFOFLOW_QUIET"))
    # a log keeps every state of a bar: on a run of days one a minute is enough
    pause = 0.1 if sys.stderr.isatty() else 60.0
    return tqdm(None, progress, total, initial=initial, disable=quiet, mininterval=pause)
