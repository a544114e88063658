"""Whether the cliff depends on the connector, decided on planted cliffs."""

from dataclasses import replace

import pytest
from claims_page import CLIFFS, N_LAYERS, CliffDepth, cliff_depths, depends_on_connector, planted

from infoflow.claims.findings import FAILS, HOLDS, UNDECIDED
from infoflow.models.families import find_model, list_models

LINEAR, MLP = "linear layer", "two-layer MLP"


def depth(model, connector, low, high, n_items=100):
    return CliffDepth(model, connector, (low + high) / 2, low, high, n_items)


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
    assert depends_on_connector({"pope": depths}).verdict == verdict


def test_tasks_are_decided_one_by_one():
    apart = [depth("a", MLP, 0.2, 0.3), depth("b", LINEAR, 0.5, 0.6)]
    same = [depth("a", MLP, 0.5, 0.5), depth("b", LINEAR, 0.5, 0.5)]
    found = depends_on_connector({"pope": apart, "chair": same})
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
    assert [(d.model, d.connector) for d in depths["pope"]] == [
        ("y", LINEAR),
        ("x", MLP),
        ("z", MLP),
    ]
    assert [d.depth for d in depths["pope"]] == pytest.approx(
        [CLIFFS["pope"] / N_LAYERS / 2, CLIFFS["pope"] / N_LAYERS, CLIFFS["pope"] / N_LAYERS]
    )


def test_a_second_seed_stands_behind_its_model_and_counts_as_one_kind(evidence, depths):
    far = {"mean_score": [0.0] * (N_LAYERS + 1), "cliff": {"cut": 12, "interval": [11, 12]}}
    two_seeds = {
        "items": {"calibration": 90, "test": 70},
        "seeds": {"0": {"pope": {}}, "1": {"pope": far}},
    }
    beside = cliff_depths(evidence, CONNECTORS, {"x": two_seeds})
    assert [d.model for d in beside["pope"]] == ["y", "x", "x, seed 1", "z"]
    assert beside["pope"][2] == ("x, seed 1", MLP, 1.0, 11 / 12, 1.0, 90)
    assert beside["chair"] == depths["chair"], "no such task was measured with that seed"
    assert depends_on_connector({"pope": depths["pope"]}).verdict == HOLDS
    assert depends_on_connector({"pope": beside["pope"]}).verdict == UNDECIDED


def test_every_model_has_a_connector():
    known = {find_model(name).family.connector for name in list_models()}
    assert known == {LINEAR, MLP, "Q-Former", "resampler"}
