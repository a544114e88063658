"""What every benchmark's task has in common: samples to ask, and answers to score."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd

from infoflow.data.sample import Sample
from infoflow.errors import InfoflowError, unknown_name


@dataclass(frozen=True)
class Task(ABC):
    """A benchmark: its samples and the rule that scores the answers.

    Attributes:
        samples: The items.
        source: Where the items come from, such as ``"shapes"``.
        split: Which part of the source they are.
        rule: Name of the scoring rule, one of ``rules``.
        max_new_tokens: How many tokens an answer needs at most.
        bare: Whether questions are as in the benchmark's files, to be worded for a family of models
            before they are put to one (:func:`infoflow.data.asking.worded`).
        wording: Name of the wording to put them in
            (:data:`infoflow.data.templates.NAMED_WORDINGS`); None for the family's own.
        n_whole: How many items the split has, of which a limit may have left fewer; None if that is
            not known.
        name: The benchmark.
        rules: Scoring rules of the benchmark; the first is the default.

    Raises:
        InfoflowError: There are no items.
        UnknownNameError: The benchmark has no such rule.
    """

    samples: Sequence[Sample]
    source: str
    split: str
    rule: str
    max_new_tokens: int = field(kw_only=True)
    bare: bool = field(default=False, kw_only=True)
    wording: str | None = field(default=None, kw_only=True)
    n_whole: int | None = field(default=None, kw_only=True)

    name: ClassVar[str]
    rules: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        if self.rule not in self.rules:
            raise unknown_name(f"{self.name} scoring rule", self.rule, self.rules)
        if not len(self.samples):
            raise InfoflowError(f"task {self.name!r} has no items; it needs at least one.")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def __iter__(self) -> Iterator[Sample]:
        return (self.samples[index] for index in range(len(self.samples)))

    def score(self, sample: Sample, text: str) -> float:
        """Score one answer.

        Args:
            sample: The item that was asked.
            text: What the model said.

        Returns:
            The score, from 0 (wrong) to 1 (right).
        """
        return float(self.details(sample, text)["score"])

    @abstractmethod
    def details(self, sample: Sample, text: str) -> dict[str, Any]:
        """Score one answer and keep what :meth:`summary` needs of it.

        Args:
            sample: The item that was asked.
            text: What the model said.

        Returns:
            A row of plain values: ``kind``, ``text``, ``prediction`` (how the text was read),
            ``answer`` (the reference), ``score`` and the benchmark's own columns.
        """

    @abstractmethod
    def summary(self, rows: pd.DataFrame) -> dict[str, float]:
        """The benchmark's own metrics over many answers.

        Args:
            rows: One row of :meth:`details` an answer.

        Returns:
            Metrics by name. A metric of one kind of item is named ``metric/kind``.

        Raises:
            InfoflowError: There is no row, or a column is missing.
        """

    @abstractmethod
    def best_constant(self) -> float:
        """Mean score of the best answer that is the same for all items (:func:`blind_guess`)."""


def blind_guess(task: Task) -> float:
    """Score of the best guess that ignores the picture, to compare no-image scores with.

    The guess is one constant answer, or one for each kind of question where the wording tells the
    kinds apart. It is chosen on the very items it is scored on, so no blind model that answers by
    kind alone can be expected to beat it.

    Args:
        task: The items; all of them are read.

    Returns:
        The mean score of the guess, from 0 to 1.
    """
    return task.best_constant()


def best_by_group(credits: Iterable[tuple[str, Mapping[str, float]]]) -> float:
    """Mean score when every group of items gets the one guess that suits it best.

    Args:
        credits: For each item its group, and the score that each guess worth anything would earn.

    Returns:
        The mean score over all items.
    """
    totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    n_items = 0
    for group, scores in credits:
        n_items += 1
        for guess, score in scores.items():
            totals[group][guess] += score
    return sum(max(guesses.values()) for guesses in totals.values()) / n_items


def mean_by_kind(rows: pd.DataFrame, metric: str) -> dict[str, float]:
    """Mean of the column ``score`` over all rows, and over the rows of each kind.

    Args:
        rows: Rows with the columns ``kind`` and ``score``.
        metric: Name of the metric.

    Returns:
        ``metric`` and, for each kind, ``metric/kind``.
    """
    kinds = rows.groupby("kind")["score"].mean()
    return {
        metric: float(rows["score"].mean()),
        **{f"{metric}/{kind}": float(mean) for kind, mean in kinds.items()},
    }


def check_rows(rows: pd.DataFrame, *columns: str) -> None:
    """Check that rows can be summarised.

    Args:
        rows: The rows.
        columns: Names of the columns that are needed.

    Raises:
        InfoflowError: There is no row, a column is missing, or a needed value is missing.
    """
    missing = [column for column in columns if column not in rows]
    if missing:
        raise InfoflowError(
            f"rows lack the column(s) {', '.join(missing)}; needed are {', '.join(columns)}."
        )
    if rows.empty:
        raise InfoflowError("there are no rows to summarise; at least one is needed.")
    empty = [column for column in columns if rows[column].isna().any()]
    if empty:
        raise InfoflowError(f"rows have missing values in the column(s) {', '.join(empty)}.")
