"""What the pages on truncation and the model card draw: right numbers, words and edge cases."""

from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matrix_page import group_shares, matrix_pair, vanishing_plot
from PIL import Image
from truncation_pages import (
    control_table,
    curves_by_model,
    log_prob_plot,
    metrics_table,
    score_plot,
)

from infoflow import report
from infoflow.claims import Evidence
from infoflow.models.lvlm import Spans
from infoflow.report import Line
from infoflow.stats.cliff import cliff_layer

L, MODEL, TASKS = 6, "some-model", ("scienceqa", "pope", "textvqa", "chair")
SPANS = Spans(slice(0, 3), slice(3, 9), slice(9, 12))


class SomePrompt(SimpleNamespace):
    def __len__(self):
        return 12


PROMPT = SomePrompt(spans=SPANS, question="What is it?")


def step(cliff, n_items=20, high=1.0, n_layers=L):
    """Scores of shape (N, L + 1): nothing below a cut, and the same from it on."""
    return np.where(np.arange(n_layers + 1) < cliff, 0.0, high) * np.ones((n_items, 1))


def cut_rows(scores):
    return pd.DataFrame(
        [
            {"item": f"item-{item}", "cut": cut, "score": score, "text": f"said {item}"}
            for item, row in enumerate(scores)
            for cut, score in enumerate(row)
        ]
    )


def log_probs(seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.1, (20, L + 1))
    return np.linspace(-4, -0.2, L + 1) + noise


def some_matrix():
    weights = torch.rand(12, 12, generator=torch.Generator().manual_seed(0)).tril()
    return weights / weights.sum(-1, keepdim=True)


def without_image(matrix):
    left = matrix.clone()
    left[:, SPANS.image] = torch.diag(matrix.diagonal())[:, SPANS.image]
    return left / left.sum(-1, keepdim=True)


def flow_rows(shares):
    return pd.DataFrame(
        [
            {"item": f"item-{item}", "layer": layer, "image": share}
            for item in range(20)
            for layer, share in enumerate(shares, start=1)
        ]
    )


def evidence(model, cliff, n_layers):
    scores = {task: step(cliff, n_layers=n_layers) for task in TASKS}
    cliffs = {task: cliff_layer(array) for task, array in scores.items()}
    return Evidence(model, n_layers, cliffs, {t: cut_rows(array) for t, array in scores.items()})


def all_plots():
    scores = {task: step(2 + i) for i, task in enumerate(TASKS)}
    cliffs = {task: cliff_layer(array) for task, array in scores.items()}
    per_token = dict.fromkeys(TASKS, log_probs())
    log_cliffs = {task: cliff_layer(array) for task, array in per_token.items()}
    flow = dict.fromkeys(TASKS, flow_rows(np.linspace(0.6, 0.1, L)))
    rows = dict.fromkeys(TASKS, cut_rows(step(3, high=0.9)))
    matrix = some_matrix()
    return {
        "scores": score_plot(scores, cliffs, dict.fromkeys(TASKS, 0.25), MODEL, {}),
        "log-probabilities": log_prob_plot(per_token, log_cliffs, cliffs, MODEL),
        "models": curves_by_model({n: evidence(n, d // 2, d) for n, d in (("a", 6), ("b", 12))}),
        "matrix": matrix_pair(matrix, without_image(matrix), PROMPT, 3, MODEL),
        "vanishing": vanishing_plot(flow, rows, MODEL),
    }


@pytest.fixture(scope="module")
def made():
    return all_plots()


def test_plots_have_picture_words_and_numbers(made):
    for plot in made.values():
        assert 200 < Image.open(BytesIO(plot.png)).width <= 2 * 750
        assert 20 <= len(plot.alt) <= 400
        assert len(plot.caption) > 20
        assert not plot.table.empty


def test_a_plot_has_the_same_bytes_when_made_again(made):
    matrix = some_matrix()
    again = matrix_pair(matrix, without_image(matrix), PROMPT, 3, MODEL)
    assert again.png == made["matrix"].png


@pytest.mark.parametrize("name", ["scores", "log-probabilities"])
def test_axes_count_cuts_below_and_the_papers_layers_above(made, name):
    for axes in made[name].figure.axes:
        cuts = [int(label.get_text()) for label in axes.get_xticklabels()]
        layers = [label.get_text() for label in axes.child_axes[0].get_xticklabels()]
        assert layers == [*(str(cut + 1) for cut in cuts[:-1]), "intact"]


def test_scores_are_means_and_cliffs_are_named():
    scores = step(3, high=0.9)
    cliff = cliff_layer(scores)
    assert cliff.cut == 3
    plot = score_plot({"pope": scores}, {"pope": cliff}, {"pope": 0.5}, MODEL, {})
    assert list(plot.table["mean"]["pope"]) == pytest.approx([0] * 3 + [90] * 4)
    assert "POPE cut 3 [3, 3], 90.0 % against 90.0 % intact" in plot.alt
    assert "cut 3 [3, 3]" in [text.get_text() for text in plot.figure.axes[0].texts]


def test_log_probs_are_means_with_intervals_and_tell_where_the_cliffs_lie():
    values = log_probs()
    deep, score = cliff_layer(values, margin=0.01), cliff_layer(step(2), margin=0.01)
    assert (deep.cut, score.cut) == (6, 2)
    plot = log_prob_plot({"pope": values}, {"pope": deep}, {"pope": score}, MODEL)
    line = plot.table.loc["pope", 3]
    assert line["mean"] == pytest.approx(values[:, 3].mean())
    assert line["low"] < line["mean"] < line["high"]
    assert plot.caption.endswith("is deeper in POPE.")
    turned = log_prob_plot({"pope": values}, {"pope": score}, {"pope": deep}, MODEL)
    assert turned.caption.endswith("is shallower in POPE.")


def test_models_of_any_depth_share_the_axis_and_keep_their_own_cliffs(made):
    plot = made["models"]
    assert "POPE a 3 of 6 and b 6 of 12" in plot.alt
    assert "POPE 0.50 (all)" in plot.caption
    axes = plot.figure.axes[1]
    for line in axes.lines[1::2]:
        assert list(line.get_xdata()) == [0.5], "both cliffs are half way up"
    assert plot.table.loc["pope", "b", 12]["score"] == 100
    apart = curves_by_model({n: evidence(n, c, d) for n, c, d in (("a", 1, 4), ("b", 6, 12))})
    assert "POPE 0.25 (a) to 0.50 (b)" in apart.caption


def test_controls_count_answers_that_differ():
    rows = {"pope": cut_rows([[0.0, 1.0], [1.0, 1.0]])}
    same = pd.DataFrame({"item": ["item-0", "item-1"], "text": ["said 0", "said 1"], "score": 1.0})
    other = same.assign(text=["said 0", "else"], score=[0.0, 0.5])
    for ordinary, count in ((same, "0 of 2"), (other, "1 of 2")):
        table = control_table(rows, {"pope": other}, {"pope": ordinary}, {"pope": 0.5})
        assert table.data.loc["POPE"].tolist() == ["100.0", "25.0", "50.0", "50.0", count]


def test_metrics_go_through_the_cuts_to_the_intact_model():
    metrics = pd.DataFrame({"f1": [0.25, 1.0], "recall": [0.0, 1.0]}).rename_axis("cut")
    data = metrics_table(metrics, ["f1"], "title").data
    assert data.to_dict("list") == {"paper's layer": ["1", "intact"], "f1": ["25.0", "100.0"]}


def test_what_vanishes_from_a_matrix_is_counted(made):
    matrix = some_matrix()
    share = 100 * float(matrix[-1, SPANS.image].sum())
    assert "6 of 12 rows and columns vanish" in made["matrix"].caption
    assert f"goes from {share:.1f} % to 0.0 %" in made["matrix"].alt
    whole = matrix_pair(matrix, matrix, PROMPT, 3, MODEL)
    assert "0 of 12 rows and columns vanish" in whole.caption
    data = group_shares(matrix, without_image(matrix), SPANS)
    assert data.loc["answer's row", "to image"] == f"{share:.1f} to 0.0"
    assert data.loc["system rows", "to system"] == "100.0 to 100.0"


def test_vanishing_attention_stands_beside_the_lost_score(made):
    table = made["vanishing"].table
    assert list(table.loc["pope"]["score"]) == pytest.approx([90] * 3 + [0] * 3)
    assert list(table.loc["pope"]["attention"]) == pytest.approx(np.linspace(60, 10, L))
    assert "POPE 60.0 % vanish at cut 0, which costs 90.0 points" in made["vanishing"].caption


def test_intervals_stand_on_rows_under_their_task():
    rows = pd.MultiIndex.from_tuples([("pope", "all"), ("pope", "$a_b$"), ("chair", "all")])
    columns = pd.MultiIndex.from_product([["seen", "blind"], ["mean", "low", "high"]])
    table = pd.DataFrame(np.arange(18.0).reshape(3, 6), rows, columns)
    table.loc[("chair", "all"), "blind"] = np.nan  # not every mark stands on every row
    marks = {"seen": Line("o", "black"), "blind": Line("s", "grey")}
    figure, axes = report.interval_rows(table, marks, "score (%)", spread=0.5)
    assert [label.get_text().strip() for label in axes.get_yticklabels()] == [
        "POPE",
        "$a_b$",
        "CHAIR",
    ]
    assert [line.get_xdata().tolist() for line in axes.lines[:1]] == [[0.0, 6.0, 12.0]]
    assert [float(line.get_ydata()[0]) for line in axes.lines] == [-0.25, 0.25]
    assert report.Plot(figure, "alt", "caption", table).png[:4] == b"\x89PNG"
