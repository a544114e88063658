"""What answers given without the image are worth, and what they rest on.

Pure functions over rows of answers (:meth:`infoflow.data.task.Task.details`), whichever way the
image was taken away. An answer can be right blind because the model guessed, because it always says
the same and that is often right, or because the wording gives the answer away.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
from PIL import Image
from scipy.stats import binomtest

from infoflow.data.load import Task, blind_guess
from infoflow.data.scienceqa import LETTERS
from infoflow.errors import InfoflowError
from infoflow.stats.intervals import mean_interval


def blind_scores(task: Task, rows: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Score a task's answers given without the image, one a sample, against guessing, by kind.

    Returns:
        One row a kind (index), ``"all"`` first: ``items``; the mean ``score`` with its 95 %
        interval ``low`` to ``high``; ``guess``, the score of the best blind guess for these very
        samples (:func:`infoflow.data.load.blind_guess`); and ``p_value``: how likely guessing at
        that rate is to score as well or better (exact binomial test, one-sided; missing where a
        score is not 0 or 1).
    """
    # guessing needs no images, and they would fill the memory
    blank = Image.new("RGB", (1, 1))
    samples = [replace(sample, image=blank, regions={}, targets=()) for sample in task]
    if sorted(sample.id for sample in samples) != sorted(rows["item"]):
        raise InfoflowError(
            f"{len(rows)} answers to {rows['item'].nunique()} items do not fit a task of "
            f"{len(samples)} items; one answer to each is needed."
        )

    def against_guessing(part: pd.DataFrame) -> dict[str, float]:
        scores, of_part = part["score"].to_numpy(dtype=float), set(part["item"])
        guess = blind_guess(replace(task, samples=[s for s in samples if s.id in of_part]))
        low, high = mean_interval(scores, seed)
        binary = bool(part["score"].isin([0, 1]).all())
        hits, test = int(scores.sum()), partial(binomtest, alternative="greater")
        p_value = float(test(hits, len(part), guess).pvalue) if binary else float("nan")
        return {
            **{"items": len(part), "score": float(scores.mean()), "low": low, "high": high},
            **{"guess": guess, "p_value": p_value},
        }

    return _by_kind(rows, against_guessing)


def blind_habits(rows: pd.DataFrame) -> pd.DataFrame:
    """Look for a habit in answers given without the image, one a sample, by kind of sample.

    Returns:
        One row a kind (index), ``"all"`` first: ``items``; ``distinct``, how many different answers
        were given; ``favourite``, the answer given most often, and ``favourite_share``; ``modal``,
        the right answer that is most frequent, and ``modal_share``; ``agreement``, the share of
        answers given that are ``modal``; and ``right_by_habit``: of the answers that are wholly
        right, the share that are ``favourite`` (missing where none is right). The first in the
        alphabet stands for several that are as frequent.
    """
    return _by_kind(rows, _habit)


def _habit(rows: pd.DataFrame) -> dict[str, float | str]:
    said = rows["prediction"].fillna("(unread)").astype(str)
    true = rows["answer"].astype(str)
    favourite, modal = (str(answers.mode().iloc[0]) for answers in (said, true))  # sorted
    agrees = said.str.casefold() == modal.casefold()  # a reference may be written in capitals
    return {
        **{"items": len(rows), "distinct": said.nunique()},
        **{"favourite": favourite, "favourite_share": float((said == favourite).mean())},
        **{"modal": modal, "modal_share": float((true == modal).mean())},
        "agreement": float(agrees.mean()),
        "right_by_habit": float((said[rows["score"] == 1] == favourite).mean()),
    }


def by_wording(task: Task, rows: pd.DataFrame) -> pd.DataFrame:
    """Name options by their words in place of their letters, in ``prediction`` and ``answer``.

    A letter moves from sample to sample; a model with a prior prefers a wording, wherever it is.
    """
    options = {sample.id: dict(zip(LETTERS, sample.choices, strict=False)) for sample in task}
    if without := [name for name, choices in options.items() if not choices]:
        raise InfoflowError(f"item {without[0]} has no options to name.")

    def words(column: str) -> pd.Series:
        pairs = zip(rows["item"], rows[column], strict=True)
        return pd.Series([options[item].get(letter) for item, letter in pairs], index=rows.index)

    return rows.assign(prediction=words("prediction"), answer=words("answer"))


def _by_kind(rows: pd.DataFrame, summary: Callable[[pd.DataFrame], dict[str, Any]]) -> pd.DataFrame:
    """Summarise all rows and, where there are several kinds, those of each."""
    kinds = {str(kind): part for kind, part in rows.groupby("kind")}
    parts = {"all": rows, **(kinds if len(kinds) > 1 else {})}
    lines = {kind: summary(part) for kind, part in parts.items()}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("kind")
