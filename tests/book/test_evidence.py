"""Prose cites what pages found, and pictures inside a page become files."""

import sys
from base64 import b64encode
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_notebook, new_output, writes

from infoflow import report
from infoflow.claims import Finding, all_claims
from infoflow.stats.cliff import cliff_layer
from infoflow.stats.intervals import mean_estimate

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from evidence import _facts, table_rows  # noqa: E402
from picture_files import to_files  # noqa: E402

SCORES = [[0, 1, 1]] * 30


@pytest.fixture
def notebook(tmp_path):
    """A page with a table of numbers and one of findings."""
    cliff = cliff_layer(SCORES, SCORES)
    numbers = report.numbers("tiny", {"cliff": {"pope": cliff}, "score": {"pope": cliff.baseline}})
    claim = next(claim for claim in all_claims() if claim.id == "cliff-no-harm")
    finding = Finding("holds", {"pope": "lost 0.1; gained none", "chair": "0.2"}, {}, claim)
    findings = report.finding_table({"tiny": [finding]}, "Found")
    outputs = [
        new_output("display_data", {"text/html": shown._repr_mimebundle_()["text/html"]})
        for shown in (numbers, findings)
    ]
    text = writes(new_notebook(cells=[new_code_cell("", outputs=outputs)]))
    (tmp_path / "fig5.ipynb").write_text(text)
    return tmp_path / "fig5.ipynb"


def test_numbers_are_read_off_a_page_as_it_shows_them(notebook):
    rows = list(table_rows(notebook, "quantity"))
    assert [row["value"] for row in rows] == [
        "cut 1 [1, 1]",
        f"{100 * mean_estimate([1] * 30):.1f} %",
    ]
    assert {row["items"] for row in rows} == {"30"}


def test_prose_can_cite_numbers_and_claims(notebook):
    facts = _facts(notebook.parent, "tiny")
    assert facts["number cliff, POPE"] == "cut 1 [1, 1]"
    assert facts["verdict cliff-no-harm"] == "holds"
    assert facts["measured cliff-no-harm, CHAIR"] == "0.2"
    assert "number cliff, CHAIR" not in facts


def test_pictures_become_files_that_the_page_links_to(tmp_path):
    picture = b64encode(b"a picture").decode()
    html = (
        f'<img alt="x" src="data:image/png;base64,{picture}"><p>data:image/png;base64,{picture}</p>'
    )
    out = BeautifulSoup(to_files(html, tmp_path, "../_images/"), "html.parser")
    prefix, name = out.img["src"].rsplit("/", 1)
    assert prefix == "../_images"
    assert (tmp_path / name).read_bytes() == b"a picture"
    assert picture in out.p.text, "words stay"
