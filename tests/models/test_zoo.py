"""The shipped models: what they are made of, and that they answer as their cards say.

The answers to all items come with the package. The first of each kind is given anew here, which
tells whether the weights still belong to the world, the tokenizer and the prompt.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import infoflow
from infoflow.data.load import list_tasks, load_task
from infoflow.evaluate.truncation import truncation_by_cut
from infoflow.methods.truncation import truncation_sweep
from infoflow.models.families import find_model, list_models
from infoflow.models.lvlm import load_lvlm
from infoflow.results.store import Store
from zoo.architectures import find_architecture

ZOO = [name for name in list_models() if find_model(name).hub_id is None]
ROOT = Path(infoflow.__file__).with_name("zoo")
SEEDS = sorted(path.parent for path in ROOT.glob("*/seed*/recipe.json"))
FOLDERS = [*(ROOT / name for name in ZOO), *SEEDS]
BARS = {
    "pope": {"accuracy": 0.97},
    "scienceqa": {
        "accuracy": 0.85,
        "accuracy/colour": 0.9,
        "accuracy/count": 0.6,
        "accuracy/relation": 0.9,
    },
    "textvqa": {"accuracy": 0.95},
    "chair": {"recall": 0.95},
}
LEAST = dict.fromkeys(ZOO, BARS)
LEAST["tiny-llava-1.6"] = BARS | {
    "textvqa": {"accuracy": 0.75, "accuracy/one": 0.95, "accuracy/one-unseen": 0.95}
}
"""What all items must reach. A quarter of the signs have another beside them, which tiny-llava-1.6
mixes."""


@pytest.fixture(scope="module", params=ZOO)
def lvlm(request):
    return load_lvlm(request.param, device="cpu")


@pytest.fixture(scope="module")
def answers(lvlm, tmp_path_factory):
    """By task: rows of all items and cuts, which the store takes once an item measured agrees."""
    store, found = Store(tmp_path_factory.mktemp("results")), {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("INFOFLOW_SHIPPED")
        for name in list_tasks():
            task = load_task(name)
            found[name] = truncation_by_cut(lvlm, task, store)
            assert found[name].attrs["record"]["shipped"] == len(task) - 1, name
    return found


@pytest.fixture(scope="module")
def summaries(lvlm, answers):
    """By task: the benchmark's metrics without an image and intact."""
    cuts = {"blind": 0, "intact": lvlm.n_layers}
    return {
        name: {cut: load_task(name).summary(rows[rows["cut"] == n]) for cut, n in cuts.items()}
        for name, rows in answers.items()
    }


def test_a_model_has_twelve_layers(lvlm):
    assert lvlm.n_layers == 12


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_weights_are_small_and_in_half_precision(folder):
    assert size_of(folder) <= 8_000_000
    tensors = load_file(folder / "model.safetensors").values()
    assert {tensor.dtype for tensor in tensors} == {torch.float16}


def size_of(folder):
    """Bytes of a model, those of other seeds beside it left out."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    others = [file for path in folder.glob("seed*") for file in path.rglob("*")]
    return sum(file.stat().st_size for file in {*files} - {*others})


def test_the_zoo_is_small():
    assert sum(size_of(ROOT / name) for name in ZOO) <= 45_000_000


@pytest.mark.parametrize("folder", SEEDS, ids=lambda folder: folder.name)
def test_another_seed_is_of_the_same_recipe(folder):
    own, other = (
        json.loads((path / "recipe.json").read_text()) for path in (folder.parent, folder)
    )
    assert folder.name == f"seed{other['seed']}"
    differ = {name for name in {*own, *other} if own.get(name) != other.get(name)}
    assert "seed" in differ
    assert differ <= {"seed", "command", "device"}


def test_the_recipe_is_told_as_it_is_run(lvlm):
    recipe = json.loads((lvlm.folder / "recipe.json").read_text())
    architecture = find_architecture(lvlm.name)
    assert recipe["language_steps"] == architecture.language_steps
    assert recipe.get("shares_of_rate", {}) == architecture.shares
    plans = recipe.get("language_plans", [[0, architecture.language_steps]])
    assert plans[0][0] == 0
    assert plans[-1][1] == architecture.language_steps


def test_tokenizers_and_image_processor_are_those_of_the_training(lvlm, tmp_path):
    find_architecture(lvlm.name).save_companions(tmp_path)
    written = {file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()}
    assert written
    for file in written:
        assert (lvlm.folder / file).read_bytes() == (tmp_path / file).read_bytes(), file


def test_it_answers_as_its_card_says(lvlm, summaries):
    for task, metrics in LEAST[lvlm.name].items():
        for metric, least in metrics.items():
            assert summaries[task]["intact"][metric] >= least, (task, metric)
    assert summaries["chair"]["intact"]["CHAIRi"] <= 0.05


def test_without_the_picture_it_guesses(summaries):
    blind = {task: of_cut["blind"] for task, of_cut in summaries.items()}
    assert blind["pope"]["accuracy"] == pytest.approx(0.5, abs=0.05)
    assert blind["scienceqa"]["accuracy"] < 0.4
    assert blind["textvqa"]["accuracy"] < 0.03
    assert blind["chair"]["recall"] < 0.25


@pytest.mark.parametrize("name", list_tasks())
def test_the_first_of_each_kind_are_answered_now_as_they_were(name, lvlm, answers):
    task, rows, cuts = load_task(name), answers[name], [0, lvlm.n_layers]
    one_each = rows[rows["cut"] == 0].reset_index(drop=True)
    for place in one_each.groupby("kind").head(2).index:
        sample = task[place]
        prompt = lvlm.prompt(sample.image, sample.question)
        sweep = truncation_sweep(lvlm, prompt, cuts=cuts, max_new_tokens=task.max_new_tokens)
        shipped = rows[(rows["item"] == sample.id) & rows["cut"].isin(cuts)].sort_values("cut")
        texts = [lvlm.decode(tokens) for tokens in sweep.tokens]
        assert texts == shipped["text"].tolist(), sample.id
        margins = pytest.approx(shipped["margin"].to_numpy(), rel=1e-3, abs=1e-3)
        assert sweep.margins.double().numpy() == margins, sample.id
