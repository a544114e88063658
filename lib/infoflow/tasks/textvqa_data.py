"""TextVQA's own data: questions about what is written in a picture, with ten people's answers."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from infoflow.errors import InfoflowError
from infoflow.tasks.benchmark import Benchmark, Wishes, require_keys, require_texts
from infoflow.tasks.entries import Entry, Fields
from infoflow.tasks.files import find_file, read_json
from infoflow.tasks.rows import Rows, require_every_picture
from infoflow.tasks.textvqa import require_answers

_KEYS = ("image_id", "question_id", "question", "answers")
_FILES = {"validation": "val", "train": "train"}
_ROSETTA = "TextVQA_Rosetta_OCR_v0.2_{}.json"


def _fields(row: Mapping[str, Any], ocr: tuple[str, ...] | None) -> Fields:
    name = f"textvqa-{row['question_id']}"
    answers = require_texts(row["answers"], f"'answers' of item {name!r}")
    try:
        require_answers(answers)
    except InfoflowError as error:
        raise InfoflowError(f"item {name!r}: {error}") from error
    return Fields(
        id=name,
        question=str(row["question"]),
        answer=Counter(answers).most_common(1)[0][0],
        kind="reading",
        answers=answers,
        ocr=ocr,
    )


def from_rows(rows: Rows, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from rows."""
    require_every_picture(rows)
    entries = []
    for number, row in enumerate(rows.fields):
        where = f"'ocr_tokens' of question {row['question_id']}"
        ocr = require_texts(row["ocr_tokens"], where) if wishes.ocr else None
        entries.append(Entry(_fields(row, ocr), partial(rows.picture, number)))
    return entries


def from_files(folder: Path, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from TextVQA 0.5.1, and the words read in the pictures from Rosetta's file."""
    name = f"TextVQA_0.5.1_{_FILES[split]}.json"
    content = read_json(find_file(folder, name))
    require_keys(content, ("data",), name)
    words = _rosetta(folder, split) if wishes.ocr else {}
    entries = []
    for number, row in enumerate(content["data"], start=1):
        require_keys(row, _KEYS, f"question {number} of {name}")
        image = str(row["image_id"])
        if wishes.ocr and image not in words:
            raise InfoflowError(
                f"{_ROSETTA.format(_FILES[split])} says nothing of picture {image!r}."
            )
        picture = folder / "train_images" / f"{image}.jpg"
        entries.append(Entry(_fields(row, words.get(image)), picture))
    return entries


def _rosetta(folder: Path, split: str) -> dict[str, tuple[str, ...]]:
    """Read which words the OCR system Rosetta read in each picture."""
    name = _ROSETTA.format(_FILES[split])
    if not (folder / name).is_file():
        raise InfoflowError(
            f"{folder} lacks {name}, which holds the OCR tokens that published prompts tell the "
            "model; without them: load_task('textvqa', ..., ocr=False)."
        )
    content = read_json(folder / name)
    require_keys(content, ("data",), name)
    words = {}
    for number, row in enumerate(content["data"], start=1):
        require_keys(row, ("image_id", "ocr_tokens"), f"entry {number} of {name}")
        where = f"'ocr_tokens' of entry {number} of {name}"
        words[str(row["image_id"])] = require_texts(row["ocr_tokens"], where)
    return words


TEXTVQA = Benchmark(
    splits={
        "test": "validation",
        "calibration": "train",
        "validation": "validation",
        "train": "train",
    },
    stored={"validation": "validation", "train": "train"},
    columns=("image", *_KEYS, "ocr_tokens"),
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
