"""Vision sinks over a task: how many image tokens draw much attention, head by head."""

from collections.abc import Sequence

from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.interventions.eah import even_strengths, sink_strengths
from infoflow.options import require_finite


@measure
def sink_density_by_head(
    lvlm: LVLM, task: Task, sample: Sample, betas: Sequence[float], divisor: str = "exact"
) -> list[Row]:
    """Measure the share of image tokens that are vision sinks, for every layer, head and threshold.

    Settings:
        betas: Thresholds: the mean attention from later tokens above which a token is a sink.
        divisor: As of :class:`infoflow.interventions.EAH`.

    Returns:
        Columns ``kind``, ``beta``, ``layer`` (the paper's count, 1 to L), ``head`` (from 0),
        ``density`` (from 0 to 1) and ``even``: the density that attention spread evenly over all
        earlier tokens would have.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    strengths = sink_strengths(lvlm, prompt, divisor)
    even = even_strengths(prompt.spans, divisor)
    betas = [require_finite(beta, "beta", least=0) for beta in betas]
    return [
        {"beta": beta, "layer": layer, "head": head, "density": density, "even": by_chance}
        for beta in betas
        for by_chance in [float((even > beta).double().mean())]
        for layer, heads in enumerate((strengths > beta).double().mean(-1).tolist(), start=1)
        for head, density in enumerate(heads)
    ]
