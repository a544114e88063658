"""Models of one recipe and other seeds: what is measured, shipped, checked and refused."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pyarrow.parquet as pq
import pytest
import typer
from safetensors.torch import load_file, save_file

from infoflow.data.load import load_task
from infoflow.errors import InfoflowError
from infoflow.evaluate.flow import flow_by_layer
from infoflow.evaluate.truncation import truncation_by_cut
from infoflow.models.lvlm import load_lvlm
from infoflow.results.store import Store
from zoo import seeds

LIMIT = 2


def checkpoint(folder, seed, **recipe):
    """The shipped model, said to be trained with a seed; by so much its head is disturbed."""
    shutil.copytree(seeds._ZOO, folder)
    own = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps({**own, "seed": seed, **recipe}))
    weights = load_file(folder / "model.safetensors")
    head = next(name for name in weights if name.endswith("lm_head.weight"))
    weights[head] = weights[head].roll(seed, 0)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("seeds")
    return [checkpoint(root / "four", 4, device="cuda"), checkpoint(root / "five", 5)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def table(folders, store):
    return seeds.measure_seeds(folders, store, LIMIT)


@pytest.fixture(scope="module")
def file(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("shipped") / seeds.FILE
    pq.write_table(table, path)
    return path


def test_rows_are_those_of_the_measures(table, folders, store):
    rows = table.to_pandas()
    assert len(rows) == 2 * 4 * LIMIT * (2 * 13 + 3 * 12)
    lvlm = load_lvlm(seeds.NAME, checkpoint=folders[1], device="cpu")
    own = rows[rows["seed"] == "5"]
    for split, measure, place, quantity in (
        ("calibration", truncation_by_cut, "cut", "score"),
        ("test", truncation_by_cut, "cut", "score"),
        ("test", flow_by_layer, "layer", "image"),
    ):
        measured = measure(lvlm, load_task("chair", split=split, limit=LIMIT), store)
        kept = own[(own.task == "chair") & (own.split == split) & (own.quantity == quantity)]
        expected = measured.sort_values(["item", place])[quantity].to_numpy()
        found = kept.sort_values(["item", "at"])["value"].to_numpy()
        assert found == pytest.approx(expected, abs=1e-5)
    intact = rows[(rows["task"] == "pope") & (rows["at"] == 12) & (rows["quantity"] == "score")]
    assert intact["value"].mean() < 0.9, "these are answers of the shipped model"


def test_digest_and_recipe_go_along(table, folders):
    about = json.loads(table.schema.metadata[seeds.ABOUT])
    assert list(about["seeds"]) == ["4", "5"]
    one, other = about["seeds"].values()
    assert one["digest"] != other["digest"]
    assert one["recipe"] == json.loads((folders[0] / "recipe.json").read_text())


@pytest.mark.parametrize(
    ("seed", "recipe", "message"),
    [
        (0, {}, "have one seed, 0; give models of different seeds"),
        (4, {}, "have one seed, 4; give models of different seeds"),
        (7, {"tower_steps": 1}, "is not of the recipe of .*: they differ in tower_steps."),
        (7, {"optimiser": "adam"}, "is not of the recipe of .*: they differ in optimiser."),
    ],
)
def test_what_is_no_other_seed_of_the_recipe_is_refused(seed, recipe, message, folders, tmp_path):
    given = checkpoint(tmp_path / "model", seed, **recipe)
    with pytest.raises(InfoflowError, match=message):
        seeds.about([folders[0], given])


def test_another_name_for_the_same_weights_is_refused(folders, tmp_path):
    given = shutil.copytree(folders[0], tmp_path / "model")
    recipe = json.loads((given / "recipe.json").read_text())
    (given / "recipe.json").write_text(json.dumps(recipe | {"seed": 9}))
    with pytest.raises(InfoflowError, match=r"have one weights, .*; give models of different"):
        seeds.about([folders[0], given])


def test_a_check_measures_anew_where_there_are_weights(file, folders, store, tmp_path):
    said = seeds.check(file, folders[:1], Store(tmp_path / "results"))
    assert said == [
        "the items are those of today",
        "seed 5: no weights here, so nothing was measured anew",
        "seed 4: every fiftieth item, measured anew, has the shipped rows",
    ]
    with pytest.raises(InfoflowError, match=r"is not the seed 6 that .* has rows of"):
        seeds.check(file, [checkpoint(tmp_path / "six", 6)], store)


def test_rows_that_are_not_the_models_are_found(file, table, folders, store, tmp_path):
    rows = table.to_pandas()
    first = rows["item"] == "pope-test-0000"
    wrong = rows.assign(value=rows["value"].where(~(first & (rows["quantity"] == "image")), 0.5))
    other = tmp_path / seeds.FILE
    by_seed = {seed: of_seed.drop(columns="seed") for seed, of_seed in wrong.groupby("seed")}
    about = json.loads(table.schema.metadata[seeds.ABOUT])
    pq.write_table(seeds.as_table(by_seed, about), other)
    with pytest.raises(InfoflowError, match="seed 4: pope-test-0000 has other rows when measured"):
        seeds.check(other, folders[:1], store)
    pq.write_table(seeds.as_table(by_seed, about | {"items": "of another world"}), other)
    with pytest.raises(InfoflowError, match="are of other items; `make seeds` measures anew"):
        seeds.check(other, folders[:1], store)


def test_items_are_told_apart_by_what_is_asked_and_shown(monkeypatch):
    before = seeds.items_digest(LIMIT)
    load = seeds.load_task

    def recoloured(name, **options):
        task = load(name, **options)
        first = replace(task[0], image=task[0].image.point(lambda x: 255 - x))
        return replace(task, samples=[first, *task[1:]])

    monkeypatch.setattr(seeds, "load_task", recoloured)
    assert seeds.items_digest(LIMIT) != before


def test_the_command_says_its_cost_and_goes_on_from_the_store(
    folders, store, table, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("INFOFLOW_RESULTS", str(store.root))
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*.parquet")}
    seeds.main(folders, target=tmp_path / "seeds.parquet", limit=LIMIT)
    assert f"Other seeds: 2; 4 tasks, {LIMIT} items of each of 2 splits" in capsys.readouterr().out
    pd.testing.assert_frame_equal(
        pq.read_table(tmp_path / "seeds.parquet").to_pandas(), table.to_pandas()
    )
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*.parquet")} == before


@pytest.mark.parametrize("given", [[], ["nowhere"]])
def test_a_mistake_is_one_line(given, tmp_path, capsys):
    with pytest.raises(typer.Exit) as ended:
        seeds.main([tmp_path / name for name in given])
    assert ended.value.exit_code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "give the folder" in said


SHIPPED = seeds._ZOO / seeds.FILE


def test_shipped_rows_are_of_all_items_of_today():
    rows = pq.read_table(SHIPPED).to_pandas()
    assert seeds.check(SHIPPED, [], Store())
    counts = rows.groupby(["seed", "task", "split"], observed=True)["item"].nunique()
    assert set(counts) == {seeds.ITEMS_PER_SPLIT}
