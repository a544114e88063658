"""The table of expected costs in the book is reckoned when the book is built."""

import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))

from cost_table import as_markdown

from infoflow.evaluate.costs import HEADS, costs_assumptions, costs_table

MODELS = ["llava-1.5-7b", "shikra-7b"]


def test_it_has_the_lines_of_the_command() -> None:
    text = as_markdown(MODELS).splitlines()
    assert text[0] == "| " + " | ".join(HEADS) + " |"
    assert text[2:-2] == ["| " + " | ".join(line) + " |" for line in costs_table(MODELS)]
    assert text[-1] == costs_assumptions()


def test_a_page_shows_it(tmp_path: Path) -> None:
    (tmp_path / "index.md").write_text(f"# A page\n\n```{{costs}} {' '.join(MODELS)}\n```\n")
    extensions = {"extensions": ["myst_parser", "cost_table"]}
    build = tmp_path / "html"
    folders = (str(tmp_path), None, str(build), str(tmp_path / "trees"))
    with docutils_namespace():  # what is registered here would be there twice in another test
        Sphinx(*folders, "html", extensions, status=None).build()
    page = (build / "index.html").read_text("utf-8")
    for cells in costs_table(MODELS):
        for cell in cells:
            assert f"<p>{cell}</p>" in page
    assert "nothing was measured for it" in page


def test_the_rendered_page_shows_it(html: Path) -> None:
    page = (html / "book" / "benchmarks.html").read_text("utf-8")
    assert all(f"<p>{cell}</p>" in page for cells in costs_table(MODELS) for cell in cells)
