"""Pages that set other models beside their own: each is measured as on its own page."""

import pytest
from cells import SMALL, run_cells, small

OTHER = "tiny-shikra"


@pytest.fixture(autouse=True)
def results(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    shared = tmp_path_factory.getbasetemp() / "beside-results"
    monkeypatch.setenv("INFOFLOW_RESULTS", str(shared))
    monkeypatch.setenv("INFOFLOW_QUIET", "1")
    monkeypatch.setitem(SMALL, "limit", 1)


def test_curves_and_connectors_of_all_stand_in_one_figure() -> None:
    shown = run_cells("fig5_truncation", beside=[OTHER], **small("fig5_truncation"))
    (figure,) = (text for text in shown if "Mean score of tiny-llava-1.5 and tiny-shikra" in text)
    own = run_cells("fig5_truncation", model=OTHER, **small("fig5_truncation"))
    (curve,) = (text for text in own if f"Mean score of {OTHER} when" in text)
    cliff = curve.partition("ScienceQA cut ")[2].split()[0]
    assert f"{OTHER} {cliff} of 12" in figure
    (zoo,) = (text for text in shown if text.startswith("Cliffs by model"))
    (line,) = (line for line in zoo.splitlines() if line.startswith(OTHER))
    assert f" cut {cliff} [" in line
    (asked,) = (text for text in shown if "Does the cliff depend on the connector?" in text)
    assert f"{OTHER} " in asked
    assert "one kind of connector only" not in asked


def test_table_1_has_a_row_of_each() -> None:
    shown = run_cells("table1", beside=[OTHER], **small("table1"))
    (table,) = (text for text in shown if "7B on the benchmark" in text)
    rows = [line for line in table.splitlines() if f"{OTHER}: " in line]
    assert rows
    assert all(line.startswith("Shikra") for line in rows)
