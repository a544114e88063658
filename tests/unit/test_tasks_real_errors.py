"""What is wrong with data is said in one error that names the offender."""

import json
import os
import shutil

import pytest
import real_sets
from datasets import Features, Value

from infoflow.data.load import list_tasks, load_task
from infoflow.errors import InfoflowError, UnknownNameError


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
        ("no/such/folder", r"unknown source 'no/such/folder'.*a folder with the data of pope"),
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
    with pytest.raises(InfoflowError, match=rf"row 0 of .* lacks '{lost}'"):
        load_task(name, folder)
    as_text = Features({**features, "image": Value("string")})
    real_sets.save(path, [{**row, "image": "a path"} for row in rows()], as_text)
    with pytest.raises(InfoflowError, match=r"parquet cannot be read as parquet: .*\(string\)"):
        load_task(name, folder)


def test_damaged_parquet(folder):
    folder.mkdir()
    (folder / "test.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InfoflowError, match=r"test\.parquet cannot be read as parquet"):
        load_task("pope", folder)


def test_parquet_of_other_splits_or_of_several_configs(folder):
    rows, features = real_sets.pope_rows(), real_sets.POPE_FEATURES
    real_sets.save(folder / "one" / "train-00000-of-00001.parquet", rows, features)
    with pytest.raises(InfoflowError, match="in neither of the known layouts"):
        load_task("pope", folder)
    for place in ("one", "two"):
        real_sets.save(folder / place / "test-00000-of-00001.parquet", rows, features)
    with pytest.raises(InfoflowError, match="are not one whole series"):
        load_task("pope", folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "maybe"}, "'answer' of row 0 of .* is 'maybe'; valid: no, yes"),
        ({"category": "other"}, "is 'other'; valid: adversarial, popular, random"),
        ({"image": None}, "'image' of row 0 of .* is None; valid: an image"),
    ],
)
def test_wrong_rows_are_named(change, message, folder):
    rows = real_sets.pope_rows()
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
    with pytest.raises(InfoflowError, match=r"split 'test' of pope .* holds no item"):
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
    place = [sample.id for sample in task].index(item)
    with pytest.raises(InfoflowError, match=f"item '{item}': .*{path.name}' cannot be read"):
        _ = task[place].image
    path.unlink()
    message = f"images are missing, the first of them .*{path.name} of item '{item}'"
    with pytest.raises(InfoflowError, match=message):
        load_task(name, folder)


def test_a_damaged_picture_of_a_row_is_named_with_its_item(folder):
    rows = real_sets.pope_rows()
    rows[3]["image"] = {"bytes": b"no picture", "path": None}
    real_sets.save(folder / "test-00000-of-00001.parquet", rows, real_sets.POPE_FEATURES)
    task = load_task("pope", folder)
    assert task[0].image.size == (32, 24)
    with pytest.raises(InfoflowError, match=r"item 'pope-adversarial-4': .* cannot be read"):
        [sample.image for sample in task]


def test_pictures_beyond_the_limit_need_not_be_there(folder):
    real_sets.scienceqa_originals(folder)
    shutil.rmtree(folder / "images" / "test" / "14")
    assert len(load_task("scienceqa", folder, limit=2)) == 2


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "problems.json",
            lambda p: p["13"].pop("choices"),
            r"row 2 of .* lacks 'choices'",
        ),
        ("problems.json", lambda p: p.pop("14"), "lack what published ones have: '14'"),
        (
            "problems.json",
            lambda p: p["13"].update(answer=3),
            "'scienceqa-13' has 3 choices and the answer 3; valid",
        ),
        (
            "problems.json",
            lambda p: p["13"].update(choices=["x"]),
            "has 1 choices and .*; valid: 2 to 5",
        ),
        (
            "problems.json",
            lambda p: p["13"].update(choices="xy"),
            "'choices' of row 2 .* is 'xy'; valid: a list of texts",
        ),
        ("pid_splits.json", lambda s: s.pop("test"), "lack what published ones have: 'test'"),
        (
            "pid_splits.json",
            lambda s: s.update(test=[13]),
            "lack what published ones have: 13",
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
    with pytest.raises(InfoflowError, match=r"holds 0 files problems\.json"):
        load_task("scienceqa", folder)


def test_wrong_questions_of_pope(folder):
    real_sets.pope_originals(folder)
    path = folder / "coco_pope_popular.json"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{", *lines[2:]]))
    with pytest.raises(InfoflowError, match=r"popular\.json cannot be read as JSON lines"):
        load_task("pope", folder)
    path.write_text(lines[0].replace('"label"', '"lable"'))
    with pytest.raises(InfoflowError, match="lack what published ones have: 'label'"):
        load_task("pope", folder)
    path.unlink()
    with pytest.raises(InfoflowError, match=r"holds 0 files coco_pope_popular\.json"):
        load_task("pope", folder)


def test_textvqa_without_rosettas_file_says_how_to_go_on(folder):
    real_sets.textvqa_originals(folder)
    path = folder / "TextVQA_Rosetta_OCR_v0.2_val.json"
    edit(path, lambda content: content["data"].pop())
    with pytest.raises(InfoflowError, match=r"the image '0054', which TextVQA_Rosetta.* lacks"):
        load_task("textvqa", folder)
    path.unlink()
    with pytest.raises(InfoflowError, match=r"ocr=False .*: .* holds 0 files TextVQA_Rosetta"):
        load_task("textvqa", folder)
    assert len(load_task("textvqa", folder, ocr=False)) == 3


def test_textvqa_with_too_few_answers(folder):
    real_sets.textvqa_originals(folder)
    path = folder / "TextVQA_0.5.1_val.json"
    edit(path, lambda content: content["data"][1].update(answers=["a", "b"]))
    with pytest.raises(
        InfoflowError, match=r"question 34603 of .*: reference answers must be a list"
    ):
        load_task("textvqa", folder)
    edit(path, lambda content: content["data"][1].pop("answers"))
    with pytest.raises(InfoflowError, match=r"row 1 of .* lacks 'answers'"):
        load_task("textvqa", folder)


def test_chair_with_synonyms_that_are_not_there(folder):
    real_sets.chair_originals(folder)
    with pytest.raises(InfoflowError, match=r"none\.txt.*cannot be read"):
        load_task("chair", folder, synonyms=folder / "none.txt")


def test_chairs_classes_must_be_those_of_the_synonyms(folder):
    for layout in ("originals", "parquet"):
        place = folder / layout
        real_sets.MAKERS["chair", layout](place)
        (place / "synonyms.txt").write_text("person\nbus\ndog, hot dog\ntable, dining table\n")
        with pytest.raises(InfoflowError, match=r"has the class '(chair|toilet)', which the list"):
            load_task("chair", place)


def test_pictures_of_coco_are_numbered_and_stand_once(folder):
    for number, message in ((42, "holds the image 42 twice"), ("x", "'x' in .* is no image")):
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
    with pytest.raises(
        InfoflowError, match=r"instances_val2014\.json holds an id of images 42 twice"
    ):
        load_task("chair", originals)


# ---- POPE's numbers


def write_pope(folder, questions):
    """Write POPE's files of (picture, answer) of each kind; the first picture is there."""
    for kind, asked in questions.items():
        lines = [
            {
                "question_id": n,
                "image": f"{name}.jpg",
                "text": f"Is there {kind} {n}?",
                "label": answer,
            }
            for n, (name, answer) in enumerate(asked, start=1)
        ]
        folder.mkdir(exist_ok=True)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"coco_pope_{kind}.json").write_text(text)
    real_sets.write_picture(folder / "val2014" / "p0.jpg", 1)


def whole_pope(n_pictures=500):
    asked = [(f"p{n}", answer) for n in range(n_pictures) for answer in ("yes", "no") * 3]
    return {kind: list(asked) for kind in real_sets.KINDS}


def older_pope():
    """As the older files: 3 with yes of each picture, but 90 with no of the random kind less."""
    questions = whole_pope()
    lacking = {6 * n + 1 for n in range(0, 84)} | {6 * n + 3 for n in range(6)}
    questions["random"] = [q for n, q in enumerate(questions["random"]) if n not in lacking]
    return questions


def test_the_two_releases_of_pope_are_known_by_their_numbers(folder):
    for questions, n_items in ((whole_pope(), 9000), (older_pope(), 8910)):
        write_pope(folder, questions)
        assert load_task("pope", folder, limit=1).n_whole == n_items


@pytest.mark.parametrize("questions", [whole_pope(7), older_pope()])
@pytest.mark.parametrize(
    "cut",
    [
        lambda asked: asked["random"].pop(),
        lambda asked: asked["adversarial"].clear(),
        lambda asked: [kind.pop() for kind in asked.values()],
        lambda asked: asked["popular"].__setitem__(1, ("p0", "yes")),
    ],
)
def test_a_pope_that_was_cut_or_changed_is_refused(questions, cut, folder):
    asked = {kind: list(of_kind) for kind, of_kind in questions.items()}
    cut(asked)
    write_pope(folder, asked)
    with pytest.raises(InfoflowError, match="kinds of POPE are not equal in number"):
        load_task("pope", folder, limit=1)


def test_a_current_file_cut_to_the_number_of_the_older_is_refused(folder):
    questions = whole_pope()
    del questions["random"][2910:]
    write_pope(folder, questions)
    with pytest.raises(InfoflowError, match="random 1455 yes and 1455 no, popular 1500 yes"):
        load_task("pope", folder, limit=1)


def test_a_question_that_is_asked_twice(folder):
    rows = real_sets.pope_rows()
    doubled = [{**row, "question_id": f"{row['question_id']}b"} for row in rows]
    path = folder / "test-00000-of-00001.parquet"
    real_sets.save(path, rows + doubled, real_sets.POPE_FEATURES)
    with pytest.raises(InfoflowError, match=r"the question 'Is there a adversarial dog .* twice"):
        load_task("pope", folder)


def test_rows_of_one_kind_or_of_some_rows_are_not_the_whole_of_pope(folder):
    path = folder / "test-00000-of-00001.parquet"
    for rows in (real_sets.pope_rows(["random"]), real_sets.pope_rows()[:-1]):
        real_sets.save(path, rows, real_sets.POPE_FEATURES)
        with pytest.raises(InfoflowError, match="kinds of POPE are not equal in number"):
            load_task("pope", folder)


# ---- files of JSON

LINE = '{"question_id": 1, "image": "p0.jpg", "text": "%s", "label": "yes"}'
TWO_LINES = f"{LINE % '?'}\n{LINE.replace('yes', 'no') % '!'}"  # of one number


@pytest.mark.parametrize(
    ("text", "encoding", "end"),
    [
        ("Is there a dog\u2028here?", "utf-8", "\n"),
        ("Is there a dog\x85here?", "utf-8", "\n"),
        ("Is there a dog?", "utf-8-sig", "\n"),
        ("Is there a dog?", "utf-8", "\r\n\r\n"),
        ("Is there a dog?", "utf-8", ""),
    ],
)
def test_lines_are_parted_by_line_feeds_alone(text, encoding, end, folder):
    real_sets.write_picture(folder / "val2014" / "p0.jpg", 1)
    for kind in real_sets.KINDS:
        (folder / f"coco_pope_{kind}.json").write_bytes((LINE % text + end).encode(encoding))
    assert [sample.question for sample in load_task("pope", folder)] == [text] * 3


@pytest.mark.parametrize(
    ("line", "encoding", "message"),
    [
        (LINE % "?", "utf-16", "cannot be read as JSON lines: 'utf-8' codec"),
        (f"[{LINE % '?'}]", "utf-8", "lack what published ones have"),
        ((LINE % "?").replace('"label"', '"text"'), "utf-8", "has the key 'text' twice"),
        ((LINE % "?").replace("1", "NaN", 1), "utf-8", "NaN is no number of JSON"),
        ((LINE % "?").replace("1", "1.0", 1), "utf-8", r"'question_id' of .* is 1\.0"),
        ((LINE % "?").replace("1", "true", 1), "utf-8", "'question_id' of .* is True"),
        ((LINE % "?").replace("1", '" 1"', 1), "utf-8", "'question_id' of .* is ' 1'"),
        ("[" * 100_000, "utf-8", "cannot be read as JSON lines: maximum recursion"),
        (LINE % "\\ud800", "utf-8", "'question' of row 0"),
        (LINE % " ", "utf-8", "'question' of row 0"),
        ((LINE % "?").replace("p0", "../p0"), "utf-8", r"'\.\./p0\.jpg' is no name within"),
        ((LINE % "?").replace("yes", "Yes"), "utf-8", "'answer' of .* is 'Yes'; valid: no, yes"),
        (TWO_LINES, "utf-8", "holds the item 'pope-random-1' twice"),
    ],
)
def test_lines_that_are_no_questions(line, encoding, message, folder):
    folder.mkdir()
    for kind in real_sets.KINDS:
        (folder / f"coco_pope_{kind}.json").write_bytes(line.encode(encoding))
    with pytest.raises(InfoflowError, match=message) as caught:
        load_task("pope", folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as JSON: Expecting value"),
        (b"[]", "originals of scienceqa .* lack what"),
        (b"null", "originals of scienceqa .* lack what"),
        ('{"11": {}}'.encode("utf-16"), "cannot be read: 'utf-8' codec"),
        (b'{"11": {}, "11": {}}', "has the key '11' twice"),
        (b'{"11": -Infinity}', "-Infinity is no number of JSON"),
        (b'{"a":' * 100_000, "cannot be read as JSON: maximum recursion"),
    ],
)
def test_json_that_holds_no_problems(content, message, folder):
    real_sets.scienceqa_originals(folder)
    (folder / "problems.json").write_bytes(content)
    with pytest.raises(InfoflowError, match=message):
        load_task("scienceqa", folder)


def test_a_byte_order_mark_is_no_damage(folder):
    for name in list_tasks():
        real_sets.MAKERS[name, "originals"](folder / name)
        for path in [*(folder / name).rglob("*.json"), *(folder / name).glob("synonyms.txt")]:
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert len(load_task(name, folder)) > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "../../12/image.png"}, "is no name within"),
        ({"image": 5}, "images are missing, .*test/13/5 of item 'scienceqa-13'"),
        ({"hint": 5}, "'hint' of row 2 .* is 5; valid: a text, or null for none"),
        ({"answer": True}, "'answer' of row 2 .* is True"),
    ],
)
def test_wrong_values_of_a_problem(change, message, folder):
    real_sets.scienceqa_originals(folder)
    edit(folder / "problems.json", lambda problems: problems["13"].update(change))
    with pytest.raises(InfoflowError, match=message):
        load_task("scienceqa", folder)


def test_a_problem_without_a_hint(folder):
    real_sets.scienceqa_originals(folder)
    edit(folder / "problems.json", lambda problems: problems["11"].update(hint=None))
    assert load_task("scienceqa", folder)[0].context == ""


# ---- COCO's annotations


INSTANCES, CAPTIONS = "instances_val2014.json", "captions_val2014.json"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            INSTANCES,
            lambda c: c["annotations"][0].update(image_id="42"),
            "has the image '42', which",
        ),
        (
            CAPTIONS,
            lambda c: c["annotations"][0].update(image_id="42"),
            "has the image '42', which",
        ),
        (INSTANCES, lambda c: c["images"][0].update(id="42"), "has the image 42, which"),
        (INSTANCES, lambda c: c["images"][0].update(id=True), "has the image 42, which"),
        (
            INSTANCES,
            lambda c: c["annotations"][0].update(image_id=7),
            "the image 7, which",
        ),
        (
            CAPTIONS,
            lambda c: c["annotations"][0].update(image_id=7),
            "the image 7, which",
        ),
        (
            INSTANCES,
            lambda c: c["annotations"][0].update(category_id=99),
            "category 99, which",
        ),
        (INSTANCES, lambda c: c["categories"][0].update(id=1), "holds an id of categories 1 twice"),
        (INSTANCES, lambda c: c.update(categories=None), "lack what published ones have"),
        (
            CAPTIONS,
            lambda c: c["annotations"].pop(),
            "image 133, which captions_",
        ),
        (
            CAPTIONS,
            lambda c: c["annotations"][-1].update(caption=" "),
            "the image 133",
        ),
        (
            CAPTIONS,
            lambda c: c["annotations"][0].update(caption=None),
            "lack what published ones have",
        ),
        (INSTANCES, lambda c: c["images"][0].update(file_name="../x.jpg"), "no name within"),
    ],
)
def test_annotations_of_coco_hold_together(file, change, message, folder):
    real_sets.chair_originals(folder)
    edit(folder / "annotations" / file, change)
    with pytest.raises(InfoflowError, match=message):
        load_task("chair", folder)


# ---- folders and arguments


def test_a_folder_that_holds_both_layouts(folder):
    real_sets.pope_originals(folder)
    real_sets.pope_parquet(folder)
    with pytest.raises(InfoflowError, match=r"holds pope in both of the known layouts"):
        load_task("pope", folder)


def test_a_file_that_lies_at_both_of_its_places(folder):
    real_sets.pope_originals(folder)
    (folder / "output" / "coco").mkdir(parents=True)
    name = "coco_pope_random.json"
    shutil.copy(folder / name, folder / "output" / "coco" / name)
    with pytest.raises(InfoflowError, match=f"holds 2 files {name}"):
        load_task("pope", folder)


def test_places_that_are_no_folders(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("file", "loop", "file/pope", "x" * 300, "x\0y"):
        with pytest.raises(InfoflowError, match=r"unknown source|cannot be read|valid: a path"):
            load_task("pope", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for source in ("", " ", None, 5, b"file", ["file"], "~nobody-of-this-name/x"):
        with pytest.raises(InfoflowError, match="source is "):
            load_task("pope", source)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "in").symlink_to(tmp_path / "set")
    with pytest.raises(InfoflowError, match="neither of the known layouts"):
        load_task("pope", tmp_path / "set")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": 5}, "unknown task 5"),
        ({"name": ["pope"]}, "unknown task"),
        ({"split": None}, "unknown split of pope None"),
        ({"split": ["test"]}, "unknown split of pope"),
        ({"rule": ["official"]}, "unknown pope scoring rule"),
        ({"limit": 1.5}, r"limit is 1\.5; valid: a whole number"),
        ({"limit": True}, "limit is True"),
        ({"limit": "3"}, "limit is '3'"),
        ({"max_new_tokens": float("nan")}, "max_new_tokens is nan"),
        ({"max_new_tokens": 1.5}, r"max_new_tokens is 1\.5"),
        ({"max_new_tokens": True}, "max_new_tokens is True"),
        ({"name": "textvqa", "ocr": "no"}, "ocr is 'no'; valid: True, False"),
        ({"name": "chair", "synonyms": 5}, "synonyms= is 5; valid: a path"),
        ({"name": "chair", "pictures": ""}, "pictures= is ''; valid: a path"),
        ({"name": "chair", "pictures": "."}, "cannot be read: it is no regular file"),
    ],
)
def test_arguments_of_another_kind(arguments, message, folder):
    folder.mkdir()
    with pytest.raises(InfoflowError, match=message):
        load_task(**{"name": "pope", "source": folder, **arguments})


def test_a_pipe_is_not_waited_for(folder):
    real_sets.chair_parquet(folder)
    os.mkfifo(folder / "pipe")
    for argument in ("synonyms", "pictures"):
        with pytest.raises(InfoflowError, match="pipe cannot be read: it is no regular file"):
            load_task("chair", folder, **{argument: folder / "pipe"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("42\r\n73\r\n42\r\n", "holds the image 42 twice"),
        ("42\nCOCO_val2014_000000000042.jpg", "holds the image 42 twice"),
        ("42.5", "'42.5' in .* is no image of COCO"),
        ("-42", "no image of COCO"),
        ("1_42", "no image of COCO"),
        ("\uff14\uff12", "no image of COCO"),
        ("9" * 5000, "no image of COCO"),
        ("\ufeff", "is empty"),
    ],
)
def test_lists_of_pictures_that_are_none(text, message, folder):
    real_sets.chair_parquet(folder)
    (folder / "list.txt").write_bytes(text.encode())
    with pytest.raises(InfoflowError, match=message):
        load_task("chair", folder, pictures=folder / "list.txt")


def test_lists_of_windows(folder):
    real_sets.chair_parquet(folder)
    for name, text in (
        ("list", "74\nCOCO_val2014_000000000042.jpg\n"),
        ("table", real_sets.SYNONYMS),
    ):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    task = load_task("chair", folder, pictures=folder / "list", synonyms=folder / "table")
    assert [sample.id for sample in task] == ["chair-74", "chair-42"]
    plain = load_task("chair", folder, pictures=folder / "list")
    assert task.source == plain.source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("person, man\nbus, man\n", "has the entry 'man'; valid: .* in one class"),
        ("person, man\nperson, woman\n", "has the entry 'person'; valid: .* in one class"),
        ("person,man,woman\n", "has the entry 'person,man,woman'; valid: words"),
        ("person, , man\n", "has the entry ''"),
        ("\r\n \r\n", "is empty"),
    ],
)
def test_lists_of_synonyms_that_are_none(text, message, folder):
    real_sets.chair_parquet(folder)
    (folder / "synonyms.txt").write_text(text)
    with pytest.raises(InfoflowError, match=message):
        load_task("chair", folder)


def test_a_synonym_that_stands_twice_in_its_class_is_harmless(folder):
    real_sets.chair_parquet(folder)
    text = real_sets.SYNONYMS.replace("dog, puppy", "dog, puppy, dog")  # as the published list has
    (folder / "synonyms.txt").write_text(text)
    assert len(load_task("chair", folder)) == 4


@pytest.mark.parametrize(
    "arguments",
    [
        {"revision": 5},
        {"organisation": "a/b"},
        {"organisation": ".."},
        {"organisation": ""},
        {"organisation": "lmms-lab\n"},
    ],
)
def test_names_on_the_hub(arguments):
    with pytest.raises(InfoflowError, match="Valid: another organisation= or revision=") as caught:
        load_task("pope", "hub", **arguments)
    assert "\n" not in str(caught.value)
