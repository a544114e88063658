"""The page on speed shows what was measured, and says so where nothing was."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "book" / "_ext"))

from benchmark_table import RESULTS, as_markdown

from infoflow.report import NOT_RUN

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / RESULTS).glob("*.json"))
LINE = {
    **{"name": "a, against b", "unit": "s", "usual": 6.0, "ours": 2.0, "ratio": 3.0},
    **{"predicted": 4.0, "wanted": 3.2, "reached": False, "remark": "equal", "h200": [0.25, 0.125]},
}
MEMORY = {
    **LINE,
    **{"name": "c", "unit": "MB", "wanted": None, "reached": None, "remark": "", "h200": None},
}


def results(device):
    machine = {"device": device, "hardware": "a machine", "python": "3.11", "torch": "2"}
    return {
        "what": "small: a prompt",
        "machine": {**machine, "transformers": "5"},
        "lines": [LINE, MEMORY],
    }


def test_a_run_is_shown_with_its_hardware():
    text = as_markdown(results("cpu")).splitlines()
    assert text[0] == "**a machine** (python 3.11, torch 2, transformers 5). small: a prompt."
    assert text[4] == "| a, against b | 6.00 s | 2.00 s | 3.0 | 4.0 | 3.2 | **no** |"
    assert text[5] == "| c | 6 MB | 2 MB | 3.0 | 4.0 |  |  |"
    assert text[-1] == "- a, against b: equal."


def test_on_a_gpu_the_arithmetic_stands_beside():
    text = as_markdown(results("cuda")).splitlines()
    assert "H200 by arithmetic" in text[2]
    assert text[4].endswith("| **no** | 0.250 s | 0.125 s |")
    assert text[5].endswith("|  |  |  |  |")
    assert {line.count("|") for line in text[2:6]} == {10}


def test_what_was_not_run_says_so():
    assert f"**{NOT_RUN}**" in as_markdown(None)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_kept_results_are_whole(path):
    kept = json.loads(path.read_text())
    assert kept["machine"]["device"] == path.stem
    names = [line["name"] for line in kept["lines"]]
    assert len(set(names)) == len(names) == 22
    assert sum(line["wanted"] is not None for line in kept["lines"]) == 6
    for line in kept["lines"]:
        assert line["ratio"] == pytest.approx(line["usual"] / line["ours"])


def test_the_rendered_page_shows_what_is_kept(html):
    page = (html / "book" / "speed.html").read_text()
    assert page.count(NOT_RUN) == 2 - len(FILES)
    for path in FILES:
        for line in json.loads(path.read_text())["lines"]:
            assert f"<p>{line['name']}</p>" in page
