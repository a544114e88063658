"""Every page runs for a checkpoint in the published layout, be its answers garbage."""

import re
from pathlib import Path

import checkpoints
import pytest
from cells import FOLDER, run_cells, small

from infoflow.interventions import plants
from zoo.architectures import find_architecture
from zoo.train import export

MODEL = "llava-1.5-7b"
ALL_TASKS = {"fig2_attention_flow", "fig5_truncation", "table1"}
OF_ANY_MODEL = sorted(
    {p.stem for p in FOLDER.glob("*.ipynb")}
    - {"any_model", "arms", "model_card", "shapes_datasheet"}
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "published"
    checkpoints.save_published_layout(checkpoints.random_model(), folder)
    # long questions, whole answers
    checkpoints.say_in_text_config(folder, max_position_embeddings=512)
    return folder


@pytest.fixture(autouse=True)
def results(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One store for all pages: they share most of their rows."""
    shared = tmp_path_factory.getbasetemp() / "shared-results"
    monkeypatch.setenv("INFOFLOW_RESULTS", str(shared))
    monkeypatch.setenv("INFOFLOW_QUIET", "1")
    monkeypatch.setattr(plants, "_N_EXAMPLES", 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_ANY_MODEL)
def test_a_page_runs_for_a_random_checkpoint(name: str, checkpoint: Path) -> None:
    settings = small(name, n_tasks=None if name in ALL_TASKS else 1)
    shown = run_cells(name, model=MODEL, checkpoint=str(checkpoint), **settings)
    assert any(text.startswith("Provenance") and MODEL in text for text in shown)
    assert name != "table1" or not any(re.search(r"\bnan\b", text) for text in shown)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("twin", "page"),
    [("tiny-llava-1.6", "fig3_cam_reasoning"), ("tiny-instructblip", "a2_topk")],
)
def test_pages_about_image_tokens_run_where_a_token_is_no_cell_of_the_map(
    twin: str, page: str, tmp_path: Path
) -> None:
    architecture = find_architecture(twin)
    export(architecture, architecture.new_model(0), tmp_path / twin, {})
    name = f"{twin.removeprefix('tiny-')}-7b"
    shown = run_cells(page, model=name, checkpoint=str(tmp_path / twin), **small(page))
    assert any(text.startswith("Provenance") and name in text for text in shown)
