"""POPE: is this object in the image? Yes or no, read by one of four incompatible rules."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePath
from typing import Any, ClassVar

import pandas as pd
from sklearn.metrics import precision_recall_fscore_support

from infoflow.data.sample import Sample
from infoflow.data.sets import checks, own
from infoflow.data.sets.own import ClosedSample, OwnData
from infoflow.data.sets.rows import IMAGE, Row
from infoflow.data.task import Task, check_rows, require_answer
from infoflow.data.textvqa import VLMEVALKIT_FULL_STOP, strip_punctuation
from infoflow.errors import InfoflowError, require_name
from infoflow.files import inside

KINDS = ("random", "popular", "adversarial")
# How many questions with yes and with no a kind has in the older files, which OPERA and later
# projects carry on: 90 of the random kind are lacking.
_OLDER_RELEASE = {"random": (1500, 1410), "popular": (1500, 1500), "adversarial": (1500, 1500)}


RULES = ("official", "opera", "lmms-eval", "vlmevalkit")
_POOLING = ("lmms-eval", "vlmevalkit")


def parse_yes_no(text: str, rule: str = "official") -> bool | None:
    """Read an answer as yes or no.

    ``"official"`` (``evaluate.py`` of POPE, also LLaVA's) reads the first sentence only: one of
    the words "No", "not", "no" means no, and everything else means yes, be it empty.
    ``"opera"`` (``pope_eval.py`` of OPERA, also paper 1's and EAH's) reads all of the answer:
    one of the words "No", "not", "no", "NO", or one that ends in "n't", means no, and everything
    else yes. Words end at a space, a full stop or a comma alone, so that "No!" is a yes.
    ``"lmms-eval"`` wants exactly the word, in any case, with nothing but space around it.
    ``"vlmevalkit"`` removes punctuation and wants one of the two words but not the other.

    Args:
        text: What the model said.
        rule: One of these four.

    Returns:
        ``True`` for yes, ``False`` for no, ``None`` where the rule finds neither.

    Raises:
        InfoflowError: There is no such rule, or the answer is no text, or too long.
    """
    require_name(rule, "POPE parsing rule", RULES)
    require_answer(text)
    if rule == "official":
        words = text.split(".")[0].replace(",", "").split(" ")
        return not {"No", "not", "no"} & set(words)
    if rule == "opera":
        words = text.replace(".", "").replace(",", "").split(" ")
        return not any(word in ("No", "not", "no", "NO") or word.endswith("n't") for word in words)
    if rule == "lmms-eval":
        return {"yes": True, "no": False}.get(text.lower().strip())
    words = strip_punctuation(text.lower(), VLMEVALKIT_FULL_STOP).split()
    says_yes, says_no = "yes" in words, "no" in words
    return None if says_yes == says_no else says_yes


def _is_clear(text: str, prediction: bool | None, rule: str) -> bool:
    # two of the rules take for a yes what is no no
    if not prediction or rule in _POOLING:
        return prediction is not None
    read = text.split(".")[0] if rule == "official" else text
    words = re.findall(r"\w+", read.lower())
    return "yes" in words and not {"no", "not"} & set(words)


@dataclass
class PopeData(OwnData):
    """POPE's three kinds of questions about the same 500 images of COCO.

    ``"test"`` is all of it (3 times 3000 samples), what everyone reports. ``"calibration"`` is half
    of its images, drawn with a seed; what is chosen there is reported on ``"held-out"``, the other.
    """

    name = "pope"
    hub = "lmms-lab-encoder/POPE"
    stored = "test"
    columns: ClassVar = {
        IMAGE: checks.IMAGE,
        "question_id": checks.ID,
        "question": checks.TEXT,
        "answer": checks.one_of("yes", "no"),
        "image_source": checks.TEXT,
        "category": checks.one_of(*KINDS),
    }
    marks = tuple(f"coco_pope_{kind}.json" for kind in KINDS)
    originals = f"{', '.join(marks)}, val2014/COCO_val2014_*.jpg"
    max_new_tokens = 128

    def read_originals(self, folder: Path, split: str) -> list[Row]:
        rows: list[Row] = []
        for kind, name in zip(KINDS, self.marks, strict=True):
            for line in own.read_json_lines(own.find_file(folder, name)):
                image = inside(folder / "val2014", line["image"], "the image")
                row = {"question": line["text"], "answer": line["label"], "category": kind}
                rows.append({**line, **row, "image_source": line["image"], IMAGE: image})
        return rows

    def samples(self, rows: Sequence[Row], split: str, where: str) -> list[ClosedSample]:
        """Make the samples, the kinds in turn: any first few then hold all three."""
        _require_whole(rows)
        images = {_name_of_image(row) for row in rows}
        chosen = images if split == "test" else {*own.drawn_half(images, split)}
        by_kind = [[row for row in rows if row["category"] == kind] for kind in KINDS]
        return [
            ClosedSample(
                id=f"pope-{row['category']}-{row['question_id']}",
                origin=row[IMAGE],
                question=row["question"],
                answer=row["answer"],
                kind=row["category"],
            )
            for turn in zip_longest(*by_kind)
            for row in turn
            if row and _name_of_image(row) in chosen
        ]


def _name_of_image(row: Row) -> str:
    return PurePath(row["image_source"]).stem


def _require_whole(rows: Sequence[Row]) -> None:
    """Raise unless each kind asks as much of each image, half yes, but for the older release."""
    asked = (f"{row['question']} ({row['category']}, {_name_of_image(row)})" for row in rows)
    checks.require_once(asked, "the question", "POPE")
    per_image = Counter((row["category"], _name_of_image(row)) for row in rows)
    counts = Counter((row["category"], row["answer"]) for row in rows)
    n_each = {kind: (counts[kind, "yes"], counts[kind, "no"]) for kind in KINDS}
    yes, no = n_each[KINDS[0]]
    is_even = len({*n_each.values()}) == 1 and abs(yes - no) <= (yes + no) % 2
    if not (is_even and len({*per_image.values()}) < 2) and n_each != _OLDER_RELEASE:
        found = ", ".join(f"{kind} {n[0]} yes and {n[1]} no" for kind, n in n_each.items())
        raise InfoflowError(
            "the kinds of POPE are not equal in number, half yes, with as many questions about "
            f"each image ({found}); valid: as many of each, or the counts of the older release."
        )


class Pope(Task):
    """POPE (Li et al., 2023): accuracy, precision, recall, F1; what is unread is wrong, no yes."""

    name = "pope"
    rules = RULES
    data = PopeData
    shapes_tokens = 4

    def read(self, sample: Sample, text: str) -> tuple[str | None, float, dict[str, Any]]:
        """Read yes, no or None; ``unparsed`` is also a yes that does not say so, or says no too."""
        says_yes = parse_yes_no(text, self.rule)
        word = None if says_yes is None else ("yes" if says_yes else "no")
        unparsed = not _is_clear(text, says_yes, self.rule)
        return word, float(word == sample.answer), {"unparsed": unparsed}

    def summary(self, rows: pd.DataFrame) -> dict[str, float]:
        """POPE's metrics for each split and over all; see :meth:`Task.summary`.

        ``accuracy``, ``precision``, ``recall``, ``f1`` and ``yes_ratio`` (of predictions) are means
        over the splits, as published; under ``"lmms-eval"`` and ``"vlmevalkit"`` of all answers
        together, as there. Under ``"lmms-eval"``, as there, an unread answer to what is yes is left
        out of recall, and ``yes_ratio`` is of *labels*. ``unparsed`` is a count. What would be
        divided by zero, as in POPE's own script, is 0.
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
