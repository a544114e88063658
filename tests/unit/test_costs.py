"""What Table 1 should take on whole benchmarks, against numbers worked by hand for LLaVA-1.5-7B."""

import re

import pytest

from infoflow import Store, load_lvlm
from infoflow.claims.gather import truncation_evidence
from infoflow.claims.paper import paper_values
from infoflow.data.items import Items
from infoflow.errors import UnknownNameError
from infoflow.evaluate.costs import (
    HEADS,
    N_ITEMS,
    N_USER,
    PUBLISHED,
    costs_assumptions,
    costs_table,
    costs_text,
    page_bytes,
    page_seconds,
)
from infoflow.models.families import list_models

STEP = 32 * 0.8e-3  # a token, decoded by all cuts at once, costs a call of each layer


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llava-1.5-7b", 7.063),
        ("llava-1.6-7b", 7.063),
        ("instructblip-7b", 7.913),
        ("internvl-7b", 12.672),
        ("shikra-7b", 7.045),  # 13.49 GB of the decoder and projector, and CLIP-L
        ("qwen-vl-7b", 7.721 + 1.843 + 0.093),
    ],
)
def test_weights_are_those_of_the_published_checkpoints(name, billions):
    assert PUBLISHED[name].parameters / 1e9 == pytest.approx(billions, rel=2e-3)


def test_every_model_of_the_hub_has_its_shape():
    assert set(PUBLISHED) == {name for name in list_models() if not name.startswith("tiny-")}


def test_the_benchmarks_are_table_1s_and_have_their_published_sizes():
    assert set(N_ITEMS) == set(paper_values()["metrics"])
    printed = paper_values()["n_items"]
    for name in ("scienceqa", "textvqa"):
        assert N_ITEMS[name] == printed[name]
    assert N_ITEMS["pope"] == 3 * 3000 // 2, "the held-out half of three kinds"
    assert N_ITEMS["chair"] == printed["chair"] // 2, "the held-out half of the hub's set"


@pytest.mark.parametrize(
    ("task", "n_items", "most"), [("pope", 4500, 128), ("scienceqa", 2017, 16), ("chair", 250, 512)]
)
def test_times_by_hand(task, n_items, most):
    # two sweeps an item; every further token is one step of each
    short, long = (page_seconds("llava-1.5-7b", task, n) for n in (1, most))
    for card in ("H100", "A100"):
        assert long[card] - short[card] == pytest.approx(2 * n_items * (most - 1) * STEP)
    # on an A100, of peak 312 TFLOP/s, a pass of 8.3 TFLOP takes 53 ms; a sweep not twice as much
    # again for each 25 tokens after the image
    passes = 2 * n_items * 0.0534
    assert passes < short["A100"] < passes + 2 * n_items * 33 * N_USER[task] / 25 * 0.0025


def test_memory_is_that_of_the_longest_answers():
    weights = 2 * PUBLISHED["llava-1.5-7b"].parameters
    # POPE: the prompt, and 33 branches of 25 + 127 tokens, 0.5 MB each; 825 tokens in a layer
    keys = (636 + 33 * (25 + 127)) * 2 * 4096 * 32 * 2
    assert page_bytes("llava-1.5-7b", "pope", 128) == weights + keys + 825 * 41_216 * 2
    line = dict(zip(HEADS, costs_table(["llava-1.5-7b"])[1], strict=True))
    assert line["memory"] == f"{(weights + keys + 825 * 41_216 * 2) / 1e9:.1f} GB" == "17.2 GB"


def test_the_table_has_a_line_for_each_model_and_benchmark():
    lines = costs_table(list(PUBLISHED))
    assert [line[:2] for line in lines] == [
        (model, task) for model in PUBLISHED for task in N_ITEMS
    ]
    assert {len(line) for line in lines} == {len(HEADS)}
    assert lines[0][2] == "2017 + 2017"
    assert all(re.fullmatch(r"\S+ \S+ to \S+ \S+", cell) for line in lines for cell in line[3:5])


def test_what_is_told_names_its_assumptions():
    told = costs_text(["shikra-7b"]).splitlines()
    assert len(told) == 1 + 1 + 4 + 1
    assert told[-1] == costs_assumptions()
    for part in (
        "50% of the peaks 989 TFLOP/s",
        "pope 128",
        "chair 512",
        "scienceqa 120",
        "twice as many",
    ):
        assert part in told[-1]


@pytest.mark.parametrize("model", ["tiny-llava-1.5", "lava"])
def test_a_model_without_a_published_shape_is_named(model):
    with pytest.raises(UnknownNameError, match=f"unknown published model '{model}'"):
        costs_text([model])


def test_a_cliff_is_chosen_on_as_many_items_as_are_reported(monkeypatch, tmp_path):
    # 500 items in either split of Shapes; a benchmark may have seven times as many to choose on
    whole = Items.test
    monkeypatch.setattr(Items, "test", lambda self, name, limit: whole(self, name, limit or 2))
    lvlm, store = load_lvlm("tiny-llava-1.5"), Store(tmp_path)
    evidence = truncation_evidence(lvlm, ["pope"], None, store)
    assert evidence.cliffs["pope"].n_test == 2
    assert evidence.cliffs["pope"].n_calibration == 2
