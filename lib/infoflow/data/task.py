"""What every benchmark's task has in common: samples to ask, and answers to score."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd

from infoflow.data.sample import LazySamples, Sample
from infoflow.data.sets.own import OwnData
from infoflow.errors import InfoflowError, require_name

MOST_CHARACTERS = 100_000


@dataclass(frozen=True)
class Task(ABC):
    """A benchmark: its samples and the rule that scores the answers.

    Attributes:
        samples: The samples.
        source: Where they come from, such as ``"shapes"``.
        split: Which part of the source they are.
        rule: Name of the scoring rule, one of ``rules``; without one the first.
        max_new_tokens: How many tokens an answer needs at most; without one, what Shapes needs.
        bare: Whether questions are yet to be worded (:func:`infoflow.data.templates.worded`).
        wording: Name of the prompt templates to word them by; None for the family's own.
        n_whole: How many samples the split has, of which a limit may have left fewer, if known.
        name: The benchmark.
        rules: Scoring rules of the benchmark; the first is the default.
        data: How the benchmark's own data are read.

    Raises:
        InfoflowError: There are no samples, or no such rule.
    """

    samples: Sequence[Sample]
    source: str
    split: str
    rule: str = ""
    max_new_tokens: int = field(default=0, kw_only=True)
    bare: bool = field(default=False, kw_only=True)
    wording: str | None = field(default=None, kw_only=True)
    n_whole: int | None = field(default=None, kw_only=True)

    name: ClassVar[str]
    rules: ClassVar[tuple[str, ...]]
    data: ClassVar[type[OwnData]]
    shapes_tokens: ClassVar[int]

    def __post_init__(self) -> None:
        vars(self)["rule"] = self.rule or self.rules[0]
        vars(self)["max_new_tokens"] = self.max_new_tokens or self.shapes_tokens
        require_name(self.rule, f"{self.name} scoring rule", self.rules)
        if not len(self.samples):
            raise InfoflowError(f"task {self.name!r} has no items; it needs at least one.")

    @property
    def ids(self) -> Sequence[str]:
        """The samples' ids, in order; of Shapes no sample is drawn for it."""
        samples = self.samples
        return samples.ids() if isinstance(samples, LazySamples) else [s.id for s in samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def __iter__(self) -> Iterator[Sample]:
        return (self.samples[index] for index in range(len(self.samples)))

    def score(self, sample: Sample, text: str) -> float:
        """Score what a model said to a sample, from 0 (wrong) to 1 (right)."""
        return float(self.details(sample, text)["score"])

    def details(self, sample: Sample, text: str) -> dict[str, Any]:
        """Score what a model said to a sample, and keep what :meth:`summary` needs of it.

        It is a row of plain values: ``kind``, ``text``, ``prediction`` (how the text was read),
        ``answer`` (the reference), ``score`` and the benchmark's own columns.
        """
        prediction, score, own = self.read(sample, text)
        row = {"kind": sample.kind, "text": text, "prediction": prediction, "answer": sample.answer}
        return {**row, "score": score, **own}

    @abstractmethod
    def read(self, sample: Sample, text: str) -> tuple[str | None, float, dict[str, Any]]:
        """Read an answer: what it says, its score, and the benchmark's own columns."""

    @abstractmethod
    def summary(self, rows: pd.DataFrame) -> dict[str, float]:
        """The benchmark's own metrics over rows of :meth:`details`; raises without them.

        A metric of one kind of sample is named ``metric/kind``.
        """

    def guesses(self, sample: Sample) -> tuple[str, Mapping[str, float]]:
        """Which samples share a guess with this one, by group, and what each guess scores on it."""
        return "", {sample.answer: 1.0}

    def best_constant(self) -> float:
        """Mean score of the best answer that is the same for all samples (:func:`blind_guess`)."""
        totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for sample in self:
            group, scores = self.guesses(sample)
            for guess, score in scores.items():
                totals[group][guess] += score
        return sum(max(guesses.values()) for guesses in totals.values()) / len(self)


def blind_guess(task: Task) -> float:
    """Mean score of the best guess that ignores the image, to compare no-image scores with.

    It is one answer, or one for each kind of question where the wording tells these apart, chosen
    on the very samples it is scored on: no blind model that goes by kind can hope to beat it.
    """
    return task.best_constant()


def mean_by_kind(rows: pd.DataFrame, metric: str) -> dict[str, float]:
    """Mean of the column ``score`` over all rows, and over those of each kind."""
    kinds = rows.groupby("kind")["score"].mean()
    by_kind = {f"{metric}/{kind}": float(mean) for kind, mean in kinds.items()}
    return {metric: float(rows["score"].mean()), **by_kind}


def check_rows(rows: pd.DataFrame, *columns: str) -> None:
    """Raise unless there are rows, with a value in each of these columns."""
    empty = [name for name in columns if name not in rows or rows[name].isna().any()]
    if rows.empty or empty:
        needed = f"one or more, each with a value in the column(s) {', '.join(empty or columns)}"
        raise InfoflowError(f"{len(rows)} rows cannot be summarised; needed: {needed}.")


def require_answer(text: Any) -> str:
    """Return an answer as it is, if it is text that is not too long to be one."""
    if not isinstance(text, str):
        raise InfoflowError(f"an answer is of type {type(text).__name__}; it must be text.")
    if (n := len(text)) > MOST_CHARACTERS:
        raise InfoflowError(f"an answer has {n} characters; valid: at most {MOST_CHARACTERS}.")
    return text
