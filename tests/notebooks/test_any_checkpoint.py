"""Every page runs for a checkpoint in the published layout, be its answers garbage."""

import re
from functools import cache
from pathlib import Path

import checkpoints
import pytest
import tiny_instructblip
from cells import FOLDER, run_cells, say_little, small
from tiny_models import PUBLISHED
from transformers import LlamaConfig

import infoflow
from infoflow.interventions import plants

MODEL = "llava-1.5-7b"
LONG = {"max_position_embeddings": 512}  # for long questions, and whole answers
load_once = cache(infoflow.load_lvlm)
ALL_TASKS = {"fig2_attention_flow", "fig5_truncation", "table1"}
EVERY_MEASURE = {"plants", "which_map"}  # on each item
OF_ANY_MODEL = sorted(
    {p.stem for p in FOLDER.glob("*.ipynb")}
    - {"any_model", "arms", "model_card", "shapes_datasheet"}
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "published"
    shape = {"num_hidden_layers": 3, **LONG}
    model = checkpoints.random_model(LlamaConfig(**checkpoints.TEXT | shape))
    checkpoints.save_published_layout(model, folder)
    checkpoints.say_in_text_config(folder, **shape)
    return folder


@pytest.fixture(autouse=True)
def results(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One store for all pages: they share most of their rows."""
    shared = tmp_path_factory.getbasetemp() / "shared-results"
    monkeypatch.setenv("INFOFLOW_RESULTS", str(shared))
    monkeypatch.setenv("INFOFLOW_QUIET", "1")
    monkeypatch.setattr(plants, "_N_EXAMPLES", 4)
    monkeypatch.setattr(infoflow, "load_lvlm", load_once)
    say_little(monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_ANY_MODEL)
def test_a_page_runs_for_a_random_checkpoint(name: str, checkpoint: Path) -> None:
    settings = small(name, n_tasks=None if name in ALL_TASKS else 1)
    settings |= {"limit": 1} if name in EVERY_MEASURE else {}
    shown = run_cells(name, model=MODEL, checkpoint=str(checkpoint), **settings)
    assert any(text.startswith("Provenance") and MODEL in text for text in shown)
    assert name != "table1" or not any(re.search(r"\bnan\b", text) for text in shown)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "page"), [("llava-1.6-7b", "fig3_cam_reasoning"), ("instructblip-7b", "a2_topk")]
)
def test_pages_about_image_tokens_run_where_a_token_is_no_cell_of_the_map(
    name: str, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_instructblip, "QUERIES", 16)  # of 64 cells
    PUBLISHED[name](tmp_path)
    checkpoints.say_in_text_config(tmp_path, **LONG)
    shown = run_cells(page, model=name, checkpoint=str(tmp_path), **small(page))
    assert any(text.startswith("Provenance") and name in text for text in shown)
