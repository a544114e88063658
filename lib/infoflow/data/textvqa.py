"""TextVQA: read what is written, scored against the answers of several people."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd

from infoflow.data.normalise import normalise_answer
from infoflow.data.sample import Sample
from infoflow.data.task import Task, best_by_group, check_rows, mean_by_kind
from infoflow.errors import InfoflowError

RULES = ("evalai",)
_ENOUGH_MATCHES = 3


def _credit(n_matches: int, n_answers: int) -> float:
    """Mean of min(1, matches / 3) over the n ways to leave out one of the n answers."""
    left_out_is_match = min(1.0, (n_matches - 1) / _ENOUGH_MATCHES)
    left_out_is_other = min(1.0, n_matches / _ENOUGH_MATCHES)
    n_others = n_answers - n_matches
    return (n_matches * left_out_is_match + n_others * left_out_is_other) / n_answers


def require_answers(answers: Sequence[str]) -> None:
    """Raise unless there are enough reference answers for soft accuracy.

    Raises:
        InfoflowError: There are fewer than four, or one text in place of a list of them.
    """
    if isinstance(answers, str):
        raise InfoflowError("the reference answers are one text; they must be a list of texts.")
    # With three, even an answer that all people gave could not score 1.
    if len(answers) <= _ENOUGH_MATCHES:
        raise InfoflowError(
            f"got {len(answers)} reference answers; soft accuracy needs at least "
            f"{_ENOUGH_MATCHES + 1} (TextVQA has 10)."
        )


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Soft accuracy of VQA, as EvalAI's TextVQA server computes it.

    Prediction and answers are normalised
    (:func:`infoflow.data.normalise.normalise_answer`); then
    accuracy = mean over the answers i of min(1, matches among the answers other than i / 3).
    LLaVA's code takes exactly ten answers; lmms-eval's takes any number, as here.

    Args:
        prediction: What the model said.
        answers: What people said, at least four; TextVQA has ten.

    Returns:
        The accuracy, from 0 to 1.

    Raises:
        InfoflowError: There are fewer than four answers, or something is no text.
    """
    require_answers(answers)
    normalised = normalise_answer(prediction)
    n_matches = sum(normalise_answer(answer) == normalised for answer in answers)
    return _credit(n_matches, len(answers))


@dataclass(frozen=True)
class TextVQA(Task):
    """TextVQA (Singh et al., 2019): mean soft accuracy."""

    rule: str = RULES[0]
    max_new_tokens: int = field(default=6, kw_only=True)

    name: ClassVar[str] = "textvqa"
    rules: ClassVar[tuple[str, ...]] = RULES

    def details(self, sample: Sample, text: str) -> dict[str, Any]:
        """See :meth:`Task.details`; ``prediction`` is the normalised answer."""
        return {
            "kind": sample.kind,
            "text": text,
            "prediction": normalise_answer(text),
            "answer": sample.answer,
            "score": vqa_accuracy(text, sample.answers),
        }

    def summary(self, rows: pd.DataFrame) -> dict[str, float]:
        """``accuracy`` and ``accuracy/kind``, both soft; see :meth:`Task.summary`."""
        check_rows(rows, "kind", "score")
        return mean_by_kind(rows, "accuracy")

    def best_constant(self) -> float:
        """Soft accuracy of the best single answer to everything."""
        return best_by_group(("", _credits(sample.answers)) for sample in self)


def _credits(answers: Sequence[str]) -> dict[str, float]:
    require_answers(answers)
    counts = Counter(normalise_answer(answer) for answer in answers)
    return {answer: _credit(n_matches, len(answers)) for answer, n_matches in counts.items()}
