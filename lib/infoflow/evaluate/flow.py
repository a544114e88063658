"""Attention flow over a task."""

import pandas as pd

from infoflow.evaluate.collecting import Row, collect
from infoflow.flow import attention_flow
from infoflow.lvlm import LVLM
from infoflow.sample import Sample
from infoflow.store import Store
from infoflow.tasks import Task

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
        shares = attention_flow(lvlm, prompt).shares.double().tolist()
        even = {
            f"uniform_{name}": (span.stop - span.start) / len(prompt)
            for name, span in zip(SPANS, prompt.spans, strict=True)
        }
        return [
            {"kind": sample.kind, "layer": layer, **dict(zip(SPANS, row, strict=True)), **even}
            for layer, row in enumerate(shares, start=1)
        ]

    return collect("flow_by_layer", lvlm, task, store, {"head_reduce": "mean"}, measure)
