"""Attention flow over a task, and the vision sinks: image tokens that draw much of it."""

from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.interventions.eah import even_strengths, sink_strengths
from infoflow.interventions.hiding import similarity
from infoflow.methods.cam import llava_cam
from infoflow.methods.flow import attention_flow, group_shares, reduce_heads
from infoflow.methods.heatmaps import explained_answer
from infoflow.methods.localisation import rank_correlation
from infoflow.options import require_finite

SPANS = ("system", "image", "user")  # groups of prompt tokens, as in ``AttentionFlow.shares``


@measure
def flow_by_layer(lvlm: LVLM, task: Task, sample: Sample) -> pd.DataFrame:
    """Measure where the first answer token's attention goes (Eq. 6-9) in every layer.

    Returns:
        Columns ``kind``, ``layer`` (the paper's count, 1 to L); the shares ``system``, ``image``
        and ``user`` of the row with heads averaged (they sum to 1); ``first``, the first token's
        share, which is part of ``system``; the three groups with the prefix ``max_`` for the
        largest weight of any head, divided by the row's sum, and ``uniform_`` for attention spread
        evenly over all tokens; and ``head_0`` to ``head_<H - 1>``: the image's share of each head.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    flow = attention_flow(lvlm, prompt)
    strongest = group_shares(reduce_heads(flow.rows, "max"), prompt)
    even = [(span.stop - span.start) / len(prompt) for span in prompt.spans]
    heads = flow.rows[..., prompt.spans.image].sum(-1)
    return pd.DataFrame(
        {
            "layer": range(1, lvlm.n_layers + 1),
            **_columns(SPANS, flow.shares),
            "first": flow.rows[..., 0].mean(1).double().tolist(),
            **_columns([f"max_{name}" for name in SPANS], strongest),
            **{f"uniform_{name}": share for name, share in zip(SPANS, even, strict=True)},
            **_columns([f"head_{number}" for number in range(heads.shape[1])], heads),
        }
    )


@measure
def similarity_by_layer(lvlm: LVLM, task: Task, sample: Sample) -> pd.DataFrame:
    """Correlate how similar image tokens are to the question with what the answer reads of them.

    Returns:
        Columns ``kind``, ``layer`` (1 to L), and Spearman's correlation over image tokens of their
        largest cosine to a token behind the image (as of Simignore) with the first answer token's
        ``attention``, heads averaged, and with its ``gradient`` map (LLaVA-CAM, without noise).
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    embeds, spans = prompt.inputs_embeds[0].detach().cpu(), prompt.spans
    similar = similarity(embeds[spans.image], embeds[spans.user], "cosine").amax(1)
    attention = attention_flow(lvlm, prompt).rows.mean(1)[:, spans.image]
    answer = explained_answer(lvlm, prompt, sample, max_new_tokens=1)
    cam = llava_cam(lvlm, prompt, answer, n_samples=1, sigma=0.0).by_token
    maps = {"attention": attention, "gradient": cam}
    columns = {name: rank_correlation(of, [similar] * lvlm.n_layers) for name, of in maps.items()}
    return pd.DataFrame({"layer": range(1, lvlm.n_layers + 1), **columns})


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


def _columns(names: Sequence[str], values: Tensor) -> dict[str, list[float]]:
    return dict(zip(names, values.double().T.tolist(), strict=True))
