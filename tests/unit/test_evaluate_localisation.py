"""Heat maps over a task: what is measured, chosen and compared, against its plain twin."""

import numpy as np
import pandas as pd
import pytest
import torch
from cam_choice import GROUPS, choices, choose_place

from infoflow.data.load import load_task
from infoflow.errors import InfoflowError
from infoflow.evaluate.localisation import localisation_by_layer
from infoflow.evaluate.perturbation import (
    TRUTH,
    perturbation_curves,
    randomised_maps,
)
from infoflow.methods.cam import llava_cams
from infoflow.methods.faithfulness import faithfulness_curve
from infoflow.methods.flow import attention_flow
from infoflow.methods.heatmaps import (
    ATTENTION,
    CAMS,
    CENTRE,
    PAPER,
    RANDOM,
    SOURCES,
    Place,
    Source,
    explained_answer,
    heat_maps,
)
from infoflow.methods.localisation import coverage, localise, target_mask

torch.set_num_threads(1)

SMOOTHING = {"n_samples": 2, "sigma": 0.1, "seed": 3}


@pytest.fixture(scope="module")
def task():
    return load_task("pope", limit=3)


@pytest.fixture(scope="module")
def rows(lvlm, task, store):
    return localisation_by_layer(lvlm, task, store, **SMOOTHING)


def of_place(rows, item, place):
    keys = ("site", "weights", "layer")
    picked = rows["item"] == item
    for key, value in zip(keys, place, strict=True):
        picked &= rows[key] == value
    (row,) = rows[picked].to_dict("records")
    return row


def test_items_without_a_region_have_no_rows(task, rows):
    with_region = [sample.id for sample in task if sample.targets]
    assert 0 < len(with_region) < len(task)
    assert list(rows["item"].unique()) == with_region


def test_rows_are_the_scores_of_maps_made_one_source_at_a_time(lvlm, task, rows):
    sample = next(sample for sample in task if sample.targets)
    prompt = lvlm.prompt(sample.image, sample.question)
    answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
    mask = target_mask(sample)
    for source in (PAPER, Source("self_attn.v_proj", "element-wise"), Source("projector", "mean")):
        cams = llava_cams(lvlm, prompt, answer, (source.site,), (source.weights,), **SMOOTHING)
        expected = localise(cams[source].maps.numpy(), prompt.grid, mask)
        first = 0 if source.site == "projector" else 1
        for index in range(len(expected.hits)):
            row = of_place(rows, sample.id, (*source, first + index))
            assert row["hit"] == pytest.approx(expected.hits[index], nan_ok=True)
            assert row["mass"] == pytest.approx(expected.mass[index], rel=1e-4, nan_ok=True)
            assert row["hit_chance"] == expected.hit_chance
    attention = attention_flow(lvlm, prompt, answer).rows.mean(1)[:, prompt.spans.image]
    maps = prompt.grid.cells(attention.double().numpy())
    expected = localise(maps, prompt.grid, mask)
    found = [of_place(rows, sample.id, (*ATTENTION, n + 1))["mass"] for n in range(lvlm.n_layers)]
    np.testing.assert_allclose(found, expected.mass, rtol=1e-6)


def test_undefined_maps_have_no_score_and_no_other_lacks_one(lvlm, rows):
    last = lvlm.n_layers
    lacking = rows[rows["hit"].isna()]
    assert set(zip(lacking["site"], lacking["weights"], lacking["layer"], strict=True)) == {
        *((site, w, last) for site, w in CAMS if site in ("post_attention_layernorm", "output")),
        ("output", "element-wise", last - 1),
    }
    assert lacking["mass"].isna().all()


def test_random_maps_differ_from_item_to_item_and_not_from_run_to_run(lvlm, task):
    prompts = [lvlm.prompt(sample.image, sample.question) for sample in task]
    answer = lvlm.encode_answer("yes")
    maps = [heat_maps(lvlm, prompt, answer, [RANDOM])[RANDOM] for prompt in prompts]
    again = heat_maps(lvlm, prompts[0], answer, [RANDOM])[RANDOM]
    assert np.array_equal(maps[0], again)
    assert not np.array_equal(maps[0], maps[1])


def made_rows(hits, items=20):
    """Rows in which the map of each place hits a share of the items, the first ones."""
    return pd.DataFrame(
        [
            {"item": str(i), **place._asdict(), "hit": float(i < share * items), "mass": share}
            for i in range(items)
            for place, share in hits.items()
        ]
    )


A, B, C = (Place(*PAPER, layer) for layer in (1, 2, 3))


def test_the_choice_is_made_on_calibration_items_and_scored_on_others():
    known = made_rows({A: 0.4, B: 0.8, C: 0.6})
    new = made_rows({A: 0.9, B: 0.5, C: 0.7})
    found = choose_place([known], [new], [PAPER])
    assert found.place == B
    assert found.calibration == pytest.approx(0.8)
    assert found.test == found.scores.mean() == pytest.approx(0.5)
    assert found.best == A
    assert found.best_score == pytest.approx(0.9)
    assert found.interval[0] < 0.5 < found.interval[1]


def test_tasks_are_pooled_item_by_item():
    first, second = made_rows({A: 1.0, B: 0.8}, 10), made_rows({B: 0.7, A: 0.5}, 30)
    found = choose_place([first, second], [first, second], [PAPER])
    assert found.place == B
    assert found.test == pytest.approx((8 + 21) / 40)


def test_an_undefined_place_is_never_chosen():
    rows = made_rows({A: 0.2, B: 1.0})
    rows.loc[rows["layer"] == 2, "hit"] = np.nan
    assert choose_place([rows], [rows], [PAPER]).place == A
    with pytest.raises(InfoflowError, match="no candidate is defined"):
        choose_place([rows[rows["layer"] == 2]], [rows[rows["layer"] == 2]], [PAPER])


def test_scores_need_an_item_with_a_region():
    with pytest.raises(InfoflowError, match="no item names a region"):
        choose_place([made_rows({A: 0.4})], [pd.DataFrame({"item": []})], [PAPER])


def test_every_group_chooses_among_its_own_maps(rows):
    found = choices([rows], [rows])
    assert set(found) == set(GROUPS)
    for name, chosen in found.items():
        assert chosen.place.source in GROUPS[name]
    assert {source for group in GROUPS.values() for source in group} == set(SOURCES)


def test_curves_are_those_of_the_maps_and_of_the_region(lvlm, task, store):
    places = [Place(*PAPER, 2), Place(*CENTRE, 0)]
    found = perturbation_curves(lvlm, task, store, places, n_steps=2, **SMOOTHING)
    sample = next(sample for sample in task if sample.targets)
    prompt = lvlm.prompt(sample.image, sample.question)
    answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
    maps = heat_maps(lvlm, prompt, answer, [PAPER, CENTRE], **SMOOTHING)
    heats = {place: maps[place.source][max(place.layer - 1, 0)] for place in places}
    heats[TRUTH] = coverage(target_mask(sample), prompt.grid)
    assert np.array_equal(heats[places[0]], maps[PAPER][1])
    for place, heat in heats.items():
        for name in ("deletion", "insertion"):
            part = found[(found["item"] == sample.id) & (found["curve"] == name)]
            part = part[(part["site"] == place.site) & (part["layer"] == place.layer)]
            curve = faithfulness_curve(lvlm, prompt, answer, heat, name, 2, SMOOTHING["seed"])
            assert list(part["fraction"]) == [0, 0.5, 1]
            np.testing.assert_allclose(part["probability"], curve.scores, rtol=1e-5)


def test_random_weights_are_compared_and_taken_back(lvlm, task, store):
    before = {name: value.clone() for name, value in lvlm.model.state_dict().items()}
    found = randomised_maps(lvlm, task, store, [PAPER, ATTENTION], seed=5)
    assert all(torch.equal(lvlm.model.state_dict()[n], value) for n, value in before.items())
    last = (found["site"] == PAPER.site) & (found["layer"] == lvlm.n_layers)
    assert found[last]["correlation"].isna().all()
    known = found["correlation"].dropna()  # a map of zeros has no ranks
    assert len(known) > lvlm.n_layers
    assert known.between(-0.95, 0.95).all()
    assert (found[~last]["hit"] != found[~last]["random_hit"]).any()
