"""Pages on the benchmarks' own items, from a folder: whole, and never said to be of Shapes."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import checkpoints
import pytest
import yaml
from cells import FOLDER, parameters_of, run_cells, say_little, small
from real_sets import MAKERS
from transformers import LlamaConfig

import infoflow
from infoflow.data import chair as chair_data
from infoflow.errors import InfoflowError
from infoflow.models.lvlm import LVLM

ROOT = FOLDER.parent
MODEL = "llava-1.5-7b"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BENCHMARKS = ("scienceqa", "pope", "textvqa", "chair")
SHAPES_ONLY = {
    *("any_model", "arms", "fig7_cam_sites", "frozen", "image_tokens", "model_card", "own_picture"),
    *("plants", "printed_numbers", "shapes_datasheet", "sinks", "which_map", "words"),
}
ALL = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
QUICK = ["scienceqa", "pope"]  # whose answers are short
load_once = cache(infoflow.load_lvlm)
COMPARED = re.compile(r"on (Shapes|the benchmark)")
FITTED = re.compile(r"paper_table\(|on_source\(|if source ==")
"""A cell that names a source in a table of comparison asks which it is."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "published"
    shape = {"num_hidden_layers": 3, "max_position_embeddings": 1024}
    model = checkpoints.random_model(LlamaConfig(**checkpoints.TEXT | shape))
    checkpoints.save_published_layout(model, folder)
    checkpoints.say_in_text_config(folder, **shape)
    return folder


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    for name in BENCHMARKS:
        MAKERS[name, "originals"](folder / name)
    return folder


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One store for all pages here, and few enough captions that some are left to choose on."""
    shared = tmp_path_factory.getbasetemp() / "results-on-benchmarks"
    monkeypatch.setenv("INFOFLOW_RESULTS", str(shared))
    monkeypatch.setenv("INFOFLOW_QUIET", "1")
    monkeypatch.setattr(chair_data, "N_IMAGES", 2)
    monkeypatch.setattr(infoflow, "load_lvlm", load_once)
    say_little(monkeypatch)


def run(name: str, checkpoint: Path, source: str | Path, **changed: Any) -> list[str]:
    settings = small(name, n_tasks=None) | {"limit": 1} | changed
    given = {"model": MODEL, "checkpoint": str(checkpoint), "source": str(source)}
    return run_cells(name, **given | settings)


def items_of(shown: list[str]) -> str:
    (box,) = (text for text in shown if text.startswith("Provenance"))
    return next(line for line in box.splitlines() if line.startswith("items: "))


def assert_nothing_is_said_of_shapes(shown: list[str]) -> None:
    told, *others = shown
    assert "needs Shapes' masks: not run on this source" in told
    assert not [text for text in others if "Shapes" in text]
    assert not [text for text in others if "nan" in text.split()]


@pytest.mark.slow
def test_attention_flow_on_all_four_with_a_pinned_model(
    checkpoint: Path, benchmarks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpinned(name: str, **given: Any) -> LVLM:
        return load_once(name.removesuffix(f"@{COMMIT}"), **given)

    monkeypatch.setattr(infoflow, "load_lvlm", unpinned)
    shown = run("fig2_attention_flow", checkpoint, benchmarks, model=f"{MODEL}@{COMMIT}")
    assert_nothing_is_said_of_shapes(shown)
    for split in ("scienceqa test", "pope held-out", "textvqa validation", "chair held-out"):
        assert f"flow_by_layer on {split} (folder" in items_of(shown)
    assert not [text for text in shown if COMMIT in text], "a hub model's revision tells it"


@pytest.mark.slow
def test_truncation_chooses_on_other_pictures_than_it_reports(
    checkpoint: Path, benchmarks: Path
) -> None:
    shown = run("fig5_truncation", checkpoint, benchmarks, tasks=QUICK, picture_task="pope")
    assert_nothing_is_said_of_shapes(shown)
    for split in ("pope held-out", "pope calibration", "scienceqa test", "scienceqa validation"):
        assert f"truncation_by_cut on {split} (folder" in items_of(shown)
    assert "pope test" not in items_of(shown)
    (cliffs,) = (text for text in shown if text.startswith("Cliffs: the paper's beside ours"))
    assert f"ours, {MODEL} on the benchmark" in cliffs
    assert "not run" not in cliffs


@pytest.mark.slow
def test_table_1_has_its_7b_column_filled(checkpoint: Path, benchmarks: Path) -> None:
    shown = run("table1", checkpoint, benchmarks, tasks=QUICK)
    (table,) = (text for text in shown if "7B on the benchmark" in text)
    lines = {line.split("  ")[0]: [] for line in table.splitlines()}
    for line in table.splitlines():
        lines[line.split("  ")[0]].append(line)
    parts = [re.findall(r"\(first 1 of (\d+)\)", line) for line in lines.pop("LLaVA1.5-7B")]
    assert sorted(n for part in parts for n in part) == ["12", "12", "3"], (
        "POPE's accuracy and F1, and ScienceQA"
    )
    assert [] in parts, "TextVQA and captions were not run"
    others = [
        line for of_model in lines.values() for line in of_model if re.search(r"\d to ", line)
    ]
    assert not [line for line in others if "first" in line or "(n =" in line]


@pytest.mark.slow
def test_table_1_without_a_limit_asks_all_items(checkpoint: Path, benchmarks: Path) -> None:
    shown = run("table1", checkpoint, benchmarks, tasks=QUICK, limit=None)
    (table,) = (text for text in shown if "7B on the benchmark" in text)
    assert "(first" not in table
    assert sorted(re.findall(r"\(n = (\d+)\)", table)) == ["12", "12", "3"]
    told = items_of(shown)
    for part in ("test (folder", "validation (folder", "held-out (folder", "calibration (folder"):
        assert part in told
    assert re.search(r"truncation_by_cut on pope held-out \(folder [^)]*\): 12\b", told), told


@pytest.mark.slow
def test_claims_about_the_papers_own_model_are_put_to_its_own_benchmarks(
    checkpoint: Path, benchmarks: Path
) -> None:
    shown = run("claims", checkpoint, benchmarks, tasks=["pope"])
    assert_nothing_is_said_of_shapes(shown)
    assert not [text for text in shown if f"{MODEL} on the benchmarks" in text], "it is the page's"
    (flow,) = (text for text in shown if text.startswith("Claims on attention flow"))
    assert "not run" not in flow
    (maps,) = (text for text in shown if text.startswith("Claims on LLaVA-CAM"))
    (site,) = (line for line in maps.splitlines() if "clearest map" in line)
    assert "not run" in site, "it needs the regions that only Shapes has"


@pytest.mark.slow
def test_what_needs_masks_is_undefined_and_no_number(checkpoint: Path, benchmarks: Path) -> None:
    shown = run("fig4_cam_presence", checkpoint, benchmarks, tasks=["pope"])
    assert_nothing_is_said_of_shapes(shown)
    assert any("names no region, so nothing is said about its target" in text for text in shown)
    (control,) = (
        line for text in shown for line in text.splitlines() if line.startswith("POPE: on target")
    )
    assert set(control.removeprefix("POPE: on target (%)").split()) == {"undefined"}
    assert any("0 of 1 items have a known target" in text for text in shown)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("hbu", "unknown source 'hbu'. Did you mean 'hub'"),
        ("/no/such/folder", "unknown source '/no/such/folder'. Valid: a folder with the data of"),
        ("BENCHMARKS/pope", "holds scienceqa in neither of the known layouts. Valid: parquet"),
        ("INCOMPLETE", "Valid: a folder with the data of scienceqa, or with one named scienceqa"),
    ],
)
def test_a_wrong_source_or_a_missing_set_is_one_clear_error(
    checkpoint: Path, benchmarks: Path, tmp_path: Path, source: str, told: str
) -> None:
    MAKERS["pope", "originals"](tmp_path / "pope")
    source = source.replace("BENCHMARKS", str(benchmarks)).replace("INCOMPLETE", str(tmp_path))
    with pytest.raises(InfoflowError) as caught:
        run("fig2_attention_flow", checkpoint, source, picture_task="scienceqa")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def cells_of(name: str) -> list[str]:
    """The code cells of a notebook but for its parameters."""
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return ["".join(c["source"]) for c in code if "parameters" not in c["metadata"].get("tags", [])]


def sources_of(name: str) -> str:
    return "\n".join(cells_of(name))


@pytest.mark.parametrize("name", ALL)
def test_every_other_page_takes_a_source_and_all_its_items_from_it(name: str) -> None:
    code = sources_of(name)
    assert ("source" in parameters_of(name)) == (name not in SHAPES_ONLY)
    if name not in SHAPES_ONLY:
        gathered = "truncation_evidence(lvlm, tasks, limit, store, seed, source)"
        assert "Items(model, source)" in code or gathered in code
        assert "report.source_words(source, tasks)" in code
        assert "load_task" not in code
        for cell in cells_of(name):
            assert FITTED.search(cell) or not COMPARED.search(cell), cell


def test_the_pages_that_need_shapes_are_named_in_the_book() -> None:
    told = (ROOT / "book" / "benchmarks.md").read_text()
    assert all(f"`{name}`" in told for name in SHAPES_ONLY)


@pytest.mark.parametrize(
    "name", sorted(set(ALL) - {"any_model", "arms", "model_card", "shapes_datasheet"})
)
def test_a_pinned_models_commit_stays_out_of_the_titles(name: str) -> None:
    loaded = "lvlm = load_lvlm(model, checkpoint=checkpoint)\nmodel = lvlm.name"
    assert sources_of(name).count(loaded) == 1


def test_on_the_hub_pages_ask_about_the_very_tasks_they_ask_about_on_shapes() -> None:
    for name, entry in yaml.safe_load((ROOT / "experiments.yml").read_text())["notebooks"].items():
        changed = entry.get("hub", {})
        assert set(changed) <= set(parameters_of(name))
        assert not [parameter for parameter in changed if "task" in parameter], name
