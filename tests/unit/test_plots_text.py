"""Answers, questions, names and paths stand as text in whatever shows them, signs and all."""

import re
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from arm_pages import hidden_maps
from bs4 import BeautifulSoup
from cam_maps import cam_slider, map_rows
from flow_pages import attention_maps, item_arcs
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
    cam = CAM(maps, maps.flatten(1), torch.tensor([1]))
    columns = pd.MultiIndex.from_product([["seen"], ["mean", "low", "high"]])
    kinds = pd.MultiIndex.from_tuples([("pope", "all"), ("pope", ODD)], names=["task", ODD])
    scores = pd.DataFrame(0.5, kinds, columns)
    intervals, _ = report.interval_rows(scores, {"seen": report.Line("o", "black")}, "score (%)")
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
    png = report.sample_sheet([sample], "pope").png
    frames = [report.Frame(ODD, ODD, png), report.Frame(ODD, ODD, None, ODD)]
    table = pd.DataFrame({ODD: [ODD, 1.5]}, index=pd.Index([ODD, "b"], name=ODD))
    return {
        "provenance_box": report.provenance_box(SimpleNamespace(records=[stored])),
        "sample_sheet": report.sample_sheet([sample, replace(sample, regions={})], "pope"),
        "attention_maps": attention_maps(flow, prompt, sample, [1, 6], ODD),
        "cam_slider": cam_slider(cam, prompt, sample, ODD, ODD),
        "map_rows": map_rows({ODD: (maps, prompt, sample)}, [1, 2], ODD),
        "hidden_maps": hidden_maps({ODD: np.ones(64, bool)}, prompt, sample, ODD),
        "item_arcs": item_arcs(flow, prompt, dict.fromkeys(range(L + 1), ODD), ODD),
        "interval_rows": report.Plot(intervals, ODD, ODD, scores),
        "source_words": report.source_words(ODD, ["pope"]),
        "Words": report.Words(f"It says **{report.literal(ODD)}**, “{report.literal(ODD)}”."),
        "Table": report.Table(table, ODD, comparison=True),
        "Slider": report.Slider(frames, ODD, ODD, table, ODD),
    }


# fmt: off
NAMES = [
    "provenance_box", "sample_sheet",
    "attention_maps", "cam_slider", "map_rows", "hidden_maps", "item_arcs",
    "interval_rows", "source_words", "Words", "Table", "Slider",
]
OURS = {
    "figure", "img", "figcaption", "div", "table", "caption", "thead", "tbody", "tr", "th",
    "td", "details", "summary", "dl", "dt", "dd", "p", "ul", "li", "strong", "em", "pre",
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
    assert spaced(ODD) in spaced(bundle["text/plain"]) or isinstance(shown[name], report.Slider)


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
