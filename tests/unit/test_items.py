"""A page's items: worded for its model, and none both chosen on and reported on."""

import re

import pytest
from real_sets import COMMIT, MAKERS, install_hub, publish_synonyms

from infoflow import load_task
from infoflow.data import chair as chair_data
from infoflow.data.items import Items, reported_split
from infoflow.errors import InfoflowError, UnknownNameError

MODEL = "llava-1.5-7b"
BENCHMARKS = ("scienceqa", "pope", "textvqa", "chair")


@pytest.fixture(scope="module", params=["parquet", "originals"])
def folder(request, tmp_path_factory):
    """A folder with a subfolder for each benchmark."""
    made = tmp_path_factory.mktemp(request.param)
    for name in BENCHMARKS:
        MAKERS[name, request.param](made / name)
    return made


def ids(task):
    return [sample.id for sample in task]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_of_shapes_they_are_load_tasks_own(name):
    data = Items("tiny-llava-1.5")
    for given, split in ((data.test(name, 3), "test"), (data.calibration(name, 3), "calibration")):
        own = load_task(name, split=split, limit=3)
        assert ids(given) == ids(own)
        assert [s.question for s in given] == [s.question for s in own]
        assert (given.source, given.split) == ("shapes", split)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_of_a_folder_they_lie_in_its_subfolder_and_are_worded(folder, name):
    task = Items(MODEL, folder).test(name, 2)
    assert ids(task) == ids(load_task(name, folder / name, reported_split(name), 2))
    assert not task.bare
    assert "worded for llava-1.5" in task.source
    ends = {
        "scienceqa": "Answer with the option's letter from the given choices directly.",
        "chair": "Please describe this image in detail.",
    }
    short = "Answer the question using a single word or phrase."
    assert all(sample.question.endswith(ends.get(name, short)) for sample in task)


def test_a_folder_of_one_benchmark_does_as_well(folder):
    within = Items(MODEL, folder).test("pope")
    assert ids(Items(MODEL, folder / "pope").test("pope")) == ids(within)
    assert Items(MODEL, folder / "pope").test("pope").source == within.source


@pytest.mark.parametrize("name", ["pope", "chair"])
def test_no_picture_is_chosen_on_and_reported_on(tmp_path, name):
    MAKERS[name, "parquet"](tmp_path / name)
    data = Items(MODEL, tmp_path)
    test, calibration = data.test(name), data.calibration(name)
    assert (test.split, calibration.split) == ("held-out", "calibration")
    assert {s.image.tobytes() for s in test}.isdisjoint(s.image.tobytes() for s in calibration)
    assert sorted(ids(test) + ids(calibration)) == sorted(ids(load_task(name, tmp_path)))


@pytest.mark.parametrize("name", ["scienceqa", "textvqa"])
def test_where_calibration_items_are_others_the_whole_test_split_is_reported(folder, name):
    data = Items(MODEL, folder)
    assert ids(data.test(name)) == ids(load_task(name, folder))
    assert not set(ids(data.test(name))) & set(ids(data.calibration(name)))


def test_captions_from_cocos_files_are_the_first_drawn_and_chosen_on_the_next(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(chair_data, "N_IMAGES", 2)
    MAKERS["chair", "originals"](tmp_path / "chair")
    data = Items(MODEL, tmp_path)
    assert ids(data.test("chair")) == ids(load_task("chair", tmp_path))
    assert len(data.test("chair")) == len(data.calibration("chair")) == 2
    assert not set(ids(data.test("chair"))) & set(ids(data.calibration("chair")))


def test_captions_from_the_hub_are_halves_of_its_set(tmp_path, monkeypatch):
    install_hub(monkeypatch)
    publish_synonyms(monkeypatch, tmp_path)
    data = Items(MODEL, "hub")
    test, calibration = data.test("chair"), data.calibration("chair")
    assert len(test) == len(calibration) == 2
    assert sorted(ids(test) + ids(calibration)) == sorted(ids(load_task("chair", "hub")))
    for task in (test, calibration):
        assert task.source.startswith(f"hub tsunghanwu/mscoco_chair@{COMMIT}, synonyms ")
        assert "worded for llava-1.5" in task.source
        assert all(sample.question == "Please describe this image in detail." for sample in task)


def test_a_missing_set_is_named(tmp_path):
    MAKERS["pope", "parquet"](tmp_path / "pope")
    MAKERS["textvqa", "parquet"](tmp_path / "textvqa")
    told = f"unknown source '{re.escape(str(tmp_path))}'.*a folder with the data of scienceqa"
    with pytest.raises(InfoflowError, match=told):
        Items(MODEL, tmp_path).test("scienceqa")


def test_a_folder_without_any_set_names_both_layouts(tmp_path):
    with pytest.raises(InfoflowError, match="in neither of the known layouts") as caught:
        Items(MODEL, tmp_path).test("pope")
    assert "may also lie in a folder 'pope'" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("hbu", "unknown source 'hbu'. Did you mean 'hub'"),
        ("no/such/folder", "unknown source 'no/such/folder'"),
    ],
)
def test_a_wrong_source_is_named_with_what_is_valid(source, told):
    with pytest.raises(InfoflowError, match=re.escape(told)):
        Items(MODEL, source).test("pope")


def test_an_unknown_benchmark_or_model_is_named(folder):
    with pytest.raises(UnknownNameError, match="unknown task 'pop'"):
        Items(MODEL, folder).test("pop")
    with pytest.raises(UnknownNameError, match="unknown family"):
        Items("my-model", folder).test("pope")
