"""The store: what it keeps, what it measures again, and what a kill leaves behind."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from infoflow.errors import InfoflowError
from infoflow.store import Store

KEY = {"measure": "squares", "model": "0123", "task": "pope", "parameters": {"keep": 0}}


class Item(NamedTuple):
    id: str
    number: int


ITEMS = [Item(f"item-{number}", number) for number in range(60)]


class Squares:
    """A measure that notes every item it is asked for."""

    def __init__(self, log: Path, pause: float = 0.0) -> None:
        self.log = log
        self.pause = pause

    def __call__(self, item: Item) -> list[dict[str, object]]:
        time.sleep(self.pause)
        with self.log.open("a") as log:
            log.write(f"{item.id}\n")
        n = item.number
        # item 5 gives no row at all, and every seventh has no root
        return [
            {
                "cut": cut,
                "square": n**cut,
                "root": None if n % 7 == 0 else n**0.5,
                "even": n % 2 == 0,
            }
            for cut in range(0 if n == 5 else 3)
        ]

    def measured(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def measure(tmp_path: Path) -> Squares:
    return Squares(tmp_path / "log")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def expected(items: list[Item], tmp_path: Path) -> pd.DataFrame:
    rows = [
        {"item": item.id, **row} for item in items for row in Squares(tmp_path / "unused")(item)
    ]
    return pd.DataFrame(rows)


def test_rows_come_in_the_order_of_the_items(
    store: Store, measure: Squares, tmp_path: Path
) -> None:
    rows = store.collect(KEY, ITEMS, measure, batch=7)
    pd.testing.assert_frame_equal(rows, expected(ITEMS, tmp_path))
    backwards = store.collect(KEY, ITEMS[::-1], measure)
    pd.testing.assert_frame_equal(backwards, expected(ITEMS[::-1], tmp_path))
    assert len(measure.measured()) == len(ITEMS)


def test_more_items_build_on_fewer(store: Store, measure: Squares, tmp_path: Path) -> None:
    store.collect(KEY, ITEMS[10:20], measure, batch=4)
    rows = store.collect(KEY, ITEMS[:30], measure, batch=4)
    pd.testing.assert_frame_equal(rows, expected(ITEMS[:30], tmp_path))
    assert sorted(measure.measured()) == sorted(item.id for item in ITEMS[:30])
    few = store.collect(KEY, ITEMS[12:14], measure)
    pd.testing.assert_frame_equal(few, expected(ITEMS[12:14], tmp_path))


def test_an_item_without_rows_counts_as_measured(store: Store, measure: Squares) -> None:
    assert store.collect(KEY, [ITEMS[5]], measure).empty
    store.collect(KEY, [ITEMS[5]], measure)
    assert measure.measured() == ["item-5"]


@pytest.mark.parametrize(
    "change",
    [{"model": "4567"}, {"measure": "cubes"}, {"parameters": {"keep": 1}}, {"code": "89ab"}],
)
def test_another_key_is_another_result(store: Store, change: dict[str, object]) -> None:
    assert store.folder(KEY) != store.folder(KEY | change)
    assert store.folder(KEY) == store.folder(dict(reversed(KEY.items())))


def _collect(root: Path, log: Path) -> None:
    Store(root).collect(KEY, ITEMS, Squares(log, pause=0.004), batch=4)


def test_killed_ten_times_it_gives_the_rows_of_an_uninterrupted_run(tmp_path: Path) -> None:
    whole = Store(tmp_path / "whole").collect(KEY, ITEMS, Squares(tmp_path / "whole-log"), batch=4)
    root, measure = tmp_path / "results", Squares(tmp_path / "log")
    processes = multiprocessing.get_context("fork")  # of what has imported the store already
    chance = random.Random(0)
    for _ in range(10):
        process = processes.Process(target=_collect, args=(root, measure.log))
        process.start()
        goal = len(measure.measured()) + chance.randrange(1, 9)
        while process.is_alive() and len(measure.measured()) < goal:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.006)  # anywhere in an item, or in the writing of a batch
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it was done before it could be killed"
    rows = Store(root).collect(KEY, ITEMS, measure, batch=4)
    pd.testing.assert_frame_equal(rows, whole)
    # a kill costs at most the batch it falls into
    assert len(ITEMS) < len(measure.measured()) <= len(ITEMS) + 10 * 4
    leftovers = [path.name for path in Store(root).folder(KEY).iterdir() if "tmp" in path.name]
    assert leftovers == []


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("fork")
    root, measure = tmp_path / "results", Squares(tmp_path / "log")
    both = [processes.Process(target=_collect, args=(root, measure.log)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len(measure.measured()) == len(ITEMS)


@pytest.mark.parametrize("damage", ["cut short", "one bit", "emptied"])
def test_a_damaged_part_is_measured_again(
    store: Store, measure: Squares, tmp_path: Path, damage: str
) -> None:
    store.collect(KEY, ITEMS, measure, batch=20)
    part = store.folder(KEY) / "00001.parquet"
    content = bytearray(part.read_bytes())
    if damage == "one bit":
        content[40] ^= 1
    part.write_bytes({"cut short": content[:-9], "emptied": b""}.get(damage, content))
    rows = store.collect(KEY, ITEMS, measure, batch=20)
    pd.testing.assert_frame_equal(rows, expected(ITEMS, tmp_path))
    assert measure.measured()[60:] == [item.id for item in ITEMS[20:40]]


def test_meta_tells_what_the_result_rests_on_and_cost(store: Store, measure: Squares) -> None:
    measure.pause = 0.005
    store.collect(KEY, ITEMS[:10], measure, provenance={"machine": "first"})
    first = store.meta(KEY)
    assert first["key"] == KEY
    assert first["provenance"] == {"machine": "first"}
    assert first["seconds"] >= 10 * 0.005
    assert first["peak_rss_mb"] > 1
    store.collect(KEY, ITEMS[:10], measure, provenance={"machine": "reader"})
    assert store.meta(KEY) == first, "reading a result does not change where it comes from"
    store.collect(KEY, ITEMS[:20], measure, provenance={"machine": "second"})
    assert store.meta(KEY)["seconds"] >= first["seconds"] + 10 * 0.005
    assert store.meta(KEY)["provenance"] == {"machine": "second"}


def test_damaged_meta_is_an_error_that_names_the_file(store: Store, measure: Squares) -> None:
    store.collect(KEY, ITEMS[:2], measure)
    path = store.folder(KEY) / "meta.json"
    path.write_text(path.read_text()[:20])
    with pytest.raises(InfoflowError, match=r"meta\.json is damaged"):
        store.collect(KEY, ITEMS[:2], measure)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({0: {"a": 1}, 1: {"b": 1}}, "differ in their columns: a, b"),
        ({0: {"a": 1}, 1: {"a": 1, "b": 1}}, "differ in their columns: b"),
        ({0: {"a": 1}, 1: {"a": 1.5}}, "'a' mixes"),
        ({0: {"a": "x"}, 1: {"a": 1}}, "'a' mixes"),
        ({0: {"a": object()}, 1: {"a": object()}}, "'a' cannot be stored"),
        ({0: {"item": 1}, 1: {"item": 1}}, "'item' of its own"),
    ],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_rows_that_do_not_fit_together_are_refused(
    store: Store, rows: dict[int, dict[str, object]], told: str, batch: int
) -> None:
    with pytest.raises(InfoflowError, match=told):
        store.collect(KEY, ITEMS[:2], lambda item: [rows[item.number]], batch=batch)


def test_numpy_scalars_are_stored_as_plain_values(store: Store) -> None:
    numbers = {0: np.float32(0.5), 1: 0.25, 2: np.float64(1.0)}
    rows = store.collect(KEY, ITEMS[:3], lambda item: [{"a": numbers[item.number]}], batch=1)
    assert rows["a"].tolist() == [0.5, 0.25, 1.0]


def test_two_items_of_one_name_are_refused(store: Store, measure: Squares) -> None:
    with pytest.raises(InfoflowError, match="'item-3'"):
        store.collect(KEY, [*ITEMS, ITEMS[3]], measure)


@pytest.mark.parametrize(
    "key", [{"task": "pope"}, KEY | {"seed": np.int64(0)}, KEY | {"p": np.nan}]
)
def test_a_key_is_plain_json_with_a_measure(store: Store, key: dict[str, object]) -> None:
    with pytest.raises(InfoflowError, match="key"):
        store.folder(key)


def test_arrays_come_back_as_they_were(store: Store) -> None:
    arrays = {"rows": np.arange(24, dtype=np.float32).reshape(2, 3, 4).T, "cuts": np.arange(3)}
    assert store.load_arrays(KEY, "maps") is None
    store.save_arrays(KEY, "maps", arrays)
    loaded = store.load_arrays(KEY, "maps")
    assert loaded is not None
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert loaded[name].dtype == array.dtype
    assert store.meta(KEY)["key"] == KEY
    file = store.folder(KEY) / "maps.safetensors"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(InfoflowError, match=r"maps\.safetensors is damaged"):
        store.load_arrays(KEY, "maps")


def test_the_default_store_lies_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INFOFLOW_RESULTS", raising=False)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert Store().root == tmp_path / "notebooks" / "results"
    (tmp_path / "experiments.yml").touch()
    assert Store().root == tmp_path / "results"
    monkeypatch.setenv("INFOFLOW_RESULTS", str(tmp_path / "elsewhere"))
    assert Store().root == tmp_path / "elsewhere"


def test_progress_is_shown_unless_quiet(
    store: Store,
    measure: Squares,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("INFOFLOW_QUIET", raising=False)
    store.collect(KEY, ITEMS[:4], measure, progress="squares of pope")
    assert "squares of pope: 100%" in capsys.readouterr().err
    monkeypatch.setenv("INFOFLOW_QUIET", "1")
    store.collect(KEY, ITEMS[:8], measure, progress="squares of pope")
    assert capsys.readouterr().err == ""


def test_meta_is_readable_json(store: Store, measure: Squares) -> None:
    store.collect(KEY, ITEMS[:2], measure, provenance={"model": {"name": "ключ"}})
    text = (store.folder(KEY) / "meta.json").read_text(encoding="utf-8")
    assert json.loads(text)["provenance"]["model"]["name"] == "ключ"
    assert "ключ" in text
