"""Shallow, middle and deep layers: shares, losses, arcs, and the paper's words on them."""

import numpy as np
import pandas as pd
import pytest
from flow_pages import loss_by_depth, shares_by_depth

from infoflow.report.style import asked, listed
from infoflow.stats.layers import depths

MODEL = "some-model"


def flow_rows(image, user=0.3, n_items=4):
    return pd.DataFrame(
        [
            {
                **{"item": f"item-{item}", "kind": "one", "layer": layer},
                **{"system": 1 - share - user, "image": share, "user": user},
                **{"uniform_system": 0.2, "uniform_image": 0.6, "uniform_user": 0.2},
            }
            for item in range(n_items)
            for layer, share in enumerate(image, start=1)
        ]
    )


def cut_rows(means, n_items=100):
    """Items that are right or wrong, in each cut as many right as its mean says, nested."""
    return pd.DataFrame(
        [
            {"item": f"item-{item:03}", "cut": cut, "score": float(item < mean * n_items)}
            for item in range(n_items)
            for cut, mean in enumerate(means)
        ]
    )


@pytest.mark.parametrize(
    ("n_layers", "expected"),
    [
        (12, [("shallow", 1, 4), ("middle", 5, 8), ("deep", 9, 12)]),
        (32, [("shallow", 1, 11), ("middle", 12, 22), ("deep", 23, 32)]),
        (3, [("shallow", 1, 1), ("middle", 2, 2), ("deep", 3, 3)]),
        (2, [("shallow", 1, 1), ("deep", 2, 2)]),
        (1, [("shallow", 1, 1)]),
    ],
)
def test_depths_divide_the_layers(n_layers, expected):
    assert depths(n_layers) == expected
    assert [depth.cut for depth in depths(n_layers)] == [first - 1 for _, first, _ in expected]


def test_shares_are_means_over_the_layers_of_a_depth():
    table = shares_by_depth(flow_rows([0.6, 0.5, 0.4, 0.3, 0.2, 0.0]))
    assert list(table["image"]) == pytest.approx([0.55, 0.35, 0.1])
    assert list(table["first"]) == [1, 3, 5]
    np.testing.assert_allclose(table[["system", "image", "user"]].sum(axis=1), 1)
    assert set(table["uniform_image"]) == {0.6}


def test_losses_are_paired_and_from_the_first_layer_of_a_depth_on():
    table = loss_by_depth(cut_rows([0.3, 0.5, 0.6, 0.7, 0.9, 0.9, 0.9]), margin=0.05)
    assert list(table["cut"]) == [0, 2, 4]
    assert list(table["removed"]) == pytest.approx([0.3, 0.6, 0.9])
    assert list(table["difference"]) == pytest.approx([-0.6, -0.3, 0.0])
    assert list(table["unharmed"]) == [False, False, True]
    assert (table["low"] < table["difference"]).all()


def test_few_items_show_no_absence_of_harm():
    assert not loss_by_depth(cut_rows([1, 1, 1, 1], n_items=4), margin=0.05)["unharmed"].any()


def test_lists_and_questions_are_worded():
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        *("", "a", "a and b", "a, b and c"),
    ]
    assert asked("Context: x\nQuestion: What?\nOptions: (A) b") == "What?"
    assert asked("Describe it.") == "Describe it."
