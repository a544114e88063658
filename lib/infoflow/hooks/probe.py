"""The door into a decoder: one registered attention function and one hook a layer.

A measure says what it wants to see or add as an ``Observer`` and runs the model inside
``attached``. The prompt itself always takes the model's own path, call by call and bit by bit,
unless a ``Modifier`` is at work: inside ``modified`` an observer sees the modified calls.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from infoflow.errors import InfoflowError
from infoflow.hooks.attention import Attention, ordinary_attention
from infoflow.models.lvlm import LVLM

IMPLEMENTATION = "infoflow"
"""The attention function's registered name. No mask builder has it, so no mask is built."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_REFUSED = ("softcap", "s_aux", "position_bias")


class Observer:
    """What a measure does during a forward pass; this base leaves the pass as it is."""

    def attend(self, layer: int, call: Attention) -> Tensor:
        """Answer a layer's attention call, as the model makes it: shape (B, Q, H, d).

        Calls on the prompt's own path go through ``intervened`` first.
        """
        return ordinary_attention(intervened(call))

    def after_layer(
        self,
        layer: int,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Tensor,
    ) -> None:
        """See a decoder layer's inputs and its output (1, S, D) after it has run."""


class _Unmodified(Observer):
    def attend(self, layer: int, call: Attention) -> Tensor:
        return ordinary_attention(call)


class Modifier(Protocol):
    """What changes a forward pass, whether or not a measure observes it."""

    def begin(self, embeds: Tensor, n_prompt: int) -> None:
        """Hear that the decoder begins on embeddings (B, S, D); the first ones are the prompt."""

    def modify(self, layer: int, call: Attention) -> Attention:
        """Change a layer's attention call."""

    def require_sweepable(self, keep: int) -> None:
        """Raise if truncated branches cannot be run beside the prompt.

        Args:
            keep: How many image tokens a branch keeps.
        """


_NOBODY = Observer()
_observed: WeakKeyDictionary[nn.Module, tuple[Observer, int]] = WeakKeyDictionary()
_modified: WeakKeyDictionary[nn.Module, tuple[Modifier, int]] = WeakKeyDictionary()
_prompt_lengths: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
_checked: WeakSet[nn.Module] = WeakSet()


@contextmanager
def attached(lvlm: LVLM, observer: Observer) -> Iterator[None]:
    """Let an observer watch the decoder; whatever happens inside, the model is restored after.

    Inside, the decoder takes batches without padding: attention masks are not honoured. The vision
    tower is not touched.

    Raises:
        InfoflowError: Another observer is attached to the model.
    """
    attentions = _attentions(lvlm)
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
        with attending(lvlm, IMPLEMENTATION):
            yield
    finally:
        for handle in handles:
            handle.remove()
        for attention in attentions:
            _observed.pop(attention, None)


@contextmanager
def modified(lvlm: LVLM, modifier: Modifier) -> Iterator[None]:
    """Let a modifier change forward passes; whatever happens inside, the model is restored after.

    Inside another such context it takes the other one's place. Attention masks are not honoured.
    """

    def begin(decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        cache, embeds = kwargs.get("past_key_values"), kwargs["inputs_embeds"]
        if cache is None or not cache.get_seq_length():
            modifier.begin(embeds, _prompt_lengths.get(decoder, embeds.shape[1]))

    entries = {attention: (modifier, i) for i, attention in enumerate(_attentions(lvlm))}
    handle = lvlm.decoder.register_forward_pre_hook(begin, with_kwargs=True)
    try:
        with _held(_modified, entries), attending(lvlm, IMPLEMENTATION):
            yield
    finally:
        handle.remove()


def modifier_of(lvlm: LVLM) -> Modifier | None:
    """Return the modifier at work on a model, if there is one."""
    entry = _modified.get(_attentions(lvlm)[0])
    return entry and entry[0]


def intervened(call: Attention) -> Attention:
    """Return a call as the modifier at work wants it; without one, the call itself."""
    if call.module not in _modified:
        return call
    modifier, layer = _modified[call.module]
    return modifier.modify(layer, call)


@contextmanager
def teacher_forced(lvlm: LVLM, n_prompt: int) -> Iterator[None]:
    """Tell modifiers that inside only the first positions of a sequence are the prompt.

    Those after them are an answer that is read in: what is chosen on the prompt must not hang on
    it, as it does not when the answer is decoded.
    """
    with _held(_prompt_lengths, {lvlm.decoder: n_prompt}):
        yield


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
    with attached(lvlm, _Unmodified()):
        probed = lvlm.decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state
    with attending(lvlm, "sdpa"):
        ordinary = lvlm.decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state
    # the same kernels on the same shapes: equal on a CPU; a GPU may be allowed the last bits
    allowed = 8 * torch.finfo(embeds.dtype).eps * ordinary.abs().max()
    if not (probed - ordinary).abs().max() <= allowed:
        raise InfoflowError(
            f"the decoder of {lvlm.name} attends in a way that cannot be probed: with the probe "
            "attached its output changes."
        )
    _checked.add(lvlm.decoder)


def _attentions(lvlm: LVLM) -> list[nn.Module]:
    return [layer.get_submodule("self_attn") for layer in lvlm.layers]


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
    observer, layer = _observed.get(module, (_NOBODY, 0))
    _refuse_unsupported(module, options, key.shape[2])
    return observer.attend(layer, Attention(module, query, key, value, scaling)), None


def _refuse_unsupported(module: nn.Module, options: dict[str, Any], n_keys: int) -> None:
    """Raise on what would change the attention weights in ways that observers do not follow."""
    if not getattr(module, "is_causal", True):
        raise InfoflowError("the decoder's attention is not causal, so it cannot be probed.")
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
def _held(table: MutableMapping[_Key, _Value], entries: Mapping[_Key, _Value]) -> Iterator[None]:
    """Put entries into a table, and what they replaced back in again afterwards."""
    before = {key: table[key] for key in entries if key in table}
    table.update(entries)
    try:
        yield
    finally:
        for key in entries:
            del table[key]
        table.update(before)


@contextmanager
def attending(lvlm: LVLM, name: str) -> Iterator[None]:
    """Let the decoder attend by the function that transformers knows by that name."""
    before = lvlm.decoder.config._attn_implementation
    lvlm.decoder.set_attn_implementation(name)
    try:
        yield
    finally:
        lvlm.decoder.set_attn_implementation(before)


AttentionInterface.register(IMPLEMENTATION, _attend)
