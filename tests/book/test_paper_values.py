"""The paper's published values: whole, plausible, and each with its source."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

BOOK = Path(__file__).resolve().parents[2] / "book"
TASKS = {"pope", "scienceqa", "textvqa", "chair"}


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    return yaml.safe_load((BOOK / "paper_values.yml").read_text("utf-8"))


def pairs(row: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, float]]]:
    for task, scores in row["scores"].items():
        for metric, value in scores.items():
            if metric != "printed_label":
                yield task, metric, value


def test_sources_are_in_the_bibliography(paper: dict[str, Any]) -> None:
    bibliography = (BOOK / "references.bib").read_text("utf-8")
    for source in paper["sources"].values():
        assert f"{{{source['bibkey']}," in bibliography


def test_every_value_names_its_source(paper: dict[str, Any]) -> None:
    entries = paper["table1"] + paper["cliffs"] + paper["no_image"] + paper["attention_claims"]
    assert {entry["source"] for entry in entries} <= set(paper["sources"])


def test_table1_holds_percentages_of_known_tasks(paper: dict[str, Any]) -> None:
    for row in paper["table1"]:
        assert set(row["scores"]) <= TASKS
        for _, _, value in pairs(row):
            assert set(value) == {"baseline", "cliff"}
            assert all(0 < score < 100 for score in value.values())


def test_truncation_at_the_cliff_never_hurts_in_table1(paper: dict[str, Any]) -> None:
    # The paper's claim in one line; a slip of the pen in this file would most likely break it.
    for row in paper["table1"]:
        for _, metric, value in pairs(row):
            gain = value["cliff"] - value["baseline"]
            assert gain <= 0 if metric == "value" else gain >= 0


def test_scienceqa_values_are_fractions_of_the_2017_image_questions(paper: dict[str, Any]) -> None:
    llava = next(row for row in paper["table1"] if row["model"] == "llava-1.5-7b")
    scores = [*llava["scores"]["scienceqa"]["accuracy"].values(), paper["no_image"][0]["accuracy"]]
    for score in scores:
        count = round(score / 100 * 2017)
        assert round(100 * count / 2017, 2) == pytest.approx(score)


def test_cliffs_are_layers_of_the_model(paper: dict[str, Any]) -> None:
    for cliff in paper["cliffs"]:
        assert cliff["task"] in TASKS
        assert 1 <= cliff["layer"] <= 32
