"""One wrong constant or function of the library changes what each notebook prints.

The cells run in this process on two items, so all notebooks can be tried; ``test_rerun.py`` shows
on one of them that nbval itself fails. Both runs of a notebook share a store, so the mistakes are
in what comes after the stored measures, or in what a page measures directly.
"""

import importlib
from pathlib import Path

import pytest
from cells import FOLDER, run_cells, shown_by_cells, small

WRONG = {
    "a2_topk": (
        "arm_pages.fewest_kept",
        lambda grid, margin: grid.columns.to_series(),
    ),
    "by_which_road": ("infoflow.stats.intervals._RESAMPLES", 5),
    "any_model": ("infoflow.evaluate.check.TOLERANCE", 0.0),
    "claims": ("infoflow.claims.printed.N_SPLITS", 2),
    "arms": ("arms_page._points", str),
    "eah": ("infoflow.stats.intervals.CONFIDENCE", 0.5),
    "explorer": ("explorer_page.group_shares", lambda rows, prompt: rows[:, :3]),
    "fig1_flow_overview": ("infoflow.stats.intervals.CONFIDENCE", 0.5),
    "fig2_attention_flow": ("infoflow.stats.intervals._RESAMPLES", 5),
    "fig3_cam_reasoning": ("infoflow.methods.cam.THRESHOLD", 0.1),
    "fig4_cam_presence": ("infoflow.methods.cam.THRESHOLD", 0.1),
    "fig5_truncation": ("infoflow.stats.intervals.CONFIDENCE", 0.5),
    "fig6_truncation_matrix": ("infoflow.stats.intervals.CONFIDENCE", 0.5),
    "fig7_cam_sites": ("infoflow.stats.intervals.CONFIDENCE", 0.5),
    "fig8_cam_more": ("infoflow.stats.cliff._ROUNDING", 2.0),
    "fig9_without_picture": ("infoflow.stats.intervals.CONFIDENCE", 0.5),
    "frozen": ("infoflow.claims.findings.FEWEST", 1),
    "image_tokens": ("infoflow.methods.localisation._TOUCHES", 2.0),
    "model_card": ("infoflow.stats.intervals.CONFIDENCE", 0.5),
    "own_picture": ("infoflow.methods.cam.THRESHOLD", 0.1),
    "plants": ("plants_page.FOOLED", 0.5),
    "shapes_datasheet": ("infoflow.data.textvqa._credit", lambda n_matches, n_answers: 0.5),
    "simignore": ("infoflow.stats.intervals.CONFIDENCE", 0.5),
    "table1": ("infoflow.stats.intervals.CONFIDENCE", 0.5),
    "which_map": ("infoflow.stats.intervals.CONFIDENCE", 0.5),
    "words": ("words_page.MARGIN", 2.0),
}
"""By notebook, what is made wrong, and how."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def test_every_notebook_has_its_mistake() -> None:
    assert set(WRONG) == {path.stem for path in FOLDER.glob("*.ipynb")}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(WRONG))
def test_a_wrong_number_changes_what_is_printed(
    name: str, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFOFLOW_RESULTS", str(results))
    monkeypatch.setenv("INFOFLOW_QUIET", "1")
    right = run_cells(name, **small(name))
    module, _, constant = WRONG[name][0].rpartition(".")
    monkeypatch.setattr(importlib.import_module(module), constant, WRONG[name][1])
    wrong = shown_by_cells(name, **small(name))  # up to the first cell that shows something else
    noticed = any(a != b for a, b in zip(right, wrong, strict=True))
    assert noticed, f"{WRONG[name][0]} = {WRONG[name][1]} went unnoticed"
