"""The door into a decoder: one registered attention function and one hook a layer.

A measure says what it wants to see or add as an ``Observer`` and runs the model inside
``attached``. The prompt itself always takes the model's own path, call by call and bit by bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from infoflow.errors import InfoflowError
from infoflow.lvlm import LVLM

IMPLEMENTATION = "infoflow"
"""The attention function's registered name. No mask builder has it, so no mask is built."""

_REFUSED = ("softcap", "s_aux", "position_bias")


class Attention(NamedTuple):
    """One call of the attention function: B sequences, H query heads, G key heads.

    Attributes:
        module: The attention module that calls.
        query: Shape (B, H, Q, d), rotary positions applied.
        key: Shape (B, G, K, d), rotary positions applied.
        value: Shape (B, G, K, d).
        scaling: What scores are multiplied with.
    """

    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    scaling: float


class Observer:
    """What a measure does during a forward pass; this base leaves the pass as it is."""

    def attend(self, layer: int, call: Attention) -> Tensor:
        """Answer a layer's attention call: shape (B, Q, H, d)."""
        return ordinary_attention(call)

    def after_layer(
        self,
        layer: int,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Tensor,
    ) -> None:
        """See a decoder layer's inputs and its output (1, S, D) after it has run."""


_observed: WeakKeyDictionary[nn.Module, tuple[Observer, int]] = WeakKeyDictionary()
_checked: WeakSet[nn.Module] = WeakSet()


@contextmanager
def attached(lvlm: LVLM, observer: Observer) -> Iterator[None]:
    """Let an observer watch the decoder; whatever happens inside, the model is restored after.

    Inside, the decoder takes batches without padding: attention masks are not honoured. The vision
    tower is not touched.

    Raises:
        InfoflowError: Another observer is attached to the model.
    """
    attentions = [layer.get_submodule("self_attn") for layer in lvlm.layers]
    if any(attention in _observed for attention in attentions):
        raise InfoflowError(
            f"a measure is already running on {lvlm.name}; run one at a time on one model."
        )
    handles = []
    try:
        for i, (layer, attention) in enumerate(zip(lvlm.layers, attentions, strict=True)):
            _observed[attention] = (observer, i)
            hook = partial(observer.after_layer, i)
            handles.append(layer.register_forward_hook(hook, with_kwargs=True))
        with _attention_implementation(lvlm, IMPLEMENTATION):
            yield
    finally:
        for handle in handles:
            handle.remove()
        for attention in attentions:
            _observed.pop(attention, None)


def require_faithful(lvlm: LVLM, embeds: Tensor) -> None:
    """Check, once a model, that a probed forward pass is the ordinary one.

    Args:
        lvlm: The model.
        embeds: Any prompt of the model's, shape (1, S, D).

    Raises:
        InfoflowError: The decoder does something that the probe would miss, such as a mask that
            lets image tokens see ahead.
    """
    if lvlm.decoder in _checked:
        return
    with _attention_implementation(lvlm, "sdpa"):
        ordinary = lvlm.decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state
    with attached(lvlm, Observer()):
        probed = lvlm.decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state
    # the same kernels on the same shapes: equal on a CPU; a GPU may be allowed the last bits
    allowed = 8 * torch.finfo(embeds.dtype).eps * ordinary.abs().max()
    if not (probed - ordinary).abs().max() <= allowed:
        raise InfoflowError(
            f"the decoder of {lvlm.name} attends in a way that cannot be probed: with the probe "
            "attached its output changes."
        )
    _checked.add(lvlm.decoder)


def ordinary_attention(call: Attention, mask: Tensor | None = None) -> Tensor:
    """Attend as transformers' SDPA path does, causally unless a mask is given.

    Args:
        call: The call.
        mask: Boolean, True where a query may look, shape (1, 1, Q, K).

    Returns:
        Shape (B, Q, H, d).
    """
    module, query, key, value, scaling = call
    output: Tensor = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling)[0]
    return output


def attention_rows(call: Attention, n_rows: int) -> Tensor:
    """Compute the attention weights of the last queries of a single sequence.

    Args:
        call: The call, of one sequence whose keys end with its queries.
        n_rows: R, how many queries.

    Returns:
        Float32 of shape (H, R, K); each row sums to one and is zero for later keys.
    """
    query, key = call.query[0, :, -n_rows:].float(), call.key[0].float()
    heads, (groups, n_keys, width) = query.shape[0], key.shape
    scores = query.reshape(groups, -1, width) @ key.mT * call.scaling
    scores = scores.view(heads, n_rows, n_keys)
    if n_rows > 1:
        later = torch.ones(n_rows, n_keys, dtype=torch.bool, device=key.device)
        scores = scores.masked_fill(later.triu(n_keys - n_rows + 1), -torch.inf)
    return scores.softmax(-1)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """Hand an attention call to the module's observer; transformers' attention interface."""
    if attention_mask is not None:
        raise InfoflowError("the probe takes one unpadded sequence; an attention mask was given.")
    observer, layer = _observed[module]
    _refuse_unsupported(options, key.shape[2])
    return observer.attend(layer, Attention(module, query, key, value, scaling)), None


def _refuse_unsupported(options: dict[str, Any], n_keys: int) -> None:
    """Raise on what would change the attention weights in ways that observers do not follow."""
    for name in _REFUSED:
        if options.get(name) is not None:
            raise InfoflowError(f"the decoder's attention uses {name}, which cannot be probed.")
    window = options.get("sliding_window")
    if window is not None and window < n_keys:
        raise InfoflowError(
            f"the decoder attends within a sliding window of {window} tokens, but the prompt has "
            f"{n_keys}; only prompts that fit the window can be probed."
        )


@contextmanager
def _attention_implementation(lvlm: LVLM, name: str) -> Iterator[None]:
    before = lvlm.decoder.config._attn_implementation
    lvlm.decoder.set_attn_implementation(name)
    try:
        yield
    finally:
        lvlm.decoder.set_attn_implementation(before)


AttentionInterface.register(IMPLEMENTATION, _attend)
