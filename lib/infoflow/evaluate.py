"""A measure over a whole task: one row an item and layer or cut, kept in the store.

Every function asks the store first, so a page that needs rows another page has measured gets them
at once. The frames carry the result's record (key, provenance, cost) in ``attrs["record"]``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from infoflow.errors import InfoflowError
from infoflow.flow import attention_flow
from infoflow.lvlm import LVLM
from infoflow.provenance import provenance
from infoflow.sample import Sample
from infoflow.sources import code_digest
from infoflow.store import Store
from infoflow.tasks import Task
from infoflow.truncation import truncation_sweep

Row = Mapping[str, Any]

SPANS = ("system", "image", "user")
"""The three groups of prompt tokens, in the order of ``AttentionFlow.shares``."""


def flow_by_layer(lvlm: LVLM, task: Task, store: Store) -> pd.DataFrame:
    """Measure where the answer's attention goes (Eq. 6-9), for every item and layer.

    The row that predicts the first answer token is measured, averaged over heads.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.

    Returns:
        Columns ``item``, ``kind``, ``layer`` (the paper's count, 1 to L), the shares ``system``,
        ``image`` and ``user`` (they sum to 1), and ``uniform_system``, ``uniform_image``,
        ``uniform_user``: the shares that attention spread evenly over all tokens would have.
    """

    def measure(sample: Sample) -> list[Row]:
        prompt = lvlm.prompt(sample.image, sample.question)
        shares = attention_flow(lvlm, prompt).shares.double().cpu().numpy()
        even = {
            f"uniform_{name}": (span.stop - span.start) / len(prompt)
            for name, span in zip(SPANS, prompt.spans, strict=True)
        }
        return [
            {"kind": sample.kind, "layer": layer, **_named(SPANS, row), **even}
            for layer, row in enumerate(shares, start=1)
        ]

    return _collect("flow_by_layer", lvlm, task, store, {"head_reduce": "mean"}, measure)


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
    return _collect("truncation_by_cut", lvlm, task, store, parameters, measure)


def answers(lvlm: LVLM, task: Task, store: Store) -> pd.DataFrame:
    """Answer every item with the untouched model, by transformers' own greedy decoding.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.

    Returns:
        Columns ``item`` and those of :meth:`infoflow.tasks.Task.details`.
    """

    def measure(sample: Sample) -> list[Row]:
        prompt = lvlm.prompt(sample.image, sample.question)
        return [task.details(sample, lvlm.answer(prompt, task.max_new_tokens))]

    parameters = {"max_new_tokens": task.max_new_tokens}
    return _collect("answers", lvlm, task, store, parameters, measure)


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


def _collect(
    measure_name: str,
    lvlm: LVLM,
    task: Task,
    store: Store,
    parameters: Mapping[str, Any],
    measure: Callable[[Sample], Sequence[Row]],
) -> pd.DataFrame:
    code = code_digest("evaluate")
    key = {
        "measure": measure_name,
        "model": lvlm.digest,
        "dtype": str(lvlm.dtype),
        "task": task.name,
        "rule": task.rule,
        "source": task.source,
        "split": task.split,
        "parameters": dict(parameters),
        "code": code,
    }
    rows = store.collect(
        key,
        task,  # type: ignore[arg-type]  # len and order are all that is asked of the sequence
        measure,
        progress=f"{measure_name} {task.name} {task.split}",
        provenance=provenance(lvlm, task, parameters, code),
    )
    rows.attrs["record"] = store.meta(key)
    return rows


def _named(names: Sequence[str], values: npt.NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(names, (float(value) for value in values), strict=True))
