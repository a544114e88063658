"""Pages about one picture and about tasks run for architectures of today, from a folder."""

from pathlib import Path

import pytest
import tiny_auto
from cells import run_cells, say_little, small

PAGES = ("own_picture", "fig2_attention_flow", "fig5_truncation", "fig3_cam_reasoning")


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("kind", ["qwen2.5-vl", "internvl3"])
def test_a_page_runs_for_a_folder(
    kind: str, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFOFLOW_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("INFOFLOW_QUIET", "1")
    say_little(monkeypatch)
    folder = tiny_auto.save(kind, tmp_path / "model")
    shown = run_cells(page, model=str(folder), **small(page))
    assert any(text.startswith("Provenance") and str(folder) in text for text in shown)
