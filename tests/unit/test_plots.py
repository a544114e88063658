import re
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from flow_pages import attention_maps, map_table
from PIL import Image
from truncation_pages import cliff_paper_table

from infoflow import report
from infoflow.claims.paper import paper_values
from infoflow.data.shapes import sample as draw
from infoflow.methods.flow import AttentionFlow
from infoflow.models.grid import Grid
from infoflow.models.lvlm import Prompt, Spans
from infoflow.report.display import ProvenanceBox
from infoflow.stats.cliff import cliff_layer

L, MODEL = 12, "some-model"
TASKS = ("scienceqa", "pope", "textvqa", "chair")


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
    sample, prompt = item_with_target()
    return {
        "maps": attention_maps(flow_on(prompt, slice(0, 8)), prompt, sample, [1, 12], MODEL),
        "sheet": report.sample_sheet([draw("pope", "test", i) for i in range(2)], "pope"),
    }


@pytest.fixture(scope="module")
def made():
    return all_plots()


NAMES = ("maps", "sheet")


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


def test_a_layer_that_is_named_twice_is_shown_once():
    sample, prompt = item_with_target()  # a page on two layers names its first, middle and last
    plot = attention_maps(flow_on(prompt, slice(0, 8)), prompt, sample, [2, 1, 2], MODEL)
    assert [*plot.table.index] == [2, 1]
    assert "in 2 layers" in plot.alt


def test_map_table_measures_attention_on_the_target():
    sample, prompt = item_with_target()
    inside = np.logical_or.reduce([sample.regions[name] for name in sample.targets])
    covered = inside.reshape(8, 12, 8, 12).mean(axis=(1, 3)).ravel() > 0.5
    on, off = (map_table(flow_on(prompt, w), prompt, sample) for w in (covered, ~covered))
    assert (on["on target %"] > 2 * on["target area %"]).all()
    assert (off["on target %"] < off["target area %"]).all()
    assert list(on["image %"]) == pytest.approx([50.0] * L)
    assert on["target area %"].iloc[0] == pytest.approx(100 * inside.mean())


def test_even_attention_is_on_target_as_much_as_the_target_is_large():
    sample, prompt = item_with_target()
    table = map_table(flow_on(prompt, np.ones(64, bool)), prompt, sample)
    assert list(table["on target %"]) == pytest.approx(list(table["target area %"]), rel=1e-4)


def test_chosen_layers_go_from_first_to_last():
    assert report.chosen_layers(12)[0] == 1
    assert report.chosen_layers(12)[-1] == 12
    assert report.chosen_layers(3) == [1, 2, 3]


def test_what_nobody_ran_says_so():
    line = {"paper, llava-1.5-7b": "words", "ours, llava-1.5-7b on the benchmarks": report.NOT_RUN}
    table = report.paper_table({"POPE": line, "CHAIR": line}, "caption", "shapes", MODEL)
    html = table._repr_mimebundle_()["text/html"]
    assert html.count('class="not-run"') == 2
    assert "paper-vs-ours" in html
    assert '<td class="paper words"' in html


def test_published_values_stand_as_printed():
    paper = paper_values()
    cliffs = {task: cliff_layer(step_scores(4)) for task in TASKS}
    data = cliff_paper_table(cliffs, L, paper["cliffs"], "llava-1.5-7b", MODEL).data
    printed = data["paper, llava-1.5-7b: layer"]
    as_cut = data["paper: as cut"]
    assert list(printed["POPE"]) == ["24", "22"]
    assert list(as_cut["POPE"]) == ["23", "21"]
    assert printed["CHAIR"] == "about 30"
    assert set(data["ours: as paper's layer"]) == {"5"}


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


def test_provenance_names_a_set_once_with_the_most_items():
    one, other = record("truncation_by_cut", 2.5), record("answers", 1.0)
    box = report.provenance_box(store_of(one, other, one | {"n_items": 2}))
    told = "truncation_by_cut on pope test (shapes): 4; answers on pope test (shapes): 4"
    assert box.lasting["items"] == told
    assert box.summary == "Provenance: some-model, 8 answers to 2 sets of items"


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
