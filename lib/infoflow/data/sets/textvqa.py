"""TextVQA's own data: questions about what is written in a picture, with ten people's answers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infoflow.data.sets.benchmark import Benchmark, Wishes
from infoflow.data.sets.entries import Entry, Fields
from infoflow.data.sets.files import find_file, is_file
from infoflow.data.sets.kinds import ID, LIST, STRINGS, TEXT, Kind, require_fields, require_items
from infoflow.data.sets.rows import Rows, require_every_picture
from infoflow.data.textvqa import require_answers
from infoflow.errors import InfoflowError
from infoflow.files import inside, read_json

_KINDS = {"image_id": TEXT, "question_id": ID, "question": TEXT, "answers": STRINGS}
_WORDS = {"image_id": TEXT, "ocr_tokens": STRINGS}
_FILES = {"validation": "val", "train": "train"}
_ROSETTA = "TextVQA_Rosetta_OCR_v0.2_{}.json"


def _fields(row: Mapping[str, Any], ocr: Sequence[str] | None) -> Fields:
    name = f"textvqa-{row['question_id']}"
    answers = tuple(row["answers"])
    try:
        require_answers(answers)
    except InfoflowError as error:
        raise InfoflowError(f"item {name!r}: {error}") from error
    return Fields(
        id=name,
        question=row["question"],
        answer=Counter(answers).most_common(1)[0][0],
        kind="reading",
        answers=answers,
        ocr=None if ocr is None else tuple(ocr),
    )


def from_rows(rows: Rows, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from rows."""
    require_every_picture(rows)
    for row in rows.fields:
        _require_part(row, split, rows.where)
    return [
        Entry(_fields(row, row["ocr_tokens"] if wishes.ocr else None), rows.picture(number))
        for number, row in enumerate(rows.fields)
    ]


def from_files(folder: Path, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from TextVQA 0.5.1, and the words read in the pictures from Rosetta's file."""
    part = _FILES[split]
    name = f"TextVQA_0.5.1_{part}.json"
    rows = _data(find_file(folder, name), _KINDS, "question")
    words = _rosetta(folder, split) if wishes.ocr else {}
    entries = []
    for row in rows:
        image = row["image_id"]
        _require_part(row, split, name)
        if wishes.ocr and image not in words:
            raise InfoflowError(f"{_ROSETTA.format(part)} says nothing of picture {image!r}.")
        picture = inside(folder / "train_images", f"{image}.jpg", "the picture")
        entries.append(Entry(_fields(row, words.get(image)), picture))
    return entries


def _require_part(row: Mapping[str, Any], split: str, where: str) -> None:
    """Raise unless a question that tells its split is of the one that is read."""
    part = _FILES[split]
    if row.get("set_name", part) not in (part, split):
        raise InfoflowError(
            f"question {row['question_id']} of {where} is of the set {row['set_name']!r}, not "
            f"{part!r}."
        )


def _data(path: Path, kinds: Mapping[str, Kind], noun: str) -> list[dict[str, Any]]:
    content = read_json(path)
    require_fields(content, {"data": LIST}, path.name)
    require_items(content["data"], kinds, path.name, noun)
    rows: list[dict[str, Any]] = content["data"]
    return rows


def _rosetta(folder: Path, split: str) -> dict[str, list[str]]:
    """Read which words the OCR system Rosetta read in each picture."""
    name = _ROSETTA.format(_FILES[split])
    if not is_file(folder / name):
        raise InfoflowError(
            f"{folder} lacks {name}, which holds the OCR tokens that published prompts tell the "
            "model; without them: load_task('textvqa', ..., ocr=False)."
        )
    words: dict[str, list[str]] = {}
    for row in _data(folder / name, _WORDS, "entry"):
        image, tokens = row["image_id"], row["ocr_tokens"]
        if words.setdefault(image, tokens) != tokens:
            raise InfoflowError(f"{name} holds other words of picture {image!r} a second time.")
    return words


TEXTVQA = Benchmark(
    splits={
        "test": "validation",
        "calibration": "train",
        "validation": "validation",
        "train": "train",
    },
    stored={"validation": "validation", "train": "train"},
    columns={**_KINDS, "ocr_tokens": STRINGS, "set_name": TEXT},
    marks=("TextVQA_0.5.1_*.json",),
    originals="TextVQA_0.5.1_val.json, TextVQA_0.5.1_train.json, train_images/<image_id>.jpg and, "
    "for the OCR tokens, TextVQA_Rosetta_OCR_v0.2_val.json, TextVQA_Rosetta_OCR_v0.2_train.json",
    from_rows=from_rows,
    from_files=from_files,
    max_new_tokens=128,
    pieces={},
)
"""Reported is the benchmark's validation split (5000 items), as everyone does, for the answers of
its test split are not public. ``"calibration"`` is its train split. 128 tokens, as LLaVA's
script."""
