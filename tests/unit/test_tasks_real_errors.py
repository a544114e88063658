"""What is wrong with data is said in one error that names the offender."""

import json
import shutil

import pytest
import real_sets
from datasets import Features, Value

from infoflow.errors import InfoflowError, UnknownNameError
from infoflow.tasks import list_tasks, load_task


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "set"


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", list_tasks())
def test_a_folder_of_neither_layout_names_both(name, folder):
    folder.mkdir()
    (folder / "synonyms.txt").write_text("dog\n")
    (folder / "notes.md").write_text("-")
    with pytest.raises(InfoflowError, match="neither of the known layouts") as caught:
        load_task(name, folder)
    assert "-00000-of-00001.parquet" in str(caught.value)
    wanted = {
        "scienceqa": "pid_splits.json",
        "pope": "coco_pope_random.json",
        "textvqa": "train_images/",
        "chair": "annotations/instances_val2014.json",
    }
    assert wanted[name] in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hubb", r"unknown source 'hubb'. Did you mean 'hub'\?"),
        ("no/such/folder", "there is no folder no/such/folder; valid sources: shapes, hub, a fold"),
    ],
)
def test_a_source_that_is_none(source, message):
    with pytest.raises(InfoflowError, match=message):
        load_task("pope", source)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("scienceqa", "calibration, test, validation"),
        ("pope", "calibration, held-out, test"),
        ("textvqa", "calibration, test, train, validation"),
        ("chair", "calibration, held-out, test"),
    ],
)
def test_an_unknown_split_lists_the_valid_ones(name, valid, folder):
    folder.mkdir()
    with pytest.raises(UnknownNameError, match=f"unknown split of {name} 'dev'. .*Valid: {valid}"):
        load_task(name, folder, "dev")


def test_an_unknown_rule_is_refused_before_anything_is_read(folder):
    with pytest.raises(UnknownNameError, match="unknown pope scoring rule 'llava'"):
        load_task("pope", "hub", rule="llava")


@pytest.mark.parametrize(
    ("name", "source", "arguments"),
    [
        ("pope", "shapes", {"organisation": "lmms-lab"}),
        ("pope", ".", {"revision": "main"}),
        ("pope", "hub", {"ocr": False}),
        ("textvqa", "shapes", {"ocr": True}),
        ("scienceqa", "hub", {"synonyms": "synonyms.txt"}),
        ("chair", "shapes", {"pictures": "list.txt"}),
    ],
)
def test_an_argument_that_does_not_apply_is_refused(name, source, arguments):
    argument = next(iter(arguments))
    with pytest.raises(InfoflowError, match=f"{argument}= does not apply to '{name}'"):
        load_task(name, source, **arguments)


def test_an_answer_needs_at_least_one_token():
    with pytest.raises(InfoflowError, match="max_new_tokens is 0"):
        load_task("pope", max_new_tokens=0)


@pytest.mark.parametrize(
    ("name", "rows", "features", "lost"),
    [
        ("scienceqa", lambda: real_sets.scienceqa_rows("test"), "SCIENCEQA_FEATURES", "choices"),
        ("pope", real_sets.pope_rows, "POPE_FEATURES", "category"),
        ("textvqa", lambda: real_sets.textvqa_rows("validation"), "TEXTVQA_FEATURES", "ocr_tokens"),
        ("chair", real_sets.chair_rows, "CHAIR_FEATURES", "gt_object"),
    ],
)
def test_a_column_that_is_missing_or_of_another_type_is_named(name, rows, features, lost, folder):
    split = "validation" if name == "textvqa" else "test"
    path = folder / f"{split}-00000-of-00001.parquet"
    features = getattr(real_sets, features)
    part = Features({key: value for key, value in features.items() if key != lost})
    kept = [{key: value for key, value in row.items() if key != lost} for row in rows()]
    real_sets.save(path, kept, part)
    (folder / "synonyms.txt").write_text(real_sets.SYNONYMS)
    with pytest.raises(InfoflowError, match=rf"parquet lacks the column\(s\) {lost}; needed are"):
        load_task(name, folder)
    as_text = Features({**features, "image": Value("string")})
    real_sets.save(path, [{**row, "image": "a path"} for row in rows()], as_text)
    with pytest.raises(InfoflowError, match=r"column 'image' of .* is of the type string"):
        load_task(name, folder)


def test_damaged_parquet(folder):
    folder.mkdir()
    (folder / "test.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InfoflowError, match=r"test\.parquet cannot be read as parquet"):
        load_task("pope", folder)


def test_parquet_of_other_splits_or_of_several_folders(folder):
    rows, features = real_sets.pope_rows(), real_sets.POPE_FEATURES
    real_sets.save(folder / "one" / "train-00000-of-00001.parquet", rows, features)
    with pytest.raises(InfoflowError, match=r"none of the parquet files \(train-00000.*'test'"):
        load_task("pope", folder)
    for place in ("one", "two"):
        real_sets.save(folder / place / "test-00000-of-00001.parquet", rows, features)
    with pytest.raises(InfoflowError, match="several folders"):
        load_task("pope", folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "maybe"}, "'answer' of row 0 of .* is 'maybe'; valid: no, yes"),
        ({"category": "other"}, "is 'other'; valid: adversarial, popular, random"),
        ({"question_id": "2"}, "holds the item 'pope-random-2' twice"),
        ({"image": None}, "1 rows of .* have no picture, the first of them row 0"),
    ],
)
def test_wrong_rows_are_named(change, message, folder):
    rows = real_sets.pope_rows(["random"])
    rows[0] |= change
    real_sets.save(folder / "test-00000-of-00001.parquet", rows, real_sets.POPE_FEATURES)
    with pytest.raises(InfoflowError, match=message):
        load_task("pope", folder)


def test_an_empty_split(folder):
    path = folder / "test-00000-of-00001.parquet"
    path.parent.mkdir()
    real_sets.Dataset.from_dict(
        {name: [] for name in real_sets.POPE_FEATURES}, features=real_sets.POPE_FEATURES
    ).to_parquet(path)
    with pytest.raises(InfoflowError, match=r"split 'test' in .* holds no item"):
        load_task("pope", folder)
    originals = folder / "originals"
    real_sets.scienceqa_originals(originals)
    edit(originals / "problems.json", lambda problems: problems["21"].update(image=None))
    with pytest.raises(InfoflowError, match=r"split 'validation' of scienceqa .* holds no item"):
        load_task("scienceqa", originals, "calibration")


@pytest.mark.parametrize(
    ("name", "picture", "item"),
    [
        ("scienceqa", "images/test/13/image.png", "scienceqa-13"),
        ("pope", "val2014/COCO_val2014_000000000042.jpg", "pope-random-1"),
        ("textvqa", "train_images/003a.jpg", "textvqa-34602"),
        ("chair", "val2014/COCO_val2014_000000000073.jpg", "chair-73"),
    ],
)
def test_a_picture_that_is_missing_or_damaged_is_named_with_its_item(name, picture, item, folder):
    real_sets.MAKERS[name, "originals"](folder)
    path = folder / picture
    path.write_bytes(path.read_bytes()[:60])
    task = load_task(name, folder)
    place = [entry.fields.id for entry in task.samples.entries].index(item)
    with pytest.raises(InfoflowError, match=f"{path.name} of item '{item}' is missing or damaged"):
        _ = task[place].image
    path.unlink()
    message = f"pictures are missing, the first of them .*{path.name} of item '{item}'"
    with pytest.raises(InfoflowError, match=message):
        load_task(name, folder)


def test_a_damaged_picture_of_a_row_is_named_with_its_item(folder):
    rows = real_sets.pope_rows()
    rows[3]["image"] = {"bytes": b"no picture", "path": None}
    real_sets.save(folder / "test-00000-of-00001.parquet", rows, real_sets.POPE_FEATURES)
    task = load_task("pope", folder)
    assert task[0].image.size == (32, 24)
    with pytest.raises(InfoflowError, match="the picture of item 'pope-adversarial-4' is missing"):
        [sample.image for sample in task]


def test_pictures_beyond_the_limit_need_not_be_there(folder):
    real_sets.scienceqa_originals(folder)
    shutil.rmtree(folder / "images" / "test" / "14")
    assert len(load_task("scienceqa", folder, limit=2)) == 2


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("problems.json", lambda p: p["13"].pop("choices"), r"problem 13 .* lacks 'choices'"),
        ("problems.json", lambda p: p.pop("14"), r"problems\.json lacks '14'"),
        (
            "problems.json",
            lambda p: p["13"].update(answer=3),
            r"'scienceqa-13' is 3; valid: 0 to 2",
        ),
        ("problems.json", lambda p: p["13"].update(choices=["x"]), "has 1 choices; valid: 2 to 5"),
        (
            "problems.json",
            lambda p: p["13"].update(choices="xy"),
            "'choices' of problem 13 .* is 'xy'; valid: a list of texts",
        ),
        ("pid_splits.json", lambda s: s.pop("test"), r"pid_splits\.json lacks 'test'"),
        (
            "pid_splits.json",
            lambda s: s.update(test=[13]),
            r"'test' of pid_splits\.json is \[13\]; valid: a list",
        ),
        (
            "pid_splits.json",
            lambda s: s["test"].append("13"),
            "holds the item 'scienceqa-13' twice",
        ),
    ],
)
def test_wrong_problems_of_scienceqa(file, change, message, folder):
    real_sets.scienceqa_originals(folder)
    edit(folder / file, change)
    with pytest.raises(InfoflowError, match=message):
        load_task("scienceqa", folder)


def test_files_of_scienceqa_that_are_missing_or_no_json(folder):
    real_sets.scienceqa_originals(folder)
    (folder / "problems.json").write_text("{")
    with pytest.raises(InfoflowError, match=r"problems\.json cannot be read as JSON"):
        load_task("scienceqa", folder)
    (folder / "problems.json").unlink()
    with pytest.raises(InfoflowError, match=r"lacks problems\.json"):
        load_task("scienceqa", folder)


def test_wrong_questions_of_pope(folder):
    real_sets.pope_originals(folder)
    path = folder / "coco_pope_popular.json"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{", *lines[2:]]))
    with pytest.raises(InfoflowError, match=r"line 2 of .*coco_pope_popular\.json is no JSON"):
        load_task("pope", folder)
    path.write_text(lines[0].replace('"label"', '"lable"'))
    with pytest.raises(InfoflowError, match=r"question 1 of coco_pope_popular\.json lacks 'label'"):
        load_task("pope", folder)
    path.unlink()
    with pytest.raises(InfoflowError, match=r"lacks coco_pope_popular\.json or output/coco"):
        load_task("pope", folder)


def test_textvqa_without_rosettas_file_says_how_to_go_on(folder):
    real_sets.textvqa_originals(folder)
    path = folder / "TextVQA_Rosetta_OCR_v0.2_val.json"
    edit(path, lambda content: content["data"].pop())
    with pytest.raises(InfoflowError, match=r"says nothing of picture '0054'"):
        load_task("textvqa", folder)
    path.unlink()
    with pytest.raises(InfoflowError, match=r"lacks TextVQA_Rosetta.*ocr=False"):
        load_task("textvqa", folder)
    assert len(load_task("textvqa", folder, ocr=False)) == 3


def test_textvqa_with_too_few_answers(folder):
    real_sets.textvqa_originals(folder)
    path = folder / "TextVQA_0.5.1_val.json"
    edit(path, lambda content: content["data"][1].update(answers=["a", "b"]))
    with pytest.raises(InfoflowError, match="item 'textvqa-34603': got 2 reference answers"):
        load_task("textvqa", folder)
    edit(path, lambda content: content["data"][1].pop("answers"))
    with pytest.raises(InfoflowError, match=r"question 2 of TextVQA.* lacks 'answers'"):
        load_task("textvqa", folder)


def test_chair_with_synonyms_that_are_not_there_says_where_to_get_them(folder):
    real_sets.chair_originals(folder)
    with pytest.raises(InfoflowError, match=r"in .*none\.txt.*LisaAnne/Hallucination"):
        load_task("chair", folder, synonyms=folder / "none.txt")


def test_chairs_classes_must_be_those_of_the_synonyms(folder):
    for layout in ("originals", "parquet"):
        place = folder / layout
        real_sets.MAKERS["chair", layout](place)
        (place / "synonyms.txt").write_text("person\nbus\ndog, hot dog\ntable, dining table\n")
        with pytest.raises(InfoflowError, match="names 'chair', which the file of synonyms does"):
            load_task("chair", place)


def test_pictures_of_coco_are_numbered_and_stand_once(folder):
    for number, message in ((42, "holds the picture 42 twice"), ("x", "numbers a picture 'x'")):
        rows = real_sets.chair_rows()
        rows[1]["question_id"] = str(number)
        features = Features({**real_sets.CHAIR_FEATURES, "question_id": Value("string")})
        for row in rows:
            row["question_id"] = str(row["question_id"])
        real_sets.save(folder / "test-00000-of-00001.parquet", rows, features)
        (folder / "synonyms.txt").write_text(real_sets.SYNONYMS)
        with pytest.raises(InfoflowError, match=message):
            load_task("chair", folder)
    originals = folder / "originals"
    real_sets.chair_originals(originals)
    path = originals / "annotations" / "instances_val2014.json"
    edit(path, lambda content: content["images"].append(content["images"][0]))
    with pytest.raises(InfoflowError, match=r"instances_val2014\.json holds the picture 42 twice"):
        load_task("chair", originals)
