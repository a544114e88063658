"""ScienceQA: multiple choice, scored by the letter that the answer names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from infoflow.data.sample import Sample
from infoflow.data.sets import checks, own
from infoflow.data.sets.own import ClosedSample, OwnData
from infoflow.data.sets.rows import IMAGE, Row
from infoflow.data.task import Task, check_rows, mean_by_kind, require_answer
from infoflow.errors import InfoflowError, require_name
from infoflow.files import inside
from infoflow.options import require_whole

LETTERS = "ABCDE"
RULES = ("llava", "simignore")
_OPENINGS = {
    "llava": re.compile(rf"([{LETTERS}])(?:\Z|\. )"),
    "simignore": re.compile(
        rf"(?:([{LETTERS}])(?:\Z|\. |\))|\(([{LETTERS}])\)|The correct answer is \(([{LETTERS}]))"
    ),
}
# The full stop stands for any character, as in the published scripts.
_THE_ANSWER_IS = re.compile(r"The answer is ([A-Z]).")
_IN_BRACKETS = re.compile(rf"\(([{LETTERS}])\)")
_THE_CORRECT_ANSWER_IS = re.compile(rf"The correct answer is \(([{LETTERS}])\)")


def _letter(text: str, rule: str) -> str | None:
    if opening := _OPENINGS[rule].match(text):
        return next(letter for letter in opening.groups() if letter)
    for pattern in (_THE_ANSWER_IS, *([_IN_BRACKETS] if rule == "simignore" else [])):
        if len(found := pattern.findall(text)) == 1:
            return str(found[0])
    correct = _THE_CORRECT_ANSWER_IS.search(text) if rule == "simignore" else None
    return correct[1] if correct else None


def parse_choice(text: str, n_choices: int, rule: str = "llava") -> int | None:
    """Read which option an answer chooses.

    ``"llava"`` (``eval_science_qa.py`` of LLaVA) accepts a bare letter, a letter followed by a full
    stop and a space, or exactly one "The answer is X" with any character after the letter.
    ``"simignore"`` (``eval_scienceqa.py`` of Simignore) accepts also "X)", "(X)", "The correct
    answer is (X", and a text with exactly one letter in brackets. Neither accepts small letters,
    nor "B." alone, nor space before the letter or behind a bare one. What is unread, or beyond the
    options, is wrong; the scripts' line that would guess at random is never reached.

    Args:
        text: What the model said.
        n_choices: How many options the question has, 2 to 5.
        rule: One of these two.

    Returns:
        Index of the chosen option, or ``None`` where the rule finds none among the options.

    Raises:
        InfoflowError: ``n_choices`` is not 2 to 5, there is no such rule, or the answer is no text.
    """
    require_name(rule, "ScienceQA parsing rule", RULES)
    require_whole(n_choices, "n_choices", 2, len(LETTERS))
    letter = _letter(require_answer(text), rule)
    return LETTERS.index(letter) if letter and letter in LETTERS[:n_choices] else None


@dataclass
class ScienceQAData(OwnData):
    """ScienceQA's questions that come with an image; ``"calibration"`` is its validation split.

    The splits have 2017 and 2097 samples. 16 tokens, as lmms-eval: room for "The answer is B.".
    """

    name = "scienceqa"
    hub = "lmms-lab-encoder/ScienceQA"
    config = "ScienceQA-IMG"
    splits: ClassVar = {"test": "test", "calibration": "validation", "validation": "validation"}
    columns: ClassVar = {
        IMAGE: checks.IMAGE_OR_NONE,
        "question": checks.TEXT,
        "choices": checks.TEXTS,
        "answer": checks.WHOLE,
        "hint": checks.TEXT_OR_NONE,
        "subject": checks.TEXT,
    }
    marks = ("problems.json", "pid_splits.json")
    originals = "problems.json, pid_splits.json, images/<split>/<number>/image.png"
    max_new_tokens = 16

    def read_originals(self, folder: Path, split: str) -> list[Row]:
        part = {"validation": "val"}.get(split, split)
        problems, splits = (own.read_original(folder, name) for name in self.marks)
        images = folder / "images" / part
        rows = [{**problems[number], "number": number} for number in splits[part]]
        for row in rows:
            name = f"{row['number']}/{row[IMAGE]}"
            row[IMAGE] = inside(images, name, "the image") if row[IMAGE] else None
        return rows

    def samples(self, rows: Sequence[Row], split: str, where: str) -> list[ClosedSample]:
        """Make a sample of every row with an image, named by its number: the hub names none."""
        names = [f"scienceqa-{r.get('number', f'{split}-{place}')}" for place, r in enumerate(rows)]
        return [_sample(name, row) for name, row in zip(names, rows, strict=True) if row[IMAGE]]


def _sample(name: str, row: Row) -> ClosedSample:
    n_choices, answer = len(row["choices"]), row["answer"]
    if not 2 <= n_choices <= len(LETTERS) or answer >= n_choices:
        has = f"has {n_choices} choices and the answer {answer}"
        raise InfoflowError(f"item {name!r} {has}; valid: 2 to 5, and the index of one of them.")
    return ClosedSample(
        id=name,
        origin=row[IMAGE],
        question=row["question"],
        answer=LETTERS[answer],
        kind=row["subject"],
        choices=tuple(row["choices"]),
        context=row["hint"] or "",
    )


class ScienceQA(Task):
    """ScienceQA (Lu et al., 2022): the share of right letters; an unread answer is wrong."""

    name = "scienceqa"
    rules = RULES
    data = ScienceQAData
    shapes_tokens = 4

    def read(self, sample: Sample, text: str) -> tuple[str | None, float, dict[str, Any]]:
        index = parse_choice(text, len(sample.choices), self.rule)
        letter = None if index is None else LETTERS[index]
        return letter, float(letter == sample.answer), {"unparsed": letter is None}

    def summary(self, rows: pd.DataFrame) -> dict[str, float]:
        """``accuracy``, ``accuracy/kind`` and ``unparsed`` (a count); see :meth:`Task.summary`."""
        check_rows(rows, "kind", "score", "unparsed")
        return {**mean_by_kind(rows, "accuracy"), "unparsed": float(rows["unparsed"].sum())}

    def guesses(self, sample: Sample) -> tuple[str, dict[str, float]]:
        """Letters and wordings of an option, kind by kind."""
        option = sample.choices[LETTERS.index(sample.answer)]
        return sample.kind, {f"letter {sample.answer}": 1.0, f"option {option}": 1.0}
