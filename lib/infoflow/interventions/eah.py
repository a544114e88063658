"""EAH, later EVAS: in a shallow layer all heads attend as the one with the most sinks does."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from infoflow.errors import InfoflowError, require_name
from infoflow.hooks.attention import Attention, attention_rows
from infoflow.hooks.forward import record
from infoflow.interventions.base import Effect, Intervention
from infoflow.models.lvlm import LVLM, Prompt, Spans
from infoflow.options import require_finite, require_whole


@dataclass(frozen=True)
class EAH(Intervention):
    """Give all heads of a layer the attention of its head with the most sinks (Zhang et al., 2024).

    A vision sink is an image token whose mean attention from later tokens exceeds ``beta``. Only
    the reading of the prompt is changed, not decoding. Of several heads with as many sinks the
    first wins (in the released code head 0 never does); without any sink nothing is changed.

    Attributes:
        layers: Layers to act in, counted from 0.
        beta: The mean attention above which a token is a sink.
        divisor: What column sums are divided by: ``"exact"``, the number of later tokens, or
            ``"ramp"``, the released code's falling count.
        columns: Whether the head's rows replace the others' whole (``"all"``) or only where they
            look at the image (``"image"``), rows being divided by their sum then.
        gamma: The share of image tokens that must be sinks in the winning head.
    """

    layers: Sequence[int] = (1,)
    beta: float = 0.002
    divisor: Literal["exact", "ramp"] = "exact"
    columns: Literal["all", "image"] = "all"
    gamma: float = 0.0

    def begin(self, lvlm: LVLM, prompt: Prompt) -> Effect:
        if not isinstance(self.layers, Sequence) or not self.layers:
            raise InfoflowError(f"layers = {self.layers!r}; give at least one layer, as in (1,).")
        for layer in self.layers:
            require_whole(layer, "layer", 0, lvlm.n_layers - 1)
        require_finite(self.beta, "beta", 0)
        require_finite(self.gamma, "gamma", 0, 1)
        return Effect(weights=partial(self._broadcast, prompt.spans.image))

    def _broadcast(self, image: slice, layer: int, call: Attention) -> Tensor | None:
        if layer not in self.layers:
            return None
        weights = attention_rows(call)
        sinks = column_means(weights, image, self.divisor) > self.beta
        winner = int(sinks.sum(-1).argmax())
        density = float(sinks[winner].double().mean())
        if density == 0 or density < self.gamma:
            return None
        if self.columns == "all":
            return weights[winner].expand_as(weights)
        mixed = weights.clone()
        mixed[:, :, image] = weights[winner, :, image]
        return mixed / mixed.sum(-1, keepdim=True)


def sink_density(lvlm: LVLM, prompt: Prompt, beta: float = 0.002, divisor: str = "exact") -> Tensor:
    """Measure which share of image tokens are sinks, as of ``EAH``, by layer and head: (L, H)."""
    require_finite(beta, "beta", 0)
    return (sink_strengths(lvlm, prompt, divisor) > beta).float().mean(-1)


def sink_strengths(lvlm: LVLM, prompt: Prompt, divisor: str = "exact") -> Tensor:
    """Measure how much attention later tokens pay each image token, in one pass: (L, H, N)."""

    def strengths(layer: int, call: Attention) -> Tensor:
        return column_means(attention_rows(call), prompt.spans.image, divisor)

    return record(lvlm, prompt, strengths)


def even_strengths(spans: Spans, divisor: str = "exact") -> Tensor:
    """Compute the strengths (N,) of even attention, above which a threshold should lie."""
    n_tokens = spans.user.stop
    even = torch.ones(1, n_tokens, n_tokens, dtype=torch.float64).tril()
    return column_means(even / even.sum(-1, keepdim=True), spans.image, divisor)[0]


def column_means(weights: Tensor, image: slice, divisor: str) -> Tensor:
    """Average the attention (H, S, S) that image tokens get from later tokens: (H, N).

    A column's sum, its diagonal left out, is divided by the number of rows below the diagonal or,
    as in the released code (``"ramp"``), by the end of the image less the column's place in it.
    """
    places = torch.arange(image.start, image.stop, device=weights.device)
    counts = {
        "exact": (weights.shape[-1] - 1 - places).clamp(min=1),
        "ramp": image.stop - (places - image.start),
    }
    require_name(divisor, "divisor", counts)
    return weights.tril(-1)[:, :, image].sum(1) / counts[divisor]
