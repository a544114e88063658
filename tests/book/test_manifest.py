"""Every figure and table of the paper has its page, and the page shows it."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from test_pages import parse

ROOT = Path(__file__).resolve().parents[2]
ITEMS = yaml.safe_load((ROOT / "book" / "manifest.yml").read_text("utf-8"))
IN_THE_PAPER = {
    *(f"Figure {number}" for number in range(1, 10)),
    *("Table 1", "Appendix A.1", "Appendix A.2"),
}
SHOWN_AS = {"figure": "figure img", "table": "table.dataframe"}

each_item = pytest.mark.parametrize("entry", ITEMS, ids=[entry["item"] for entry in ITEMS])


@cache
def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


def test_the_whole_paper_is_there() -> None:
    assert {entry["item"] for entry in ITEMS} >= IN_THE_PAPER
    assert len({entry["item"] for entry in ITEMS}) == len(ITEMS)


def test_the_sister_papers_are_there() -> None:
    assert {"simignore", "eah", "evas"} <= {entry["source"] for entry in ITEMS}


@each_item
def test_an_item_has_a_source_and_a_notebook_that_is_run(entry: dict[str, Any]) -> None:
    assert set(entry) == {"item", "source", "page", "shows", "find"}
    assert entry["source"] in read("lib/infoflow/claims/paper_values.yml")["sources"]
    assert entry["page"] in read("experiments.yml")["notebooks"]
    assert set(entry["find"]) <= set(SHOWN_AS)
    assert entry["find"]


@each_item
def test_its_notebook_names_it(entry: dict[str, Any]) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / f"{entry['page']}.ipynb", as_version=4)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert named(entry["item"], prose)


@each_item
def test_its_rendered_pages_show_it(entry: dict[str, Any], html: Path) -> None:
    pages = [html / "book" / "runs" / model / f"{entry['page']}.html" for model in models(entry)]
    for path in pages:
        assert path.is_file(), f"{entry['item']} has no page {path.relative_to(html)}"
        article = parse(path).select_one("article")
        assert article is not None
        assert named(entry["item"], article.get_text(" "))
        for kind in entry["find"]:
            assert article.select(SHOWN_AS[kind]), f"{path.name} shows no {kind}"


def test_the_results_page_lists_every_item() -> None:
    text = (ROOT / "book" / "results.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+?) \| {page}`(.+?)` \| (.+?) \|$", text, flags=re.MULTILINE)
    assert rows == [(entry["item"], entry["page"], entry["shows"]) for entry in ITEMS]


def test_the_rendered_results_page_lists_every_item(html: Path) -> None:
    shown = parse(html / "book" / "results.html").select("article td")
    cells = {cell.get_text(strip=True) for cell in shown}
    assert {entry["item"] for entry in ITEMS} <= cells


def named(item: str, text: str) -> bool:
    """Whether a page speaks of an item; several figures may be named at once."""
    label = item.removeprefix("Appendix ")
    if match := re.fullmatch(r"Figure (\d)", label):
        return re.search(rf"Figures? [\d, and to]*\b{match[1]}\b", text) is not None
    return re.search(rf"\b{re.escape(label)}\b", text) is not None


def models(entry: dict[str, Any]) -> list[str]:
    """The models whose pages the default build holds."""
    experiments = read("experiments.yml")
    return experiments["notebooks"][entry["page"]].get("models", experiments["models"])
