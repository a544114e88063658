"""TextVQA: read what is written, scored against the answers of several people."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from infoflow.data.sample import Sample
from infoflow.data.sets import checks, own
from infoflow.data.sets.own import ClosedSample, OwnData
from infoflow.data.sets.rows import IMAGE, Row
from infoflow.data.task import Task, check_rows, mean_by_kind, require_answer
from infoflow.errors import InfoflowError, one_line
from infoflow.files import inside

RULES = ("evalai",)
_ENOUGH_MATCHES = 3
_PARTS = {"validation": "val", "train": "train"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
EVALAI_FULL_STOP = re.compile(r"\.(?!\d)")
VLMEVALKIT_FULL_STOP = re.compile(r"(?<!\d)\.(?!\d)")
# The published codes hand a flag to a substitution where the number of replacements belongs.
_MOST_FULL_STOPS = int(re.UNICODE)
_NUMBERS = "zero one two three four five six seven eight nine ten"
_DIGITS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS.split())}
_ARTICLES = frozenset(("a", "an", "the"))

# Every form below is recognised with exactly one of its apostrophes left out.
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't
mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've
should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll
what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll
why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll
you're you've
"""
_RESTORED = {
    form[:i] + form[i + 1 :]: form
    for form in _CONTRACTIONS.split()
    for i, char in enumerate(form)
    if char == "'"
}
# The published table takes this one apostrophe out instead of putting it in.
_RESTORED["somebody'd"] = "somebodyd"


def _credit(n_matches: int, n_answers: int) -> float:
    """Mean of min(1, matches / 3) over the n ways to leave out one of the n answers."""
    left_out_is_match = min(1.0, (n_matches - 1) / _ENOUGH_MATCHES)
    left_out_is_other = min(1.0, n_matches / _ENOUGH_MATCHES)
    n_others = n_answers - n_matches
    return (n_matches * left_out_is_match + n_others * left_out_is_other) / n_answers


def _require_answers(answers: Sequence[str]) -> None:
    """Raise unless there are enough answers: of three, even one that all gave could not score 1."""
    if isinstance(answers, str) or len(answers) <= _ENOUGH_MATCHES:
        raise InfoflowError("reference answers must be a list of texts, at least 4 (TextVQA: 10).")


def strip_punctuation(text: str, full_stop: re.Pattern[str]) -> str:
    """Remove punctuation as VQA's evaluation does, and the first 32 full stops of the pattern.

    A mark is deleted where the text has it next to a space anywhere, or has a comma inside a
    number; else a space takes its place.
    """
    stripped = text
    number = _COMMA_IN_NUMBER.search(text) is not None
    for mark in _PUNCTUATION:
        spaced = f"{mark} " in text or f" {mark}" in text
        stripped = stripped.replace(mark, "" if spaced or number else " ")
    return full_stop.sub("", stripped, count=_MOST_FULL_STOPS)


def normalise_answer(text: str) -> str:
    """Normalise a short answer as EvalAI's TextVQA server does; words are joined by single spaces.

    As in the code of LLaVA (``m4c_evaluator.py``) and lmms-eval, quirks included: lower case;
    punctuation removed (:func:`strip_punctuation`; a full stop goes unless a digit follows); number
    words to ten as digits; articles dropped; apostrophes of contractions restored.
    """
    lowered = require_answer(text).lower().replace(",", "").replace("?", "").replace("'s", " 's")
    flat = lowered.strip().replace("\n", " ").replace("\t", " ").strip()
    words = strip_punctuation(flat, EVALAI_FULL_STOP).split()
    numbered = [_DIGITS.get(word, word) for word in words]
    return " ".join(_RESTORED.get(word, word) for word in numbered if word not in _ARTICLES)


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Soft accuracy of VQA, as EvalAI's TextVQA server computes it.

    Prediction and answers are normalised (:func:`normalise_answer`); then
    accuracy = mean over the answers i of min(1, matches among the answers other than i / 3).
    LLaVA's code takes exactly ten answers; lmms-eval's takes any number, as here.

    Args:
        prediction: What the model said.
        answers: What people said, four of them at least; TextVQA has ten.

    Returns:
        The accuracy, from 0 to 1.

    Raises:
        InfoflowError: There are fewer than four answers, or something is no text.
    """
    _require_answers(answers)
    normalised = normalise_answer(prediction)
    n_matches = sum(normalise_answer(answer) == normalised for answer in answers)
    return _credit(n_matches, len(answers))


@dataclass
class TextVQAData(OwnData):
    """TextVQA 0.5.1: questions about what is written in an image, with ten people's answers.

    Reported is its validation split (5000), as everyone does; ``"calibration"`` is its train split.
    """

    ocr: bool = field(default=True, kw_only=True)

    name = "textvqa"
    hub = "lmms-lab-encoder/textvqa"
    splits: ClassVar = {"test": "validation", "calibration": "train", **{s: s for s in _PARTS}}
    columns: ClassVar = {
        IMAGE: checks.IMAGE,
        "image_id": checks.TEXT,
        "question_id": checks.ID,
        "question": checks.TEXT,
        "answers": checks.STRINGS,
        "ocr_tokens": checks.STRINGS,
    }
    marks = ("TextVQA_0.5.1_*.json",)
    originals = (
        "TextVQA_0.5.1_val.json, TextVQA_0.5.1_train.json, train_images/<image_id>.jpg and, for "
        "the OCR tokens, TextVQA_Rosetta_OCR_v0.2_val.json, TextVQA_Rosetta_OCR_v0.2_train.json"
    )
    max_new_tokens = 128

    def __post_init__(self) -> None:
        if not isinstance(self.ocr, bool):
            raise InfoflowError(f"ocr is {self.ocr!r}; valid: True, False.")
        self.label = f", {'with' if self.ocr else 'without'} OCR tokens"

    def read_originals(self, folder: Path, split: str) -> list[Row]:
        questions, rosetta = (
            f"{name}_{_PARTS[split]}.json" for name in ("TextVQA_0.5.1", "TextVQA_Rosetta_OCR_v0.2")
        )
        rows: list[Row] = own.read_original(folder, questions)["data"]
        words = {}
        if self.ocr:
            with one_line("OCR tokens are missing; ocr=False leaves them out", InfoflowError):
                read = own.read_original(folder, rosetta)["data"]
                words = {entry["image_id"]: entry["ocr_tokens"] for entry in read}
                images = (row["image_id"] for row in rows)
                checks.require_known("image", images, questions, words, rosetta)
        for row in rows:
            row["ocr_tokens"] = words.get(row["image_id"], [])
            image = f"{row['image_id']}.jpg"
            row[IMAGE] = inside(folder / "train_images", image, "the image")
        return rows

    def samples(self, rows: Sequence[Row], split: str, where: str) -> list[ClosedSample]:
        for row in rows:
            with one_line(f"question {row['question_id']} of {where}", InfoflowError):
                _require_answers(row["answers"])
        return [
            ClosedSample(
                id=f"textvqa-{row['question_id']}",
                origin=row[IMAGE],
                question=row["question"],
                answer=Counter(row["answers"]).most_common(1)[0][0],
                kind="reading",
                answers=tuple(row["answers"]),
                ocr=tuple(row["ocr_tokens"]) if self.ocr else None,
            )
            for row in rows
        ]


class TextVQA(Task):
    """TextVQA (Singh et al., 2019): mean soft accuracy."""

    name = "textvqa"
    rules = RULES
    data = TextVQAData
    shapes_tokens = 6

    def read(self, sample: Sample, text: str) -> tuple[str | None, float, dict[str, Any]]:
        return normalise_answer(text), vqa_accuracy(text, sample.answers), {}

    def summary(self, rows: pd.DataFrame) -> dict[str, float]:
        """``accuracy`` and ``accuracy/kind``, both soft; see :meth:`Task.summary`."""
        check_rows(rows, "kind", "score")
        return mean_by_kind(rows, "accuracy")

    def guesses(self, sample: Sample) -> tuple[str, dict[str, float]]:
        """The soft accuracy of each answer that somebody gave."""
        counts = Counter(normalise_answer(answer) for answer in sample.answers)
        return "", {text: _credit(n, len(sample.answers)) for text, n in counts.items()}
