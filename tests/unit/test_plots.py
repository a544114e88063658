import re
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from infoflow import report
from infoflow.claims.paper import paper_values
from infoflow.data.shapes import sample as draw
from infoflow.data.shapes.world import co_occurrence, object_names, popularity
from infoflow.methods.flow import AttentionFlow
from infoflow.models.grid import Grid
from infoflow.models.lvlm import Prompt, Spans
from infoflow.report.display import ProvenanceBox
from infoflow.stats.cliff import cliff_layer

L, MODEL = 12, "some-model"
TASKS = ("scienceqa", "pope", "textvqa", "chair")


def flow_rows(image_by_layer, n_items=5, spread=0.02):
    rng = np.random.default_rng(0)
    rows = []
    for item in range(n_items):
        for layer, image in enumerate(image_by_layer, start=1):
            noisy = float(np.clip(image + rng.normal(0, spread), 0, 0.99))
            user = 0.3 * (1 - noisy)
            rows.append(
                {
                    **{"item": f"item-{item}", "kind": "one", "layer": layer},
                    **{"system": 1 - noisy - user, "image": noisy, "user": user},
                    "uniform_image": 0.6,
                }
            )
    return pd.DataFrame(rows)


def cut_rows(scores, kinds=("one",)):
    return pd.DataFrame(
        [
            {
                **{"item": f"item-{item}", "kind": kinds[item % len(kinds)], "cut": cut},
                **{"text": f"said {item}", "answer": "right", "score": score, "margin": 1.25},
            }
            for item, row in enumerate(scores)
            for cut, score in enumerate(row)
        ]
    )


def step_scores(cliff, n_items=30, seed=0):
    """Scores that are poor below a cut and good from it on."""
    rng = np.random.default_rng(seed)
    chance = np.where(np.arange(L + 1) < cliff, 0.3, 0.9)
    return (rng.uniform(size=(n_items, 1)) < chance).astype(float)


def item_with_target():
    sample = draw("textvqa", "test", 0)
    grid, spans = Grid(8, 8), Spans(slice(0, 10), slice(10, 74), slice(74, 90))
    prompt = Prompt(
        torch.zeros(90, dtype=torch.long),
        torch.zeros(1, 90, 4),
        torch.zeros(1, 3, 96, 96),
        spans,
        grid,
        sample.image,
        sample.question,
    )
    return sample, prompt


def flow_on(prompt, where):
    """A flow whose image attention lies evenly on some of the 64 image tokens, in every layer."""
    image = np.zeros(64)
    image[where] = 0.5 / np.count_nonzero(where)
    row = np.full(90, 0.5 / 26)
    row[prompt.spans.image] = image
    rows = torch.tensor(np.tile(row, (L, 2, 1)), dtype=torch.float32)
    shares = torch.stack([rows.mean(1)[:, span].sum(-1) for span in prompt.spans], -1)
    return AttentionFlow(rows, shares)


def all_plots():
    rows = {task: flow_rows(np.linspace(0.5, 0.1, L)) for task in TASKS}
    scores = {task: step_scores(3 + 2 * i) for i, task in enumerate(TASKS)}
    cliffs = {task: cliff_layer(array) for task, array in scores.items()}
    sample, prompt = item_with_target()
    kinds = report.kind_scores({t: cut_rows(s, ("one", "two")) for t, s in scores.items()}, seed=0)
    return {
        "shares": report.flow_shares(rows, MODEL),
        "control": report.image_share_control(rows, rows, MODEL),
        "maps": report.attention_maps(flow_on(prompt, slice(0, 8)), prompt, sample, [1, 12], MODEL),
        "curves": report.truncation_curves(scores, cliffs, dict.fromkeys(TASKS, 0.25), MODEL),
        "sheet": report.sample_sheet([draw("pope", "test", i) for i in range(2)], "pope"),
        "regions": report.region_sheet(sample),
        "frequency": report.frequency_maps(popularity(), co_occurrence(), object_names()),
        "kinds": report.kind_plot(kinds, MODEL),
    }


@pytest.fixture(scope="module")
def made():
    return all_plots()


NAMES = ("shares", "control", "maps", "curves", "sheet", "regions", "frequency", "kinds")


@pytest.mark.parametrize("name", NAMES)
def test_plot_has_picture_words_and_numbers(made, name):
    plot = made[name]
    picture = Image.open(BytesIO(plot.png))
    assert 200 < picture.width <= 2 * 750
    assert 20 <= len(plot.alt) <= 400
    assert len(plot.caption) > 20
    assert not plot.table.empty
    bundle = plot._repr_mimebundle_()
    assert plot.alt in bundle["text/plain"]
    assert f'width="{picture.width // 2}"' in bundle["text/html"]
    assert re.search(r'<figure class="plot"><img alt="[^"]{20,}"', bundle["text/html"])
    assert "<figcaption>" in bundle["text/html"]


def test_plots_have_the_same_bytes_when_made_again(made):
    for name, plot in all_plots().items():
        assert plot.png == made[name].png


def test_plots_leave_no_global_state(made):
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_shares_are_means_and_quantiles_in_percent():
    frame = flow_rows(np.linspace(0.5, 0.1, L), n_items=11)
    table = report.flow_shares({"pope": frame}, MODEL).table
    third = 100 * frame[frame["layer"] == 3]["image"].to_numpy()
    line = table.loc[("pope", 3), "image"]
    assert line["mean"] == pytest.approx(third.mean())
    assert line["low"] == pytest.approx(np.quantile(third, 0.1))
    assert line["high"] == pytest.approx(np.quantile(third, 0.9))


def test_alt_text_tells_the_data():
    low, high = (
        report.flow_shares({"pope": flow_rows(np.full(L, x), spread=0)}, MODEL).alt
        for x in (0.2, 0.7)
    )
    assert "20.0 %" in low
    assert "70.0 %" in high


@pytest.mark.parametrize(("name", "last"), [("shares", "11"), ("curves", "intact")])
def test_axes_count_cuts_below_and_the_papers_layers_above(made, name, last):
    figure = made[name].figure
    for axes in figure.axes:
        above = axes.child_axes[0]
        cuts = [int(label.get_text()) for label in axes.get_xticklabels()]
        layers = [label.get_text() for label in above.get_xticklabels()]
        assert layers[-1] == last
        named = [layer for layer in layers if layer != "intact"]
        assert [int(layer) for layer in named] == [cut + 1 for cut in cuts][: len(named)]
        assert "paper" in above.get_xlabel()


def test_curves_show_means_and_cliffs():
    scores = step_scores(5)
    cliff = cliff_layer(scores)
    plot = report.truncation_curves({"pope": scores}, {"pope": cliff}, {"pope": 0.5}, MODEL)
    np.testing.assert_allclose(plot.table["pope"], 100 * scores.mean(axis=0))
    assert cliff.cut == 5
    assert "cut 5 [" in plot.alt
    (axes,) = plot.figure.axes
    assert any(text.get_text().startswith("cliff 5 [") for text in axes.texts)


def test_map_table_measures_attention_on_the_target():
    sample, prompt = item_with_target()
    inside = np.logical_or.reduce([sample.regions[name] for name in sample.targets])
    covered = inside.reshape(8, 12, 8, 12).mean(axis=(1, 3)).ravel() > 0.5
    on, off = (report.map_table(flow_on(prompt, w), prompt, sample) for w in (covered, ~covered))
    assert (on["on target %"] > 2 * on["target area %"]).all()
    assert (off["on target %"] < off["target area %"]).all()
    assert list(on["image %"]) == pytest.approx([50.0] * L)
    assert on["target area %"].iloc[0] == pytest.approx(100 * inside.mean())


def test_even_attention_is_on_target_as_much_as_the_target_is_large():
    sample, prompt = item_with_target()
    table = report.map_table(flow_on(prompt, np.ones(64, bool)), prompt, sample)
    assert list(table["on target %"]) == pytest.approx(list(table["target area %"]), rel=1e-4)


def test_chosen_layers_go_from_first_to_last():
    assert report.chosen_layers(12)[0] == 1
    assert report.chosen_layers(12)[-1] == 12
    assert report.chosen_layers(3) == [1, 2, 3]


def claims_table(image_by_layer, task="pope"):
    claims = paper_values()["attention_claims"]
    rows = {task: flow_rows(image_by_layer, spread=0)}
    return report.flow_paper_table(rows, claims, "llava-1.5-7b", MODEL).data


def test_paper_claims_are_checked_against_our_rows():
    holds = [0.5, 0.3, 0.2, 0.01, 0.01, *[0.01] * 6, 0.015]
    fails = [0.1, 0.3, 0.4, 0.5, 0.5, *[0.5] * 6, 0.2]
    ours = f"ours, {MODEL}: POPE"
    good, bad = claims_table(holds), claims_table(fails)
    claims = paper_values()["attention_claims"]
    by_id = dict(zip([claim["id"] for claim in claims], range(len(claims)), strict=True))
    assert good[ours].iloc[by_id["falls-early"]] == "yes: 50.0 to 1.0 %"
    assert bad[ours].iloc[by_id["falls-early"]] == "no: 10.0 to 50.0 %"
    assert good[ours].iloc[by_id["below-two-percent"]] == "yes: at most 1.5 %"
    assert bad[ours].iloc[by_id["below-two-percent"]] == "no: at most 50.0 %"
    assert bad[ours].iloc[by_id["flat-middle"]] == "yes: between 50.0 and 50.0 %"
    assert good[ours].iloc[by_id["rises-last"]].startswith("no: image +0.5, user -")
    assert good[ours].iloc[by_id["system-most"]].startswith("no: in ")


def test_what_nobody_ran_says_so():
    table = report.Table(claims_table(np.full(L, 0.2)), "caption", comparison=True)
    column = table.data["ours, llava-1.5-7b on the benchmarks"]
    assert set(column) == {report.NOT_RUN}
    html = table._repr_mimebundle_()["text/html"]
    assert html.count('<td class="not-run">not run</td>') == len(column)
    assert "paper-vs-ours" in html
    assert '<td class="paper words">' in html


def test_published_values_stand_as_printed():
    paper = paper_values()
    cliffs = {task: cliff_layer(step_scores(4)) for task in TASKS}
    data = report.cliff_paper_table(cliffs, L, paper["cliffs"], "llava-1.5-7b", MODEL).data
    printed = data["paper, llava-1.5-7b: layer"]
    as_cut = data["paper: as cut"]
    assert list(printed["POPE"]) == ["24", "22"]
    assert list(as_cut["POPE"]) == ["23", "21"]
    assert printed["CHAIR"] == "about 30"
    assert set(data["ours: as paper's layer"]) == {"5"}

    measured = {("pope", "accuracy"): (0.9, 0.91), ("chair", "CHAIRi"): (0.1, 0.2)}
    data = report.score_paper_table(measured, paper["table1"], "llava-1.5-7b", MODEL).data
    assert list(data["paper, LLaVA1.5-7B"]) == ["84.70 to 85.51", "not printed"]
    assert list(data[f"ours, {MODEL} on Shapes"]) == ["90.0 to 91.0", "10.0 to 20.0"]


def test_cliff_table_tells_the_cliff():
    calibration, test = step_scores(6), step_scores(6, seed=1)
    cliff = cliff_layer(calibration, test)
    row = report.cliff_table({"pope": cliff}, L).data.loc["POPE"]
    assert row["cliff: cut"] == f"6 [{cliff.interval[0]}, {cliff.interval[1]}]"
    assert row["as paper's layer"] == "7"
    assert row["intact %"] == f"{100 * test[:, -1].mean():.1f}"
    assert row["paper's reading: best cut"] == cliff.best


def test_a_cliff_at_the_intact_model_is_no_layer_of_the_paper():
    rising = np.tile(np.linspace(0, 1, L + 1), (20, 1))
    data = report.cliff_table({"pope": cliff_layer(rising, margin=0)}, L).data
    assert data.loc["POPE", "cliff: cut"] == f"{L} [{L}, {L}]"
    assert data.loc["POPE", "as paper's layer"] == "none"


def test_answers_table_goes_through_the_cuts():
    data = report.answers_table(cut_rows(step_scores(2, n_items=1))).data
    assert list(data.index) == list(range(L + 1))
    assert list(data["paper's layer"]) == [*range(1, L + 1), "intact"]


def test_control_table_counts_answers_that_differ():
    rows = {"pope": cut_rows([[0.0, 1.0], [1.0, 1.0]])}
    same = pd.DataFrame({"item": ["item-0", "item-1"], "text": ["said 0", "said 1"], "score": 1.0})
    other = same.assign(text=["said 0", "else"], score=[0.0, 0.5])
    data = report.truncation_control_table(
        rows, {"pope": other}, {"pope": same}, {"pope": 0.5}
    ).data
    assert data["cut L unlike untouched model"]["POPE"] == "0 of 2"
    data = report.truncation_control_table(
        rows, {"pope": other}, {"pope": other}, {"pope": 0.5}
    ).data
    assert data["cut L unlike untouched model"]["POPE"] == "1 of 2"
    assert data["another's picture %"]["POPE"] == "25.0"
    assert data["no picture (cut 0) %"]["POPE"] == "50.0"


def test_flow_control_is_paired():
    own, grey = flow_rows(np.full(L, 0.5), spread=0), flow_rows(np.full(L, 0.3), spread=0)
    row = report.flow_control_table({"pope": own}, {"pope": grey}, seed=0).data.loc["POPE"]
    assert row["own - grey, points"] == "+20.0 [+20.0, +20.0]"
    assert row["even attention %"] == "60.0"


def test_kind_scores_are_apart_and_together():
    rows = {"pope": cut_rows([[0.0, 1.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]], ("a", "b"))}
    scores = report.kind_scores(rows, seed=0)
    assert list(scores.index) == [("POPE", "all"), ("POPE", "a"), ("POPE", "b")]
    assert scores.loc[("POPE", "all"), "score"] == 75
    assert scores.loc[("POPE", "a"), ["score", "blind"]].tolist() == [100, 50]
    assert scores.loc[("POPE", "b"), ["score", "blind"]].tolist() == [50, 0]
    assert "75.0 [" in report.kind_table(scores).data["intact %"].iloc[0]


def test_bars_are_reached_or_not():
    data = report.bar_table(
        {"a": (97.0, ">=", 97), "b": (96.9, ">=", 97), "c": (3.0, "<", 3), "d": (5.0, "<=", 5)}
    ).data
    assert list(data["reached"]) == ["yes", "no", "no", "yes"]


def test_seed_table_sets_runs_side_by_side():
    result = {"mean_score": [0.1, 0.9], "cliff": {"cut": 1, "interval": [0, 1]}}
    data = report.seed_table(
        {"items": {"test": 500}, "seeds": {"0": {"pope": result}, "1": {"pope": result}}}
    ).data
    assert data.loc["POPE"].tolist() == ["90.0", "1 [0, 1]", "90.0", "1 [0, 1]"]


def two_seeds(*cuts):
    """Two runs on two tasks: the cliffs of POPE are at the cuts given, TextVQA's at 2."""
    pope = [
        {"mean_score": [0.5, 0.75, 1.0], "cliff": {"cut": cut, "interval": [0, 2]}} for cut in cuts
    ]
    reading = {"mean_score": [0.0, 0.125, 0.25], "cliff": {"cut": 2, "interval": [1, 2]}}
    return {
        "items": {"calibration": 300, "test": 400},
        "seeds": {str(seed): {"pope": p, "textvqa": reading} for seed, p in enumerate(pope)},
    }


def test_seed_plot_tells_how_far_the_cliff_moves():
    plot = report.seed_plot(two_seeds(2, 0))
    assert plot.table["POPE", "seed 1"].tolist() == [50, 75, 100]
    assert plot.table["TextVQA", "seed 0"].tolist() == [0, 12.5, 25]
    assert "in 1 of 2 tasks, at most by 2 cuts (POPE)" in plot.caption
    assert "400 test items" in plot.caption
    assert "300 calibration items" in plot.caption
    assert "POPE cuts 2 and 0; TextVQA cuts 2 and 2" in plot.alt
    assert "the same cut with each seed, in every task" in report.seed_plot(two_seeds(1, 1)).caption
    assert len(plot.figure.axes) == 2
    assert plot.png == report.seed_plot(two_seeds(2, 0)).png


def test_tables_escape_and_scroll():
    table = report.Table(pd.DataFrame({"<b>": ["a & b"]}, index=["x"]), 'say "hi"')
    bundle = table._repr_mimebundle_()
    assert "<b>" not in bundle["text/html"].replace("<tbody>", "")
    assert "a &amp; b" in bundle["text/html"]
    assert 'role="region" tabindex="0"' in bundle["text/html"]
    assert "a & b" in bundle["text/plain"]


def test_long_cells_are_not_cut_short():
    words = "word " * 40
    table = report.Table(pd.DataFrame({"a": [words]}), "caption")
    assert words.strip() in table._repr_mimebundle_()["text/plain"]


def test_only_lasting_things_are_compared():
    box = ProvenanceBox("line", {"model": "m"}, {"wall time": "3 s"})
    bundle = box._repr_mimebundle_()
    assert "3 s" in bundle["text/html"]
    assert "3 s" not in bundle["text/plain"]
    assert "model: m" in bundle["text/plain"]


def store_of(*records):
    return SimpleNamespace(records=list(records))


def record(name, seconds):
    return {
        "key": {"measure": name, "parameters": {"keep": 0}},
        "n_items": 4,
        "seconds": seconds,
        "peak_rss_mb": 100.0,
        "provenance": {
            "model": {
                **{"name": MODEL, "revision": None, "digest": "d" * 64},
                **{"dtype": "float32", "attention": "sdpa"},
            },
            "data": {"task": "pope", "source": "shapes", "split": "test", "count": 99},
            "machine": {
                **{"device": "cpu", "device_name": "x86", "threads": 1, "python": "3.11"},
            },
            "packages": {"torch": "2"},
            "code": {"digest": "c" * 64, "commit": None},
        },
    }


def test_provenance_counts_the_items_shown(monkeypatch):
    monkeypatch.setattr("infoflow.report.provenance.page_parameters", lambda: {"limit": 4})
    box = report.provenance_box(store_of(record("truncation_by_cut", 2.5)))
    assert "truncation_by_cut on pope test (shapes): 4" in box.lasting["items"]
    assert box.lasting["parameters"] == "limit = 4"
    assert "2.5 s" in box.circumstances["wall time, peak memory"]
    assert "2.5" not in box._repr_mimebundle_()["text/plain"]


def test_a_result_read_twice_counts_once_with_the_most_items():
    one, other = record("truncation_by_cut", 2.5), record("answers", 1.0)
    box = report.provenance_box(store_of(one, other, one | {"n_items": 2}))
    told = "truncation_by_cut on pope test (shapes): 4; answers on pope test (shapes): 4"
    assert box.lasting["items"] == told
    assert box.summary == "Provenance: some-model, 8 answers to 2 sets of items"
    assert "3.5 s" in box.circumstances["wall time, peak memory"]


def test_provenance_of_two_models_names_both():
    one, other = record("answers", 1.0), record("answers", 1.0)
    other["provenance"]["model"]["name"] = other["key"]["model"] = "other"
    box = report.provenance_box(store_of(one, other))
    assert box.lasting["model"] == "some-model; other"
    assert "other: answers on pope test (shapes): 4" in box.lasting["items"]


@pytest.mark.parametrize(
    ("whole", "told"),
    [
        (500, "only 4 of the 500 items of pope test"),
        (4, "no: all items of each"),
        (None, "4 of pope test, a set of unknown size"),
    ],
)
def test_provenance_says_if_only_a_part_of_a_set_was_measured(whole, told):
    measured = record("truncation_by_cut", 2.5)
    measured["provenance"]["data"]["of"] = whole
    assert told in report.provenance_box(store_of(measured))._repr_mimebundle_()["text/html"]
