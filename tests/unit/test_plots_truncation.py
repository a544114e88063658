"""What truncation's figures and tables show: log-probabilities, paired tests, K x cut, a matrix."""

from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from infoflow import report
from infoflow.claims.paper import paper_values
from infoflow.models.lvlm import Spans
from infoflow.stats.cliff import cliff_layer
from infoflow.stats.paired import equivalence, mcnemar

L, MODEL, TASKS = 6, "some-model", ("scienceqa", "pope", "textvqa", "chair")
SPANS = Spans(slice(0, 3), slice(3, 9), slice(9, 12))


def cut_rows(scores, text="said"):
    return pd.DataFrame(
        [
            {"item": f"item-{item}", "cut": cut, "score": score, "text": text, "answer": "right"}
            for item, row in enumerate(scores)
            for cut, score in enumerate(row)
        ]
    )


def step(cliff, n_items=20, low=0.0, high=1.0):
    return np.where(np.arange(L + 1) < cliff, low, high) * np.ones((n_items, 1))


def some_matrix(seed=0):
    weights = torch.rand(12, 12, generator=torch.Generator().manual_seed(seed)).tril()
    return weights / weights.sum(-1, keepdim=True)


def without_image(matrix):
    left = matrix.clone()
    left[:, SPANS.image] = torch.diag(matrix.diagonal())[:, SPANS.image]
    return left / left.sum(-1, keepdim=True)


class SomePrompt(SimpleNamespace):
    def __len__(self):
        return 12


PROMPT = SomePrompt(spans=SPANS, question="What is it?")
TRUNCATED = {task: cut_rows(step(3, high=0.9)) for task in TASKS}


def flow_rows(shares):
    return pd.DataFrame(
        [
            {"item": f"item-{item}", "layer": layer, "image": share}
            for item in range(20)
            for layer, share in enumerate(shares, start=1)
        ]
    )


def all_plots():
    scores = {task: step(2 + i) for i, task in enumerate(TASKS)}
    cliffs = {task: cliff_layer(x) for task, x in scores.items()}
    noise = np.random.default_rng(0).normal(0, 0.1, (20, L + 1))
    log_probs = {task: np.linspace(-4, -0.2, L + 1) + noise for task in TASKS}
    log_cliffs = {task: cliff_layer(x) for task, x in log_probs.items()}
    flow = dict.fromkeys(TASKS, flow_rows(np.linspace(0.6, 0.1, L)))
    matrix = some_matrix()
    return {
        "log_probs": report.log_prob_curves(log_probs, log_cliffs, cliffs, MODEL),
        "matrix": report.matrix_pair(matrix, without_image(matrix), PROMPT, 3, MODEL),
        "vanishing": report.vanishing_shares(flow, TRUNCATED, MODEL),
    }


@pytest.fixture(scope="module")
def made():
    return all_plots()


def test_plots_have_picture_words_and_numbers_and_the_same_bytes_again(made):
    for name, again in all_plots().items():
        plot = made[name]
        assert 200 < Image.open(BytesIO(plot.png)).width <= 2 * 750
        assert 20 <= len(plot.alt) <= 400
        assert len(plot.caption) > 20
        assert not plot.table.empty
        assert again.png == plot.png


def test_log_probs_are_means_with_intervals_and_tell_where_the_cliffs_lie():
    log_probs = np.linspace(-4, -0.2, L + 1) + np.random.default_rng(0).normal(0, 0.1, (20, L + 1))
    deep, score = cliff_layer(log_probs, margin=0.01), cliff_layer(step(2), margin=0.01)
    assert (deep.cut, score.cut) == (6, 2)
    plot = report.log_prob_curves({"pope": log_probs}, {"pope": deep}, {"pope": score}, MODEL)
    line = plot.table.loc[("pope", 3)]
    assert line["mean"] == pytest.approx(log_probs[:, 3].mean())
    assert line["low"] < line["mean"] < line["high"]
    assert "deeper in POPE" in plot.caption
    turned = report.log_prob_table({"pope": score}, {"pope": deep})
    assert "shallower in POPE" in turned.caption
    assert turned.data.loc["POPE", "cliff of the score"].startswith("6 [")


def test_cliff_tests_are_paired_on_the_test_items():
    scores = step(4, n_items=40)
    scores[:3, 4] = 0  # lost at the cliff
    scores[3, 6] = 0  # gained at the cliff
    cliff = cliff_layer(step(4, n_items=40), scores, margin=0.1)
    table = report.cliff_test_table({"pope": cut_rows(scores)}, {"pope": cliff}, 0.05, 0)
    row = table.data.loc["POPE"]
    assert [row["cut"], row["worse"], row["better"]] == ["4", "3", "1"]
    assert row["McNemar p"] == f"{mcnemar(scores[:, 6], scores[:, 4]).p_value:.2g}"
    low, high = equivalence(scores[:, 6], scores[:, 4], 0.05).interval
    assert row["difference, points"] == f"-5.0 [{100 * low:+.1f}, {100 * high:+.1f}]"
    assert row["within 5 points"] == "not shown"
    assert row["would be within"] == f"{-100 * low:.1f} points"
    wide = report.cliff_test_table({"pope": cut_rows(scores)}, {"pope": cliff}, 0.5, 0)
    assert wide.data.loc["POPE", "within 50 points"] == "yes"
    assert "in POPE" in wide.caption.split("shown to be")[1]


def test_scores_between_0_and_1_have_no_mcnemar():
    scores = step(4, high=0.75, n_items=60)
    cliff = cliff_layer(scores, margin=0.1)
    row = report.cliff_test_table({"chair": cut_rows(scores)}, {"chair": cliff}, 0.05, 0).data.iloc[
        0
    ]
    assert row["McNemar p"] == "not defined for scores between 0 and 1"
    assert row["within 5 points"] == "yes"


def test_the_authors_span_is_set_beside_the_exact_one_on_the_items_that_both_have():
    exact = cut_rows(step(2, n_items=10))
    shifted = pd.DataFrame(
        {"item": ["item-0", "item-1"], "score": [1.0, 0.0], "text": ["said", "other"]}
    )
    table = report.span_table({"pope": exact}, {"pope": shifted}, {"pope": 2}, 0.05)
    row = table.data.loc["POPE"]
    assert row["answers that differ"] == "1 of 2"
    assert [row["exact span %"], row["authors' span %"], row["worse"]] == ["100.0", "50.0", "1"]
    assert "changes answers in POPE" in table.caption
    same = report.span_table({"pope": exact}, {"pope": shifted.iloc[:1]}, {"pope": 2}, 0.05)
    assert "changes answers in no task" in same.caption


def test_what_vanishes_is_counted(made):
    matrix = some_matrix()
    share = 100 * float(matrix[-1, SPANS.image].sum())
    assert "6 of 12 rows and columns vanish" in made["matrix"].caption
    assert f"goes from {share:.1f} % to 0.0 %" in made["matrix"].alt
    whole = report.matrix_pair(matrix, matrix, PROMPT, 3, MODEL)
    assert "0 of 12 rows and columns vanish" in whole.caption
    data = report.block_table(matrix, without_image(matrix), SPANS).data
    assert data.loc["answer's row", "to image"] == f"{share:.1f} to 0.0"
    assert data.loc["system rows", "to system"] == "100.0 to 100.0"


def test_vanishing_attention_stands_beside_the_lost_score(made):
    table = made["vanishing"].table
    assert list(table.loc["pope"]["lost"]) == pytest.approx([90] * 3 + [0] * 3)
    assert list(table.loc["pope"]["vanishing"]) == pytest.approx(np.linspace(60, 10, L))
    assert "POPE 60.0 % vanish at cut 0, which costs 90.0 points" in made["vanishing"].caption
    flow = {"pope": flow_rows(np.linspace(0.6, 0.1, L))}
    truncated = {"pope": cut_rows(step(3, n_items=60, high=0.9))}
    lost, spared = (
        report.vanishing_table(flow, truncated, cut, 0.05, 0).data.iloc[0] for cut in (1, 4)
    )
    assert lost["attention that vanishes, %"].startswith("50.0 [")
    assert lost["change of score, points"].startswith("-90.0 [")
    assert [lost["loses less than 5"], spared["loses less than 5"]] == ["not shown", "yes"]


def test_drift_is_told_by_layer():
    table = report.drift_table(torch.tensor([0.0, 0.25]), 4)
    assert list(table.data.index) == [5, 6]
    assert list(table.data["distance"]) == ["0.000", "0.250"]
    assert "0.000 in the first truncated layer; at most 0.250" in table.caption


def test_the_diagram_stands_beside_what_was_done():
    diagram = paper_values()["truncation_diagram"]
    for apart, said in ((1e-5, "logits equal"), (0.1, "logits not equal")):
        table = report.matrix_paper_table(diagram, PROMPT, apart, "llava-1.5-7b", MODEL).data
        assert table["paper, llava-1.5-7b"]["image tokens taken out"] == "all 576, K = 0"
        assert table[f"ours, {MODEL}"]["image tokens taken out"] == "all 6, K = 0"
        assert said in table[f"ours, {MODEL}"]["how they are taken out"]
