"""POPE: is this object in the picture? Yes or no, read by one of four incompatible rules."""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd
from sklearn.metrics import precision_recall_fscore_support

from infoflow.data.normalise import VLMEVALKIT_FULL_STOP, require_answer, strip_punctuation
from infoflow.data.sample import Sample
from infoflow.data.task import Task, best_by_group, check_rows
from infoflow.errors import unknown_name

_WORDS = {True: "yes", False: "no", None: None}


def _first_sentence(text: str) -> str:
    return text.split(".")[0]


def _official(text: str) -> bool:
    words = _first_sentence(text).replace(",", "").split(" ")
    return not {"No", "not", "no"} & set(words)


def _opera(text: str) -> bool:
    words = text.replace(".", "").replace(",", "").split(" ")
    return not any(word in ("No", "not", "no", "NO") or word.endswith("n't") for word in words)


def _lmms_eval(text: str) -> bool | None:
    return {"yes": True, "no": False}.get(text.lower().strip())


def _vlmevalkit(text: str) -> bool | None:
    words = strip_punctuation(text.lower(), VLMEVALKIT_FULL_STOP).split()
    says_yes, says_no = "yes" in words, "no" in words
    return None if says_yes == says_no else says_yes


_PARSERS = {
    "official": _official,
    "opera": _opera,
    "lmms-eval": _lmms_eval,
    "vlmevalkit": _vlmevalkit,
}
RULES = tuple(_PARSERS)
_POOLING = ("lmms-eval", "vlmevalkit")


def parse_yes_no(text: str, rule: str = "official") -> bool | None:
    """Read an answer as yes or no.

    ``"official"`` (``evaluate.py`` of POPE, also LLaVA's) looks at the first sentence only: one of
    the words "No", "not", "no" means no, and everything else means yes, be it empty.
    ``"opera"`` (``pope_eval.py`` of OPERA, also paper 1's and EAH's) looks at all of the answer:
    one of the words "No", "not", "no", "NO", or one that ends in "n't", means no, and everything
    else yes. Either takes a word to end at a space, a full stop or a comma and nowhere else, so
    that "No!" is a yes. ``"lmms-eval"`` wants exactly the word, in any case, with nothing but space
    around it. ``"vlmevalkit"`` removes punctuation and wants one of the two words but not the
    other; what VLMEvalKit may then ask a judge about stays unread.

    Args:
        text: The answer.
        rule: ``"official"``, ``"opera"``, ``"lmms-eval"`` or ``"vlmevalkit"``.

    Returns:
        ``True`` for yes, ``False`` for no, ``None`` where the rule finds neither.

    Raises:
        UnknownNameError: There is no such rule.
        InfoflowError: The answer is no text, or too long.
    """
    if rule not in RULES:
        raise unknown_name("POPE parsing rule", rule, RULES)
    return _PARSERS[rule](require_answer(text))


def _is_clear(text: str, prediction: bool | None, rule: str) -> bool:
    """Tell whether the rule found the word; two of them take for a yes what is no no."""
    if prediction is None or not prediction or rule in _POOLING:
        return prediction is not None
    read = _first_sentence(text) if rule == "official" else text
    words = re.findall(r"\w+", read.lower())
    return "yes" in words and not {"no", "not"} & set(words)


@dataclass(frozen=True)
class Pope(Task):
    """POPE (Li et al., 2023): accuracy, precision, recall and F1 with yes as positive.

    An unread answer is wrong and no yes: it lowers accuracy and, but under ``"lmms-eval"``, recall
    where yes was right.
    """

    rule: str = RULES[0]
    max_new_tokens: int = field(default=4, kw_only=True)

    name: ClassVar[str] = "pope"
    rules: ClassVar[tuple[str, ...]] = RULES

    def details(self, sample: Sample, text: str) -> dict[str, Any]:
        """See :meth:`Task.details`; ``prediction`` is ``"yes"``, ``"no"`` or ``None``.

        ``unparsed`` marks an answer that the rule could not read, or took for a yes though what it
        looked at does not say yes, or says no as well.
        """
        says_yes = parse_yes_no(text, self.rule)
        prediction = _WORDS[says_yes]
        return {
            "kind": sample.kind,
            "text": text,
            "prediction": prediction,
            "answer": sample.answer,
            "score": float(prediction == sample.answer),
            "unparsed": not _is_clear(text, says_yes, self.rule),
        }

    def summary(self, rows: pd.DataFrame) -> dict[str, float]:
        """POPE's metrics for each split and over all; see :meth:`Task.summary`.

        ``accuracy``, ``precision``, ``recall``, ``f1`` and ``yes_ratio`` (the share of predictions
        that are yes) are means over the splits, each split counting once, as published. Under
        ``"lmms-eval"`` and ``"vlmevalkit"`` they are of all answers taken together, as these
        programs do; under ``"lmms-eval"``, as there, an unread answer to what is yes is left out of
        recall, and ``yes_ratio`` is the share of *labels* that are yes. ``unparsed`` is a count.
        Precision is 0 where nothing was answered yes, recall 0 where yes was never right, F1 0
        where both are (POPE's own script and OPERA's end in a division by zero).
        """
        check_rows(rows, "kind", "answer", "score", "unparsed")
        splits = {str(kind): _metrics(split, self.rule) for kind, split in rows.groupby("kind")}
        parts = [_metrics(rows, self.rule)] if self.rule in _POOLING else splits.values()
        means = pd.DataFrame(parts).mean()
        return {
            **{str(metric): float(mean) for metric, mean in means.items()},
            "unparsed": float(rows["unparsed"].sum()),
            **{f"{m}/{kind}": v for kind, split in splits.items() for m, v in split.items()},
        }

    def best_constant(self) -> float:
        """Accuracy of always yes or always no: the questions do not tell the splits apart."""
        return best_by_group(("", {sample.answer: 1.0}) for sample in self)


def _metrics(rows: pd.DataFrame, rule: str) -> dict[str, float]:
    truth, says_yes = rows["answer"] == "yes", rows["prediction"] == "yes"
    # lmms-eval counts as missed only what was answered no
    findable = truth & rows["prediction"].notna() if rule == "lmms-eval" else truth
    precision, recall, f1, _ = precision_recall_fscore_support(
        findable, says_yes, average="binary", zero_division=0
    )
    return {
        "accuracy": float(rows["score"].mean()),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "yes_ratio": float((truth if rule == "lmms-eval" else says_yes).mean()),
    }
