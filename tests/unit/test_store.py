"""The store: what it keeps, what it measures again, and what a kill leaves behind."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from infoflow.errors import InfoflowError
from infoflow.results.store import Store

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


def test_a_store_remembers_what_it_handed_out(store: Store, measure: Squares) -> None:
    few = store.collect(KEY, ITEMS[:3], measure, provenance={"machine": "this"})
    assert few.attrs["record"] == {**store.meta(KEY), "n_items": 3}
    store.collect(KEY | {"measure": "others"}, ITEMS[4:6], measure)  # item 5 has no rows
    store.collect(KEY, ITEMS[:8], measure)
    store.collect(KEY, ITEMS[:2], measure)
    assert store.records == [
        {**store.meta(KEY), "n_items": 7},
        {**store.meta(KEY | {"measure": "others"}), "n_items": 1},
    ]
    assert Store(store.root).records == []


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


def part_of(store: Store, number: int) -> Path:
    (path,) = store.folder(KEY).glob(f"{number:05}-*.parquet")
    return path


@pytest.mark.parametrize("damage", ["cut short", "one bit", "emptied"])
def test_a_damaged_part_is_measured_again(
    store: Store, measure: Squares, tmp_path: Path, damage: str
) -> None:
    store.collect(KEY, ITEMS, measure, batch=20)
    part = part_of(store, 1)
    content = bytearray(part.read_bytes())
    if damage == "one bit":
        content[40] ^= 1
    part.write_bytes({"cut short": content[:-9], "emptied": b""}.get(damage, content))
    rows = store.collect(KEY, ITEMS, measure, batch=20)
    pd.testing.assert_frame_equal(rows, expected(ITEMS, tmp_path))
    assert measure.measured()[60:] == [item.id for item in ITEMS[20:40]]


def test_every_flipped_bit_is_noticed(
    store: Store, measure: Squares, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound = store.collect(KEY, ITEMS[:6], measure, provenance={"machine": "this"})
    meta = store.meta(KEY)
    chance = random.Random(0)
    for suffix in ("parquet", "json"):
        for _ in range(40):
            (path,) = store.folder(KEY).glob(f"*.{suffix}")
            content = path.read_bytes()
            flipped = bytearray(content)
            flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            path.write_bytes(flipped)
            rows = store.collect(KEY, ITEMS[:6], measure, provenance={"machine": "this"})
            pd.testing.assert_frame_equal(rows, sound)
            if suffix == "json":
                assert store.meta(KEY).items() <= meta.items()
            for new in store.folder(KEY).glob(f"*.{suffix}"):
                new.unlink()
            path.write_bytes(content)
    assert all("is damaged" in record.message for record in caplog.records)


@pytest.mark.parametrize(
    "error", [PermissionError(13, "no"), OSError(24, "many"), OSError(5, "io")]
)
def test_a_file_that_cannot_be_read_now_stays_where_it_is(
    store: Store, measure: Squares, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    store.collect(KEY, ITEMS[:5], measure)
    before = sorted(store.folder(KEY).iterdir())

    def fail(path: Path) -> bytes:
        raise error

    with monkeypatch.context() as context:
        context.setattr(Path, "read_bytes", fail)
        for act in (
            lambda: store.collect(KEY, ITEMS[:5], measure),
            lambda: store.meta(KEY),
        ):
            with pytest.raises(InfoflowError, match=f"cannot be read: {error.strerror}"):
                act()
        context.setattr(Path, "iterdir", fail)
        with pytest.raises(InfoflowError, match=f"cannot be read: {error.strerror}"):
            store.collect(KEY, ITEMS[:5], measure)
    assert sorted(store.folder(KEY).iterdir()) == before
    assert len(measure.measured()) == 5


def test_a_whole_result_is_read_without_a_lock_or_a_write(
    store: Store, measure: Squares, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = store.collect(KEY, ITEMS[:5], measure)
    (store.folder(KEY) / ".lock").unlink(missing_ok=True)

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)
    pd.testing.assert_frame_equal(store.collect(KEY, ITEMS[:5], measure), sound)
    with pytest.raises(InfoflowError, match=r"nothing can be written to .*: Read-only"):
        store.collect(KEY, ITEMS[:6], measure)
    assert len(measure.measured()) == 5


def test_a_full_disk_is_one_line_and_costs_the_batch_alone(
    store: Store, measure: Squares, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store.collect(KEY, ITEMS[:4], measure)

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", full)
        with pytest.raises(InfoflowError, match="cannot be written: No space left on device"):
            store.collect(KEY, ITEMS[:8], measure)
    rows = store.collect(KEY, ITEMS[:8], measure)
    pd.testing.assert_frame_equal(rows, expected(ITEMS[:8], tmp_path))


def test_a_result_that_holds_an_item_twice_is_refused(store: Store, measure: Squares) -> None:
    store.collect(KEY, ITEMS[:4], measure)
    part = part_of(store, 0)
    part.with_name(part.name.replace("00000", "00007")).write_bytes(part.read_bytes())
    with pytest.raises(InfoflowError, match="holds the rows of an item twice: 'item-0'"):
        store.collect(KEY, ITEMS[:4], measure)


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


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:20],
        lambda text: text.replace("pope", "popf"),
        lambda text: text.replace("first", "worst"),
        lambda text: "[]",
        lambda text: "{}",
    ],
)
def test_rows_outlive_damaged_meta(store: Store, measure: Squares, change: Any) -> None:
    sound = store.collect(KEY, ITEMS[:2], measure, provenance={"machine": "first"})
    path = store.folder(KEY) / "meta.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(InfoflowError, match=r"meta\.json is damaged"):
        store.meta(KEY)
    again = store.collect(KEY, ITEMS[:2], measure, provenance={"machine": "reader"})
    pd.testing.assert_frame_equal(again, sound)
    assert len(measure.measured()) == 2
    assert store.meta(KEY) == {"key": KEY, "provenance": {"machine": "reader"}}
    assert path.with_suffix(".damaged").exists()


NAMES = ("../../x", "/tmp/x", "a/b", ".", "..", "", "a\0b")


@pytest.mark.parametrize("name", NAMES)
def test_names_stay_in_the_store(store: Store, measure: Squares, tmp_path: Path, name: str) -> None:
    with pytest.raises(InfoflowError, match="needs a measure"):
        store.collect(KEY | {"measure": name}, ITEMS, measure)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rows", [[3], "rows", None, {"a": 1}])
def test_rows_are_a_list_of_mappings(store: Store, rows: Any) -> None:
    with pytest.raises(InfoflowError, match="the rows of item 'item-0' must be a list"):
        store.collect(KEY, ITEMS[:1], lambda item: rows)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({0: {"a": 1}, 1: {"b": 1}}, "differ in their columns: a, b"),
        ({0: {"a": 1}, 1: {"a": 1, "b": 1}}, "differ in their columns: b"),
        ({0: {"a": "x"}, 1: {"a": 1}}, "a has incompatible types: string vs|cannot be stored"),
        ({0: {"a": True}, 1: {"a": 1}}, "a has incompatible types: bool vs|cannot be stored"),
        ({0: {"a": object()}, 1: {"a": object()}}, "the rows cannot be stored"),
        ({0: {"item": 1}, 1: {"item": 1}}, "'item' of its own"),
    ],
)
@pytest.mark.parametrize("batch", [1, 2])
def test_rows_that_do_not_fit_together_are_refused(
    store: Store, rows: dict[int, dict[str, object]], message: str, batch: int
) -> None:
    with pytest.raises(InfoflowError, match=message):
        store.collect(KEY, ITEMS[:2], lambda item: [rows[item.number]], batch=batch)


def test_numpy_scalars_are_stored_as_plain_values(store: Store) -> None:
    numbers = {0: np.float32(0.5), 1: 0.25, 2: np.float64(1.0)}
    rows = store.collect(KEY, ITEMS[:3], lambda item: [{"a": numbers[item.number]}], batch=1)
    assert rows["a"].tolist() == [0.5, 0.25, 1.0]


@pytest.mark.parametrize("batch", [1, 2])
def test_whole_numbers_are_floats_among_floats(store: Store, batch: int) -> None:
    numbers = {0: 1, 1: 0.5}
    rows = store.collect(KEY, ITEMS[:2], lambda item: [{"a": numbers[item.number]}], batch=batch)
    assert rows["a"].tolist() == [1.0, 0.5]
    assert rows["a"].dtype == float


def test_two_items_of_one_name_are_refused(store: Store, measure: Squares) -> None:
    with pytest.raises(InfoflowError, match="'item-3'"):
        store.collect(KEY, [*ITEMS, ITEMS[3]], measure)


@pytest.mark.parametrize(
    "key",
    [
        {"task": "pope"},
        KEY | {"seed": np.int64(0)},
        KEY | {"p": np.nan},
        KEY | {"measure": None},
        KEY | {"p": "\udcff"},
    ],
)
def test_a_key_is_plain_json_with_a_measure(store: Store, key: dict[str, object]) -> None:
    with pytest.raises(InfoflowError, match="key"):
        store.folder(key)


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
