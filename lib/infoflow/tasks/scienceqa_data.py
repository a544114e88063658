"""ScienceQA's own data: the questions that come with a picture."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from infoflow.errors import InfoflowError
from infoflow.tasks.benchmark import Benchmark, Wishes, require_keys, require_texts
from infoflow.tasks.entries import Entry, Fields
from infoflow.tasks.files import find_file, read_json
from infoflow.tasks.rows import Rows
from infoflow.tasks.scienceqa import LETTERS

_KEYS = ("question", "choices", "answer", "hint", "subject")
_FOLDERS = {"test": "test", "validation": "val"}


def _fields(name: str, row: Mapping[str, Any]) -> Fields:
    choices = require_texts(row["choices"], f"'choices' of item {name!r}")
    answer = row["answer"]
    if not 2 <= len(choices) <= len(LETTERS):
        raise InfoflowError(
            f"item {name!r} has {len(choices)} choices; valid: 2 to {len(LETTERS)}."
        )
    if not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise InfoflowError(
            f"'answer' of item {name!r} is {answer!r}; valid: 0 to {len(choices) - 1}, the place "
            "of a choice."
        )
    return Fields(
        id=name,
        question=str(row["question"]),
        answer=LETTERS[answer],
        kind=str(row["subject"]),
        choices=choices,
        context=str(row["hint"] or ""),
    )


def from_rows(rows: Rows, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from rows; they are named by the number of their row, as the hub names none.

    Rows without a picture are left out: of the set with all 4241 questions, 2017 remain.
    """
    return [
        Entry(_fields(f"scienceqa-{split}-{number}", row), partial(rows.picture, number))
        for number, (row, has) in enumerate(zip(rows.fields, rows.has_picture, strict=True))
        if has
    ]


def from_files(folder: Path, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from ``problems.json``, in the order of ``pid_splits.json``."""
    problems = read_json(find_file(folder, "problems.json"))
    splits = read_json(find_file(folder, "pid_splits.json"))
    part = _FOLDERS[split]
    require_keys(splits, (part,), "pid_splits.json")
    require_texts(splits[part], f"{part!r} of pid_splits.json")
    require_keys(problems, splits[part], "problems.json")
    entries = []
    for number in splits[part]:
        problem = problems[number]
        require_keys(problem, (*_KEYS, "image"), f"problem {number} of problems.json")
        if problem["image"]:
            picture = folder / "images" / part / number / problem["image"]
            entries.append(Entry(_fields(f"scienceqa-{number}", problem), picture))
    return entries


SCIENCEQA = Benchmark(
    splits={"test": "test", "calibration": "validation", "validation": "validation"},
    stored={"test": "test", "validation": "validation"},
    columns=("image", *_KEYS),
    marks=("problems.json", "pid_splits.json"),
    originals="problems.json, pid_splits.json, images/<split>/<number>/image.png",
    from_rows=from_rows,
    from_files=from_files,
    max_new_tokens=16,
    pieces={},
)
"""Reported is ``"test"`` (2017 items); ``"calibration"`` is the benchmark's own validation split
(2097). 16 tokens, as lmms-eval: room for "The answer is B."."""
