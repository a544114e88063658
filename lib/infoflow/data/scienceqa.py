"""ScienceQA: multiple choice, scored by the letter that the answer names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd

from infoflow.data.normalise import require_answer
from infoflow.data.sample import Sample
from infoflow.data.task import Task, best_by_group, check_rows, mean_by_kind
from infoflow.errors import unknown_name
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
    opening = _OPENINGS[rule].match(text)
    if opening:
        return next(letter for letter in opening.groups() if letter)
    sentences = _THE_ANSWER_IS.findall(text)
    if len(sentences) == 1:
        return str(sentences[0])
    if rule == "llava":
        return None
    in_brackets = _IN_BRACKETS.findall(text)
    if len(in_brackets) == 1:
        return str(in_brackets[0])
    correct = _THE_CORRECT_ANSWER_IS.search(text)
    return correct.group(1) if correct else None


def parse_choice(text: str, n_choices: int, rule: str = "llava") -> int | None:
    """Read which option an answer chooses.

    ``"llava"`` (``eval_science_qa.py`` of LLaVA) accepts a bare letter, a letter followed by a full
    stop and a space, or exactly one "The answer is X" with any character after the letter.
    ``"simignore"`` (``eval_scienceqa.py`` of Simignore) accepts also "X)", "(X)", "The correct
    answer is (X", and a text with exactly one letter in brackets. Neither accepts small letters,
    nor "B." alone, and space before the letter or behind a bare one makes it unread, as in the
    scripts, whose answers came without. What is unread, or beyond the options, is wrong; the line
    of the scripts that would guess at random is never reached.

    Args:
        text: The answer.
        n_choices: How many options there were, 2 to 5.
        rule: ``"llava"`` or ``"simignore"``.

    Returns:
        Index of the chosen option, or ``None`` where the rule finds none among the options.

    Raises:
        InfoflowError: ``n_choices`` is not 2 to 5, or the answer no text or too long.
        UnknownNameError: There is no such rule.
    """
    if rule not in RULES:
        raise unknown_name("ScienceQA parsing rule", rule, RULES)
    require_whole(n_choices, "n_choices", 2, len(LETTERS))
    letter = _letter(require_answer(text), rule)
    return LETTERS.index(letter) if letter and letter in LETTERS[:n_choices] else None


@dataclass(frozen=True)
class ScienceQA(Task):
    """ScienceQA (Lu et al., 2022): the share of right letters; an unread answer is wrong."""

    rule: str = RULES[0]
    max_new_tokens: int = field(default=4, kw_only=True)

    name: ClassVar[str] = "scienceqa"
    rules: ClassVar[tuple[str, ...]] = RULES

    def details(self, sample: Sample, text: str) -> dict[str, Any]:
        """See :meth:`Task.details`; ``prediction`` is a letter, or ``None``."""
        index = parse_choice(text, len(sample.choices), self.rule)
        prediction = None if index is None else LETTERS[index]
        return {
            "kind": sample.kind,
            "text": text,
            "prediction": prediction,
            "answer": sample.answer,
            "score": float(prediction == sample.answer),
            "unparsed": prediction is None,
        }

    def summary(self, rows: pd.DataFrame) -> dict[str, float]:
        """``accuracy``, ``accuracy/kind`` and ``unparsed`` (a count); see :meth:`Task.summary`."""
        check_rows(rows, "kind", "score", "unparsed")
        return {**mean_by_kind(rows, "accuracy"), "unparsed": float(rows["unparsed"].sum())}

    def best_constant(self) -> float:
        """Accuracy of the best letter or the best wording of an option, kind by kind."""
        return best_by_group(self._credits())

    def _credits(self) -> Iterator[tuple[str, dict[str, float]]]:
        for sample in self:
            wording = sample.choices[LETTERS.index(sample.answer)]
            yield sample.kind, {f"letter {sample.answer}": 1.0, f"option {wording}": 1.0}
