"""Words over a task: which of a caption hang on the image, and which the image tokens say."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from infoflow.errors import require_name
from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.hooks.attention import Attention, attention_rows
from infoflow.hooks.forward import record
from infoflow.interventions.eah import column_means, even_strengths
from infoflow.methods.lens import logit_lens
from infoflow.methods.localisation import auc
from infoflow.methods.truncation import truncated_token_log_probs, truncation_sweep
from infoflow.models.grid import coverage
from infoflow.models.prompt import Prompt


@measure
def words_by_cut(lvlm: LVLM, task: Task, sample: Sample, said_at: int) -> list[Row]:
    """Read the model's caption in under every truncation, token by token; for CHAIR alone.

    Settings:
        said_at: The cut under which the caption is decoded; below L it says more that is false.

    Returns:
        Columns ``token`` (from 0), ``text``, ``object`` (whose mention the token completes, by the
        task's rule, or ``""``), ``true`` (the image has it), ``cut``, ``log_prob`` (in nats) and,
        of layer ``cut + 1`` (NaN at cut L), ``dense``, the share of image tokens that are sinks,
        and ``sunk``, their share of what the row before the token pays the image. A sink gets more
        from later tokens than even attention would give it; heads are averaged.
    """
    require_name(task.name, "task of captions", ("chair",))
    prompt = lvlm.prompt(sample.image, sample.question)
    said = truncation_sweep(lvlm, prompt, cuts=[said_at], max_new_tokens=task.max_new_tokens)
    if not len(ids := lvlm.before_eos(said.tokens[0]).to(lvlm.device)):
        return []
    log_probs = truncated_token_log_probs(lvlm, prompt, ids).double().tolist()
    sinks, rows = _sinks(lvlm, prompt, ids).double().tolist(), list[Row]()
    read = (task.details(sample, lvlm.decode(ids[:n])) for n in range(len(ids) + 1))
    for n, (before, now) in enumerate(pairwise(read)):
        names = now["mentions"] > before["mentions"]
        true = names and now["hallucinated"] == before["hallucinated"]
        word = {"token": n, "text": lvlm.decode(ids[n : n + 1]), "true": true}
        word["object"] = now["prediction"].rpartition(", ")[2] if names else ""
        for cut, of_cut in enumerate(log_probs):
            dense, sunk = sinks[cut][n]
            rows.append({**word, "cut": cut, "log_prob": of_cut[n], "dense": dense, "sunk": sunk})
    return rows


@measure
def lens_by_depth(lvlm: LVLM, task: Task, sample: Sample) -> list[Row]:
    """Ask whether patches say the colour and the shape of what they show.

    Returns:
        Columns ``word``, ``depth`` (layers passed, 0 to L), ``auc`` (how often a cell that touches
        what has that name says it more than another) and ``elsewhere``, of cells that touch others.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    touched = {n: coverage(sample.regions[n], prompt.grid) > 0 for n in sample.objects}
    anything = np.logical_or.reduce([*touched.values()])
    words = sorted({word for name in touched for word in name.split()})
    maps = prompt.grid.cells(logit_lens(lvlm, prompt, words).permute(2, 0, 1))
    rows: list[Row] = []
    for word, of_word in zip(words, maps, strict=True):
        own = np.logical_or.reduce([on for name, on in touched.items() if word in name.split()])
        both = zip(auc(of_word, own), auc(of_word, anything & ~own), strict=True)
        for depth, (here, elsewhere) in enumerate(both):
            rows.append({"word": word, "depth": depth, "auc": here, "elsewhere": elsewhere})
    return rows


def _sinks(lvlm: LVLM, prompt: Prompt, ids: Tensor) -> Tensor:
    image, even = prompt.spans.image, even_strengths(prompt.spans)

    def of_layer(layer: int, call: Attention) -> Tensor:
        weights, n = attention_rows(call), len(prompt)
        sinks = column_means(weights[:, :n, :n], image, "exact") > even.to(weights)  # (H, N)
        looks = weights[:, -len(ids) :, image]
        sunk = (looks * sinks[:, None]).sum((0, 2)) / looks.sum((0, 2))
        return torch.stack([sinks.to(sunk).mean().expand_as(sunk), sunk], dim=-1)

    # no layer comes after cut L
    return pad(record(lvlm, prompt, of_layer, ids), (0, 0, 0, 0, 0, 1), value=torch.nan)
