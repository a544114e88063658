"""Arms of an experiment, paired with one of them."""

import numpy as np
import pandas as pd
import pytest
from arm_pages import compare_arms, paired_table

from infoflow.claims.paper import paper_values
from infoflow.errors import InfoflowError
from infoflow.stats.paired import equivalence, mcnemar

MODEL, N = "some-model", 40
PAPER = paper_values()


def rows(scores):
    scores = np.asarray(scores, dtype=float)
    items = [f"item-{i}" for i in range(len(scores))]
    return pd.DataFrame({"item": items, "kind": "one", "score": scores})


def right(n_right, n_items=N):
    return rows(np.arange(n_items) < n_right)


def test_arms_are_paired_by_item_whatever_their_order():
    intact, arm = right(30), right(20)
    found = compare_arms(intact, arm.sample(frac=1, random_state=0), margin=0.05)
    assert (found.score, found.worse, found.better) == (0.5, 10, 0)
    assert found.mcnemar == mcnemar(intact["score"], arm["score"])
    assert found.equivalence == equivalence(intact["score"], arm["score"], 0.05)
    assert found.differs
    assert not found.equivalent


def test_other_items_are_refused():
    with pytest.raises(InfoflowError, match="40 and 39 items are not the same"):
        compare_arms(right(30), right(20).iloc[1:], margin=0.05)


def test_scores_that_are_not_binary_get_an_interval():
    soft = rows(np.linspace(0.2, 0.8, N))
    better = soft.assign(score=soft["score"] + 0.1)
    found = compare_arms(soft, better, margin=0.05)
    assert found.mcnemar is None
    assert found.differs
    assert found.points == "+10.0 [+10.0, +10.0]"
    data = paired_table({"none": soft, "up": better}, 0.05, "CHAIR").data
    assert data["McNemar p"]["up"] == "scores not binary"
    assert data["better"]["up"] == "40"


def test_a_few_unchanged_soft_scores_show_nothing():
    soft = rows([0.5, 0.7])
    assert not compare_arms(soft, soft, margin=0.05).equivalent
    many = rows(np.linspace(0.2, 0.8, N))
    slightly = many.assign(score=many["score"] + 0.001)
    assert compare_arms(many, slightly, margin=0.05).equivalent


def test_the_caption_says_which_arms_differ():
    arms = {"none": right(30), "same": right(30), "worse": right(10)}
    table = paired_table(arms, 0.2, "POPE")
    assert "p < 0.05, uncorrected): worse (-50.0 [" in table.caption
    assert table.caption.endswith("(95 % interval inside it): same.")
    assert list(table.data.index) == ["none", "same", "worse"]
    assert list(table.data["worse"]) == ["-", "0", "20"]
    assert table.data["score %"]["none"] == "75.0"
    nothing = paired_table({"none": right(30), "same": right(30)}, 0.01, "POPE").caption
    assert "uncorrected): none. " in nothing
    assert nothing.endswith("inside it): none.")
