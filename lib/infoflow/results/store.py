"""Results on disk: rows of every item measured, arrays, and where both come from.

A result lives in ``<root>/<measure>/<digest of its key>/``::

    meta.json                 the key, the provenance, wall time and peak memory so far
    00000-<digest>.parquet    one part a batch of items; its rows in the order they were measured
    <name>.safetensors        arrays

Every file is written under another name, flushed to the disk and renamed, so a process may be
killed at any moment: what is there is whole, and the next call measures only what is missing.
Every file has a digest of its content, the parts in their names: what does not fit it is damaged,
set aside and measured again. A file that cannot be read is an error, and stays where it is. Of
older files that have no digest only what cannot be decoded is noticed. Reading what is all there
takes no lock and writes nothing.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.numpy import load, save
from tqdm import tqdm

from infoflow.errors import InfoflowError
from infoflow.files import atomic_write, inside, make_folder
from infoflow.options import require_whole
from infoflow.results.parts import (
    ITEM,
    Row,
    digest,
    in_order,
    items_of,
    make_part,
    read_content,
    read_parts,
    refuse_other_columns,
    set_aside,
    take_items,
    write_part,
)
from infoflow.results.provenance import peak_memory

Item = TypeVar("Item")

META = "meta.json"


class DamagedMetaError(InfoflowError):
    """What is known about a result cannot be trusted; its rows can."""


class Store:
    """A folder of results that can be added to, interrupted and shared between processes."""

    def __init__(self, root: Path | str | None = None) -> None:
        """Open a store; nothing is written before there is a result.

        Args:
            root: Its folder. By default ``$INFOFLOW_RESULTS``, else ``results`` in the nearest
                folder upwards that holds an ``experiments.yml``, else in the working folder.
        """
        self.root = Path(root) if root is not None else _default_root()
        self.records: list[dict[str, Any]] = []

    def collect(
        self,
        key: Mapping[str, Any],
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
            key: What the result depends on, as plain JSON values: ``"measure"`` (its name), the
                model's digest, the task, the split, every parameter, the code's digest. Not the
                number of items: more items then build on fewer.
            items: What to measure, in the order the rows are wanted in.
            measure: Gives the rows of one item; the columns are the same in every row.
            item_id: Names an item; no two items may have the same name.
            batch: Items measured between two writes to the disk.
            progress: What the progress bar says; ``None`` or ``INFOFLOW_QUIET=1`` for no bar.
            provenance: Kept in ``meta.json`` (see :func:`infoflow.results.provenance.provenance`).

        Returns:
            The rows, items in the order given, with the item's name in the column ``item``; the
            same whether the items were measured in one go or in many.

        Raises:
            InfoflowError: The key is no plain JSON, two items have one name, the rows differ in
                their columns or in the type of a column, or the disk cannot be read or written.
        """
        require_whole(batch, "batch", least=1)
        names = [item_id(item) for item in items]
        _refuse_repeated(names)
        folder = self.folder(key)
        parts = read_parts(folder)
        if not (_items(parts).issuperset(names) and self._has_meta(key)):
            with _locked(folder):
                parts = read_parts(folder)  # another process may have added some
                done = _items(parts)
                # by its place: an item in memory holds its picture
                waiting = [place for place, name in enumerate(names) if name not in done]
                if waiting or not self._has_meta(key):
                    self._note(key, {} if provenance is None else {"provenance": provenance})
                with _bar(progress, total=len(items), initial=len(items) - len(waiting)) as bar:
                    for start in range(0, len(waiting), batch):
                        began = time.perf_counter()
                        rows_of = {}
                        for place in waiting[start : start + batch]:
                            rows_of[names[place]] = measure(items[place])
                            bar.update()
                        part = make_part(rows_of)
                        refuse_other_columns(parts, part)
                        write_part(folder, part)
                        parts.append(part)
                        self._note(key, _spent(self.meta(key), time.perf_counter() - began))
        self.records.append({**self.meta(key), "n_items": len(names)})
        return in_order(parts, names)

    def adopt(self, key: Mapping[str, Any], rows: pa.Table, meta: Mapping[str, Any]) -> Path:
        """Take over rows that were measured in other stores, all of them or none.

        Args:
            key: As for :meth:`collect`.
            rows: The rows, as a part that names its items.
            meta: What ``meta.json`` shall say beside the key, ``seconds`` and ``shards`` (where
                the rows come from) among it. Adopting from the same shards again adds no time.

        Returns:
            The result's folder.

        Raises:
            InfoflowError: The store already holds other rows of one of the items.
        """
        folder = self.folder(key)
        with _locked(folder):
            parts = read_parts(folder)
            done = _items(parts)
            names = items_of(rows)
            refuse_other_columns(parts, rows)
            _refuse_other_rows(parts, rows, [name for name in names if name in done], folder)
            new = [name for name in names if name not in done]
            known = self.meta(key) if self._has_meta(key) else {}
            if known.get("shards") != meta["shards"]:
                seconds = round(known.get("seconds", 0.0) + meta["seconds"], 3)
                self._note(key, {**meta, "seconds": seconds})
            if new:
                write_part(folder, take_items([rows], new))
        return folder

    def folder(self, key: Mapping[str, Any]) -> Path:
        """Tell the folder of a result.

        Args:
            key: As for :meth:`collect`.

        Raises:
            InfoflowError: The key has no ``"measure"`` that can name a folder, or holds something
                JSON cannot.
        """
        measure = key.get("measure")
        if not isinstance(measure, str):
            raise InfoflowError(f"a result's key needs the name of its 'measure'; got {dict(key)}.")
        return _child(self.root, measure, "a measure") / digest(_canonical(key))

    def meta(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """Read what is known about a result.

        Args:
            key: As for :meth:`collect`.

        Returns:
            ``key``, ``provenance``, ``seconds`` (wall time of all the measuring so far) and the
            peaks of :func:`infoflow.results.provenance.peak_memory`; empty if there is no
            such result.

        Raises:
            DamagedMetaError: It is damaged. The next :meth:`collect` notes it anew.
        """
        return read_meta(self.folder(key))

    def save_arrays(
        self, key: Mapping[str, Any], name: str, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> None:
        """Keep named arrays beside a result's rows, all of them or none.

        Args:
            key: As for :meth:`collect`.
            name: Name of the file they share; an earlier one of that name is replaced.
            arrays: The arrays, of any shape.

        Raises:
            InfoflowError: The name is none of a file, or the arrays cannot be stored.
        """
        folder = self.folder(key)
        path = _arrays(folder, name)
        try:
            whole = {label: np.ascontiguousarray(array) for label, array in arrays.items()}
            content = save(whole, {"digest": digest(save(whole))})
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InfoflowError(f"arrays {name!r} cannot be stored: {error}.") from error
        with _locked(folder):
            self._has_meta(key)
            self._note(key, {})
            atomic_write(path, content)

    def load_arrays(self, key: Mapping[str, Any], name: str) -> dict[str, npt.NDArray[Any]] | None:
        """Read arrays back.

        Args:
            key: As for :meth:`collect`.
            name: The name they were saved under.

        Returns:
            The arrays by name, or ``None`` if none were saved, or if they are damaged; then they
            are set aside.

        Raises:
            InfoflowError: The file cannot be read, though it may be sound.
        """
        path = _arrays(self.folder(key), name)
        content = read_content(path)
        if content is None:
            return None
        try:
            arrays = load(content)
            size = int.from_bytes(content[:8], "little")
            written = json.loads(content[8 : 8 + size]).get("__metadata__", {}).get("digest")
        except (SafetensorError, KeyError, ValueError) as error:
            set_aside(path, str(error))
            return None
        if written not in (None, digest(save(arrays))):
            set_aside(path, "its content is not what was written")
            return None
        return dict(arrays)

    def _has_meta(self, key: Mapping[str, Any]) -> bool:
        """Whether something is known about a result; what is damaged is set aside."""
        try:
            return bool(self.meta(key))
        except DamagedMetaError as error:
            set_aside(self.folder(key) / META, str(error))
            return False

    def _note(self, key: Mapping[str, Any], news: Mapping[str, Any]) -> None:
        """Bring ``meta.json`` up to date, if there is news."""
        known = self.meta(key)
        meta = {"key": json.loads(_canonical(key)), **known, **news}
        if meta != known:
            signed = {**meta, "digest": digest(_canonical(meta))}
            text = json.dumps(signed, indent=2, ensure_ascii=False) + "\n"
            atomic_write(self.folder(key) / META, text.encode())


def read_meta(folder: Path) -> dict[str, Any]:
    """Read what is known about the result in a folder; empty if there is no ``meta.json``.

    Raises:
        DamagedMetaError: It is damaged, or is about the result of another folder.
    """
    content = read_content(folder / META)
    if content is None:
        return {}
    try:
        meta = dict(json.loads(content))
        written = meta.pop("digest", None)
        key = dict(meta["key"])
        place = (key["measure"], digest(_canonical(key)))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedMetaError(f"{folder / META} is damaged: {error!r}.") from error
    if place != folder.resolve().parts[-2:]:
        raise DamagedMetaError(
            f"{folder / META} is of another folder than its key's, {'/'.join(place)}; a result "
            "that was moved keeps these two names."
        )
    if written not in (None, digest(_canonical(meta))):
        raise DamagedMetaError(f"{folder / META} is damaged: it is not what was written.")
    return meta


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make a result's folder, and keep others from writing to it."""
    lock = FileLock(make_folder(folder) / ".lock")
    try:
        lock.acquire()
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink()  # of a process that was killed while it wrote
    except OSError as error:
        raise InfoflowError(f"nothing can be written to {folder}: {error.strerror}.") from error
    try:
        yield
    finally:
        lock.release()


def _child(folder: Path, name: str, what: str) -> Path:
    path = inside(folder, name, what)
    if path.parent != folder:
        raise InfoflowError(f"{what} {name!r} must be a name without slashes.")
    return path


def _arrays(folder: Path, name: str) -> Path:
    return _child(folder, name, "a file of arrays").with_name(f"{name}.safetensors")


def _items(parts: Sequence[pa.Table]) -> set[str]:
    return {name for part in parts for name in items_of(part)}


def _refuse_other_rows(
    parts: Sequence[pa.Table], rows: pa.Table, names: Sequence[str], folder: Path
) -> None:
    """Raise unless the rows of some items are the same in some parts and in another."""
    there, coming = (in_order(tables, names) for tables in (parts, [rows]))
    if names and not there.equals(coming):
        told = "" if len(there) != len(coming) else _first_difference(there, coming)
        raise InfoflowError(
            f"{folder} already holds rows of {len(names)} of these items, and they are not the "
            f"same{told}. Rows of one key cannot differ; find out which are right, and delete the "
            "others."
        )


def _first_difference(there: pd.DataFrame, coming: pd.DataFrame) -> str:
    differ = ~((there == coming) | (there.isna() & coming.isna())).all(axis=1)
    return f", the first of them {there[ITEM][differ].iloc[0]!r}" if differ.any() else ""


def _default_root() -> Path:
    if named := os.environ.get("INFOFLOW_RESULTS"):
        return Path(named)
    here = Path.cwd()
    project = (folder for folder in (here, *here.parents) if (folder / "experiments.yml").exists())
    return next(project, here) / "results"


def _canonical(content: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(dict(content), sort_keys=True, ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InfoflowError(f"a result's key must be plain JSON values: {error}.") from error


def _refuse_repeated(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise InfoflowError(f"two items are both named {repeated!r}; names must be unique.")


def _bar(progress: str | None, *, total: int, initial: int) -> "tqdm[Any]":
    quiet = progress is None or bool(os.environ.get("INFOFLOW_QUIET"))
    # a log keeps every state of a bar: on a run of days one a minute is enough
    pause = 0.1 if sys.stderr.isatty() else 60.0
    return tqdm(
        desc=progress, total=total, initial=initial, unit="item", disable=quiet, mininterval=pause
    )


def _spent(meta: Mapping[str, Any], seconds: float) -> dict[str, float]:
    peaks = {name: max(peak, meta.get(name, 0.0)) for name, peak in peak_memory().items()}
    return {"seconds": round(meta.get("seconds", 0.0) + seconds, 3), **peaks}
