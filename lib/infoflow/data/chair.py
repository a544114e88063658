"""CHAIR: which objects of a caption are in the picture, and which are made up."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import pandas as pd

from infoflow.data.captions import RULES, Table, caption_objects
from infoflow.data.sample import Sample
from infoflow.data.task import Task, check_rows
from infoflow.errors import InfoflowError

__all__ = ["Chair", "ChairScores", "Table", "caption_objects", "chair_scores"]


class ChairScores(NamedTuple):
    """The metrics of CHAIR over a set of captions, each from 0 to 1.

    Attributes:
        chair_i: Share of object mentions that are hallucinated; 0 where nothing is mentioned.
        chair_s: Share of captions with at least one hallucinated mention.
        recall: Share of the objects present that are mentioned; 1 where none is present.
    """

    chair_i: float
    chair_s: float
    recall: float


class _Counts(NamedTuple):
    mentions: int
    hallucinated: int
    found: int
    present: int


def _count(mentioned: Collection[str], present: Iterable[str]) -> _Counts:
    truth = set(present)
    return _Counts(
        mentions=len(mentioned),
        hallucinated=sum(name not in truth for name in mentioned),
        found=len(truth.intersection(mentioned)),
        present=len(truth),
    )


def _scores(counts: pd.DataFrame) -> ChairScores:
    mentions, hallucinated, found, present = (int(counts[c].sum()) for c in _Counts._fields)
    return ChairScores(
        chair_i=hallucinated / mentions if mentions else 0.0,
        chair_s=float((counts["hallucinated"] > 0).mean()),
        recall=found / present if present else 1.0,
    )


def chair_scores(
    mentioned: Sequence[Collection[str]], present: Sequence[Iterable[str]]
) -> ChairScores:
    """Compute CHAIRi and CHAIRs (Rohrbach et al., 2018, Eq. 1 and 2) and recall.

    CHAIRi = hallucinated mentions / all mentions;
    CHAIRs = captions with a hallucinated mention / all captions;
    recall = distinct objects present and mentioned / distinct objects present.
    All three pool the captions before dividing. Mentions count as often as they occur.

    Args:
        mentioned: Classes that each caption mentions (:func:`caption_objects`).
        present: Classes that are in each picture.

    Returns:
        The three metrics.

    Raises:
        InfoflowError: There is no caption, or the two lengths differ.
    """
    if not len(mentioned) or len(mentioned) != len(present):
        raise InfoflowError(
            f"got {len(mentioned)} captions and {len(present)} pictures; "
            "they must be as many, and at least one."
        )
    pairs = zip(mentioned, present, strict=True)
    return _scores(pd.DataFrame([_count(named, truth) for named, truth in pairs]))


def _f1(named: set[str], present: set[str]) -> float:
    total = len(named) + len(present)
    return 2 * len(named & present) / total if total else 1.0


@dataclass(frozen=True)
class Chair(Task):
    """CHAIR (Rohrbach et al., 2018): hallucinated objects in captions.

    The score of one caption is the F1 of the set of objects it names against the set in the
    picture, because CHAIR alone rewards silence: a caption that names nothing hallucinates nothing.

    Attributes:
        synonyms: For each class its name and then its synonyms.
    """

    rule: str = RULES[0]
    max_new_tokens: int = field(default=32, kw_only=True)
    synonyms: Table = ()

    name: ClassVar[str] = "chair"
    rules: ClassVar[tuple[str, ...]] = RULES

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.synonyms:
            raise InfoflowError(
                "task 'chair' has no synonyms; it needs a table with a class a line."
            )
        caption_objects("", self.synonyms, self.rule)  # so that missing data stop it at once

    def details(self, sample: Sample, text: str) -> dict[str, Any]:
        """See :meth:`Task.details`; ``prediction`` lists the mentions, separated by commas.

        Its own columns count ``mentions``, those ``hallucinated``, and the distinct objects
        ``found`` and ``present``.
        """
        named = caption_objects(text, self.synonyms, self.rule)
        return {
            "kind": sample.kind,
            "text": text,
            "prediction": ", ".join(named),
            "answer": sample.answer,
            "score": _f1(set(named), set(sample.objects)),
            **_count(named, sample.objects)._asdict(),
        }

    def summary(self, rows: pd.DataFrame) -> dict[str, float]:
        """``CHAIRs``, ``CHAIRi``, ``recall`` and the mean ``f1``; see :meth:`Task.summary`."""
        check_rows(rows, "score", *_Counts._fields)
        scores = _scores(rows)
        return {
            "CHAIRs": scores.chair_s,
            "CHAIRi": scores.chair_i,
            "recall": scores.recall,
            "f1": float(rows["score"].mean()),
        }

    def best_constant(self) -> float:
        """Mean F1 of the best caption that names the k most frequent objects, over all k."""
        present = [set(sample.objects) for sample in self]
        frequency = Counter(name for names in present for name in names)
        ranked = [name for name, _ in frequency.most_common()]
        totals = (
            sum(_f1(set(ranked[:k]), names) for names in present) for k in range(len(ranked) + 1)
        )
        return max(totals) / len(present)
