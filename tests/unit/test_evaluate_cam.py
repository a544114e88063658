"""LLaVA-CAM over a task: rows against maps computed one by one, and statistics against twins."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from infoflow.data.controls import GREY, swap_pictures
from infoflow.data.load import load_task
from infoflow.errors import InfoflowError
from infoflow.evaluate.cam import cam_by_layer, cam_control
from infoflow.methods.cam import llava_cam
from infoflow.methods.localisation import localise, rank_correlation, target_mask

torch.set_num_threads(1)
SETTINGS = {"n_samples": 2, "sigma": 0.1, "seed": 3}


@pytest.fixture(scope="module")
def task():
    return load_task("pope", limit=2)  # the first has a target, the second none


@pytest.fixture(scope="module")
def rows(lvlm, task, store):
    return cam_by_layer(lvlm, task, store, **SETTINGS)


def test_rows_describe_the_map_of_each_layer(lvlm, task, rows):
    for sample in task:
        prompt = lvlm.prompt(sample.image, sample.question)
        cam = llava_cam(lvlm, prompt, lvlm.generate(prompt, task.max_new_tokens), **SETTINGS)
        part = rows[rows["item"] == sample.id]
        assert list(part["layer"]) == list(range(1, lvlm.n_layers + 1))
        assert set(part["kind"]) == {sample.kind}
        np.testing.assert_allclose(part["peak"], cam.peaks, rtol=1e-6)
        np.testing.assert_allclose(part["entropy"], cam.entropies, rtol=1e-6)
        lit = cam.lit.where(cam.peaks > 0, math.nan)  # a map of zeros has no shape
        np.testing.assert_allclose(part["lit"], lit, rtol=1e-6)


def test_maps_are_scored_against_the_target_where_there_is_one(lvlm, task, rows):
    columns = ["mass", "hit", "mass_chance", "hit_chance"]
    first, second = (rows[rows["item"] == sample.id] for sample in task)
    assert second[columns].isna().all(axis=None)
    sample = task[0]
    prompt = lvlm.prompt(sample.image, sample.question)
    cam = llava_cam(lvlm, prompt, lvlm.generate(prompt, task.max_new_tokens), **SETTINGS)
    found = localise(cam.maps, prompt.grid, target_mask(sample))
    np.testing.assert_allclose(first["mass"], found.mass)
    np.testing.assert_allclose(first["hit"], found.hits)
    assert set(first["mass_chance"]) == {found.mass_chance}


def test_the_last_layer_is_undefined(lvlm, rows):
    last = rows[rows["layer"] == lvlm.n_layers]
    assert last[["peak", "entropy", "lit", "mass", "hit"]].isna().all(axis=None)
    assert rows[rows["layer"] < lvlm.n_layers]["peak"].notna().all()


def test_control_maps_are_of_the_same_answer_on_other_pictures(lvlm, task, store):
    donor = load_task("pope", split="calibration", limit=2)
    control = cam_control(lvlm, task, donor, store, **SETTINGS)
    swapped = swap_pictures(task, donor)
    for index, sample in enumerate(task):
        own = lvlm.prompt(sample.image, sample.question)
        answer = lvlm.generate(own, task.max_new_tokens)
        maps = llava_cam(lvlm, own, answer, **SETTINGS).maps
        pictures = {
            "another": swapped[index].image.resize(sample.image.size),
            "grey": Image.new("RGB", sample.image.size, GREY),
        }
        for name, picture in pictures.items():
            prompt = lvlm.prompt(picture, sample.question)
            cam = llava_cam(lvlm, prompt, answer, **SETTINGS)
            part = control[(control["item"] == sample.id) & (control["picture"] == name)]
            np.testing.assert_allclose(part["entropy"], cam.entropies, rtol=1e-6)
            np.testing.assert_allclose(part["correlation"], rank_correlation(cam.maps, maps))
            if sample.targets:
                found = localise(cam.maps, prompt.grid, target_mask(sample))
                np.testing.assert_allclose(part["mass"], found.mass)


def test_control_needs_as_many_pictures(lvlm, task, store):
    with pytest.raises(InfoflowError, match="2 samples cannot be paired with 1"):
        cam_control(lvlm, task, load_task("pope", split="calibration", limit=1), store)


def test_parameters_name_results_of_their_own(lvlm, task, store, rows):
    other = cam_by_layer(lvlm, task, store, **(SETTINGS | {"sigma": 0.3}))
    assert other.attrs["record"]["key"] != rows.attrs["record"]["key"]
    assert not np.allclose(other["peak"].iloc[:-1], rows["peak"].iloc[:-1], equal_nan=True)
