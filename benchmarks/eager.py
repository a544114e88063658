"""The ways one would intervene without this library: eager attention, its weights all at hand.

As the releases of FastV, Simignore and EAH do it, every layer forms its attention weights in full:
tokens are ranked by them, hidden in them, or one head's are given to all. Like those of
``baselines.py`` they are the baselines of the benchmarks, and naive twins.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, DynamicCache
from transformers.models.llama.modeling_llama import repeat_kv

from benchmarks import baselines
from infoflow.hooks.forward import attending
from infoflow.models.lvlm import LVLM, Prompt

Edit = Callable[[int, Tensor], Tensor]
"""What takes the place of a layer's attention weights, shape (1, H, Q, K)."""

_EAGER = "benchmarks-eager"
"""The attention function's registered name. No mask builder has it, so no mask is built."""


def fastv(lvlm: LVLM, prompt: Prompt, k: int, ratio: float, n_tokens: int) -> tuple[Tensor, Tensor]:
    """Decode with a share of the image hidden from layer k on: tokens (T,) and logits (T, V).

    Hidden are the tokens that the last prompt token attends to least in layer k - 1.
    """
    image = baselines.image_positions(prompt)
    n_hidden = len(image) - round((1 - ratio) * len(image))
    hidden = image[:0]

    def rank(layer: int, weights: Tensor) -> Tensor:
        nonlocal hidden
        if layer == k - 1 and weights.shape[2] == len(prompt):
            hidden = image[weights[0, :, -1].mean(0)[image].argsort()[:n_hidden]]
        return weights

    return _with_full_weights(lvlm, prompt, n_tokens, rank, k, lambda: hidden)


def simignore(lvlm: LVLM, prompt: Prompt, keep: int, n_tokens: int) -> tuple[Tensor, Tensor]:
    """Decode with all image tokens hidden but those most similar to the question's: as ``fastv``.

    The entries of the similarity matrix are walked along from the highest down, until ``keep``
    different image tokens have been met.
    """
    embeds = prompt.inputs_embeds[0].float()
    image, text = embeds[prompt.spans.image], embeds[prompt.spans.user]
    similarity = image @ text.T / (image.norm(dim=-1)[:, None] * text.norm(dim=-1))
    walk = similarity.flatten().argsort(descending=True) // len(text)
    met = list(dict.fromkeys(walk.tolist()))
    hidden = baselines.image_positions(prompt)[sorted(met[keep:])]
    return _with_full_weights(lvlm, prompt, n_tokens, lambda _, weights: weights, 0, lambda: hidden)


def eah(
    lvlm: LVLM, prompt: Prompt, layer: int, beta: float, n_tokens: int
) -> tuple[Tensor, Tensor]:
    """Decode with one head's attention in place of all heads' in one layer: as ``fastv``."""
    image = baselines.image_positions(prompt)

    def broadcast(at: int, weights: Tensor) -> Tensor:
        if at != layer or weights.shape[2] < len(prompt):
            return weights
        n_sinks = (_from_later(weights[0], image) > beta).sum(-1)
        best = int(n_sinks.argmax())
        return weights[:, best, None].expand_as(weights) if n_sinks[best] else weights

    return _with_full_weights(lvlm, prompt, n_tokens, broadcast, 0, lambda: image[:0])


def sink_density(lvlm: LVLM, prompt: Prompt, beta: float) -> Tensor:
    """Read the share of image tokens that are vision sinks off all attention weights: (L, H)."""
    image = baselines.image_positions(prompt)
    means = [
        _from_later(w[0], image) for w in baselines.eager_attentions(lvlm, prompt.inputs_embeds)
    ]
    return (torch.stack(means) > beta).float().mean(-1)


def _with_full_weights(
    lvlm: LVLM,
    prompt: Prompt,
    n_tokens: int,
    edit: Edit,
    first_layer: int,
    hidden: Callable[[], Tensor],
) -> tuple[Tensor, Tensor]:
    """Decode with eager attention whose weights are edited, and keys hidden from a layer on."""
    cache = DynamicCache(config=lvlm.decoder.config)

    def step(embeds: Tensor, position: int) -> Tensor:
        mask = embeds.new_empty(0)

        def change(
            layer: int, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> baselines.Arguments:
            nonlocal mask
            if layer in (0, first_layer):
                mask = _added_mask(embeds, position, hidden() if layer == first_layer else None)
            return args, kwargs | {"attention_mask": mask, "edit": partial(edit, layer)}

        with baselines.edited(lvlm, change):
            return baselines.cached_step(lvlm, cache, embeds, position)

    with attending(lvlm, _EAGER):
        return baselines.decode(lvlm, prompt, step, n_tokens)


def _eager_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float,
    edit: Callable[[Tensor], Tensor],
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Attend as transformers' eager path does, but edit the weights before they are used."""
    repeats = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, repeats), repeat_kv(value, repeats)
    scores = query @ key.mT * scaling + attention_mask
    weights = edit(scores.softmax(-1, dtype=torch.float32).to(query.dtype))
    return (weights @ value).transpose(1, 2), weights


AttentionInterface.register(_EAGER, _eager_attention)


def _added_mask(embeds: Tensor, position: int, hidden: Tensor | None) -> Tensor:
    """Build what is added to the scores of newly read tokens (1, Q, D): shape (1, 1, Q, K)."""
    n_rows, length = embeds.shape[1], position + embeds.shape[1]
    visible = torch.ones(n_rows, length, dtype=torch.bool, device=embeds.device).tril(position)
    if hidden is not None:
        visible[:, hidden] = False
    least = torch.finfo(embeds.dtype).min
    return embeds.new_zeros(1, 1, *visible.shape).masked_fill(~visible, least)


def _from_later(weights: Tensor, image: Tensor) -> Tensor:
    """Average what image tokens get from the tokens after them: (H, S, S) to (H, N)."""
    later = torch.ones(weights.shape[1:], device=weights.device).tril(-1)
    return (weights * later)[:, :, image].sum(1) / later[:, image].sum(0)
