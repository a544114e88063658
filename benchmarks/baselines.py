"""The ways one would measure truncation and attention without this library.

All use the model as it comes, with forward pre-hooks on its layers. They are the baselines of the
benchmarks, and the naive twins that the tests hold the library to; those of interventions are in
``eager.py``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from infoflow.hooks.forward import attending
from infoflow.models.lvlm import LVLM, Prompt

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def image_positions(prompt: Prompt) -> Tensor:
    """List the positions of the image tokens: shape (N,)."""
    image = prompt.spans.image
    return torch.arange(image.start, image.stop, device=prompt.input_ids.device)


def eager_attentions(lvlm: LVLM, embeds: Tensor) -> list[Tensor]:
    """Collect all attention weights with ``output_attentions``: one (1, H, S, S) a layer."""
    with attending(lvlm, "eager"):
        output = lvlm.decoder(inputs_embeds=embeds, use_cache=False, output_attentions=True)
    return list(output.attentions)


def last_logits(lvlm: LVLM, embeds: Tensor) -> Tensor:
    """Run one ordinary forward pass: the next token's logits, shape (V,)."""
    hidden = lvlm.decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state
    logits: Tensor = lvlm.lm_head(hidden[:, -1])[0]
    return logits


def masked_logits(lvlm: LVLM, embeds: Tensor, cut: int, dropped: Tensor) -> Tensor:
    """Run a full forward pass that hides some positions from layer ``cut`` on: (V,)."""
    with _masked(lvlm, cut, *_masks(embeds.shape[1], dropped)):
        return last_logits(lvlm, embeds)


def masked_log_prob(lvlm: LVLM, prompt: Prompt, cut: int, dropped: Tensor, ids: Tensor) -> Tensor:
    """Read an answer (T,) in, in one full masked pass: its tokens' summed log-probability, ()."""
    said = lvlm.decoder.embed_tokens(ids[:-1])[None]
    embeds = torch.cat([prompt.inputs_embeds, said], dim=1)
    with _masked(lvlm, cut, *_masks(embeds.shape[1], dropped)):
        hidden = lvlm.decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state
    log_probs = lvlm.lm_head(hidden[0, -len(ids) :]).float().log_softmax(-1)
    return log_probs.gather(-1, ids[:, None]).sum()


def blocked_logits(lvlm: LVLM, prompt: Prompt, rows: slice, layer: int, window: int) -> Tensor:
    """Run a full forward pass that hides the image from some rows around a layer: (V,)."""
    causal, blocked = _masks(len(prompt), image_positions(prompt)[:0])
    blocked[..., rows, prompt.spans.image] = False

    def mask(index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        within = abs(index - layer) <= window // 2
        return args, kwargs | {"attention_mask": blocked if within else causal}

    with edited(lvlm, mask):
        return last_logits(lvlm, prompt.inputs_embeds)


def masked_without_cache(
    lvlm: LVLM, prompt: Prompt, cut: int, dropped: Tensor, n_tokens: int
) -> tuple[Tensor, Tensor]:
    """Decode with a full masked pass a token: tokens (T,) and logits (T, V)."""
    embeds, tokens, logits = prompt.inputs_embeds, [], []
    for _ in range(n_tokens):
        logits.append(masked_logits(lvlm, embeds, cut, dropped))
        tokens.append(logits[-1].argmax())
        embeds = torch.cat([embeds, lvlm.decoder.embed_tokens(tokens[-1])[None, None]], dim=1)
    return torch.stack(tokens), torch.stack(logits)


def masked_with_cache(
    lvlm: LVLM, prompt: Prompt, cut: int, dropped: Tensor, n_tokens: int
) -> tuple[Tensor, Tensor]:
    """Decode with a masked prefill and a key-value cache: tokens (T,) and logits (T, V)."""
    cache = DynamicCache(config=lvlm.decoder.config)

    def step(embeds: Tensor, position: int) -> Tensor:
        masks = _masks(position + embeds.shape[1], dropped)
        with _masked(lvlm, cut, *(mask[..., position:, :] for mask in masks)):
            return cached_step(lvlm, cache, embeds, position)

    return decode(lvlm, prompt, step, n_tokens)


def dropped_unshared(
    lvlm: LVLM, prompt: Prompt, cut: int, dropped: Tensor, n_tokens: int
) -> tuple[Tensor, Tensor]:
    """Decode with the positions taken out before layer ``cut``: tokens (T,) and logits (T, V)."""
    cache = DynamicCache(config=lvlm.decoder.config)
    present = torch.ones(len(prompt), dtype=torch.bool, device=lvlm.device)
    present[dropped] = False
    kept = present.nonzero()[:, 0]

    def shorten(layer: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        if layer < cut:
            return args, kwargs
        hidden = args[0][:, kept] if layer == cut else args[0]
        cosine, sine = kwargs["position_embeddings"]
        return (hidden, *args[1:]), kwargs | {
            "position_ids": kwargs["position_ids"][:, kept],
            "position_embeddings": (cosine[:, kept], sine[:, kept]),
        }

    def step(embeds: Tensor, position: int) -> Tensor:
        if position > 0:
            return cached_step(lvlm, cache, embeds, position)
        with edited(lvlm, shorten):
            return cached_step(lvlm, cache, embeds, position)

    return decode(lvlm, prompt, step, n_tokens)


def decode(
    lvlm: LVLM, prompt: Prompt, step: Callable[[Tensor, int], Tensor], n_tokens: int
) -> tuple[Tensor, Tensor]:
    """Decode greedily by steps that read embeddings in at a position: (T,) and logits (T, V)."""
    logits = [step(prompt.inputs_embeds, 0)]
    tokens = [logits[-1].argmax()]
    for position in range(len(prompt), len(prompt) + n_tokens - 1):
        logits.append(step(lvlm.decoder.embed_tokens(tokens[-1])[None, None], position))
        tokens.append(logits[-1].argmax())
    return torch.stack(tokens), torch.stack(logits)


def cached_step(lvlm: LVLM, cache: DynamicCache, embeds: Tensor, position: int) -> Tensor:
    """Read embeddings in at a position: the next token's logits, shape (V,)."""
    hidden = lvlm.decoder(
        inputs_embeds=embeds,
        position_ids=torch.arange(position, position + embeds.shape[1], device=lvlm.device)[None],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    logits: Tensor = lvlm.lm_head(hidden[:, -1])[0]
    return logits


def _masks(length: int, dropped: Tensor) -> tuple[Tensor, Tensor]:
    """Build the causal mask and the one that hides positions, each (1, 1, S, S), True = visible."""
    causal = torch.ones(length, length, dtype=torch.bool, device=dropped.device).tril()
    hiding = causal.clone()
    hiding[:, dropped] = False
    hiding.fill_diagonal_(True)  # a row that sees nothing has no softmax
    return causal[None, None], hiding[None, None]


@contextmanager
def _masked(lvlm: LVLM, cut: int, causal: Tensor, hiding: Tensor) -> Iterator[None]:
    def mask(layer: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        return args, kwargs | {"attention_mask": causal if layer < cut else hiding}

    with edited(lvlm, mask):
        yield


@contextmanager
def edited(
    lvlm: LVLM, edit: Callable[[int, tuple[Any, ...], dict[str, Any]], Arguments]
) -> Iterator[None]:
    """Edit the arguments of every decoder layer's call."""
    handles = [
        layer.register_forward_pre_hook(
            lambda module, args, kwargs, i=i: edit(i, args, kwargs), with_kwargs=True
        )
        for i, layer in enumerate(lvlm.layers)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
