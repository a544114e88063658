"""Is the blob in the corner a bug? Visual sinks, and the place that is looked at in any image."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from cam_pages import with_interval
from PIL import Image

from infoflow import report
from infoflow.data.controls import GREY
from infoflow.hooks.forward import Stream, forward_pass
from infoflow.methods.faithfulness import answer_probabilities
from infoflow.methods.heatmaps import explained_answer
from infoflow.methods.maps import MAPS
from infoflow.stats.intervals import difference_estimate

THRESHOLD, WIDTH, N_DIMENSIONS = 20, 4096, 2
"""Kang et al. (arXiv 2503.03321): for models as wide as that, with so many dimensions."""


class Looked(NamedTuple):
    """What was seen of the image tokens of one item."""

    first: torch.Tensor  # sizes (L, D) of the first token, sizes being |RMSNorm(h)|
    sizes: torch.Tensor  # those of the image tokens, (L, N, D)
    attention: torch.Tensor  # shares of the image's attention, (L, N)
    values: torch.Tensor  # the same, weighted by values


def look(lvlm, prompt, answer):
    """Run a prompt once for its states, and make the two maps that are compared."""
    stream, image = Stream(), prompt.spans.image
    with torch.no_grad(), forward_pass(lvlm, prompt, answer, stream):
        states = torch.cat([layer.cpu() for layer in stream.states[1:]]).float()
    sizes = (states * states.square().mean(-1, keepdim=True).add(1e-6).rsqrt()).abs()
    maps = (MAPS[name](lvlm, prompt, answer) for name in ("attention", "value_weighted"))
    shares = (values / values.sum(-1, keepdim=True) for values in maps)
    return Looked(sizes[:, 0], sizes[:, image], *shares)


def items_of(lvlm, tasks):
    """Prompts with the answers that are explained."""
    for task in tasks:
        for sample in task:
            prompt = lvlm.prompt(sample.image, sample.question)
            yield prompt, explained_answer(lvlm, prompt, sample, task.max_new_tokens)


class Blob(NamedTuple):
    """The place that one layer looks at most whatever the image, and the sinks' dimensions."""

    layer: int  # the paper's count
    token: int
    dimensions: list[int]


def find_blob(lvlm, tasks):
    """Find both on items that are not reported on."""
    looks = [look(lvlm, *item) for item in items_of(lvlm, tasks)]
    mean = torch.stack([one.attention for one in looks]).mean(0)
    layer, token = divmod(int(mean.argmax()), mean.shape[1])
    first = torch.stack([one.first.mean(0) for one in looks]).mean(0)
    return Blob(layer + 1, token, first.topk(N_DIMENSIONS).indices.tolist())


def blob_rows(lvlm, tasks, blob, seed):
    """Measure the blob and the sinks, a row an item; hidden is a token that shows plain grey."""
    rng, bound = np.random.default_rng(seed), threshold(lvlm)
    rows = []
    for prompt, answer in items_of(lvlm, tasks):
        seen, at = look(lvlm, prompt, answer), (blob.layer - 1, blob.token)
        n_tokens, image = prompt.grid.n_tokens, prompt.spans.image
        grey = lvlm.prompt(Image.new("RGB", prompt.image.size, GREY), prompt.question)
        other = int(rng.choice([n for n in range(n_tokens) if n != blob.token]))
        shown = [prompt]
        for token in (blob.token, other):
            embeds = prompt.inputs_embeds.clone()
            embeds[:, image.start + token] = grey.inputs_embeds[:, image.start + token]
            shown.append(replace(prompt, inputs_embeds=embeds))
        log_probs = answer_probabilities(lvlm, shown, answer).double().log()
        is_sink = seen.sizes[..., blob.dimensions].amax(-1) > bound
        loss, other_loss = (log_probs[0] - log_probs[1:]).tolist()
        rows.append(
            {
                "attention": n_tokens * float(seen.attention[at]),
                "values": n_tokens * float(seen.values[at]),
                "loss": loss,
                "other_loss": other_loss,
                "first": float(seen.first[:, blob.dimensions].max()),
                "sinks": 100 * float(is_sink.double().mean()),
                "sink_attention": 100 * float((is_sink * seen.attention).sum(-1).mean()),
            }
        )
    return pd.DataFrame(rows)


def threshold(lvlm):
    """The published threshold, as the same part of the largest value that a width allows."""
    return THRESHOLD * (lvlm.decoder.config.hidden_size / WIDTH) ** 0.5


def blob_words(rows, blob):
    """Say in a sentence whether the blob is read, and whether it is a sink."""
    mean, is_more = (
        rows.mean() + 0.0,
        difference_estimate(rows["loss"] - rows["other_loss"]).low > 0,
    )
    more = "more than chance tells apart" if is_more else "no difference that chance would not give"
    return (
        f"*The blob*: layer {blob.layer} looks at one place of any image {mean['attention']:.1f} "
        f"times as much as an even share; hiding it costs the answer {mean['loss']:.3f} nats a "
        f"token, hiding another one {mean['other_loss']:.3f} ({more}). {mean['sinks']:.1f} % of "
        "image tokens are visual sinks."
    )


def blob_table(lvlm, rows, blob, grid, model, seed):
    """List what was measured of the blob and of the sinks."""
    place = f"token {blob.token}"
    if grid.spread is None:
        place = f"row {blob.token // grid.cols + 1}, column {blob.token % grid.cols + 1}"
    lines = {
        "its attention, times an even share": with_interval(rows["attention"], seed, ".2f"),
        "its value-weighted attention, the same": with_interval(rows["values"], seed, ".2f"),
        "loss if it is grey, nats a token": with_interval(rows["loss"], seed, "+.3f"),
        "loss if another token is grey": with_interval(rows["other_loss"], seed, "+.3f"),
        "first token: largest size": with_interval(rows["first"], seed, ".2f"),
        "size that makes a sink": f"{threshold(lvlm):.2f}",
        "image tokens that are sinks, %": with_interval(rows["sinks"], seed, ".2f"),
        "their part of the image's attention, %": with_interval(
            rows["sink_attention"], seed, ".2f"
        ),
    }
    return report.table(
        {name: {"measured": value} for name, value in lines.items()},
        f"The place that draws most attention in any image (layer {blob.layer}, {place} of "
        f"{grid.rows} x {grid.cols}; chosen on calibration items), and visual sinks by dimensions "
        f"{report.listed([str(n) for n in blob.dimensions])}: {model}, {len(rows)} test items, "
        "95 % intervals",
        index="what",
    )
