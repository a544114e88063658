"""Rows that come with the package are those that this code measures: some items are made anew."""

from dataclasses import replace
from functools import cache

import pandas as pd
import pytest

from infoflow.data.load import load_task
from infoflow.evaluate.flow import flow_by_layer
from infoflow.evaluate.knockout import knockout_by_layer
from infoflow.evaluate.truncation import log_probs_by_cut, truncation_by_cut
from infoflow.models.lvlm import load_lvlm
from infoflow.results.parts import select
from infoflow.results.shipped import shipped_rows
from infoflow.results.store import Store
from zoo.architectures import ARCHITECTURES

SHIPPED = [
    (truncation_by_cut, "calibration", 500),
    (truncation_by_cut, "test", 500),
    (log_probs_by_cut, "calibration", 500),
    (log_probs_by_cut, "test", 500),
    (flow_by_layer, "test", 500),
    (knockout_by_layer, "test", 120),
]
"""Measures, and of how many items a task the package has rows."""


OF_THE_ZOO = [(truncation_by_cut, "calibration"), (log_probs_by_cut, "calibration")]
OF_THE_ZOO += [(log_probs_by_cut, "test")]
"""Of all 500 items of every zoo model; ``test_resembling.py`` looks at the other rows of these."""
TASKS = ["scienceqa", "pope", "textvqa", "chair"]


@pytest.fixture(scope="module")
def load():
    return cache(lambda name: load_lvlm(name, device="cpu"))


def require_same(measure, whole, places, lvlm, tmp_path, monkeypatch):
    """Rows are found by the key they were measured under; the store takes them so, too."""
    some = replace(whole, samples=[whole[place] for place in places])
    measured = measure(lvlm, some, Store(tmp_path))
    monkeypatch.delenv("INFOFLOW_SHIPPED")
    shipped = select(shipped_rows(measured.attrs["record"]["key"]), some.ids).to_pandas()
    assert set(shipped["item"]) == set(some.ids)
    pd.testing.assert_frame_equal(shipped, measured, rtol=1e-3, atol=1e-3, check_dtype=False)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("measure", "split", "n_items"), SHIPPED)
def test_they_are_what_is_measured_here(measure, split, n_items, task, load, tmp_path, monkeypatch):
    whole, lvlm = load_task(task, split=split), load("tiny-llava-1.5")
    places = (3, n_items // 2, n_items - 1)  # the first is measured anew whenever rows are taken
    require_same(measure, whole, places, lvlm, tmp_path, monkeypatch)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("measure", "split"), OF_THE_ZOO)
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "tiny-llava-1.5"])
def test_so_are_those_of_the_zoos_others(name, measure, split, task, load, tmp_path, monkeypatch):
    whole, lvlm = load_task(task, split=split), load(name)
    require_same(measure, whole, (3, len(whole) // 2), lvlm, tmp_path, monkeypatch)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", ["seed1", "seed2"])
def test_so_are_those_of_other_seeds(seed, task, load, tmp_path, monkeypatch):
    own, whole = load("tiny-llava-1.5"), load_task(task)
    other = load_lvlm(own.name, own.folder / seed, device="cpu")
    require_same(truncation_by_cut, whole, (3, len(whole) // 2), other, tmp_path, monkeypatch)
