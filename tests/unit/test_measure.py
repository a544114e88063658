"""What a decorated function of one sample becomes: a measure, with its key, limits and options."""

from collections.abc import Sequence
from inspect import signature

import numpy as np
import pandas as pd
import pytest

from infoflow.data.load import Task, load_task
from infoflow.data.sample import Sample
from infoflow.errors import InfoflowError
from infoflow.evaluate import REGISTERED, measure
from infoflow.evaluate.running import MEASURES
from infoflow.models.lvlm import LVLM

SEEN = []


@measure
def widths(lvlm: LVLM, task: Task, sample: Sample, factors: Sequence[int], by: float = 1.0):
    """Measure pictures."""
    SEEN.append(sample.id)
    return pd.DataFrame({"factor": factors, "width": sample.image.width * by})


@measure
def pairs(lvlm: LVLM, task: Task, other: Sample, sample: Sample):
    return [{"kind": "own", "other": other.id}]


@pytest.fixture(scope="module", autouse=True)
def _forget():
    yield
    for name in ("widths", "pairs"):
        del REGISTERED[name]


@pytest.fixture(scope="module")
def task():
    return load_task("pope", limit=2)


def test_it_is_called_with_a_store_and_keeps_its_rows(lvlm, task, store):
    assert widths.__name__ == "widths"
    assert widths.__doc__ == "Measure pictures."
    assert list(signature(widths).parameters) == ["lvlm", "task", "store", "factors", "by"]
    assert signature(widths).parameters["factors"].annotation == Sequence[int]
    rows = widths(lvlm, task, store, [1, 2], by=0.5)
    assert list(rows.columns) == ["item", "kind", "factor", "width"]
    assert list(rows["kind"]) == [sample.kind for sample in task for _ in (1, 2)]
    assert rows["width"][0] == task[0].image.width * 0.5
    key = rows.attrs["record"]["key"]
    assert key["measure"] == "widths"
    assert key["parameters"] == {
        "factors": [1, 2],
        "by": 0.5,
        "max_new_tokens": task.max_new_tokens,
    }
    n_seen = len(SEEN)
    again = widths(lvlm, task, store, by=np.float64(0.5), factors=(np.int64(1), 2))
    pd.testing.assert_frame_equal(again, rows)
    assert len(SEEN) == n_seen, "settings written in another way are the same settings"


def test_a_second_task_gives_the_sample_at_the_same_place(lvlm, task, store):
    other = load_task("pope", split="calibration", limit=3)
    rows = pairs(lvlm, task, other, store)
    assert list(rows["other"]) == [other[0].id, other[1].id]
    assert set(rows["kind"]) == {"own"}
    settings = rows.attrs["record"]["key"]["parameters"]
    assert settings["other"] == "pope calibration (shapes)"
    with pytest.raises(InfoflowError, match="2 samples cannot be paired with 1"):
        pairs(lvlm, task, load_task("pope", split="calibration", limit=1), store)


def test_only_plain_settings_can_be_typed():
    assert {"answers", "topk_by_cut"} <= set(MEASURES)
    assert not {"cam_control", "tokens_ignored", "faithfulness_of_maps"} & set(MEASURES)
    assert set(MEASURES) <= set(REGISTERED)
