"""Pages about one picture and about tasks run for architectures of today, from a folder."""

from pathlib import Path

import pytest
import tiny_auto
from cells import run_cells, small

PAGES = ("own_picture", "fig2_attention_flow", "fig5_truncation", "fig3_cam_reasoning")


@pytest.fixture(scope="module", params=["qwen2.5-vl", "internvl3"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_auto.save(request.param, tmp_path_factory.mktemp(request.param) / "model")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_for_a_folder(
    page: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFOFLOW_RESULTS", str(tmp_path))
    monkeypatch.setenv("INFOFLOW_QUIET", "1")
    shown = run_cells(page, model=str(folder), **small(page))
    assert any(text.startswith("Provenance") and str(folder) in text for text in shown)
