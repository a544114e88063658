"""Benchmarks' own files, each with one thing wrong: refused before an item is asked."""

import json
import random
import shutil

import bad
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import real_sets
from bad import put

from infoflow import load_task
from infoflow.data.templates import worded


def read_whole(name, folder, split="test"):
    """Load a split and open every item, as a measure would."""
    task = load_task(name, folder, split)
    return [(each.id, each.question, each.answer, each.choices) for each in task if each.image]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folders = {}
    for (name, layout), make in real_sets.MAKERS.items():
        folders[name, layout] = folder = tmp_path_factory.mktemp("sound") / name
        make(folder)
    return folders


@pytest.fixture
def copy(sound, tmp_path):
    def copied(name, layout):
        return shutil.copytree(sound[name, layout], tmp_path / name)

    return copied


def drop(*path):
    *path, last = path

    def change(content):
        for step in path:
            content = content[step]
        del content[last]

    return change


def double(key):
    return lambda content: content[key].append(content[key][0])


INSTANCES, CAPTIONS = "annotations/instances_val2014.json", "annotations/captions_val2014.json"
VQA, OCR = "TextVQA_0.5.1_val.json", "TextVQA_Rosetta_OCR_v0.2_val.json"
JSON_CHANGES = [
    *(("scienceqa", "problems.json", put("11", "question", v)) for v in (None, 3, ["a"], "", "  ")),
    *(
        ("scienceqa", "problems.json", put("11", "choices", v))
        for v in (None, [], ["one"], "ab", ["a", None], ["a", 3], list("abcdef"), {"a": 1})
    ),
    *(
        ("scienceqa", "problems.json", put("11", "answer", v))
        for v in (None, -1, 2, 10**20, "1", 1.0, True, [1])
    ),
    *(("scienceqa", "problems.json", put("11", "hint", v)) for v in (3, ["a"], {"a": 1}, True)),
    *(("scienceqa", "problems.json", put("11", "subject", v)) for v in (None, 3, [])),
    *(
        ("scienceqa", "problems.json", put("11", "image", v))
        for v in (3, ["image.png"], "../../../12/image.png", "/etc/hostname", "other.png", True)
    ),
    ("scienceqa", "problems.json", drop("11")),
    ("scienceqa", "problems.json", drop("11", "choices")),
    ("scienceqa", "problems.json", put("11", 3)),
    *(("scienceqa", "pid_splits.json", put("test", v)) for v in ([], None, "11", [11], ["99"])),
    ("scienceqa", "pid_splits.json", double("test")),
    ("scienceqa", "pid_splits.json", put("test", 0, "../11")),
    *(("textvqa", VQA, put("data", 0, "question", v)) for v in (None, 3, "", ["a"])),
    *(
        ("textvqa", VQA, put("data", 0, "answers", v))
        for v in (None, [], ["a"] * 3, ["a"] * 9 + [None], "abcdefghij", [1] * 10, {"a": 1})
    ),
    *(
        ("textvqa", VQA, put("data", 0, "image_id", v))
        for v in (None, 3.5, "", "../../x", "/etc/hostname", "none", ["003a"], True)
    ),
    *(("textvqa", VQA, put("data", 0, "question_id", v)) for v in (None, 34603, [1], 1.5, True)),
    *(("textvqa", VQA, put("data", v)) for v in (None, [], {}, "text", [3])),
    ("textvqa", VQA, double("data")),
    *(("textvqa", OCR, put("data", 0, "ocr_tokens", v)) for v in (None, "a b", [None], [1])),
    ("textvqa", OCR, drop("data", 0)),
    ("textvqa", OCR, put("data", 0, "image_id", None)),
    *(
        ("chair", INSTANCES, put("annotations", 0, "image_id", v))
        for v in ("42", None, 42.5, True, 999999)
    ),
    *(("chair", INSTANCES, put("annotations", 0, "category_id", v)) for v in ("2", None, 99, -1)),
    *(("chair", INSTANCES, put("categories", 0, "name", v)) for v in (None, 3, "")),
    *(("chair", INSTANCES, put("images", 0, "id", v)) for v in ("42", None, 73, True)),
    *(
        ("chair", INSTANCES, put("images", 0, "file_name", v))
        for v in (None, 3, "", "../x.jpg", "/etc/hostname", "none.jpg")
    ),
    *(("chair", INSTANCES, put(k, v)) for k in ("images", "annotations") for v in (None, "x")),
    ("chair", INSTANCES, double("images")),
    ("chair", INSTANCES, double("categories")),
    *(("chair", CAPTIONS, put("annotations", 0, "image_id", v)) for v in ("42", None, 999999)),
    *(("chair", CAPTIONS, put("annotations", 0, "caption", v)) for v in (None, 3, ["a"])),
    *(("chair", CAPTIONS, put("annotations", v)) for v in (None, [], "x")),
]


@pytest.mark.parametrize(("name", "file", "change"), JSON_CHANGES)
def test_originals_with_one_thing_wrong(copy, name, file, change):
    folder = copy(name, "originals")
    content = json.loads((folder / file).read_text())
    change(content)
    (folder / file).write_text(json.dumps(content))
    bad.refuse(lambda: read_whole(name, folder))


POPE_LINE = {"question_id": 1, "image": "COCO_val2014_000000000042.jpg", "text": "?", "label": "no"}


def edited(change):
    """Change the first of a file's lines."""

    def rewrite(lines):
        first = json.loads(lines[0])
        change(first)
        return [json.dumps(first), *lines[1:]]

    return rewrite


LINES = [
    lambda lines: [],
    lambda lines: lines[:-1],
    lambda lines: [*lines, lines[0]],
    lambda lines: [*lines[:-1], lines[-1][:20]],
    lambda lines: ["[1]", *lines[1:]],
    lambda lines: ["null", *lines[1:]],
    lambda lines: ['{"a": 1, "a": 2}', *lines[1:]],
    lambda lines: [lines[0].replace("{", '{"text": "Is it?", ', 1), *lines[1:]],
    lambda lines: ["\0" * 10, *lines[1:]],
    lambda lines: ["[" * 100000, *lines[1:]],
    *(edited(put("text", v)) for v in (None, 3, "", "   ")),
    *(edited(put("label", v)) for v in (None, "Yes", "maybe", True, "", "no")),
    *(edited(put("image", v)) for v in (None, 3, "", "../x.jpg", "/etc/hostname", "none.jpg")),
    *(edited(put("question_id", v)) for v in (None, [1], 2, 1.5, True)),
    *(edited(drop(k)) for k in POPE_LINE),
]


@pytest.mark.parametrize("change", LINES)
def test_questions_of_pope_with_one_thing_wrong(copy, change):
    folder = copy("pope", "originals")
    path = folder / "coco_pope_popular.json"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    bad.refuse(lambda: read_whole("pope", folder))


def shards(table, folder, names):
    for old in folder.glob("*.parquet"):
        old.unlink()
    for name in names:
        pq.write_table(table, folder / name)


SHARDINGS = {
    "first of two": ["{}-00000-of-00002.parquet"],
    "second of two": ["{}-00001-of-00002.parquet"],
    "one of three is missing": ["{}-00000-of-00003.parquet", "{}-00002-of-00003.parquet"],
    "two numbers of shards": ["{}-00000-of-00001.parquet", "{}-00000-of-00002.parquet"],
    "a number beyond": ["{}-00000-of-00001.parquet", "{}-00001-of-00001.parquet"],
    "with and without a number": ["{}-00000-of-00001.parquet", "{}.parquet"],
}
STORED = {"scienceqa": "test", "pope": "test", "textvqa": "validation", "chair": "test"}


@pytest.mark.parametrize("names", SHARDINGS.values(), ids=SHARDINGS)
@pytest.mark.parametrize("name", STORED)
def test_shards_that_are_no_whole(copy, name, names):
    folder = copy(name, "parquet")
    stem = STORED[name]
    table = pq.read_table(folder / "data" / f"{stem}-00000-of-00001.parquet")
    shards(table, folder / "data", [each.format(stem) for each in names])
    bad.refuse(lambda: read_whole(name, folder))


CELLS = {
    "scienceqa": {
        "question": (None, "", " "),
        "choices": (None, [], ["a"], ["a", None], list("abcdef")),
        "answer": (None, -1, 2, 99),
        "subject": (None,),
    },
    "pope": {
        "question": (None, ""),
        "answer": (None, "Yes", "true", "no"),
        "category": (None, "odd", "popular"),
        "image_source": (None, ""),
        "question_id": (None, "2"),
        "image": (None, {"bytes": None, "path": None}, {"bytes": b"no picture", "path": None}),
    },
    "textvqa": {
        "question": (None, ""),
        "answers": (None, [], ["a"] * 3, ["a"] * 9 + [None]),
        "question_id": (None, 34603),
        "ocr_tokens": (None, ["a", None]),
        "image": (None, {"bytes": b"", "path": None}, {"bytes": None, "path": "none.png"}),
    },
    "chair": {
        "question_id": (None, 73),
        "gt_object": (None, [None], ["unicorn"]),
        "image": (None, {"bytes": b"GIF89a", "path": None}),
    },
}


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        pytest.param(name, column, value, id=f"{name}-{column}-{value!r}"[:60])
        for name, columns in CELLS.items()
        for column, values in columns.items()
        for value in values
    ],
)
def test_rows_with_one_cell_wrong(copy, name, column, value):
    folder = copy(name, "parquet")
    path = folder / "data" / f"{STORED[name]}-00000-of-00001.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0][column] = value
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    bad.refuse(lambda: read_whole(name, folder))


TYPES = [
    ("scienceqa", "answer", pa.float64()),
    ("scienceqa", "answer", pa.string()),
    ("scienceqa", "question", pa.binary()),
    ("scienceqa", "answer", pa.bool_()),
    ("pope", "question_id", pa.float64()),
    ("textvqa", "question_id", pa.float32()),
    ("textvqa", "question_id", pa.bool_()),
    ("chair", "question_id", pa.float64()),
]


@pytest.mark.parametrize(("name", "column", "kind"), TYPES)
def test_columns_of_another_type(copy, name, column, kind):
    folder = copy(name, "parquet")
    path = folder / "data" / f"{STORED[name]}-00000-of-00001.parquet"
    table = pq.read_table(path)
    place = table.column_names.index(column)
    values = table.column(column)
    if pa.types.is_boolean(kind):
        other = pa.array([bool(v) for v in values.to_pylist()])
    else:
        other = values.cast(pa.int64()).cast(kind) if kind != pa.binary() else values.cast(kind)
    pq.write_table(table.set_column(place, column, other), path)
    bad.refuse(lambda: read_whole(name, folder))


@pytest.mark.parametrize(("name", "layout"), real_sets.MAKERS)
def test_damaged_bytes_of_a_set(copy, sound, name, layout):
    """Half of a file, nothing of it, or some bytes of it changed: refused, or as it was."""
    right = read_whole(name, sound[name, layout])
    chance = random.Random(f"{name} {layout}")
    refused = 0
    for _ in range(14):
        folder = copy(name, layout)
        files = [f for f in sorted(folder.rglob("*")) if f.is_file() and f.suffix != ".txt"]
        path = chance.choice([f for f in files if f.suffix in (".parquet", ".json")])
        content = bytearray(path.read_bytes())
        kind = chance.choice(("cut", "flip", "flip", "empty"))
        if kind == "cut":
            content = content[: chance.randrange(len(content))]
        elif kind == "empty":
            content = bytearray()
        else:
            for _ in range(20):
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(content))
        got = bad.attempt(lambda folder=folder: read_whole(name, folder))
        # a letter of a text that became another is no damage that a program can see
        assert got is None or len(got) == len(right)
        refused += got is None
        shutil.rmtree(folder)
    assert refused


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("source", [None, 3, b"folder", "", "/nowhere", "hup", "a\0b", ["x"]])
def test_sources_that_are_none(name, source):
    bad.refuse(lambda: load_task(name, source))


@pytest.mark.parametrize("name", [None, 3, "", "Pope", ["pope"], "vqa"])
def test_names_of_tasks_that_are_none(name):
    bad.refuse(lambda: load_task(name))


@pytest.mark.parametrize(
    "options",
    [
        {"split": "Test"},
        {"split": None},
        {"split": 3},
        {"rule": "best"},
        {"rule": 3},
        {"ocr": True},
        {"synonyms": "x.txt"},
        {"revision": "main"},
    ],
)
def test_options_of_shapes_that_are_none(options):
    bad.refuse(lambda: load_task("pope", "shapes", **options))


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\xff\xfe\x00", b"dog, cat\ndog, puppy\n", b"\0\0"]
)
def test_synonyms_that_are_none(copy, content):
    folder = copy("chair", "originals")
    (folder / "synonyms.txt").write_bytes(content)
    bad.refuse(lambda: read_whole("chair", folder))


@pytest.mark.parametrize(
    "content", [b"", b"42\n42\n", b"99\n", b"one\n", b"-1\n", b"\xff", b"42.5\n", b"4" * 5000]
)
def test_lists_of_pictures_that_are_none(copy, tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    folder = copy("chair", "originals")
    bad.refuse(lambda: load_task("chair", folder, pictures=tmp_path / "list.txt"))


@pytest.mark.parametrize("model", [None, 3, "", "gpt-4", ["llava"]])
def test_models_without_a_wording(copy, model):
    task = load_task("pope", copy("pope", "originals"))
    bad.refuse(lambda: worded(task, model))
