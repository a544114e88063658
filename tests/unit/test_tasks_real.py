"""The benchmarks' own data: two layouts each, from the files to a table, and every error."""

import json
from dataclasses import replace

import datasets
import pytest
import real_sets
from truncation_pages import metrics_by_cut

from infoflow.data.controls import blank_pictures
from infoflow.data.load import blind_guess, list_tasks, load_task
from infoflow.data.sets import own
from infoflow.data.sets.own import in_drawn_order
from infoflow.data.templates import WORDINGS, find_wording, phrase, worded, wording_family
from infoflow.errors import InfoflowError, UnknownNameError
from infoflow.evaluate.answers import answers
from infoflow.evaluate.truncation import truncation_by_cut
from infoflow.models.families import list_models

SIZES = {"scienceqa": 3, "pope": 24, "textvqa": 3, "chair": 4}
METRICS = {
    "scienceqa": {"accuracy", "accuracy/natural science", "accuracy/social science"},
    "pope": {"accuracy", "f1/random", "f1/popular", "f1/adversarial", "yes_ratio"},
    "textvqa": {"accuracy"},
    "chair": {"CHAIRs", "CHAIRi", "recall"},
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for (name, layout), make in real_sets.MAKERS.items():
        make(folder / name / layout)
    return folder


def without_pictures(sample):
    names = ("question", "answer", "kind", "choices", "answers", "objects", "context", "ocr")
    return {name: getattr(sample, name) for name in names}


@pytest.mark.parametrize(("name", "layout"), real_sets.MAKERS)
def test_from_the_files_to_the_table(name, layout, sets, lvlm, store):
    task = load_task(name, sets / name / layout, max_new_tokens=2)
    assert len(task) == SIZES[name]
    asked = worded(task, lvlm.name)
    rows = answers(lvlm, asked, store)
    assert list(rows["item"]) == [sample.id for sample in task]
    assert set(asked.summary(rows)) >= METRICS[name]
    assert asked.source in json.dumps(rows.attrs["record"]["key"])
    cuts = truncation_by_cut(lvlm, replace(asked, samples=asked.samples[:2]), store)
    metrics = metrics_by_cut(asked, cuts)
    assert METRICS[name] & set(metrics)
    assert len(metrics) == lvlm.n_layers + 1


@pytest.mark.parametrize("name", list_tasks())
def test_both_layouts_hold_the_same(name, sets):
    one, other = (load_task(name, sets / name / layout) for layout in ("parquet", "originals"))
    found = [sorted(map(str, map(without_pictures, task))) for task in (one, other)]
    if name == "chair":  # rows hold no captions, so the reference differs
        assert {s.id: s.objects for s in one} == {s.id: s.objects for s in other}
        assert [s.answer for s in other if s.id == "chair-42"] == ["A dog on a seat."]
    else:
        assert found[0] == found[1]
    if name != "scienceqa":  # whose rows bear no number
        assert {s.id for s in one} == {s.id for s in other}
    assert len({s.id for s in other}) == len(other)
    assert all(s.image.mode == "RGB" and s.image.size == (32, 24) for s in one)
    assert all(not s.regions and not s.targets for s in one)


@pytest.mark.parametrize("name", list_tasks())
def test_reference_answers_score_one(name, sets):
    for layout in ("parquet", "originals"):
        task = load_task(name, sets / name / layout)
        for sample in task:
            said = " and ".join(sample.objects) if name == "chair" else sample.answer
            assert task.score(sample, said) == 1


def test_pictures_stay_closed_until_asked_for(sets, monkeypatch):
    opened = []
    task = worded(load_task("pope", sets / "pope" / "originals"), "shikra")
    read = own.read_image
    monkeypatch.setattr(own, "read_image", lambda place: opened.append(1) or read(place))
    assert len({sample.id for sample in task}) == 24
    assert blind_guess(task) == 0.5
    assert not opened
    sample = task[0]
    assert sample.image.tobytes() == sample.image.tobytes()
    assert len(opened) == 2
    grey = blank_pictures(task)[0]
    assert (grey.id, grey.question) == (sample.id, sample.question)
    assert grey.image.getcolors() == [(32 * 24, (128, 128, 128))]
    with pytest.raises(AttributeError, match="no attribute 'imge'"):
        _ = sample.imge


def test_scienceqa_keeps_the_questions_with_a_picture(sets):
    rows, files = (load_task("scienceqa", sets / "scienceqa" / k) for k in ("parquet", "originals"))
    assert [s.id for s in rows] == ["scienceqa-test-0", "scienceqa-test-2", "scienceqa-test-3"]
    assert [s.id for s in files] == ["scienceqa-11", "scienceqa-13", "scienceqa-14"]
    assert [s.answer for s in rows] == ["B", "A", "E"]
    assert rows[0].context == "A shelf."
    calibration = load_task("scienceqa", sets / "scienceqa" / "originals", "calibration")
    assert calibration.split == "validation"
    assert [s.id for s in calibration] == ["scienceqa-21"]


def test_pope_kinds_take_turns_and_halves_share_no_picture(sets):
    task = load_task("pope", sets / "pope" / "originals", limit=6)
    assert [s.id for s in task] == [f"pope-{kind}-{n}" for n in (1, 2) for kind in real_sets.KINDS]
    assert [s.answer for s in task] == ["yes"] * 3 + ["no"] * 3
    halves = [
        [s.id for s in load_task("pope", sets / "pope" / "parquet", split)]
        for split in ("calibration", "held-out")
    ]
    assert [len(half) for half in halves] == [12, 12]
    places = [{(int(name.split("-")[-1]) - 1) // 2 for name in half} for half in halves]
    assert places[0].isdisjoint(places[1])
    assert sorted(places[0] | places[1]) == [0, 1, 2, 3]


def test_textvqa_with_and_without_ocr(sets):
    for layout in ("parquet", "originals"):
        folder = sets / "textvqa" / layout
        told, untold = load_task("textvqa", folder), load_task("textvqa", folder, ocr=False)
        assert told.split == untold.split == "validation"
        assert told.source.endswith(", with OCR tokens")
        assert untold.source.endswith(", without OCR tokens")
        assert told[0].ocr == ("NOKIA", "2010")
        assert untold[0].ocr is None
        assert "Reference OCR token: NOKIA, 2010" in worded(told, "llava-1.5-7b")[0].question
        assert "OCR" not in worded(untold, "llava-1.5-7b")[0].question
        train = load_task("textvqa", folder, "calibration")
        assert [(train.split, s.id) for s in train] == [("train", "textvqa-1")]


def test_chairs_truth_is_instances_and_captions_by_the_rule(sets):
    folder = sets / "chair" / "originals"
    original = {s.id: list(s.objects) for s in load_task("chair", folder)}
    assert original == {f"chair-{n}": names for n, names in real_sets.CHAIR_OBJECTS.items()}
    corrected = {s.id: s.objects for s in load_task("chair", folder, rule="corrected")}
    assert corrected["chair-133"] == ("bus",)
    task = load_task("chair", folder)
    sample = next(s for s in task if s.id == "chair-73")
    details = task.details(sample, "A man with two hot dogs and a dog on a bus.")
    assert details["prediction"] == "person, hot dog, dog"
    assert (details["mentions"], details["hallucinated"]) == (3, 1)


def test_chair_draws_pictures_or_takes_a_list(sets, tmp_path, monkeypatch):
    folder = sets / "chair" / "originals"
    monkeypatch.setattr("infoflow.data.chair.N_IMAGES", 2)
    drawn = in_drawn_order(["42", "73", "74", "133"])
    assert [s.id for s in load_task("chair", folder)] == [f"chair-{n}" for n in drawn[:2]]
    other = load_task("chair", folder, "calibration")
    assert [s.id for s in other] == [f"chair-{n}" for n in drawn[2:]]
    listed = tmp_path / "pictures.txt"
    listed.write_text("74\nCOCO_val2014_000000000042.jpg\n")
    for layout in ("originals", "parquet"):
        for split in ("test", "held-out"):
            task = load_task("chair", sets / "chair" / layout, split, pictures=listed)
            assert [s.id for s in task] == ["chair-74", "chair-42"]
        rest = load_task("chair", sets / "chair" / layout, "calibration", pictures=listed)
        assert {s.id for s in rest} == {"chair-73", "chair-133"}
    listed.write_text("42\n73\n74\n133\n")
    with pytest.raises(InfoflowError, match="all 4 images are for reporting, so none is left"):
        load_task("chair", sets / "chair" / "parquet", "calibration", pictures=listed)
    listed.write_text("7")
    with pytest.raises(InfoflowError, match="the image 7, which the data lacks"):
        load_task("chair", folder, pictures=listed)
    listed.write_text("the dog\n")
    with pytest.raises(InfoflowError, match=r"'the' in .* is no image of COCO"):
        load_task("chair", folder, pictures=listed)


def numbers(task):
    return [int(sample.id.removeprefix("chair-")) for sample in task]


def test_chairs_held_out_pictures_are_those_of_the_test_split_in_cocos_files(sets, monkeypatch):
    folder = sets / "chair" / "originals"
    monkeypatch.setattr("infoflow.data.chair.N_IMAGES", 1)
    task, held_out = (load_task("chair", folder, split) for split in ("test", "held-out"))
    assert numbers(held_out) == numbers(task) == [73]
    assert held_out.split == "held-out"
    assert numbers(load_task("chair", folder, "calibration")) == [42]


def chair_halves(folder, rows, **given):
    path = folder / "test-00000-of-00001.parquet"
    real_sets.save(path, rows, real_sets.CHAIR_FEATURES)
    (folder / "synonyms.txt").write_text(real_sets.SYNONYMS)
    halves = ("calibration", "held-out")
    return [numbers(load_task("chair", folder, split, **given)) for split in halves]


@pytest.mark.parametrize("n", [4, 3])
def test_halves_of_chairs_rows_hold_each_picture_once_in_any_order_of_the_rows(tmp_path, n):
    rows = real_sets.chair_rows()[:n]
    calibration, held_out = chair_halves(tmp_path / "one", rows)
    assert sorted(calibration + held_out) == sorted(row["question_id"] for row in rows)
    assert len(calibration) == n // 2
    for order in (rows[::-1], rows[1:] + rows[:1]):
        assert chair_halves(tmp_path / "other", order) == [calibration, held_out]
    first = chair_halves(tmp_path / "one", rows, limit=1)
    assert first == [calibration[:1], held_out[:1]]
    whole = load_task("chair", tmp_path / "one")
    assert numbers(whole) == [row["question_id"] for row in rows], "the set is itself a choice"


def test_listed_pictures_are_part_of_the_source(hub, sets, tmp_path, monkeypatch):
    real_sets.publish_synonyms(monkeypatch, tmp_path)
    listed = {}
    for content in ("74\n42\n", "42\n74\n", "42\n73\n"):
        (tmp_path / "list.txt").write_text(content)
        listed[content] = load_task("chair", "hub", pictures=tmp_path / "list.txt").source
    assert listed["74\n42\n"] == listed["42\n74\n"]
    assert len({*listed.values(), load_task("chair", "hub").source}) == 3


def test_the_draw_is_the_same_everywhere():
    names = [str(n) for n in range(10)]
    order = in_drawn_order(names)
    assert order == in_drawn_order(reversed(names * 2))
    assert order == ["6", "7", "5", "9", "4", "3", "1", "2", "0", "8"]  # as sha256sum has it


def test_synonyms_are_part_of_the_source(sets, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(real_sets.SYNONYMS + "cat, kitten\n")
    folder = sets / "chair" / "parquet"
    sources = {load_task("chair", folder, synonyms=path).source for path in (None, other)}
    assert len(sources) == 2


def test_the_source_is_a_digest_of_what_is_asked(sets, tmp_path):
    folder = sets / "scienceqa" / "originals"
    assert load_task("scienceqa", folder, limit=1).source == load_task("scienceqa", folder).source
    real_sets.scienceqa_originals(tmp_path)
    assert load_task("scienceqa", tmp_path).source == load_task("scienceqa", folder).source
    problems = json.loads((tmp_path / "problems.json").read_text())
    problems["14"]["answer"] = 0
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    assert load_task("scienceqa", tmp_path).source != load_task("scienceqa", folder).source


# ---- wording


def test_shapes_is_worded_already():
    task = load_task("pope", limit=2)
    assert worded(task, "llava-1.5-7b") is task


@pytest.mark.parametrize("family", WORDINGS)
def test_a_worded_task_asks_what_the_table_says_and_can_be_worded_once(family, sets):
    task = load_task("scienceqa", sets / "scienceqa" / "originals")
    asked = worded(task, family)
    assert asked.source.startswith(f"{task.source}, worded for {family} ")
    assert [s.question for s in asked] == [
        phrase(find_wording(family, "scienceqa"), s) for s in task
    ]
    assert all(choice in asked[0].question for choice in ("the cup", "the hat", "A shelf."))
    assert worded(asked, "shikra") is asked
    assert [s.question for s in asked[:2]] == [s.question for s in asked][:2]


def test_another_wording_is_another_source(sets, monkeypatch):
    task = load_task("pope", sets / "pope" / "originals", limit=1)
    before = worded(task, "shikra").source
    assert worded(task, "shikra").source == before
    monkeypatch.setitem(WORDINGS["shikra"], "pope", "{{ question }} Say yes or no.")
    assert worded(task, "shikra").source != before


def test_a_wording_by_name_is_asked_and_part_of_the_key(sets):
    folder = sets / "scienceqa" / "originals"
    task = load_task("scienceqa", folder, wording="simignore")
    asked = worded(task, "llava-1.5-7b")
    assert asked[0].question.startswith(("Context: N/A\nQuestion: ", "Context: "))
    assert "\nOptions: (A) " in asked[0].question
    assert ", worded as simignore for llava-1.5 " in asked.source
    plain = worded(load_task("scienceqa", folder), "llava-1.5-7b")
    named = worded(load_task("scienceqa", folder), "llava-1.5-7b", "simignore")
    assert named.source == asked.source != plain.source
    assert worded(named, "llava-1.5-7b", "simignore") is named
    with pytest.raises(InfoflowError, match="are worded already"):
        worded(plain, "llava-1.5-7b", "simignore")
    with pytest.raises(UnknownNameError, match="wording of scienceqa 'papers'"):
        load_task("scienceqa", folder, wording="papers")
    with pytest.raises(InfoflowError, match="wording= does not apply to 'pope' from 'shapes'"):
        load_task("pope", wording="paper")


def test_every_model_has_one_wording():
    for name in list_models():
        assert sum(family in name for family in WORDINGS) == 1
        assert wording_family(name) in name
    with pytest.raises(UnknownNameError, match="'gpt'"):
        wording_family("gpt")


# ---- the hub

COMMIT = real_sets.COMMIT


@pytest.fixture
def hub(monkeypatch):
    """A hub that has the tiny sets, and notes what it was asked for."""
    return real_sets.install_hub(monkeypatch)


def test_the_hub_gives_what_its_parquet_files_give(hub, sets, tmp_path, monkeypatch):
    real_sets.publish_synonyms(monkeypatch, tmp_path)
    for name in list_tasks():
        task, local = (load_task(name, source) for source in ("hub", sets / name / "parquet"))
        assert [without_pictures(s) for s in task] == [without_pictures(s) for s in local]
        assert [s.image.tobytes() for s in task] == [s.image.tobytes() for s in local]
        assert task.source.startswith("hub ")
        assert f"@{COMMIT}" in task.source


def test_organisation_and_revision_can_be_chosen(hub):
    load_task("scienceqa", "hub", "calibration")
    load_task("pope", "hub", organisation="lmms-lab", revision="main")
    task = load_task("textvqa", "hub", revision="f" * 40)
    assert hub == [
        ("lmms-lab-encoder/ScienceQA", None),
        ("lmms-lab-encoder/ScienceQA", "ScienceQA-IMG", "validation", COMMIT),
        ("lmms-lab/POPE", "main"),
        ("lmms-lab/POPE", None, "test", COMMIT),
        ("lmms-lab-encoder/textvqa", None, "validation", "f" * 40),
    ]
    assert task.source == f"hub lmms-lab-encoder/textvqa@{'f' * 40}, with OCR tokens"


class HttpLibraryError(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("no route"),
        ValueError("no such\nconfig"),
        HttpLibraryError("no such name"),
    ],
)
def test_without_the_hub_one_error_says_how_to_give_a_folder(hub, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    message = r"lmms-lab-encoder/POPE.*: no .*organisation=.*load_task\(.*, source=folder\)"
    with pytest.raises(InfoflowError, match=message) as caught:
        load_task("pope", "hub")
    assert "\n" not in str(caught.value)
