"""Answers, questions, names and paths stand as text in whatever shows them, signs and all."""

import re
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from matplotlib.text import Text

from infoflow import report
from infoflow.data.shapes import sample as draw
from infoflow.methods.cam import CAM
from infoflow.methods.flow import AttentionFlow
from infoflow.models.grid import Grid
from infoflow.models.prompt import Prompt, Spans
from infoflow.report.display import Plot

ODD = (
    '<b>bold</b><script>alert(1)</script></td> &lt; "it\'s" $a_b$ $x^{ \\$ $$ `code` *star* '
    "_line_ ~~gone~~ [link](javascript:x) ![im](y) {role}`z` |cell| <https://a.example> \\<i>"
)
L = 6


@pytest.fixture(scope="module")
def shown():
    """Every display that takes a text which the project did not write, given the odd one."""
    drawn = draw("textvqa", "test", 0)
    regions = {ODD: drawn.regions[drawn.targets[0]]}
    texts = {"id": ODD, "question": ODD, "answer": ODD, "kind": ODD, "choices": (ODD, "b")}
    sample = replace(drawn, **texts, objects=(ODD,), regions=regions, targets=(ODD,))
    spans = Spans(slice(0, 10), slice(10, 74), slice(74, 90))
    tensors = torch.zeros(90, dtype=torch.long), torch.zeros(1, 90, 4), torch.zeros(1, 3, 96, 96)
    prompt = Prompt(*tensors, spans, Grid(8, 8), sample.image, ODD)
    rows = torch.full((L, 2, 90), 1 / 90)
    shares = torch.stack([rows.mean(1)[:, span].sum(-1) for span in spans], -1)
    flow = AttentionFlow(rows, shares)
    maps = torch.ones(L, 8, 8)
    cam = CAM(maps, maps.flatten(1), "post_attention_layernorm", "mean", torch.tensor([1]))
    answers = pd.DataFrame(
        {
            **{"item": [ODD] * 3, "kind": [ODD] * 3, "cut": [0, 1, 2], "text": [ODD] * 3},
            **{"answer": [ODD] * 3, "score": [0.0, 1.0, 1.0], "margin": [1.0] * 3, "keep": [4] * 3},
        }
    )
    last = answers.tail(1)
    other = answers.assign(item="other", kind="other")
    kinds = report.kind_scores({"pope": pd.concat([answers, other])}, seed=0)
    score = {"items": 3.0, "score": 0.5, "low": 0.2, "high": 0.8, "guess": 0.5, "p_value": 0.1}
    blind = {"pope": pd.DataFrame([score] * 2, pd.Index(["all", ODD], name="kind"))}
    habit = {"items": 3, "distinct": 1, "favourite": ODD, "modal": ODD, "agreement": 0.5}
    habit |= {"favourite_share": 1.0, "modal_share": 1.0, "right_by_habit": 0.5}
    habits = {"pope": pd.DataFrame([habit] * 2, pd.Index(["all", ODD], name="kind"))}
    ways = {"with the picture": {"pope": last}, ODD: {"pope": last}}
    model = {"name": ODD, "revision": ODD, "digest": ODD, "dtype": ODD, "attention": ODD}
    machine = {"device": ODD, "device_name": ODD, "threads": 1, "python": ODD}
    record = {"model": model, "machine": machine, "packages": {ODD: ODD}}
    record["code"] = {"digest": "0" * 64, "commit": ODD}
    data = {"task": ODD, "split": ODD, "source": ODD, "of": 9}
    stored = {
        **{"provenance": {**record, "data": data}, "seconds": 1.0, "peak_rss_mb": 1.0},
        "n_items": 1,
        "key": {"measure": ODD, "parameters": {ODD: ODD}},
    }
    png = report.own_sheet(sample).png
    frames = [report.Frame(ODD, ODD, png), report.Frame(ODD, ODD, None, ODD)]
    table = pd.DataFrame({ODD: [ODD, 1.5]}, index=pd.Index([ODD, "b"], name=ODD))
    return {
        "own_sheet": report.own_sheet(sample),
        "cut_answers": report.cut_answers([0, 1], [ODD, ODD], [1.0, 2.0]),
        "own_provenance": report.own_provenance(record, ODD, {ODD: ODD}),
        "provenance_box": report.provenance_box(SimpleNamespace(records=[stored])),
        "sample_sheet": report.sample_sheet([sample, replace(sample, regions={})], "pope"),
        "region_sheet": report.region_sheet(sample),
        "attention_maps": report.attention_maps(flow, prompt, sample, [1, 6], ODD),
        "cam_scrubber": report.cam_scrubber(cam, prompt, sample, ODD, ODD),
        "map_rows": report.map_rows({ODD: (maps, prompt, sample)}, [1, 2], ODD),
        "hidden_maps": report.hidden_maps({ODD: np.ones(64, bool)}, prompt, sample, ODD),
        "item_arcs": report.item_arcs(flow, prompt, dict.fromkeys(range(L + 1), ODD), ODD),
        "answers_table": report.answers_table(answers),
        "kept_answers_table": report.kept_answers_table(last.assign(item=ODD)),
        "way_answers_table": report.way_answers_table([sample], {ODD: last}),
        "kind_plot": report.kind_plot(kinds, ODD),
        "kind_table": report.kind_table(kinds),
        "blind_plot": report.blind_plot(blind, {"pope": answers}, ODD),
        "blind_table": report.blind_table(blind),
        "ways_plot": report.ways_plot(ways, {"pope": 0.5}, 0, ODD),
        "habit_table": report.habit_table({ODD: habits["pope"]}),
        "habit_words": report.habit_words(blind, habits),
        "source_words": report.source_words(ODD, ["pope"]),
        "Words": report.Words(f"It says **{report.literal(ODD)}**, “{report.literal(ODD)}”."),
        "Table": report.Table(table, ODD, comparison=True),
        "Scrubber": report.Scrubber(frames, ODD, ODD, table, ODD),
    }


# fmt: off
NAMES = [
    "own_sheet", "cut_answers", "own_provenance", "provenance_box", "sample_sheet",
    "region_sheet", "attention_maps", "cam_scrubber", "map_rows", "hidden_maps", "item_arcs",
    "answers_table", "kept_answers_table", "way_answers_table", "kind_plot", "kind_table",
    "blind_plot", "blind_table", "ways_plot", "habit_table", "habit_words", "source_words",
    "Words", "Table", "Scrubber",
]
OURS = {
    "figure", "img", "figcaption", "div", "table", "caption", "thead", "tbody", "tr", "th",
    "td", "details", "summary", "dl", "dt", "dd", "p", "ul", "li", "strong", "em",
}
# fmt: on


def spaced(text):
    return " ".join(text.split())


@pytest.mark.parametrize("name", NAMES)
def test_odd_text_is_text_in_the_page(shown, name):
    bundle = shown[name]._repr_mimebundle_()
    pages = [bundle["text/html"]] if "text/html" in bundle else []
    for kind in ("commonmark", "js-default"):  # the book's, and a notebook's tables and strokes
        if "text/markdown" in bundle:
            markdown = MarkdownIt(kind, {"html": True, "linkify": False})
            pages.append(markdown.render(bundle["text/markdown"]))
    assert pages
    for page in pages:
        soup = BeautifulSoup(page, "html.parser")
        assert {tag.name for tag in soup.find_all()} <= OURS
        values = [value for tag in soup.find_all() for value in tag.attrs.values()]
        told = spaced(" ".join([soup.get_text(" "), *map(str, values)]))
        assert spaced(ODD) in told
    assert spaced(ODD) in spaced(bundle["text/plain"]) or isinstance(shown[name], report.Scrubber)


@pytest.mark.parametrize("name", NAMES)
def test_odd_text_is_no_formula_in_a_picture(shown, name):
    plot = shown[name]
    if not isinstance(plot, Plot):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plot.png
    odd = [t for t in plot.figure.findobj(Text) if "$" in t.get_text()]
    assert not any(text.get_parse_math() for text in odd)


def test_the_list_of_displays_is_whole(shown):
    assert sorted(shown) == sorted(NAMES)


def test_words_of_the_page_keep_their_markup():
    words = report.Words("**Yes**: `shape` of a < b & c, “" + report.literal("1 * 2\n\n# 3") + "”")
    bundle = words._repr_mimebundle_()
    page = MarkdownIt("commonmark").render(bundle["text/markdown"])
    assert "<strong>Yes</strong>: <code>shape</code> of a &lt; b &amp; c, “1 * 2 # 3”" in page
    assert bundle["text/plain"] == "**Yes**: `shape` of a < b & c, “1 * 2 # 3”"
    assert not re.search("<h1>|<li>", page)
