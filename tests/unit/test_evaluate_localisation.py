"""Heat maps over a task: what is measured, chosen and compared, against its plain twin."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from cam_choice import GROUPS, choices, choose_place
from which_map_measure import TRUTH, faithfulness_of_maps

from infoflow.data.load import load_task
from infoflow.errors import InfoflowError
from infoflow.evaluate.localisation import localisation_by_layer, localisation_of_rivals
from infoflow.methods.cam import llava_cams
from infoflow.methods.faithfulness import faithfulness_curve, randomised_weights
from infoflow.methods.flow import attention_flow
from infoflow.methods.heatmaps import (
    ATTENTION,
    CAMS,
    CENTRE,
    PAPER,
    RANDOM,
    RIVALS,
    SOURCES,
    Place,
    Source,
    explained_answer,
    heat_maps,
)
from infoflow.methods.localisation import coverage, localise, rank_correlation, target_mask

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


def test_rivals_have_a_row_a_layer_or_one_without_a_layer(lvlm, task, store):
    one = replace(task, samples=[next(sample for sample in task if sample.targets)])
    found = localisation_of_rivals(lvlm, one, store, **SMOOTHING)
    layers = found.groupby(["site", "weights"])["layer"].agg(list)
    assert set(layers.index) == set(RIVALS)
    by_layer = {site for (site, _), numbers in layers.items() if numbers != [0]}
    assert by_layer == {"relative_attention", "value_weighted"}
    assert layers["value_weighted", "none"] == list(range(1, lvlm.n_layers + 1))
    (row,) = found[found["site"] == "rollout"].to_dict("records")
    prompt = lvlm.prompt(one[0].image, one[0].question)
    answer = explained_answer(lvlm, prompt, one[0], task.max_new_tokens)
    rollout = Source("rollout", "none")
    maps = heat_maps(lvlm, prompt, answer, [rollout])[rollout]
    assert row["mass"] == pytest.approx(localise(maps, prompt.grid, target_mask(one[0])).mass[0])


def test_an_item_without_any_map_of_a_kind_does_not_count():
    rows = made_rows({A: 0.5, B: 0.5}, 10)
    rows.loc[rows["item"] == "0", "hit"] = np.nan
    found = choose_place([rows], [rows], [PAPER])
    assert len(found.scores) == 9
    assert found.test == pytest.approx(4 / 9)


def test_areas_and_random_weights_are_those_of_each_map(lvlm, task, store):
    before = {name: value.clone() for name, value in lvlm.model.state_dict().items()}
    places = [Place(*PAPER, 2), Place(*CENTRE, 0)]
    found = faithfulness_of_maps(lvlm, task, store, places, n_steps=2, **SMOOTHING)
    assert all(torch.equal(lvlm.model.state_dict()[n], value) for n, value in before.items())
    sample = next(sample for sample in task if sample.targets)
    prompt, mask = lvlm.prompt(sample.image, sample.question), target_mask(sample)
    answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
    maps = heat_maps(lvlm, prompt, answer, [PAPER, CENTRE], **SMOOTHING)
    with randomised_weights(lvlm, seed=SMOOTHING["seed"]):
        others = heat_maps(lvlm, prompt, answer, [PAPER, CENTRE], **SMOOTHING)
    truth = coverage(mask, prompt.grid)
    pairs = {places[0]: (maps[PAPER][1], others[PAPER][1])}
    pairs |= {places[1]: (maps[CENTRE][0], others[CENTRE][0]), TRUTH: (truth, truth)}
    for place, (heat, other) in pairs.items():
        row = of_place(found, sample.id, place)
        for name in ("deletion", "insertion"):
            curve = faithfulness_curve(lvlm, prompt, answer, heat, name, 2, SMOOTHING["seed"])
            area = (curve.scores[0] / 2 + curve.scores[1] + curve.scores[2] / 2) / 2
            assert row[name] == pytest.approx(area, rel=1e-5)
        assert row["correlation"] == pytest.approx(rank_correlation([heat], [other])[0])
        assert row["random_hit"] == localise([other], prompt.grid, mask).hits[0]
    assert of_place(found, sample.id, places[1])["correlation"] == pytest.approx(1)
    assert abs(of_place(found, sample.id, places[0])["correlation"]) < 0.95


def test_an_undefined_map_has_no_area(lvlm, task, store):
    last = Place(*PAPER, lvlm.n_layers)
    found = faithfulness_of_maps(lvlm, task, store, [last], n_steps=1)
    rows = found[found["site"] == PAPER.site]
    assert len(rows)
    assert rows[["deletion", "insertion", "correlation", "random_hit"]].isna().all(axis=None)
