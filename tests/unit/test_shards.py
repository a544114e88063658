"""Evaluations in shards: merged, they are what a straight run gives; else they are refused."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from functools import partialmethod
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from infoflow.data.load import load_task
from infoflow.data.task import Task
from infoflow.errors import InfoflowError
from infoflow.evaluate.flow import flow_by_layer
from infoflow.evaluate.running import evaluate
from infoflow.evaluate.truncation import truncation_by_cut
from infoflow.models.lvlm import LVLM, load_lvlm
from infoflow.results.parts import items_of
from infoflow.results.shards import Shard, merge, sign
from infoflow.results.store import Store, read_meta

torch.set_num_threads(1)

MODEL = "tiny-llava-1.5"
FLOW = "flow_by_layer"
N_ITEMS = 120


@pytest.fixture(scope="module")
def lvlm():
    return load_lvlm(MODEL, device="cpu")


@pytest.fixture(scope="module")
def task():
    return load_task("pope", limit=7)


@pytest.fixture(scope="module")
def straight(lvlm, task, tmp_path_factory):
    return flow_by_layer(lvlm, task, Store(tmp_path_factory.mktemp("straight")))


def all_shards(lvlm, task, store, count, measure=FLOW):
    shards = [Shard(count, number) for number in range(1, count + 1)]
    return [evaluate(lvlm, task, measure, {}, store, shard)[0] for shard in shards]


def stored(lvlm, task, store, monkeypatch):
    """What the store holds of a task; nothing may be measured for it."""
    with monkeypatch.context() as context:
        context.setattr("infoflow.evaluate.flow.attention_flow", None)
        return flow_by_layer(lvlm, task, store)


def assert_same(rows, expected):
    pd.testing.assert_frame_equal(rows, expected, check_exact=True)


@pytest.fixture(scope="module")
def finished(lvlm, task, tmp_path_factory):
    """Two finished shards; each test spoils a copy of them."""
    store = Store(tmp_path_factory.mktemp("finished"))
    all_shards(lvlm, task, store, 2)
    return store.root


@pytest.fixture
def shards(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "results")
    return sorted((tmp_path / "results" / "shards").glob(f"*/{FLOW}/*"))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_merge_to_the_rows_of_a_straight_run(
    lvlm, task, straight, tmp_path, monkeypatch, count
):
    store = Store(tmp_path)
    (folder,) = merge(all_shards(lvlm, task, store, count), store)
    rows = stored(lvlm, task, store, monkeypatch)
    assert_same(rows, straight)
    assert folder == store.folder(straight.attrs["record"]["key"])
    record = rows.attrs["record"]
    assert record["provenance"]["data"]["count"] == 7
    assert [each["shard"] for each in record["shards"]] == [
        f"{number}/{count}" for number in range(1, count + 1)
    ]
    seconds = sum(each["seconds"] for each in record["shards"])
    assert record["seconds"] == pytest.approx(seconds, abs=1e-2)


def test_order_and_batch_do_not_change_a_row(lvlm, task, straight, tmp_path, monkeypatch):
    backwards = replace(task, samples=list(task)[::-1])
    monkeypatch.setattr(Store, "collect", partialmethod(Store.collect, batch=2))
    rows = flow_by_layer(lvlm, backwards, Store(tmp_path))
    order = {name: place for place, name in enumerate(straight["item"].unique())}
    back = rows.sort_values("item", key=lambda item: item.map(order), kind="stable")
    assert_same(back.reset_index(drop=True), straight)


def test_decoded_sweeps_do_not_change_by_order_batch_or_shard(lvlm, tmp_path, monkeypatch):
    task = load_task("textvqa", limit=4)
    expected = truncation_by_cut(lvlm, task, Store(tmp_path / "straight"))
    store = Store(tmp_path / "sharded")
    folders = all_shards(lvlm, replace(task, samples=list(task)), store, 3, "truncation_by_cut")
    merge(folders[::-1], store)
    monkeypatch.setattr("infoflow.evaluate.truncation.truncation_sweep", None)
    assert_same(truncation_by_cut(lvlm, task, store), expected)


def test_shards_of_more_items_build_on_those_of_fewer(lvlm, task, straight, tmp_path, monkeypatch):
    store = Store(tmp_path)
    few = load_task("pope", limit=5)
    merge(all_shards(lvlm, few, store, 2), store)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    merge(all_shards(lvlm, task, store, 2), store)
    assert_same(stored(lvlm, task, store, monkeypatch), straight)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert before.items() <= after.items()
    new = {name for path in after.keys() - before for name in names_in(path)}
    assert new == {sample.id for sample in list(task)[5:]}


def names_in(path):
    return items_of(pq.read_table(path))


def test_merging_again_changes_nothing(shards, store):
    (folder,) = merge(shards, store)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert merge(reversed(shards), store) == [folder]
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_merge_killed_before_its_rows_were_written_is_made_good(shards, store):
    (folder,) = merge(shards, store)
    (part,) = folder.glob("*.parquet")
    content, meta = part.read_bytes(), (folder / "meta.json").read_text()
    part.unlink()
    merge(shards, store)
    assert part.read_bytes() == content
    assert (folder / "meta.json").read_text() == meta


def signed(folder, items):
    """Note other items than a shard has."""
    meta = read_meta(folder)
    shard = Shard(meta["shard"]["count"], meta["shard"]["number"])
    sign(shard, Store(folder.parents[1]), meta["key"], items)


def items_in(folder):
    return read_meta(folder)["shard"]["items"]


def unfinished(shards):
    (shards[1] / "meta.json").unlink()
    Store(shards[1].parents[1]).collect(read_meta(shards[0])["key"], [], list)
    return shards


def one_left_out(shards):
    return shards[:1]


def given_twice(shards):
    return [*shards, shards[0]]


def part_lost(shards):
    next(shards[1].glob("*.parquet")).unlink()
    return shards


def part_doubled(shards):
    part = next(shards[0].glob("*.parquet"))
    shutil.copy(part, part.with_name(f"00009-{part.stem.partition('-')[2]}.parquet"))
    return shards


def one_item_in_both(shards):
    for path in shards[0].glob("*.parquet"):
        shutil.copy(path, shards[1] / f"9{path.name[1:]}")
    signed(shards[1], [*items_in(shards[0])[:1], *items_in(shards[1])[1:]])
    return shards


def of_another_limit(shards):
    signed(shards[0], items_in(shards[0])[:2])
    return shards


def another_key(shards):
    meta = json.loads((shards[0] / "meta.json").read_text())
    meta["key"]["task"] = "textvqa"
    (shards[0] / "meta.json").write_text(json.dumps(meta))
    return shards


def another_folder(shards):
    return [shards[0].rename(shards[0].with_name("0123456789abcdef")), shards[1]]


def another_number(shards):
    meta = json.loads((shards[0] / "meta.json").read_text())
    meta["shard"]["number"] = 2
    (shards[0] / "meta.json").write_text(json.dumps(meta))
    return shards


def no_note(shards):
    (shards[0] / "meta.json").write_text("{")
    return shards


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (unfinished, "is not the result of a finished shard"),
        (one_left_out, "flow_by_layer needs each of its 2 shards once; given: 1"),
        (given_twice, "flow_by_layer needs each of its 2 shards once; given: 1, 1, 2"),
        (part_lost, "lacks the rows of 'pope-test-0001'; run the shard again"),
        (part_doubled, "holds the rows of an item twice: 'pope-test-0000'"),
        (one_item_in_both, "an item is in two shards of flow_by_layer: 'pope-test-0000'"),
        (of_another_limit, "have 2, 3 items, which are not the shares of one set"),
        (another_number, "meta.json is damaged: it is not what was written"),
        (no_note, "meta.json is damaged"),
        (another_key, "is damaged: it is not what was written"),
        (another_folder, "it is of another folder than its key's"),
        (lambda shards: [], "no shard to merge"),
    ],
)
def test_what_is_not_whole_is_not_merged(shards, store, spoil, message):
    with pytest.raises(InfoflowError, match=message):
        merge(spoil(shards), store)
    assert not (store.root / FLOW).exists(), "something was written before all was checked"


def test_rows_that_are_there_stay(lvlm, task, straight, shards, store):
    few = replace(task, samples=list(task)[:2])
    flow_by_layer(lvlm, few, store)
    folder = store.folder(straight.attrs["record"]["key"])
    (part,) = folder.glob("*.parquet")
    merge(shards, store)
    (new,) = set(folder.glob("*.parquet")) - {part}
    assert names_in(new) == [sample.id for sample in list(task)[2:]]
    assert_same(flow_by_layer(lvlm, task, store), straight)


@pytest.mark.parametrize(
    "text",
    ["2", "0/2", "3/2", "a/b", "1/0", "-1/2", "rank", "1/10**9", "1/" + "9" * 5000, "1/2\n"],
)
def test_what_is_no_shard_is_refused(monkeypatch, text):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(InfoflowError, match="shard"):
        Shard.parse(text)


def test_a_launched_process_has_the_shard_of_its_rank(monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert Shard.parse("rank") == Shard.parse("3/8") == Shard(count=8, number=3)


def test_more_shards_than_items_are_refused(task):
    with pytest.raises(InfoflowError, match="7 items cannot be split into 8 shards"):
        Shard(8, 1).of(task)


def _run_shard(lvlm: LVLM, task: Task, root: Path, number: int) -> None:
    torch.set_num_threads(1)
    Store.collect = partialmethod(Store.collect, batch=2)  # type: ignore[assignment]
    evaluate(lvlm, task, FLOW, {}, Store(root), Shard(2, number))


@pytest.mark.slow
def test_two_shards_killed_ten_times_give_the_rows_of_a_straight_run(lvlm, tmp_path, monkeypatch):
    task = load_task("pope", limit=N_ITEMS)
    expected = flow_by_layer(lvlm, task, Store(tmp_path / "straight"))
    processes = multiprocessing.get_context("fork")  # of what has loaded the model already
    root, chance = tmp_path / "sharded", random.Random(0)

    def n_parts(number: int) -> int:
        return len(list((root / "shards" / f"{number}-of-2").rglob("0*.parquet")))

    for kill in range(10):
        number = kill % 2 + 1
        goal = n_parts(number) + chance.randrange(2)
        process = processes.Process(target=_run_shard, args=(lvlm, task, root, number))
        process.start()
        begun = time.monotonic()
        while process.is_alive() and n_parts(number) < goal and time.monotonic() < begun + 120:
            time.sleep(0.02)
        time.sleep(chance.random() * 0.1)  # anywhere in an item, or in the writing of a batch
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it was done before it could be killed"
    assert 0 < n_parts(1) + n_parts(2) < N_ITEMS / 2
    store = Store(root)
    with pytest.raises(InfoflowError, match="not the result of a finished shard"):
        merge((root / "shards").glob(f"*/{FLOW}/*"), store)
    merge(all_shards(lvlm, task, store, 2), store)
    assert_same(stored(lvlm, task, store, monkeypatch), expected)
