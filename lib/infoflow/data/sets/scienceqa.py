"""ScienceQA's own data: the questions that come with a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infoflow.data.scienceqa import LETTERS
from infoflow.data.sets.benchmark import Benchmark, Wishes
from infoflow.data.sets.entries import Entry, Fields
from infoflow.data.sets.files import find_file
from infoflow.data.sets.kinds import OBJECT, TEXT, TEXT_OR_NONE, TEXTS, WHOLE, require_fields
from infoflow.data.sets.rows import Rows
from infoflow.errors import InfoflowError
from infoflow.files import inside, read_json

_KINDS = {
    "question": TEXT,
    "choices": TEXTS,
    "answer": WHOLE,
    "hint": TEXT_OR_NONE,
    "subject": TEXT,
}
_FOLDERS = {"test": "test", "validation": "val"}


def _fields(name: str, row: Mapping[str, Any]) -> Fields:
    choices, answer = tuple(row["choices"]), row["answer"]
    if not 2 <= len(choices) <= len(LETTERS):
        raise InfoflowError(
            f"item {name!r} has {len(choices)} choices; valid: 2 to {len(LETTERS)}."
        )
    if len(set(choices)) < len(choices):
        raise InfoflowError(f"item {name!r} has the same choice twice: {', '.join(choices)}.")
    if answer >= len(choices):
        raise InfoflowError(
            f"'answer' of item {name!r} is {answer!r}; valid: 0 to {len(choices) - 1}, the place "
            "of a choice."
        )
    return Fields(
        id=name,
        question=row["question"],
        answer=LETTERS[answer],
        kind=row["subject"],
        choices=choices,
        context=row["hint"] or "",
    )


def from_rows(rows: Rows, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from rows; they are named by the number of their row, as the hub names none.

    Rows without a picture are left out: of the set with all 4241 questions, 2017 remain.
    """
    return [
        Entry(_fields(f"scienceqa-{split}-{number}", row), rows.picture(number))
        for number, (row, has) in enumerate(zip(rows.fields, rows.has_picture, strict=True))
        if has
    ]


def from_files(folder: Path, split: str, wishes: Wishes) -> list[Entry]:
    """Read items from ``problems.json``, in the order of ``pid_splits.json``."""
    problems = read_json(find_file(folder, "problems.json"))
    splits = read_json(find_file(folder, "pid_splits.json"))
    part = _FOLDERS[split]
    require_fields(splits, {part: TEXTS}, "pid_splits.json")
    listed = splits[part]
    require_fields(problems, dict.fromkeys(listed, OBJECT), "problems.json")
    _require_split(problems, set(listed), part)
    entries = []
    for number in listed:
        problem = problems[number]
        kinds = {**_KINDS, "image": TEXT_OR_NONE}
        require_fields(problem, kinds, f"problem {number} of problems.json")
        if problem["image"]:
            name = f"{number}/{problem['image']}"
            picture = inside(folder / "images" / part, name, "the picture")
            entries.append(Entry(_fields(f"scienceqa-{number}", problem), picture))
    return entries


def _require_split(problems: Mapping[str, Any], listed: set[str], part: str) -> None:
    """Hold the list of a split against the split that each problem tells, where it tells one."""
    for number, problem in problems.items():
        told = problem.get("split") if isinstance(problem, Mapping) else None
        if told is not None and (told == part) != (number in listed):
            raise InfoflowError(
                f"problem {number} of problems.json is of the split {told!r}, but pid_splits.json "
                f"{'has' if number in listed else 'does not have'} it in {part!r}; for a part of "
                "a split use limit=."
            )


SCIENCEQA = Benchmark(
    splits={"test": "test", "calibration": "validation", "validation": "validation"},
    stored={"test": "test", "validation": "validation"},
    columns=_KINDS,
    marks=("problems.json", "pid_splits.json"),
    originals="problems.json, pid_splits.json, images/<split>/<number>/image.png",
    from_rows=from_rows,
    from_files=from_files,
    max_new_tokens=16,
    pieces={},
)
"""Reported is ``"test"`` (2017 items); ``"calibration"`` is the benchmark's own validation split
(2097). 16 tokens, as lmms-eval: room for "The answer is B."."""
