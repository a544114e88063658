"""The paper's published values: whole, plausible, and each with its source."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TASKS = {"pope", "scienceqa", "textvqa", "chair"}


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "lib/infoflow/claims/paper_values.yml").read_text("utf-8"))


def pairs(row: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, float]]]:
    for task, scores in row["scores"].items():
        for metric, value in scores.items():
            yield task, metric, value


def test_sources_are_in_the_bibliography(paper: dict[str, Any]) -> None:
    bibliography = (ROOT / "book/references.bib").read_text("utf-8")
    for source in paper["sources"].values():
        assert f"{{{source['bibkey']}," in bibliography


def test_every_value_names_its_source(paper: dict[str, Any]) -> None:
    entries = paper["table1"] + paper["cliffs"] + paper["no_image"]
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
            assert gain <= 0 if metric.startswith("CHAIR") else gain >= 0


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


def test_simignores_values_agree_with_each_other(paper: dict[str, Any]) -> None:
    simignore = paper["simignore"]
    gains = {gain["model"]: gain for gain in simignore["gains"]}
    for entry in simignore["stored"]:
        right, gain = entry["right"], gains[entry["model"]]
        assert right["simignore"] - right["baseline"] == entry["gained"] - entry["lost"]
        for arm, count in right.items():
            assert round(100 * count / entry["n_items"], 2) == gain[arm]
    curve = {entry["ignored"]: entry["accuracy"] for entry in simignore["ignored"]}
    which = simignore["which"]
    best = gains["llava-1.5-7b"]["simignore"]
    assert curve[which["ignored"]] == which["accuracy"]["least"] == best == max(curve.values())
    assert simignore["metrics"]["cosine"] == best
    for score in [*curve.values(), *which["accuracy"].values()]:
        assert 50 < score < 100
    for setting in simignore["settings"]:
        assert setting["model"] in gains
        assert 0 < setting["fastv_keep"] < setting["keep"] < simignore["n_image"]


def test_eahs_values_name_their_sources(paper: dict[str, Any]) -> None:
    eah = paper["eah"]
    assert {eah["source"], paper["simignore"]["source"]} <= set(paper["sources"])
    for effect in eah["effects"]:
        assert effect["source"] in paper["sources"]
        assert (effect["by"] == "authors") == (effect["source"] in {"eah", "evas"})
        assert effect["task"] in TASKS
        assert 0 < effect["after"] < 100 > effect["before"] > 0
    for setting in eah["settings"]:
        assert 0 <= setting["layer"] < eah["n_layers"]
