"""Two seeds of one recipe on the same items: the file that the model card shows."""

import json
import shutil

import pytest
import typer
from card_page import seed_plot, seed_table
from safetensors.torch import load_file, save_file

from infoflow import report
from infoflow.data.load import load_task
from infoflow.errors import InfoflowError
from infoflow.evaluate.truncation import scores_by_cut, truncation_by_cut
from infoflow.models.lvlm import load_lvlm
from infoflow.results.store import Store
from infoflow.stats.cliff import cliff_layer
from zoo import seeds

LIMIT = 2


def checkpoint(folder, seed):
    """The shipped model, said to be trained with a seed; but for seed 0 its head is disturbed."""
    shutil.copytree(seeds._ZOO, folder)
    recipe = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps({**recipe, "seed": seed}))
    if seed:
        weights = load_file(folder / "model.safetensors")
        head = next(name for name in weights if name.endswith("lm_head.weight"))
        weights[head] = weights[head].roll(1, 0)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("seeds")
    return checkpoint(root / "first", 0), checkpoint(root / "second", 4)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def compared(folders, store):
    return seeds.compare_seeds(folders, store, LIMIT)


def test_each_seed_has_its_own_scores_and_cliffs(compared, folders, store):
    assert compared["items"] == {"calibration": LIMIT, "test": LIMIT}
    assert list(compared["seeds"]) == ["0", "4"]
    for seed, folder in zip(compared["seeds"], folders, strict=True):
        lvlm = load_lvlm(seeds.NAME, checkpoint=folder, device="cpu")
        for task in seeds.TASKS:
            scores = [
                scores_by_cut(
                    truncation_by_cut(lvlm, load_task(task, split=split, limit=LIMIT), store)
                )
                for split in ("calibration", "test")
            ]
            cliff = cliff_layer(*scores)
            result = compared["seeds"][seed][task]
            assert result["mean_score"] == pytest.approx(scores[1].mean(axis=0), abs=1e-6)
            assert result["cliff"] == {"cut": cliff.cut, "interval": list(cliff.interval)}
    intact = {s: compared["seeds"][s]["pope"]["mean_score"][-1] for s in ("0", "4")}
    assert intact["0"] > intact["4"], "the second model's answers are the first one's"


def test_the_model_card_can_show_it(compared):
    as_written = json.loads(json.dumps(compared))
    assert as_written == compared
    assert list(seed_table(as_written).data.index) == list(report.TASK_TITLES.values())
    assert seed_plot(as_written).table.shape == (4 * 13, 2)


def test_the_command_says_its_cost_and_goes_on_from_the_store(
    folders, store, compared, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("INFOFLOW_RESULTS", str(store.root))
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.parquet")}
    first, second = folders
    seeds.main(second, first, tmp_path / "second_seed.json", LIMIT)
    assert (
        f"Two models, 4 tasks, {LIMIT} items of each of 2 splits: at most 0 minutes"
        in capsys.readouterr().out
    )
    assert json.loads((tmp_path / "second_seed.json").read_text()) == compared
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*.parquet")} == before


def test_what_is_no_second_seed_is_refused(folders, store, tmp_path, capsys):
    with pytest.raises(InfoflowError, match="both trained with seed 0; give models of two seeds"):
        seeds.compare_seeds((folders[0], folders[0]), store, LIMIT)
    with pytest.raises(typer.Exit) as ended:
        seeds.main(tmp_path)
    assert ended.value.exit_code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path} has no recipe.json with a seed")
    assert said.count("\n") == 1
