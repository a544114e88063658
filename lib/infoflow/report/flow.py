"""Attention laid over one image: where the answer's row looks, layer by layer."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.colors import PowerNorm
from torch import Tensor

from infoflow.data.sample import Sample
from infoflow.models.prompt import Prompt
from infoflow.report.charts import map_sheet
from infoflow.report.display import Plot
from infoflow.report.style import asked


class Flow(Protocol):
    """What is shown of an :class:`infoflow.methods.flow.AttentionFlow`."""

    @property
    def rows(self) -> Tensor: ...
    @property
    def shares(self) -> Tensor: ...


def map_table(flow: Flow, prompt: Prompt, sample: Sample) -> pd.DataFrame:
    """Shares of one prompt by layer, and how much of the image's share falls on the answer.

    Args:
        flow: The :class:`infoflow.methods.flow.AttentionFlow` of the prompt.
        prompt: The image and question.
        sample: The sample, with its regions.

    Returns:
        One row a layer (paper's count), in percent: ``system %``, ``image %``, ``user %`` and, if
        the sample has target regions, ``on target %`` (of the image's attention, the part inside
        them) and ``target area %`` (what even attention would give).
    """
    names = ["system %", "image %", "user %"]
    table = pd.DataFrame(100 * flow.shares.numpy(), columns=names)
    table.index = pd.RangeIndex(1, len(table) + 1, name="layer")
    if sample.targets:
        inside = np.logical_or.reduce([sample.regions[name] for name in sample.targets])
        maps = [prompt.grid.to_picture(m, prompt.image.size) for m in _on_image(flow, prompt)]
        table["on target %"] = [100 * float(m[inside].sum() / m.sum()) for m in maps]
        table["target area %"] = 100 * float(inside.mean())
    return table


def attention_maps(
    flow: Flow, prompt: Prompt, sample: Sample, layers: Sequence[int], model: str
) -> Plot:
    """Show where on the image the answer's attention lies (the paper's Figure 2 B).

    All layers share one colour scale, so a layer that hardly attends to the image is dark.

    Args:
        flow: The :class:`infoflow.methods.flow.AttentionFlow` of the prompt.
        prompt: The image and question.
        sample: The sample; the regions its answer can be read from are outlined.
        layers: Layers to show, in the paper's count, 1 to L.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table is that of :func:`map_table` for these layers.
    """
    table = map_table(flow, prompt, sample).loc[list(layers)]
    image, profile = table["image %"], 100 * _on_image(flow, prompt)
    maps = {f"layer {layer}: {image[layer]:.1f} %": profile[layer - 1] for layer in layers}
    laid = [prompt.grid.to_picture(values, prompt.image.size) for values in maps.values()]
    norm = PowerNorm(0.5, vmin=0, vmax=float(np.max(laid)))
    return Plot(
        map_sheet(maps, prompt, sample, "attention per image token (%)", norm=norm),
        f"The picture, and its attention map in {len(layers)} layers. The image's share is largest "
        f"in layer {image.idxmax()} of those shown: {image.max():.1f} %.",
        f"Attention of the row that predicts the answer to “{asked(sample.question)}” "
        f"({sample.id}, {model}). Above each map: layer in the paper's count and the image's "
        "share of all attention. One colour scale (square root) for all layers. White outline: the "
        "region that holds the answer, where there is one.",
        table,
    )


def _on_image(flow: Flow, prompt: Prompt) -> np.ndarray:
    """The answer's row on the image tokens, heads averaged (Eq. 9): shape (L, N)."""
    return flow.rows.mean(1).numpy()[:, prompt.spans.image]
