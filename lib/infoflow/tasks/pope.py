"""POPE: is this object in the picture? Yes or no, read by one of three incompatible rules."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd
from sklearn.metrics import precision_recall_fscore_support

from infoflow.errors import unknown_name
from infoflow.sample import Sample
from infoflow.tasks.base import Task, best_by_group, check_rows
from infoflow.tasks.wording import strip_punctuation

RULES = ("official", "lmms-eval", "vlmevalkit")
_WORDS = {True: "yes", False: "no", None: None}


def _official(text: str) -> bool:
    first_sentence = text.strip().split(".")[0].replace(",", "")
    return not {"No", "not", "no"} & set(first_sentence.split(" "))


def _lmms_eval(text: str) -> bool | None:
    return {"yes": True, "no": False}.get(text.strip().lower())


def _vlmevalkit(text: str) -> bool | None:
    words = strip_punctuation(text.lower()).split()
    says_yes, says_no = "yes" in words, "no" in words
    return None if says_yes == says_no else says_yes


_PARSERS = {"official": _official, "lmms-eval": _lmms_eval, "vlmevalkit": _vlmevalkit}


def parse_yes_no(text: str, rule: str = "official") -> bool | None:
    """Read an answer as yes or no.

    ``"official"`` (``evaluate.py`` of POPE, also LLaVA's) looks at the first sentence only: one of
    the words "No", "not", "no" means no, and everything else means yes, be it empty.
    ``"lmms-eval"`` wants exactly the word, in any case, with nothing but space around it.
    ``"vlmevalkit"`` removes punctuation and wants one of the two words but not the other.

    Args:
        text: The answer.
        rule: ``"official"``, ``"lmms-eval"`` or ``"vlmevalkit"``.

    Returns:
        ``True`` for yes, ``False`` for no, ``None`` where the rule finds neither.

    Raises:
        UnknownNameError: There is no such rule.
    """
    if rule not in _PARSERS:
        raise unknown_name("POPE parsing rule", rule, RULES)
    return _PARSERS[rule](text)


@dataclass(frozen=True)
class Pope(Task):
    """POPE (Li et al., 2023): accuracy, precision, recall and F1 with yes as positive.

    An unread answer is wrong and no yes: it lowers accuracy, and recall where yes was right.
    """

    rule: str = RULES[0]
    max_new_tokens: int = field(default=4, kw_only=True)

    name: ClassVar[str] = "pope"
    rules: ClassVar[tuple[str, ...]] = RULES

    def details(self, sample: Sample, text: str) -> dict[str, Any]:
        """See :meth:`Task.details`; ``prediction`` is ``"yes"``, ``"no"`` or ``None``.

        ``unparsed`` marks an answer that the rule could not read, or that it could only because it
        takes what is not a no for a yes (no yes, or both words, by VLMEvalKit's rule).
        """
        prediction = _WORDS[parse_yes_no(text, self.rule)]
        return {
            "kind": sample.kind,
            "text": text,
            "prediction": prediction,
            "answer": sample.answer,
            "score": float(prediction == sample.answer),
            "unparsed": prediction is None or _vlmevalkit(text) is None,
        }

    def summary(self, rows: pd.DataFrame) -> dict[str, float]:
        """POPE's metrics for each split and their means; see :meth:`Task.summary`.

        ``accuracy``, ``precision``, ``recall``, ``f1`` and ``yes_ratio`` (the share of predictions,
        not of labels, that are yes) are means over the splits, each split counting once, as
        published; ``unparsed`` is a count. Precision is 0 where nothing was answered yes, recall 0
        where yes was never right, F1 0 where both are.
        """
        check_rows(rows, "kind", "answer", "score", "unparsed")
        splits = {str(kind): _metrics(split) for kind, split in rows.groupby("kind")}
        means = pd.DataFrame(splits.values()).mean()
        return {
            **{str(metric): float(mean) for metric, mean in means.items()},
            "unparsed": float(rows["unparsed"].sum()),
            **{f"{m}/{kind}": v for kind, split in splits.items() for m, v in split.items()},
        }

    def best_constant(self) -> float:
        """Accuracy of always yes or always no: the questions do not tell the splits apart."""
        return best_by_group(("", {sample.answer: 1.0}) for sample in self)


def _metrics(rows: pd.DataFrame) -> dict[str, float]:
    says_yes = rows["prediction"] == "yes"
    precision, recall, f1, _ = precision_recall_fscore_support(
        rows["answer"] == "yes", says_yes, average="binary", zero_division=0
    )
    return {
        "accuracy": float(rows["score"].mean()),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "yes_ratio": float(says_yes.mean()),
    }
