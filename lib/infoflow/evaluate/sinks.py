"""Vision sinks over a task: how many image tokens draw much attention, head by head."""

from collections.abc import Sequence

import pandas as pd

from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.errors import InfoflowError
from infoflow.evaluate.collecting import Row, collect
from infoflow.interventions.eah import even_strengths, sink_strengths
from infoflow.models.lvlm import LVLM
from infoflow.options import require_finite
from infoflow.results.store import Store


def sink_density_by_head(
    lvlm: LVLM, task: Task, store: Store, betas: Sequence[float], divisor: str = "exact"
) -> pd.DataFrame:
    """Measure the share of image tokens that are vision sinks, for every layer, head and threshold.

    All thresholds are read off one forward pass an item.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.
        betas: Thresholds: the mean attention from later tokens above which a token is a sink.
        divisor: As of :class:`infoflow.interventions.EAH`.

    Returns:
        Columns ``item``, ``kind``, ``beta``, ``layer`` (the paper's count, 1 to L), ``head`` (from
        0), ``density`` (from 0 to 1) and ``even``: the density that attention spread evenly over
        all earlier tokens would have.

    Raises:
        UnknownNameError: There is no such divisor.
        InfoflowError: There is no threshold, or the model cannot be probed.
    """
    if not len(betas):
        raise InfoflowError("betas is empty; give at least one threshold.")
    thresholds = [require_finite(beta, "a threshold", least=0) for beta in betas]

    def measure(sample: Sample) -> list[Row]:
        prompt = lvlm.prompt(sample.image, sample.question)
        strengths = sink_strengths(lvlm, prompt, divisor)
        even = even_strengths(prompt.spans, divisor)
        return [
            {
                **{"kind": sample.kind, "beta": beta, "layer": layer, "head": head},
                **{"density": density, "even": by_chance},
            }
            for beta in thresholds
            for by_chance in [float((even > beta).double().mean())]
            for layer, heads in enumerate((strengths > beta).double().mean(-1).tolist(), start=1)
            for head, density in enumerate(heads)
        ]

    parameters = {"betas": thresholds, "divisor": divisor}
    return collect("sink_density_by_head", lvlm, task, store, parameters, measure)
