"""Truncation over a task."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from infoflow.errors import InfoflowError
from infoflow.evaluate.collecting import Row, collect
from infoflow.lvlm import LVLM
from infoflow.sample import Sample
from infoflow.store import Store
from infoflow.tasks import Task
from infoflow.truncation import truncation_sweep


def truncation_by_cut(lvlm: LVLM, task: Task, store: Store) -> pd.DataFrame:
    """Answer every item under every truncation (Eq. 10-13, K = 0), and score the answers.

    Args:
        lvlm: The model.
        task: The items; ``task.max_new_tokens`` bounds the answers.
        store: Where the rows are kept.

    Returns:
        Columns ``item``, ``cut`` (0: no image, L: intact), ``margin`` (lead of the first answer
        token's logit over the runner-up's) and those of :meth:`infoflow.tasks.Task.details`,
        ``kind``, ``text`` and ``score`` among them.
    """

    def measure(sample: Sample) -> list[Row]:
        prompt = lvlm.prompt(sample.image, sample.question)
        sweep = truncation_sweep(lvlm, prompt, max_new_tokens=task.max_new_tokens)
        return [
            {
                "cut": int(cut),
                "margin": float(margin),
                **task.details(sample, lvlm.decode(tokens)),
            }
            for cut, margin, tokens in zip(sweep.cuts, sweep.margins, sweep.tokens, strict=True)
        ]

    parameters = {"keep": 0, "max_new_tokens": task.max_new_tokens}
    return collect("truncation_by_cut", lvlm, task, store, parameters, measure)


def scores_by_cut(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Arrange scores as :func:`infoflow.cliff.cliff_layer` takes them.

    Args:
        rows: Rows of :func:`truncation_by_cut`.

    Returns:
        Shape (N, L + 1): item by cut, both in order.

    Raises:
        InfoflowError: There are no rows, or an item lacks a cut.
    """
    table = rows.pivot(index="item", columns="cut", values="score")
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
        :meth:`infoflow.tasks.Task.summary`.
    """
    summaries = {cut: task.summary(of_cut) for cut, of_cut in rows.groupby("cut")}
    return pd.DataFrame.from_dict(summaries, orient="index").rename_axis("cut")
