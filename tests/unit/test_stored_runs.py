"""Runs on the benchmarks that the store holds: found, paired with their own, and counted."""

import pytest
from claims_page import CLIFFS, planted
from stored_runs import benchmark_evidence

from infoflow.claims import NOT_RUN, findings_of
from infoflow.claims.findings import HOLDS
from infoflow.results.store import Store

MODEL, N_ITEMS = "llava-1.5-7b", 40
WORDED = "worded for llava-1.5 0a1b2c"
HUB = f"hub a/b@c, {WORDED}"
SPLITS = {
    "scienceqa": ("validation", "test"),
    "pope": ("calibration", "held-out"),
    "textvqa": ("train", "validation"),
    "chair": ("calibration", "held-out"),
}
"""By benchmark, its own names of the splits to choose on and to report on."""


@pytest.fixture(scope="module")
def cuts():
    every_fifth = ("0", "5")
    cuts = planted(True).cuts
    return {task: rows[rows["item"].str.endswith(every_fifth)] for task, rows in cuts.items()}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def run(store, cuts, task, split, source=HUB, n_items=N_ITEMS, ids=None, **others):
    """Store the first items of a made-up run, whose names begin with ``ids`` or the split."""
    key = {
        **{"measure": "truncation_by_cut", "model": "digest", "rule": "official"},
        **{"task": task, "split": split, "source": source},
        **{name: value for name, value in others.items() if name not in ("name", "of")},
    }
    rows = {f"{ids or split} {name}": part for name, part in cuts[task].groupby("item")}
    rows = {name: rows[name] for name in list(rows)[:n_items]}
    data = {"task": task, "count": n_items, "of": others.get("of", N_ITEMS)}
    store.collect(
        key,
        list(rows),
        lambda name: rows[name].drop(columns="item").to_dict("records"),
        item_id=lambda name: name,
        provenance={"model": {"name": others.get("name", MODEL)}, "data": data},
    )


@pytest.mark.parametrize("task", list(SPLITS))
def test_a_run_is_found_under_the_benchmarks_own_names_of_its_splits(store, cuts, task):
    chosen_on, reported = SPLITS[task]
    assert benchmark_evidence(store, MODEL) is None
    run(store, cuts, task, "test", source="shapes")
    run(store, cuts, task, "calibration", source="shapes")
    assert benchmark_evidence(store, MODEL) is None, "Shapes is no benchmark"
    run(store, cuts, task, reported)
    assert benchmark_evidence(store, MODEL) is None, "no items to choose the cliff on"
    run(store, cuts, task, chosen_on)
    found = benchmark_evidence(store, MODEL)
    assert found.cliffs[task].cut == CLIFFS[task]
    assert found.n_layers == cuts[task]["cut"].max()
    assert found.cuts[task].attrs["record"]["key"]["split"] == reported
    assert found.calibration[task].attrs["record"]["key"]["split"] == chosen_on
    assert benchmark_evidence(store, "qwen-vl-7b") is None
    verdicts = {f.claim.id: f.verdict for f in findings_of(None, found)}
    assert verdicts["cliff-helps"] == HOLDS, "a run fills what was not run"
    assert verdicts["flow-falls-early"] == verdicts["no-image"] == NOT_RUN


@pytest.mark.parametrize("task", ["pope", "chair"])
def test_the_whole_is_not_reported_if_it_holds_the_calibration_items(store, cuts, task):
    run(store, cuts, task, "calibration")
    run(store, cuts, task, "test")
    assert benchmark_evidence(store, MODEL) is None
    run(store, cuts, task, "held-out", n_items=10)
    run(store, cuts, task, "test", n_items=12)
    assert benchmark_evidence(store, MODEL).cuts[task]["item"].nunique() == 10


def test_items_of_one_source_are_not_reported_beside_a_cliff_chosen_on_them_in_another(store, cuts):
    run(store, cuts, "chair", "calibration", ids="val2014")
    run(store, cuts, "chair", "held-out", source=f"folder 0a0a, {WORDED}", ids="val2014")
    assert benchmark_evidence(store, MODEL) is None
    run(store, cuts, "chair", "calibration", source=f"folder 1b1b, {WORDED}")
    assert set(benchmark_evidence(store, MODEL).cuts) == {"chair"}


@pytest.mark.parametrize(
    "other",
    [
        {"model": "another digest"},
        {"rule": "lmms-eval"},
        {"code": "newer"},
        {"source": "hub a/b@c, without OCR tokens"},
    ],
)
def test_runs_of_two_settings_are_no_pair(store, cuts, other):
    run(store, cuts, "pope", "calibration")
    run(store, cuts, "pope", "held-out", **other)
    assert benchmark_evidence(store, MODEL) is None


def test_a_folders_splits_have_digests_of_their_own_and_are_a_pair(store, cuts):
    run(store, cuts, "scienceqa", "validation", source=f"folder 0a0a, {WORDED}")
    run(store, cuts, "scienceqa", "test", source=f"folder 1b1b, {WORDED}")
    assert set(benchmark_evidence(store, MODEL).cuts) == {"scienceqa"}


def test_a_part_is_told_from_the_whole(store, cuts):
    for split in SPLITS["scienceqa"]:
        run(store, cuts, "scienceqa", split, of=2017)
    record = benchmark_evidence(store, MODEL).cuts["scienceqa"].attrs["record"]
    assert record["provenance"]["data"]["of"] == 2017
