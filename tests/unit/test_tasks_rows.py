"""Parquet files as people have them are read right, or refused in one line."""

import random
from functools import partial

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import real_sets
from datasets import ClassLabel, Dataset, Features, Image, Value

from infoflow.data.load import load_task
from infoflow.data.sets.rows import fetch
from infoflow.errors import InfoflowError

PICTURES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = {
    "image": PICTURES,
    "question": pa.string(),
    "choices": pa.list_(pa.string()),
    "answer": pa.int64(),
    "hint": pa.string(),
    "subject": pa.string(),
}


def row(number, **changed):
    return {
        "image": real_sets.cell(number),
        "question": f"Which is {number}?",
        "choices": ["one", "two"],
        "answer": 1,
        "hint": None,
        "subject": "maths",
        **changed,
    }


def write(path, rows, **types):
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([*({**SCHEMA, **types}).items()])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def questions(folder):
    return [sample.question for sample in load_task("scienceqa", folder)]


# ---- files

TWO = ("test-00000-of-00002", "test-00001-of-00002")


@pytest.mark.parametrize(
    "names",
    [
        TWO,
        ("test-00001-of-00002-0123abcd", "test-00000-of-00002-4567cdef"),
        (*TWO, "train-00000-of-00004", "._test-00000-of-00002"),
        ("test/test-00000-of-00002", "test/test-00001-of-00002", "test/validation"),
        ("one/test-00000-of-00002", "two/test-00001-of-00002"),
    ],
)
def test_files_that_are_all_there(names, tmp_path):
    for number, name in enumerate(names):
        write(tmp_path / f"{name}.parquet", [row(number)])
    assert sorted(questions(tmp_path)) == ["Which is 0?", "Which is 1?"]


def test_rows_are_in_the_order_of_the_files_numbers(tmp_path):
    for number in range(11):
        write(tmp_path / f"test-{number}-of-11.parquet", [row(number)])
    assert questions(tmp_path) == [f"Which is {number}?" for number in range(11)]


@pytest.mark.parametrize(
    "names",
    [
        TWO[:1],
        TWO[1:],
        ("test-00000-of-999999999",),
        ("test-00000-of-00001", "test-00000-of-00001 (1)"),
        ("test-00003-of-00002", *TWO),
        (*TWO, "test-00000-of-00001"),
        (*TWO, "test"),
        ("test-00000-of-00001", "test-IMG-00000-of-00001"),
        ("test/test-00000-of-00002", "test/test-00001-of-00003"),
        ("test", "test-old"),
        ("one/test", "two/test"),
    ],
)
def test_files_that_are_no_whole_series(names, tmp_path):
    for number, name in enumerate(names):
        write(tmp_path / f"{name}.parquet", [row(number)])
    message = rf"split 'test' \(.*{names[0].split('/')[-1]}.*\) are not one whole series"
    with pytest.raises(InfoflowError, match=message):
        load_task("scienceqa", tmp_path)


@pytest.mark.parametrize("name", ["test/train-00000-of-00001", "test/0000", "testing"])
def test_files_of_another_name_are_not_the_split(name, tmp_path):
    write(tmp_path / f"{name}.parquet", [row(1)])
    with pytest.raises(InfoflowError, match="in neither of the known layouts"):
        load_task("scienceqa", tmp_path)


def test_a_file_that_was_replaced_is_read_anew_and_never_mixed(tmp_path):
    path = tmp_path / "test-00000-of-00001.parquet"
    write(path, [row(1)])
    before = load_task("scienceqa", tmp_path)
    first = before[0].image.tobytes()
    write(path, [row(2)])
    after = load_task("scienceqa", tmp_path)
    assert after[0].question == "Which is 2?"
    assert after[0].image.tobytes() != first
    with pytest.raises(InfoflowError, match=r"parquet was changed after it was loaded"):
        _ = before[0].image


def test_a_damaged_file_gives_what_is_right_or_one_line(tmp_path):
    path = tmp_path / "test-00000-of-00001.parquet"
    table = pa.Table.from_pylist([row(n) for n in range(4)], schema=pa.schema([*SCHEMA.items()]))
    pq.write_table(table, path, row_group_size=2, write_page_checksum=True)

    def read():
        task = load_task("scienceqa", tmp_path)
        return [(s.id, s.question, s.choices, s.answer, s.image.tobytes()) for s in task]

    right, whole, draw = read(), path.read_bytes(), random.Random(0)
    refusals = []
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(draw.choice((1, 1, 3, 20))):
            place = draw.choice((draw.randrange(len(whole)), -draw.randrange(1, 2000)))
            damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged[: draw.choice((None, None, None, draw.randrange(len(whole))))])
        try:
            assert read() == right
        except InfoflowError as error:
            refusals.append(str(error))
    assert len(refusals) > 250
    assert not [told for told in refusals if "\n" in told]


# ---- types of columns


@pytest.mark.parametrize(
    "types",
    [
        {"question": pa.large_string(), "choices": pa.list_(pa.large_string())},
        {"question": pa.dictionary(pa.int32(), pa.string()), "answer": pa.int8()},
        {"choices": pa.large_list(pa.string()), "answer": pa.uint32()},
        {"image": pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])},
        {"image": pa.struct([("path", pa.null()), ("bytes", pa.binary())])},
    ],
)
def test_other_types_of_the_same_values(types, tmp_path):
    write(tmp_path / "one" / "test.parquet", [row(1)])
    write(tmp_path / "other" / "test.parquet", [row(1)], **types)
    one, other = (load_task("scienceqa", tmp_path / name) for name in ("one", "other"))
    assert other.source == one.source
    assert other[0].image.tobytes() == one[0].image.tobytes()


@pytest.mark.parametrize("type_", [pa.binary(), pa.string()])
def test_a_column_of_other_images_is_refused(type_, tmp_path):
    write(tmp_path / "test.parquet", [row(1, image=None)], image=type_)
    with pytest.raises(InfoflowError, match=r"test\.parquet cannot be read as parquet"):
        load_task("scienceqa", tmp_path)


@pytest.mark.parametrize(
    ("changed", "types", "shown"),
    [
        ({"question": None}, {}, "'question' of row 1 of .* is None; valid: a text that is not"),
        ({"question": " \n"}, {}, "'question' of row 1"),
        ({"question": b"Why?"}, {"question": pa.binary()}, "'question' of row 0 of .* is b'"),
        ({"subject": None}, {}, "'subject' of row 1"),
        ({"choices": None}, {}, "'choices' of row 1 of .* is None; valid: a list of texts"),
        ({"choices": ["a", None]}, {}, "'choices' of row 1"),
        ({"choices": ["a", ""]}, {}, "'choices' of row 1"),
        ({"answer": None}, {}, "'answer' of row 1 of .* is None; valid: a whole number of at"),
        ({"answer": -1}, {}, "'answer' of row 1 of .* is -1"),
        ({"answer": 1.0}, {"answer": pa.float64()}, r"'answer' of row 0 of .* is 1\.0"),
        ({"answer": True}, {"answer": pa.bool_()}, "'answer' of row 0 of .* is True"),
        ({"answer": "1"}, {"answer": pa.string()}, "'answer' of row 0 of .* is '1'"),
        ({"hint": float("nan")}, {"hint": pa.float64()}, "'hint' of row 1 of .* is nan"),
    ],
)
def test_values_of_another_kind_are_named(changed, types, shown, tmp_path):
    first = row(0)
    if types and "hint" not in changed:  # a column has one type, so the first row is changed, too
        first |= changed
    write(tmp_path / "test.parquet", [first, row(1, **changed)], **types)
    with pytest.raises(InfoflowError, match=shown):
        load_task("scienceqa", tmp_path)


@pytest.mark.parametrize(
    ("name", "rows", "changed"),
    [
        ("pope", real_sets.pope_rows, {"question": None}),
        ("pope", real_sets.pope_rows, {"image_source": None}),
        ("pope", real_sets.pope_rows, {"question_id": None}),
        ("textvqa", partial(real_sets.textvqa_rows, "validation"), {"question": None}),
        ("textvqa", partial(real_sets.textvqa_rows, "validation"), {"answers": ["a", None] * 5}),
        ("textvqa", partial(real_sets.textvqa_rows, "validation"), {"ocr_tokens": None}),
        ("textvqa", partial(real_sets.textvqa_rows, "validation"), {"ocr_tokens": [None]}),
        ("textvqa", partial(real_sets.textvqa_rows, "validation"), {"question_id": -1}),
        ("chair", real_sets.chair_rows, {"gt_object": None}),
        ("chair", real_sets.chair_rows, {"gt_object": ["dog", None]}),
        ("chair", real_sets.chair_rows, {"question_id": None}),
    ],
)
def test_nothing_is_made_of_what_is_not_there(name, rows, changed, tmp_path):
    content = rows()
    content[1] |= changed
    path = tmp_path / f"{'validation' if name == 'textvqa' else 'test'}.parquet"
    real_sets.save(path, content, getattr(real_sets, f"{name.upper()}_FEATURES"))
    (tmp_path / "synonyms.txt").write_text(real_sets.SYNONYMS)
    with pytest.raises(InfoflowError, match=f"'{next(iter(changed))}' of row 1 of .*; valid: "):
        load_task(name, tmp_path)


def of_the_hub(monkeypatch, dataset):
    """Rows of a data set as the hub gives them."""
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: dataset)
    return fetch("a/set", None, "0" * 40, "test", dataset.column_names)[0]


def test_numbers_of_names_are_refused(tmp_path):
    rows = [{**one, "answer": int(one["answer"] == "yes")} for one in real_sets.pope_rows()]
    features = Features({**real_sets.POPE_FEATURES, "answer": ClassLabel(names=["no", "yes"])})
    real_sets.save(tmp_path / "test.parquet", rows, features)
    with pytest.raises(InfoflowError, match=r"'answer' of row 0 .* is 1; valid: no, yes"):
        load_task("pope", tmp_path)


# ---- pictures kept as paths


def test_pictures_kept_as_paths_are_read_from_there(tmp_path):
    real_sets.write_picture(tmp_path / "set" / "pictures" / "1.png", 1)
    real_sets.write_picture(tmp_path / "elsewhere" / "2.png", 2)
    places = ["pictures/1.png", str(tmp_path / "elsewhere" / "2.png"), None]
    rows = [row(n, image={"bytes": None, "path": place}) for n, place in enumerate(places)]
    rows.append(row(3, image={**real_sets.cell(3), "path": "nowhere.png"}))
    write(tmp_path / "set" / "test.parquet", rows)
    task = load_task("scienceqa", tmp_path / "set")
    assert [sample.question for sample in task] == [f"Which is {n}?" for n in (0, 1, 3)]
    for sample, seed in zip(task, (1, 2, 3), strict=True):
        write(tmp_path / "bytes" / "test.parquet", [row(seed)])
        assert (
            sample.image.tobytes() == load_task("scienceqa", tmp_path / "bytes")[0].image.tobytes()
        )
    (tmp_path / "elsewhere" / "2.png").unlink()
    with pytest.raises(InfoflowError, match=r"1 of 3 images are missing, .* them .*2\.png"):
        load_task("scienceqa", tmp_path / "set")


@pytest.mark.parametrize("place", ["../secret.png", "", "a/../../secret.png", "C:\\secret.png"])
def test_a_relative_path_stays_in_its_folder(place, tmp_path):
    write(tmp_path / "set" / "test.parquet", [row(0, image={"bytes": None, "path": place})])
    real_sets.write_picture(tmp_path / "secret.png", 1)
    with pytest.raises(InfoflowError, match=r"the image .* is no name within"):
        load_task("scienceqa", tmp_path / "set")


def test_rows_of_the_hub_that_keep_paths(tmp_path, monkeypatch):
    real_sets.write_picture(tmp_path / "1.png", 1)
    features = Features({"image": Image(), "question": Value("string")})

    def rows(*places):
        content = {
            "image": [place and str(place) for place in places],
            "question": ["q"] * len(places),
        }
        return of_the_hub(monkeypatch, Dataset.from_dict(content, features=features))

    found = rows(tmp_path / "1.png", None)
    assert [row["image"] for row in found] == [tmp_path / "1.png", None]
