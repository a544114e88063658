"""Attention flow over a task."""

import pandas as pd

from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.evaluate.collecting import Row, collect
from infoflow.methods.flow import AttentionFlow, attention_flow, group_shares, reduce_heads
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.results.store import Store

SPANS = ("system", "image", "user")
"""The three groups of prompt tokens, in the order of ``AttentionFlow.shares``."""


def flow_by_layer(lvlm: LVLM, task: Task, store: Store) -> pd.DataFrame:
    """Measure where the answer's attention goes (Eq. 6-9), for every item and layer.

    The row that predicts the first answer token is measured.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.

    Returns:
        Columns ``item``, ``kind``, ``layer`` (the paper's count, 1 to L); the shares ``system``,
        ``image`` and ``user`` of the row with heads averaged (they sum to 1); ``first``, the first
        token's share, which is part of ``system``; the three groups with the prefix ``max_`` for
        the largest weight of any head, divided by the row's sum;
        ``uniform_system``, ``uniform_image``, ``uniform_user``: the shares that attention spread
        evenly over all tokens would have; and ``head_0`` to ``head_<H - 1>``: the image's share of
        each head. Without the prefix, the image's share is the mean of those.
    """

    def measure(sample: Sample) -> list[Row]:
        prompt = lvlm.prompt(sample.image, sample.question)
        return [{"kind": sample.kind, **row} for row in _rows(attention_flow(lvlm, prompt), prompt)]

    return collect("flow_by_layer", lvlm, task, store, {"head_reduce": "mean and max"}, measure)


def _rows(flow: AttentionFlow, prompt: Prompt) -> list[Row]:
    even = {
        f"uniform_{name}": (span.stop - span.start) / len(prompt)
        for name, span in zip(SPANS, prompt.spans, strict=True)
    }
    strongest = group_shares(reduce_heads(flow.rows, "max"), prompt)
    heads = flow.rows[..., prompt.spans.image].sum(-1)
    first = flow.rows[..., 0].mean(1)
    measured = zip(
        *(t.double().tolist() for t in (flow.shares, first, strongest, heads)), strict=True
    )
    return [
        {
            "layer": layer,
            **dict(zip(SPANS, mean, strict=True)),
            "first": sink,
            **{f"max_{name}": share for name, share in zip(SPANS, most, strict=True)},
            **even,
            **{f"head_{number}": share for number, share in enumerate(by_head)},
        }
        for layer, (mean, sink, most, by_head) in enumerate(measured, start=1)
    ]


def max_over_heads(rows: pd.DataFrame) -> pd.DataFrame:
    """Put the shares of the strongest heads in the place of those of the mean head.

    Args:
        rows: Rows of :func:`flow_by_layer`.

    Returns:
        The rows; ``system``, ``image`` and ``user`` are those of the maximum over heads.
    """
    strongest = {name: rows[f"max_{name}"] for name in SPANS}
    return rows.assign(**strongest)


def head_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """The image's share of every head, averaged over items.

    Args:
        rows: Rows of :func:`flow_by_layer`.

    Returns:
        One row a layer (the paper's count), one column a head (counted from 0).
    """
    heads = [name for name in rows.columns if name.startswith("head_")]
    means = rows.groupby("layer")[heads].mean()
    return means.set_axis(pd.RangeIndex(len(heads), name="head"), axis=1)
