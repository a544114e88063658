"""Six properties of an LVLM: planted rows give each, and take it away, one at a time."""

import json

import numpy as np
import pandas as pd
import pytest
import typer

from infoflow.data.load import list_tasks, load_task
from infoflow.evaluate.answers import answers_under
from infoflow.interventions import FastV, Simignore
from infoflow.results.store import Store
from zoo import resembles
from zoo.resembles import SEEDS, Rows, measure, summarise, verdicts

N_ITEMS, N_LAYERS = 20, 10
SINK, IMAGE = [0.6, 0.3, 0.1], [0.3, 0.6, 0.1]
TASKS = {name: load_task(name, limit=N_ITEMS) for name in list_tasks()}
ITEMS = {name: [sample.id for sample in task] for name, task in TASKS.items()}
CONSTANT = round(TASKS["scienceqa"].best_constant() * N_ITEMS)
RESEMBLING = {
    "n_sink": 5,  # layers, the last ones
    "early": 0.3,  # the image's share at layer 4; in layers 1 and 2 it is 0.6
    "cut": 8,
    "blind": 0,  # right answers, as are the next
    "intact": N_ITEMS,
    "hidden": (N_ITEMS, N_ITEMS, N_ITEMS),
    "fastv": N_ITEMS,
    "mentions": (40, 2),  # all, and those made up
    "present": (40, 36),  # all, and those named
}
SHARED = {"scienceqa": {"blind": CONSTANT + 2}}


def answered(name, n_right):
    scores = np.arange(N_ITEMS) < n_right
    rows = pd.DataFrame({"item": ITEMS[name], "score": scores.astype(float)})
    return rows.sample(frac=1, random_state=0)  # rows are paired by item, not by their order


def planted(name, n_sink, early, cut, blind, intact, hidden, fastv, mentions, present):
    shares = np.array([IMAGE] * (N_LAYERS - n_sink) + [SINK] * n_sink)
    shares[3] = [0.05, early, 0.95 - early]
    flow = pd.DataFrame(
        [
            {"item": item, "layer": layer, "system": s, "image": i, "user": u, "first": s / 2}
            for item in ITEMS[name]
            for layer, (s, i, u) in enumerate(shares, start=1)
        ]
    )
    right = [blind] + [0] * (cut - 1) + [intact] * (N_LAYERS + 1 - cut)
    counts = dict(zip(("mentions", "hallucinated"), mentions, strict=True))
    counts |= dict(zip(("present", "found"), present, strict=True))
    at_cuts = [
        answered(name, n).assign(cut=c, **{k: v / N_ITEMS for k, v in counts.items()})
        for c, n in enumerate(right)
    ]
    arms = (tuple(answered(name, n) for n in hidden), answered(name, fastv))
    return Rows(flow, pd.concat(at_cuts), *arms)


def found(**changes):
    """The verdicts on a model that resembles an LVLM in all, but for changes of some tasks."""
    return verdicts(
        {
            name: summarise(
                task,
                planted(name, **RESEMBLING | SHARED.get(name, {}) | changes.get(name, {})),
            )
            for name, task in TASKS.items()
        }
    )


def failing(**changes):
    return [name for name, verdict in found(**changes).items() if not verdict["holds"]]


def test_what_is_just_enough_is_enough():
    verdict = found()
    assert all(v["holds"] for v in verdict.values())
    assert verdict["R1"]["layers"] == dict.fromkeys(TASKS, 5)
    assert verdict["R2"]["layer"] == 4
    assert verdict["R2"]["remaining"] == dict.fromkeys(TASKS, 0.5)
    assert verdict["R4"]["cuts"] == dict.fromkeys(TASKS, 8)
    assert verdict["R5"]["lead"] == pytest.approx(0.1, abs=1e-4)
    assert (verdict["R6"]["CHAIRi"], verdict["R6"]["recall"]) == (0.05, 0.9)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"pope": {"n_sink": 4}}, []),
        ({"pope": {"n_sink": 4}, "chair": {"n_sink": 4}}, ["R1"]),
        ({"pope": {"early": 0.31}}, []),
        ({"pope": {"early": 0.31}, "chair": {"early": 0.31}}, ["R2"]),
        ({"pope": {"hidden": (19, 19, 19)}, "scienceqa": {"fastv": 19}}, []),
        ({"pope": {"hidden": (20, 20, 16)}}, ["R3"]),
        ({"scienceqa": {"fastv": 18}}, ["R3"]),
        ({"textvqa": {"hidden": (0, 0, 0), "fastv": 0}}, []),
        ({"chair": {"cut": 9}}, ["R4"]),
        ({"scienceqa": {"blind": CONSTANT + 1}}, ["R5"]),
        ({"pope": {"intact": 19, "hidden": (19,) * 3, "fastv": 19}}, ["R6"]),
        ({"textvqa": {"intact": 15}}, ["R6"]),
        ({"chair": {"mentions": (40, 3)}}, ["R6"]),
        ({"chair": {"present": (40, 35)}}, ["R6"]),
    ],
)
def test_each_property_fails_where_it_is_not_there(changes, missing):
    assert failing(**changes) == missing


def test_every_number_has_its_items_and_an_interval():
    summary = summarise(
        TASKS["chair"], planted("chair", **RESEMBLING | {"hidden": (20, 17, 14), "fastv": 14})
    )
    assert summary["scores"]["hidden"]["mean"] == 0.85
    assert summary["costs"]["hidden"]["mean"] == 0.15
    assert summary["costs"]["fastv"]["mean"] == 0.3
    numbers = (*summary["scores"].values(), *summary["costs"].values(), summary["recall"])
    for number in numbers:
        assert number["n"] == N_ITEMS
        assert number["low"] <= number["mean"] <= number["high"]
    assert summary["scores"]["fastv"]["low"] < 0.7 < summary["scores"]["fastv"]["high"]
    shares = summary["shares"]
    assert shares["first"]["mean"][-1] == shares["system"]["mean"][-1] / 2 == 0.3
    assert len(shares["image"]["low"]) == N_LAYERS
    assert shares["image"]["n"] == N_ITEMS


def test_a_quarter_of_the_image_tokens_is_hidden_and_half_pruned(lvlm, tmp_path):
    task, store = load_task("pope", limit=1), Store(tmp_path)
    rows = measure(lvlm, task, store)
    sample = task[0]
    image = lvlm.prompt(sample.image, sample.question).spans.image
    n_image = image.stop - image.start
    for seed, answers in zip(SEEDS, rows.hidden, strict=True):
        change = Simignore(n_image - n_image // 4, order="random", seed=seed)
        expected = answers_under(lvlm, task, store, change).attrs["record"]["key"]
        assert answers.attrs["record"]["key"] == expected
    expected = answers_under(lvlm, task, store, FastV(2, 0.5)).attrs["record"]["key"]
    assert rows.fastv.attrs["record"]["key"] == expected


def test_a_checkpoint_is_measured_in_its_own_world(lvlm, tmp_path, monkeypatch, capsys):
    (tmp_path / "recipe.json").write_text('{"name": "tiny", "seed": 3, "world": "shapes-large"}')
    (tmp_path / "config.json").touch()
    asked = []

    def given(_, task, __):
        asked.append(task.source)
        return planted(task.name, **RESEMBLING | SHARED.get(task.name, {}))

    monkeypatch.setattr(resembles, "load_lvlm", lambda *_, **__: lvlm)
    monkeypatch.setattr(resembles, "measure", given)
    resembles.main(str(tmp_path), N_ITEMS, tmp_path / "arms")
    assert asked == ["shapes-large"] * 4
    written = json.loads((tmp_path / "arms" / "tiny-shapes-large-seed3.json").read_text())
    assert written["recipe"]["world"] == "shapes-large"
    assert written["weights"] == lvlm.digest
    assert written["R4"]["cuts"] == dict.fromkeys(TASKS, 8)
    assert 'R4 {"holds": true' in capsys.readouterr().out


@pytest.mark.parametrize("recipe", [None, "[]", '{"seed": 1}', "{"])
def test_a_folder_without_a_recipe_is_one_clear_error(recipe, tmp_path, capsys):
    if recipe is not None:
        (tmp_path / "recipe.json").write_text(recipe)
    with pytest.raises(typer.Exit) as ended:
        resembles.main(str(tmp_path))
    assert ended.value.exit_code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "recipe.json" in said
    assert said.count("\n") == 1
