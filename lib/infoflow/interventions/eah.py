"""EAH: in a shallow layer, let all heads attend as the head with the most vision sinks does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from infoflow.errors import InfoflowError, unknown_name
from infoflow.hooks.attention import Attention, attention_rows
from infoflow.hooks.forward import record
from infoflow.interventions.base import Effect, Intervention
from infoflow.models.lvlm import LVLM, Prompt, Spans
from infoflow.options import require_finite, require_whole

COLUMNS = ("all", "image")
DIVISORS = ("exact", "ramp")


@dataclass(frozen=True)
class EAH(Intervention):
    """Give all heads of a layer the attention of its head with the most sinks (Zhang et al., 2024).

    A vision sink is an image token whose mean attention from later tokens exceeds ``beta``. Only
    the reading of the prompt is changed, not decoding. Unlike in the released code the first head
    may win, too; of several heads with as many sinks the first wins. Without a sink in any head
    nothing is changed. EVAS is the method's later name.

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

    def __post_init__(self) -> None:
        if not isinstance(self.layers, Sequence) or not self.layers:
            raise InfoflowError(f"layers = {self.layers!r}; give at least one layer, as in (1,).")
        for layer in self.layers:
            require_whole(layer, "layer", 0)
        require_finite(self.beta, "beta", 0)
        _require_divisor(self.divisor)
        if self.columns not in COLUMNS:
            raise unknown_name("columns", self.columns, COLUMNS)
        require_finite(self.gamma, "gamma", 0, 1)

    def require_fits(self, lvlm: LVLM) -> None:
        for layer in self.layers:
            require_whole(layer, "layer", 0, lvlm.n_layers - 1)

    def begin(self, lvlm: LVLM, prompt: Prompt) -> Effect:
        return _Broadcast(self, prompt.spans.image)


class _Broadcast(Effect):
    def __init__(self, settings: EAH, image: slice) -> None:
        self._settings, self._image = settings, image

    def weights(self, layer: int, call: Attention) -> Tensor | None:
        if layer not in self._settings.layers:
            return None
        weights = attention_rows(call)
        sinks = vision_sinks(weights, self._image, self._settings.beta, self._settings.divisor)
        winner = int(sinks.sum(-1).argmax())
        density = float(sinks[winner].double().mean())
        if density == 0 or density < self._settings.gamma:
            return None
        columns = self._image if self._settings.columns == "image" else None
        return broadcast_head(weights, winner, columns)


def sink_density(lvlm: LVLM, prompt: Prompt, beta: float = 0.002, divisor: str = "exact") -> Tensor:
    """Measure which share of the image tokens are vision sinks, by layer and head.

    One forward pass; it holds the attention weights of one layer, (H, S, S), at a time.

    Args:
        lvlm: The model.
        prompt: The image and question.
        beta: As of ``EAH``.
        divisor: As of ``EAH``.

    Returns:
        Float32 of shape (L, H), in [0, 1].

    Raises:
        UnknownNameError: There is no such divisor.
        InfoflowError: ``beta`` is negative or not finite, or the model cannot be observed.
    """
    require_finite(beta, "beta", 0)
    return (sink_strengths(lvlm, prompt, divisor) > beta).float().mean(-1)


def sink_strengths(lvlm: LVLM, prompt: Prompt, divisor: str = "exact") -> Tensor:
    """Measure how much attention later tokens pay each image token, by layer and head.

    What exceeds ``beta`` is a vision sink, so one call serves all thresholds. Args and errors are
    those of :func:`sink_density`.

    Returns:
        Shape (L, H, N), at least 0.
    """
    _require_divisor(divisor)
    return record(
        lvlm,
        prompt,
        lambda layer, call: column_means(attention_rows(call), prompt.spans.image, divisor),
    )


def even_strengths(spans: Spans, divisor: str = "exact") -> Tensor:
    """Compute the strengths if every token attended evenly to itself and all before it.

    A threshold says little that does not lie above these: they fall as a sequence gets longer.

    Args:
        spans: Where a prompt's tokens lie.
        divisor: As of ``EAH``.

    Returns:
        Float64 of shape (N,).

    Raises:
        UnknownNameError: There is no such divisor.
    """
    _require_divisor(divisor)
    n_tokens = spans.user.stop
    even = torch.ones(1, n_tokens, n_tokens, dtype=torch.float64).tril()
    return column_means(even / even.sum(-1, keepdim=True), spans.image, divisor)[0]


def column_means(weights: Tensor, image: slice, divisor: str) -> Tensor:
    """Average the attention (H, S, S) that image tokens get from later tokens: (H, N).

    A column's sum, its diagonal left out, is divided by the number of rows below the diagonal or,
    as in the released code (``"ramp"``), by the end of the image less the column's place in it.
    """
    below = weights.tril(-1)[:, :, image].sum(1)
    places = torch.arange(image.start, image.stop, device=weights.device)
    if divisor == "exact":
        return below / (weights.shape[-1] - 1 - places).clamp(min=1)
    return below / (image.stop - (places - image.start))


def vision_sinks(weights: Tensor, image: slice, beta: float, divisor: str) -> Tensor:
    """Find the image tokens whose mean attention from later tokens exceeds beta: (H, N)."""
    return column_means(weights, image, divisor) > beta


def broadcast_head(weights: Tensor, head: int, columns: slice | None = None) -> Tensor:
    """Give all heads one head's attention weights, (H, S, S), or its columns; rows sum to one."""
    if columns is None:
        return weights[head].expand_as(weights)
    mixed = weights.clone()
    mixed[:, :, columns] = weights[head, :, columns]
    return mixed / mixed.sum(-1, keepdim=True)


def _require_divisor(divisor: str) -> None:
    if divisor not in DIVISORS:
        raise unknown_name("divisor", divisor, DIVISORS)
