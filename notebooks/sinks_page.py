"""What the page on the blob measures and draws: a place looked at on average, and visual sinks."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image

from infoflow import report
from infoflow.data.controls import GREY
from infoflow.hooks.forward import Stream, forward_pass
from infoflow.methods.faithfulness import answer_probabilities
from infoflow.methods.heatmaps import explained_answer
from infoflow.methods.maps import MAPS
from infoflow.report import COLOURS, Line
from infoflow.stats.intervals import difference_estimate

THRESHOLD, WIDTH, N_DIMENSIONS = 20, 4096, 2
"""Kang et al. (arXiv 2503.03321): for models as wide as that, with so many dimensions."""
LINES = {
    "attention": Line("-o", COLOURS["image"]),
    "values": Line("--s", COLOURS["paper"]),
}
NAMES = {"attention": "attention", "values": "value-weighted attention"}


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
    """Samples with their prompts and the answers that are explained."""
    for task in tasks:
        for sample in task:
            prompt = lvlm.prompt(sample.image, sample.question)
            yield sample, prompt, explained_answer(lvlm, prompt, sample, task.max_new_tokens)


class Blob(NamedTuple):
    """The place that one layer looks at most, averaged over images, and the sinks' dimensions."""

    layer: int  # the paper's count
    token: int
    dimensions: list[int]


def find_blob(lvlm, items):
    """Find both on items that are not reported on."""
    looks = (look(lvlm, *item[1:]) for item in items)
    attention, first = zip(*((one.attention, one.first.mean(0)) for one in looks), strict=True)
    mean = torch.stack(attention).mean(0)
    layer, token = divmod(int(mean.argmax()), mean.shape[1])
    largest = torch.stack(first).mean(0).topk(N_DIMENSIONS)
    return Blob(layer + 1, token, largest.indices.tolist())


def blob_rows(lvlm, items, blob, seed):
    """Measure the blob and the sinks, a row an item; hidden is a token that shows plain grey."""
    rng, bound = np.random.default_rng(seed), threshold(lvlm)
    rows = []
    for _, prompt, answer in items:
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


def blob_words(rows, blob, model):
    """Say in a sentence whether the blob is looked at and read, and whether it is a sink."""
    mean = rows.mean() + 0.0
    is_more = difference_estimate(rows["loss"] - rows["other_loss"]).low > 0
    more = "more than chance tells apart" if is_more else "no difference that chance would not give"
    return (
        f"**Found.** Layer {blob.layer} of {model} looks at one place {mean['attention']:.1f} "
        "times as much as an even share on average, and more than that share in "
        f"{(rows['attention'] > 1).sum()} of {len(rows)} images. Hiding it costs the answer "
        f"{mean['loss']:.3f} nats a token, hiding another one {mean['other_loss']:.3f} ({more}). "
        f"{mean['sinks']:.1f} % of image tokens are visual sinks."
    )


def share_plot(rows, blob, model):
    """Plot how much the place draws, image by image, the most first."""
    table = rows[list(LINES)].sort_values("attention", ascending=False, ignore_index=True)
    table.index = pd.RangeIndex(1, len(table) + 1, name="image")
    figure, (axes,) = report.figure(height=2.7)
    for name, (style, colour) in LINES.items():
        axes.plot(table[name], style, color=colour, markersize=4, label=NAMES[name])
    axes.axhline(1, color=COLOURS["baseline"], linestyle=":", label="even share")
    axes.set(xlabel="test images, the most first", ylabel="times an even share")
    axes.legend()
    most, half, least = table["attention"].quantile([1, 0.5, 0])
    drawn = [f"{table[name].mean():.2f} even shares of {title}" for name, title in NAMES.items()]
    return report.Plot(
        figure,
        f"A falling line over {len(rows)} images, from {most:.1f} to {least:.1f} times an even "
        f"share; half of the images have at most {half:.2f}.",
        f"In {(table['attention'] > 1).sum()} of {len(rows)} test images the place draws more than "
        f"an even share of layer {blob.layer}'s attention to the image: {model}. It is the place "
        "that is looked at most on average over other images. Here it draws, on average, "
        f"{report.listed(drawn)}.",
        table,
    )


def blob_picture(lvlm, item, blob, model):
    """Lay attention, and attention weighted with the values, over one image; mark the place."""
    sample, prompt, answer = item
    seen, place = look(lvlm, prompt, answer), np.arange(prompt.grid.n_tokens) == blob.token
    maps = {title: getattr(seen, name)[blob.layer - 1] for name, title in NAMES.items()}
    shown = {title: (values / values.max()).numpy() for title, values in maps.items()}
    figure = report.map_sheet(shown, prompt, sample, "share of the map's maximum", vmin=0, vmax=1)
    at = prompt.grid.to_picture(place, prompt.image.size)
    row, column = np.unravel_index(at.argmax(), at.shape)
    for axes in figure.axes[:3]:
        axes.plot(column, row, "x", color=COLOURS["image"], markersize=9, markeredgewidth=2)
    table = pd.DataFrame({title: values.numpy() for title, values in maps.items()})
    words = ", ".join(f"{title} {100 * of[blob.token]:.1f} %" for title, of in table.items())
    return report.Plot(
        figure,
        f"An image, and two maps of it with a cross in the same place. It draws {words}.",
        f"Maps of layer {blob.layer} of {model}, each divided by its maximum; cross: the place, "
        f"which draws {words}; outlined: the region that holds the answer. Question: "
        f"{report.asked(sample.question)}",
        table.rename_axis("token"),
    )


def place_name(blob, grid):
    """Where the place is: its row and column, or its number where a token is no cell."""
    if grid.spread is None:
        return f"row {blob.token // grid.cols + 1}, column {blob.token % grid.cols + 1}"
    return f"token {blob.token}"
