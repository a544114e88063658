"""Truncation over a task."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.errors import InfoflowError
from infoflow.evaluate.collecting import Row, collect
from infoflow.hooks.forward import answer_ids
from infoflow.methods.truncation import truncated_log_probs, truncation_sweep
from infoflow.models.lvlm import LVLM
from infoflow.results.store import Store


def truncation_by_cut(lvlm: LVLM, task: Task, store: Store) -> pd.DataFrame:
    """Answer every item under every truncation (Eq. 10-13, K = 0), and score the answers.

    Args:
        lvlm: The model.
        task: The items; ``task.max_new_tokens`` bounds the answers.
        store: Where the rows are kept.

    Returns:
        Columns ``item``, ``cut`` (0: no image, L: intact), ``margin`` (lead of the first answer
        token's logit over the runner-up's) and those of :meth:`infoflow.data.load.Task.details`,
        ``kind``, ``text`` and ``score`` among them.
    """

    def measure(sample: Sample) -> list[Row]:
        return _answers_by_cut(lvlm, task, sample)

    parameters = {"keep": 0, "max_new_tokens": task.max_new_tokens}
    return collect("truncation_by_cut", lvlm, task, store, parameters, measure)


def blind_and_intact(lvlm: LVLM, task: Task, store: Store) -> pd.DataFrame:
    """Answer every item without the image and with all of it: the ends of ``truncation_by_cut``.

    Args:
        lvlm: The model.
        task: The items; ``task.max_new_tokens`` bounds the answers.
        store: Where the rows are kept.

    Returns:
        As ``truncation_by_cut``, for the cuts 0 and L alone.
    """

    def measure(sample: Sample) -> list[Row]:
        return _answers_by_cut(lvlm, task, sample, cuts=(0, lvlm.n_layers))

    parameters = {"max_new_tokens": task.max_new_tokens}
    return collect("blind_and_intact", lvlm, task, store, parameters, measure)


def _answers_by_cut(
    lvlm: LVLM, task: Task, sample: Sample, cuts: Sequence[int] | None = None
) -> list[Row]:
    prompt = lvlm.prompt(sample.image, sample.question)
    sweep = truncation_sweep(lvlm, prompt, cuts=cuts, max_new_tokens=task.max_new_tokens)
    return [
        {"cut": int(cut), "margin": float(margin), **task.details(sample, lvlm.decode(tokens))}
        for cut, margin, tokens in zip(sweep.cuts, sweep.margins, sweep.tokens, strict=True)
    ]


def log_probs_by_cut(lvlm: LVLM, task: Task, store: Store) -> pd.DataFrame:
    """Measure how probable every item's reference answer is under every truncation (K = 0).

    The reference is read in, not decoded: its words count as they are written, so a model that
    answers as well in other words gets a low value.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.

    Returns:
        Columns ``item``, ``kind``, ``cut`` (0: no image, L: intact), ``log_prob`` (in nats, summed
        over the answer's tokens) and ``n_tokens``.
    """

    def measure(sample: Sample) -> list[Row]:
        prompt = lvlm.prompt(sample.image, sample.question)
        ids = answer_ids(lvlm, prompt, sample.answer)
        log_probs = truncated_log_probs(lvlm, prompt, ids).double().tolist()
        return [
            {"kind": sample.kind, "cut": cut, "log_prob": log_prob, "n_tokens": len(ids)}
            for cut, log_prob in enumerate(log_probs)
        ]

    return collect("log_probs_by_cut", lvlm, task, store, {"keep": 0}, measure)


def scores_by_cut(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Arrange scores as :func:`infoflow.stats.cliff.cliff_layer` takes them.

    Args:
        rows: Rows of :func:`truncation_by_cut`.

    Returns:
        Shape (N, L + 1): item by cut, both in order.

    Raises:
        InfoflowError: There are no rows, or an item lacks a cut.
    """
    return _items_by_cuts(rows, rows["score"])


def log_probs_per_token(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Arrange log-probabilities as :func:`infoflow.stats.cliff.cliff_layer` takes scores.

    Args:
        rows: Rows of :func:`log_probs_by_cut`.

    Returns:
        Shape (N, L + 1), in nats per token of the reference: item by cut, both in order.

    Raises:
        InfoflowError: There are no rows, or an item lacks a cut.
    """
    return _items_by_cuts(rows, rows["log_prob"] / rows["n_tokens"])


def _items_by_cuts(rows: pd.DataFrame, values: pd.Series) -> npt.NDArray[np.float64]:
    table = rows.assign(value=values).pivot(index="item", columns="cut", values="value")
    if table.empty or table.isna().to_numpy().any():
        raise InfoflowError("scores by cut need at least one item, and every cut of every item.")
    return table.to_numpy(dtype=np.float64)


def metrics_by_cut(task: Task, rows: pd.DataFrame) -> pd.DataFrame:
    """The benchmark's own metrics at every cut.

    Args:
        task: The task the rows belong to.
        rows: Rows of :func:`truncation_by_cut`.

    Returns:
        One row a cut, ascending (the index); one column a metric of
        :meth:`infoflow.data.load.Task.summary`.
    """
    summaries = {cut: task.summary(of_cut) for cut, of_cut in rows.groupby("cut")}
    return pd.DataFrame.from_dict(summaries, orient="index").rename_axis("cut")
