"""The build finds what two pages print differently, and nothing else."""

import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from agreement import cliffs, disagreements  # noqa: E402

BOTH = "ScienceQA 12.5 % (60 items); POPE 3.0 % (60 items)"


@pytest.fixture
def notebook(tmp_path):
    def write(name, words, claim="It falls.", head="ours, tiny"):
        table = pd.DataFrame({"claim": [claim], "verdict, tiny": ["holds"], head: [words]})
        output = nbformat.v4.new_output("display_data", {"text/html": table.to_html(index=False)})
        cell = nbformat.v4.new_code_cell("", outputs=[output])
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / f"{name}.ipynb")

    write("claims", BOTH)
    write.pages = lambda: disagreements(tmp_path.glob("*.ipynb"))
    return write


@pytest.mark.parametrize(
    "words",
    [
        BOTH,
        "POPE 3.0 % (60 items)",
        "POPE holds in part: 3.0 % (60 items); ScienceQA fails: 12.5 % (60 items)",
    ],
)
def test_fewer_tasks_in_another_order_agree(notebook, words):
    notebook("fig1", words)
    assert notebook.pages() == []


@pytest.mark.parametrize(
    "words", ["POPE 3.1 % (60 items)", "ScienceQA 12.5 % (60 items); POPE 3.0 % (500 items)"]
)
def test_another_number_or_other_items_do_not(notebook, words):
    notebook("fig1", words)
    (found,) = notebook.pages()
    assert "claims says '3.0 % (60 items)'" in found
    assert "fig1 says" in found
    assert "'It falls.', ours, tiny POPE" in found


def test_other_claims_and_models_may_differ(notebook):
    notebook("fig1", "POPE 1 %", claim="It rises.")
    notebook("fig2", "POPE 1 %", head="ours, large")
    assert notebook.pages() == []


def test_whether_seeds_agree_must_agree(notebook):
    notebook("fig1", "3 of 3 agree", head="seeds, tiny")
    notebook("fig2", "own holds; seed 1 fails", head="seeds, tiny")
    (found,) = notebook.pages()
    assert "'It falls.', seeds, tiny" in found


@pytest.mark.parametrize(
    ("own", "of_seed", "n_found"), [("cut 4", "cut 5", 0), ("cut 3", "cut 5", 1), ("cut 3", "x", 2)]
)
def test_a_cliff_is_one_on_the_pages_of_all_models(own, of_seed, n_found, tmp_path):
    quantities = ["cliff", "cliff, seed 1", "score"]
    numbers = {"quantity": quantities, "task": "POPE", "value": ["cut 4", "cut 5", "9 %"]}
    names = ["tiny", "tiny, seed 1", "tiny, spread over 2 seeds", "other"]
    zoo = {"zoo model": names, "POPE": [own, of_seed, "4 to 5", "not run"]}
    for folder, table in (("tiny", numbers), ("other", zoo)):
        html = pd.DataFrame(table).to_html(index=False)
        output = nbformat.v4.new_output("display_data", {"text/html": html})
        cells = [nbformat.v4.new_code_cell("", outputs=[output])]
        (tmp_path / folder).mkdir()
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / folder / "fig5.ipynb")
    found = disagreements(tmp_path.glob("*/*.ipynb"), cliffs)
    assert len(found) == n_found
    assert all(line.startswith("'cliff', tiny") for line in found)


def test_the_committed_notebooks_agree():
    assert disagreements((ROOT / "notebooks").glob("*.ipynb")) == []
