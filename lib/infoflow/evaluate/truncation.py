"""Truncation over a task."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from infoflow.errors import InfoflowError
from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.hooks.forward import Observer, answer_ids, forward_pass
from infoflow.methods.truncation import truncated_log_probs, truncation_sweep

Floats = npt.NDArray[np.float64]


@measure
def truncation_by_cut(lvlm: LVLM, task: Task, sample: Sample) -> list[Row]:
    """Answer under every truncation (Eq. 10-13, K = 0), and score the answers.

    Returns:
        Columns ``cut`` (0: no image, L: intact), ``margin`` (lead of the first answer token's logit
        over the runner-up's) and those of :meth:`infoflow.data.task.Task.details`, ``kind``,
        ``text`` and ``score`` among them.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    sweep = truncation_sweep(lvlm, prompt, max_new_tokens=task.max_new_tokens)
    return [
        {"cut": int(cut), "margin": float(margin), **task.details(sample, lvlm.decode(tokens))}
        for cut, margin, tokens in zip(sweep.cuts, sweep.margins, sweep.tokens, strict=True)
    ]


@measure
def log_probs_by_cut(lvlm: LVLM, task: Task, sample: Sample) -> list[Row]:
    """Measure how probable the reference answer, as it is written, is under every truncation.

    Returns:
        Columns ``kind``, ``cut`` (0: no image, L: intact), ``log_prob`` (in nats, summed over the
        answer's tokens) and ``n_tokens``.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    ids = answer_ids(lvlm, prompt, sample.answer)
    log_probs = truncated_log_probs(lvlm, prompt, ids).double().tolist()
    return [
        {"cut": cut, "log_prob": log_prob, "n_tokens": len(ids)}
        for cut, log_prob in enumerate(log_probs)
    ]


@measure
def frozen_by_cut(lvlm: LVLM, task: Task, sample: Sample) -> list[Row]:
    """Measure the same where no layer behind the cut changes the image tokens, though it sees them.

    Each makes its keys and values itself, of that one state (after Ghosh et al., 2026).

    Returns:
        Columns of :func:`log_probs_by_cut`; at cut 0 the state is what the decoder is given.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    ids, image = answer_ids(lvlm, prompt, sample.answer), prompt.spans.image
    if prompt.deepstack:
        raise InfoflowError(f"{lvlm.name} adds to image tokens inside (DeepStack): none freezes.")

    class Freezing(Observer):
        def after_layer(
            self, layer: int, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor
        ) -> None:
            output[: layer + 1, image] = args[0][: layer + 1, image]  # sequence c has cut c

    several = replace(prompt, inputs_embeds=prompt.inputs_embeds.repeat(lvlm.n_layers + 1, 1, 1))
    with torch.inference_mode(), forward_pass(lvlm, several, ids, Freezing()) as states:
        log_probs = lvlm.lm_head(states[:, -len(ids) :]).float().log_softmax(-1)
    sums = log_probs[:, range(len(ids)), ids].double().sum(-1).tolist()
    return [{"cut": n, "log_prob": total, "n_tokens": len(ids)} for n, total in enumerate(sums)]


def scores_by_cut(rows: pd.DataFrame) -> Floats:
    """Arrange rows of :func:`truncation_by_cut`, sample by cut, both in order: (N, L + 1)."""
    return _samples_by_cuts(rows, rows["score"])


def log_probs_per_token(rows: pd.DataFrame) -> Floats:
    """The same of rows of :func:`log_probs_by_cut`: in nats per token of the reference."""
    return _samples_by_cuts(rows, rows["log_prob"] / rows["n_tokens"])


def _samples_by_cuts(rows: pd.DataFrame, values: pd.Series) -> Floats:
    table = rows.assign(value=values).pivot(index="item", columns="cut", values="value")
    if table.empty or table.isna().to_numpy().any():
        raise InfoflowError("scores by cut need at least one item, and every cut of every item.")
    return table.to_numpy(dtype=np.float64)
