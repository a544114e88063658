"""The book as one page, as it is printed: every link leads to what it names."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))

PAGES = {
    "one": "[far](two.md#how) of it[^note], [all](two.md), [front](index.md)\n\n[^note]: A note.\n",
    "two": "[here](#how), [label](#word)[^note]\n\n(word)=\n\n### A word\n\n[^note]: A note.\n",
}


def test_pages_with_sections_of_one_name(tmp_path: Path) -> None:
    toc = "```{toctree}\n" + "\n".join(PAGES) + "\n```\n"
    (tmp_path / "index.md").write_text(f"# Book\n\n## How\n\n[mine](#how)\n\n{toc}")
    for name, text in PAGES.items():
        (tmp_path / f"{name}.md").write_text(f"# Page {name}\n\n## How\n\n{text}")
    settings = {
        "extensions": ["myst_parser", "one_page"],
        "myst_heading_anchors": 2,
        "myst_footnote_transition": False,
    }
    folders = (str(tmp_path), None, str(tmp_path / "one"), str(tmp_path / "trees"))
    with docutils_namespace():  # what is registered here would be there twice in another test
        Sphinx(*folders, "singlehtml", settings, status=None, warningiserror=True).build()
    page = (tmp_path / "one" / "index.html").read_text("utf-8").split('role="main"')[1]
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    links = re.findall(r'href="(?:index\.html)?#([^"]+)"[^>]*>(?:<[^>]+>|\[)*(\w+)', page)
    assert {target for target, _ in links} <= set(ids)
    leads = {text: target for target, text in links if text != "1"}
    assert leads["mine"] == "index:how"
    assert leads["far"] == leads["here"] == "two:how"
    assert leads["front"] == "book"
    assert leads["label"] == "word", "what is unique stays as it is"
    notes = [target for target, text in links if text == "1"]
    assert [target.split(":")[0] for target in notes] == ["one", "one", "two", "two"]
    assert page.index('id="document-two"') < page.index('id="two:how"')
