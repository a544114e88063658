"""What answers given without the picture are worth, and what they rest on.

Pure functions over rows of answers (:meth:`infoflow.data.task.Task.details`), whichever way the
picture was taken away. An answer can be right blind because the model guessed, because it
always says the same and that is often right, or because the wording gives the answer away.
"""

from dataclasses import replace

import pandas as pd
from PIL import Image
from scipy.stats import binomtest

from infoflow.data.load import Task, blind_guess
from infoflow.data.sample import Sample
from infoflow.data.scienceqa import LETTERS
from infoflow.errors import InfoflowError
from infoflow.stats.intervals import mean_interval

ALL = "all"
"""Stands for all kinds of items together."""


def blind_scores(task: Task, rows: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Score answers given without the picture against guessing, by kind of item.

    Args:
        task: The task the rows belong to.
        rows: One answer an item.
        seed: Seed of the bootstrap of scores that are not all 0 or 1.

    Returns:
        One row a kind (index), ``"all"`` first: ``items``; the mean ``score`` with its 95 %
        interval ``low`` to ``high``; ``guess``, the score of the best blind guess for these very
        items (:func:`infoflow.data.load.blind_guess`); and ``p_value``: how likely guessing at that
        rate is to score as well or better (exact binomial test, one-sided; missing where a score
        is not 0 or 1).

    Raises:
        InfoflowError: There is not one answer to each item of the task.
    """
    _require_each_once(task, rows)
    # guessing needs no pictures, and they would fill the memory
    unseen = replace(task, samples=[_without_picture(sample) for sample in task])
    return pd.DataFrame.from_dict(
        {kind: _against_guessing(unseen, part, seed) for kind, part in _kinds(rows).items()},
        orient="index",
    ).rename_axis("kind")


def _without_picture(sample: Sample) -> Sample:
    return replace(sample, image=Image.new("RGB", (1, 1)), regions={}, targets=())


def _against_guessing(task: Task, rows: pd.DataFrame, seed: int) -> dict[str, float]:
    scores = rows["score"].to_numpy(dtype=float)
    asked = set(rows["item"])
    guess = blind_guess(replace(task, samples=[s for s in task if s.id in asked]))
    low, high = mean_interval(scores, seed)
    binary = bool(rows["score"].isin([0, 1]).all())
    hits = int(scores.sum())
    p_value = binomtest(hits, len(rows), guess, alternative="greater").pvalue if binary else None
    return {
        "items": len(rows),
        "score": float(scores.mean()),
        **{"low": low, "high": high, "guess": guess},
        "p_value": float("nan") if p_value is None else float(p_value),
    }


def blind_habits(rows: pd.DataFrame) -> pd.DataFrame:
    """Look for a habit in answers given without the picture, by kind of item.

    Args:
        rows: One answer an item.

    Returns:
        One row a kind (index), ``"all"`` first: ``items``; ``distinct``, how many different answers
        were given; ``favourite``, the answer given most often, and ``favourite_share``; ``modal``,
        the right answer that is most frequent, and ``modal_share``; ``agreement``, the share of
        answers given that are ``modal``; and ``right_by_habit``: of the answers that are wholly
        right, the share that are ``favourite`` (missing where none is right). The first in the
        alphabet stands for several that are as frequent.
    """
    return pd.DataFrame.from_dict(
        {kind: _habit(part) for kind, part in _kinds(rows).items()}, orient="index"
    ).rename_axis("kind")


def _habit(rows: pd.DataFrame) -> dict[str, float | str]:
    said = rows["prediction"].fillna("(unread)").astype(str)
    true = rows["answer"].astype(str)
    favourite, modal = _most_frequent(said), _most_frequent(true)
    agrees = said.str.casefold() == modal.casefold()  # a reference may be written in capitals
    right = said[rows["score"] == 1]
    return {
        "items": len(rows),
        "distinct": said.nunique(),
        "favourite": favourite,
        "favourite_share": float((said == favourite).mean()),
        "modal": modal,
        "modal_share": float((true == modal).mean()),
        "agreement": float(agrees.mean()),
        "right_by_habit": float((right == favourite).mean()) if len(right) else float("nan"),
    }


def _most_frequent(answers: pd.Series) -> str:
    return str(answers.mode().iloc[0])  # modes come sorted


def by_wording(task: Task, rows: pd.DataFrame) -> pd.DataFrame:
    """Name options by their words in place of their letters.

    A letter moves from item to item; a model with a prior prefers a wording, wherever it stands.

    Args:
        task: A multiple-choice task.
        rows: One answer an item.

    Returns:
        The rows with ``prediction`` and ``answer`` as the words of the option.

    Raises:
        InfoflowError: An item has no options.
    """
    options = {sample.id: dict(zip(LETTERS, sample.choices, strict=False)) for sample in task}
    without = [name for name, choices in options.items() if not choices]
    if without:
        raise InfoflowError(f"item {without[0]} has no options to name.")

    def words(column: str) -> pd.Series:
        pairs = zip(rows["item"], rows[column], strict=True)
        return pd.Series([options[item].get(letter) for item, letter in pairs], index=rows.index)

    return rows.assign(prediction=words("prediction"), answer=words("answer"))


def _kinds(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    by_kind = {str(kind): part for kind, part in rows.groupby("kind")}
    return {ALL: rows, **(by_kind if len(by_kind) > 1 else {})}


def _require_each_once(task: Task, rows: pd.DataFrame) -> None:
    asked, answered = [sample.id for sample in task], list(rows["item"])
    if sorted(asked) != sorted(answered):
        raise InfoflowError(
            f"{len(answered)} answers to {len(set(answered))} items do not fit a task of "
            f"{len(asked)} items; one answer to each is needed."
        )
