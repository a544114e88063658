"""Tables and figures of interventions: their numbers, and that their words follow the data."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from infoflow import report
from infoflow.claims.paper import paper_values
from infoflow.data.shapes import sample as draw
from infoflow.errors import InfoflowError
from infoflow.interventions import EAH
from infoflow.models.grid import Grid, Raster, stack
from infoflow.models.prompt import Prompt, Spans
from infoflow.report.interventions import compare_arms
from infoflow.stats.paired import equivalence, mcnemar

MODEL, N = "some-model", 40
PAPER = paper_values()


def rows(scores):
    scores = np.asarray(scores, dtype=float)
    items = [f"item-{i}" for i in range(len(scores))]
    return pd.DataFrame({"item": items, "kind": "one", "score": scores})


def right(n_right, n_items=N):
    return rows(np.arange(n_items) < n_right)


def prompt_of(sample, rows=8, cols=8):
    n_image = rows * cols
    spans = Spans(slice(0, 10), slice(10, 10 + n_image), slice(10 + n_image, 26 + n_image))
    size = 26 + n_image
    return Prompt(
        torch.zeros(size, dtype=torch.long),
        torch.zeros(1, size, 4),
        torch.zeros(1, 3, 96, 96),
        spans,
        Grid(rows, cols),
        sample.image,
        sample.question,
    )


def measured():
    curve = {("most", n): right(30 - n // 8) for n in (8, 14, 32, 64)}
    others = {(order, 14): right(20) for order in ("ends", "random", "least")}
    return curve | others


def sink_rows(first, last, n_layers=6, betas=(0.01, 0.02, 0.04)):
    densities = np.linspace(first, last, n_layers)
    return pd.DataFrame(
        [
            {
                **{"item": f"item-{item}", "kind": "one", "beta": beta, "layer": layer},
                **{"head": head, "density": density * (1 - 0.1 * head) * 0.01 / beta},
                "even": float(beta < 0.03),
            }
            for item in range(2)
            for beta in betas
            for layer, density in enumerate(densities, start=1)
            for head in range(3)
        ]
    )


def sweeps(change):
    by_beta = {beta: right(30 + change) for beta in (0.01, 0.02, 0.04)}
    by_layer = {layer: right(30 + (change if layer else 0)) for layer in (0, 3, 5)}
    return report.eah_sweeps(by_beta, by_layer, right(30), (1, 0.02), MODEL, "pope", 6)


def all_plots():
    sample = draw("pope", "test", 0)
    prompt = prompt_of(sample)
    hidden = {"none": np.zeros(64, bool), "half": np.arange(64) < 32}
    strengths = torch.linspace(0, 0.1, 6 * 3 * 64).view(6, 3, 64)
    rows = sink_rows(0.8, 0.2)
    return {
        "hidden": report.hidden_maps(hidden, prompt, sample, MODEL),
        "curve": report.ignored_curve(
            measured(), right(30), 64, PAPER["simignore"], MODEL, "scienceqa"
        ),
        "heatmap": report.sink_heatmap(rows, 0.02, MODEL, "pope"),
        "thresholds": report.sink_thresholds(rows, {"README": 0.02}, MODEL, "pope"),
        "maps": report.sink_maps(strengths, [1, 6], 0.02, prompt, sample),
        "sweeps": sweeps(-10),
    }


@pytest.fixture(scope="module")
def made():
    return all_plots()


@pytest.mark.parametrize("name", ["hidden", "curve", "heatmap", "thresholds", "maps", "sweeps"])
def test_plot_has_picture_words_and_numbers(made, name):
    plot = made[name]
    assert 200 < Image.open(BytesIO(plot.png)).width <= 2 * 750
    assert 20 <= len(plot.alt) <= 400
    assert len(plot.caption) > 20
    assert not plot.table.empty
    assert plot.alt in plot._repr_mimebundle_()["text/plain"]


def test_plots_have_the_same_bytes_when_made_again(made):
    for name, plot in all_plots().items():
        assert plot.png == made[name].png


# Pairs


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
    data = report.paired_table({"none": soft, "up": better}, 0.05, "CHAIR").data
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
    table = report.paired_table(arms, 0.2, "POPE")
    assert "p < 0.05, uncorrected): worse (-50.0 [" in table.caption
    assert table.caption.endswith("(90 % interval inside it): same.")
    assert list(table.data.index) == ["none", "same", "worse"]
    assert list(table.data["worse"]) == ["-", "0", "20"]
    assert table.data["score %"]["none"] == "75.0"
    nothing = report.paired_table({"none": right(30), "same": right(30)}, 0.01, "POPE").caption
    assert "uncorrected): none. " in nothing
    assert nothing.endswith("inside it): none.")


# Simignore


def test_hidden_tokens_cover_their_part_of_the_picture():
    sample = draw("textvqa", "test", 0)
    target = np.logical_or.reduce([sample.regions[name] for name in sample.targets])
    inside = target.reshape(8, 12, 8, 12).any(axis=(1, 3)).ravel()
    hidden = {"none": np.zeros(64), "target": inside, "rest": ~inside}
    table = report.hidden_maps(hidden, prompt_of(sample), sample, MODEL).table
    assert list(table["hidden"]) == [0, inside.sum(), 64 - inside.sum()]
    assert list(table["target hidden %"]) == [0, 100, 0]


def test_a_cell_is_hidden_with_most_of_the_tokens_it_mixes():
    sample = draw("textvqa", "test", 0)
    fine, coarse = Raster(Grid(4, 4), np.arange(16)), Raster(Grid(2, 2), np.arange(16, 20))
    prompt = replace(prompt_of(sample), grid=stack([fine, coarse], 20))
    target = np.zeros(sample.image.size[::-1], dtype=bool)
    target[:24, :24] = True  # the first of the 4 x 4 cells
    sample = replace(sample, regions={"corner": target}, targets=("corner",))
    corner, both = np.zeros((2, 20))
    corner[0] = both[[0, 16]] = 1
    hidden = {"fine one alone": corner, "both": both}
    table = report.hidden_maps(hidden, prompt, sample, MODEL).table
    assert list(table["target hidden %"]) == [0, 100]


def test_items_without_regions_have_maps_too():
    sample = replace(draw("pope", "test", 0), regions={}, targets=())
    plot = report.hidden_maps({"none": np.zeros(64)}, prompt_of(sample), sample, MODEL)
    assert "no such region" in plot.caption


def test_the_curve_holds_changes_in_points_ours_and_published(made):
    table = made["curve"].table
    ours = table.loc[("ours", "least")]["change"]
    assert list(ours.index) == [100 * n / 64 for n in (8, 14, 32, 64)]
    assert list(ours) == pytest.approx([-2.5, -2.5, -10, -20])
    assert table.loc[("ours", "random", 100 * 14 / 64), "change"] == pytest.approx(-25)
    paper = table.loc[("paper", "least")]["change"]
    assert paper[100 * 124 / 576] == pytest.approx(68.02 - 65.15)
    assert paper.iloc[-1] == pytest.approx(53.35 - 65.15)
    assert "ours: best with 12 % hidden (-2.5 points), -20.0 with 100 %" in made["curve"].caption
    assert "paper: best with 22 % hidden (+2.9 points), -11.8 with 100 %" in made["curve"].alt


def test_which_tokens_are_ignored_is_set_beside_the_paper():
    table = report.which_ignored_table(
        measured(), right(30), 64, PAPER["simignore"], "llava-1.5-7b", MODEL, "scienceqa"
    )
    names = ["least similar", "intermediate", "random", "most similar"]
    assert list(table.data.index) == names
    assert list(table.data.iloc[:, 0]) == ["68.02", "64.55", "65.12", "61.73"]
    assert set(table.data.iloc[:, 1]) == {report.NOT_RUN}
    assert list(table.data.iloc[:, 2]) == ["72.5", "50.0", "50.0", "50.0"]
    assert "6.29 in the paper, here 22.5 at 21.9 %" in table.caption


def test_published_predictions_are_tested_item_by_item():
    table = report.stored_predictions_table(PAPER["simignore"])
    seven = table.data.loc["llava-1.5-7b"]
    assert seven["paper: right before"] == "1314 of 2017"
    assert seven["before %"] == "65.15"
    assert seven["after %"] == "68.02"
    changed = [1] * 91 + [0] * 149
    test = mcnemar(changed, [1 - score for score in changed])
    assert seven["McNemar p"] == f"{test.p_value:.1g}" == "0.0002"
    assert "llava-1.5-7b: p = 0.0002, baseline -1.65 points" in table.caption
    assert table.data.loc["llava-1.5-13b", "McNemar p"] == "0.02"


def test_the_published_gain_stands_with_both_methods():
    arms = {"none": right(30), "mask": right(31), "FastV": right(29), "both": right(32)}
    data = report.simignore_paper_table(arms, PAPER["simignore"], "llava-1.5-7b", MODEL).data
    assert list(data["paper, llava-1.5-7b"]) == ["65.15", "not printed", "not printed", "68.02"]
    assert list(data[f"ours, {MODEL}"]) == ["75.0", "77.5", "72.5", "80.0"]
    unknown = report.simignore_paper_table(arms, PAPER["simignore"], "qwen-vl-7b", MODEL).data
    assert set(unknown["paper, qwen-vl-7b"]) == {"not printed"}


def test_entries_hold_fewer_tokens_than_they_are():
    ignored = pd.DataFrame(
        {
            **{"item": ["a", "b"] * 2, "choice": [0, 0, 1, 1], "keep": 50, "n_image": 64},
            "n_ignored": [20, 24, 14, 14],
        }
    )
    table = report.entries_table(ignored, ["entries", "tokens"], "scienceqa")
    assert list(table.data["tokens in sight, mean"]) == ["42.0", "50.0"]
    assert list(table.data["least"]) == [40, 50]
    assert "entries: 42.0, tokens: 50.0" in table.caption


# EAH


def test_the_heat_map_says_where_sinks_are_dense():
    rows = sink_rows(0.8, 0.2)
    plot = report.sink_heatmap(rows, 0.01, MODEL, "pope")
    assert plot.table.loc[1, 0] == pytest.approx(80)
    assert plot.table.loc[6, 2] == pytest.approx(20 * 0.8)
    assert "Densest: head 0 of layer 1 (80.0 %). Shallow layers are denser" in plot.caption
    deep = report.sink_heatmap(sink_rows(0.2, 0.8), 0.01, MODEL, "pope").caption
    assert "Densest: head 0 of layer 6 (80.0 %). Shallow layers are not denser" in deep
    assert "spread evenly would make sinks of 100.0 %" in deep


@pytest.mark.parametrize("n_layers", [1, 2, 3, 7])
def test_thirds_hold_every_layer_of_any_model(n_layers):
    rows = sink_rows(0.6, 0.6, n_layers)
    table = report.sink_thresholds(rows, {"README": 0.02}, MODEL, "pope").table
    assert table.loc[0.01, ["first", "middle", "last"]].tolist() == pytest.approx([54] * 3)
    assert list(table["even"]) == [100, 100, 0]


def test_sink_maps_show_the_head_with_the_most_sinks():
    sample = draw("pope", "test", 0)
    strengths = torch.zeros(4, 3, 64)
    strengths[2, 1, :16] = 1.0
    strengths[3, 2, :8] = 1.0
    table = report.sink_maps(strengths, [3, 4], 0.5, prompt_of(sample), sample).table
    assert list(table["head"]) == [1, 2]
    assert list(table["sinks %"]) == [25, 12.5]
    assert table.loc[3, "mean %"] == pytest.approx(25 / 3)


def test_sweeps_tell_the_range_of_changes():
    caption = sweeps(-10).caption
    assert "By threshold the change is -25.0 points throughout, 3 of 3 intervals" in caption
    assert "by layer the change lies between -25.0 (at 3) and +0.0 points (at 0)" in caption


def test_settings_are_set_beside_even_attention():
    settings = {"README": EAH(layers=(1,), beta=0.02), "dense": EAH(layers=(0,), beta=0.01)}
    rows = sink_rows(1.0, 0.2)
    table = report.eah_settings_table(settings, rows, {"README": 0.611})
    column = "even attention in the paper's model: sinks"
    assert list(table.data[column]) == ["61.1 %", "-"]
    assert table.data.loc["README", "densest head"] == "42.0 %"
    assert table.data.loc["README", "even attention here: sinks"] == "100.0 %"
    assert table.caption.endswith("picked out: none.")
    full = rows.assign(density=1.0)
    assert report.eah_settings_table(settings, full, {}).caption.endswith("out: README, dense.")


def test_every_account_of_the_effect_is_shown():
    ours = {("chair", "CHAIRs"): (0.2, 0.1), ("pope", "f1"): (0.9, 0.95)}
    table = report.eah_effects_table(PAPER["eah"], ours, "llava-1.5-7b", MODEL)
    chair = table.data.loc["llava-1.5-7b: CHAIRs"]
    assert chair["paper's authors, EVAS"] == "51.00 to 36.40"
    assert chair["re-run by others, EAH"] == "49.68 to 38.76 ± 2.47"
    assert chair[f"ours, {MODEL}"] == "20.0 to 10.0"
    assert table.data.loc["llava-1.5-7b: CHAIRi", f"ours, {MODEL}"] == report.NOT_RUN
    assert table.data.loc["llava-next: POPE f1", f"ours, {MODEL}"] == "-"
    assert set(table.data["ours, on the benchmark"]) == {report.NOT_RUN}
    expected = f"CHAIRs: authors -14.60; others -10.92, +1.08, -0.95; {MODEL} -10.0"
    assert expected in table.caption
    assert (
        f"POPE f1: authors +0.80; others +0.05, -0.18, -4.23, +0.62; {MODEL} +5.0" in table.caption
    )
