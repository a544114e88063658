"""Whether the cliff depends on the connector, decided on planted cliffs."""

from dataclasses import replace

import pandas as pd
import pytest
from claims_page import CLIFFS, N_LAYERS, planted
from connectors_page import cliff_depths, depends_on_connector

from infoflow.claims.findings import FAILS, HOLDS, UNDECIDED
from infoflow.models.families import find_model, list_models

LINEAR, MLP = "linear layer", "two-layer MLP"


def depth(model, connector, low, high, n_items=100):
    ends = {"depth": (low + high) / 2, "low": low, "high": high}
    return {"task": "pope", "model": model, "connector": connector, **ends, "n_items": n_items}


@pytest.mark.parametrize(
    ("depths", "verdict"),
    [
        ([depth("a", MLP, 0.2, 0.3), depth("b", LINEAR, 0.5, 0.6)], HOLDS),
        ([depth("a", MLP, 0.2, 0.5), depth("b", LINEAR, 0.5, 0.6)], UNDECIDED),  # they touch
        ([depth("a", MLP, 0.5, 0.5), depth("b", LINEAR, 0.5, 0.5)], FAILS),
        ([depth("a", MLP, 0.2, 0.3), depth("b", MLP, 0.5, 0.6)], UNDECIDED),  # one kind
        ([depth("a", MLP, 0.2, 0.3, 10), depth("b", LINEAR, 0.5, 0.6)], UNDECIDED),  # few items
        (
            # models of one kind lie as far apart
            [
                depth("a", MLP, 0.2, 0.3),
                depth("b", MLP, 0.5, 0.6),
                depth("c", LINEAR, 0.8, 0.9),
            ],
            UNDECIDED,
        ),
        (
            [
                depth("a", MLP, 0.2, 0.3),
                depth("b", MLP, 0.25, 0.35),
                depth("c", LINEAR, 0.8, 0.9),
            ],
            HOLDS,
        ),
    ],
)
def test_a_difference_counts_if_it_is_between_kinds_and_not_within_one(depths, verdict):
    assert depends_on_connector(pd.DataFrame(depths)).verdict == verdict


def test_tasks_are_decided_one_by_one():
    apart = [depth("a", MLP, 0.2, 0.3), depth("b", LINEAR, 0.5, 0.6)]
    same = [depth("a", MLP, 0.5, 0.5), depth("b", LINEAR, 0.5, 0.5)]
    both = pd.DataFrame([*apart, *(one | {"task": "chair"} for one in same)])
    found = depends_on_connector(both)
    assert found.measured == {
        "pope": "pairs of models apart: 1 of different connectors, 0 of one",
        "chair": "all at one depth",
    }


@pytest.fixture(scope="module")
def evidence():
    found = {name: replace(planted(True), model=name) for name in ("x", "y", "z")}
    return found | {"y": replace(found["y"], n_layers=2 * N_LAYERS)}


CONNECTORS = {"x": MLP, "y": LINEAR, "z": MLP}


@pytest.fixture(scope="module")
def depths(evidence):
    return cliff_depths(evidence, CONNECTORS, {})


def test_cliffs_are_shares_of_a_models_own_layers_and_one_kind_stands_together(depths):
    pope = depths[depths["task"] == "pope"]
    assert list(pope["model"]) == ["y", "x", "z"]
    assert list(pope["connector"]) == [LINEAR, MLP, MLP]
    assert list(pope["depth"]) == pytest.approx(
        [CLIFFS["pope"] / N_LAYERS / 2, CLIFFS["pope"] / N_LAYERS, CLIFFS["pope"] / N_LAYERS]
    )


def test_a_second_seed_stands_behind_its_model_and_counts_as_one_kind(evidence, depths):
    own = evidence["x"]
    far = {
        task: replace(cliff, cut=12, interval=(11, 12), n_calibration=90)
        for task, cliff in own.cliffs.items()
    }
    beside = cliff_depths(evidence, CONNECTORS, {"x": {"seed 1": replace(own, cliffs=far)}})
    pope = beside[beside["task"] == "pope"]
    assert list(pope["model"]) == ["y", "x", "x, seed 1", "z"]
    assert pope.iloc[2].to_list() == ["pope", "x, seed 1", MLP, 1.0, 11 / 12, 1.0, 90]
    assert depends_on_connector(depths[depths["task"] == "pope"]).verdict == HOLDS
    assert depends_on_connector(pope).verdict == UNDECIDED


def test_every_model_has_a_connector():
    known = {find_model(name).family.connector for name in list_models()}
    assert known == {LINEAR, MLP, "Q-Former", "resampler"}
