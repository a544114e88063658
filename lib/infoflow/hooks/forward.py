"""The door into a forward pass: a prompt, an answer read in after it, an observer, a cache.

A pass takes the model's own path, bit by bit, unless a ``Modifier`` is at work; an ``Observer``
sees the attention calls as a modifier leaves them. Before the first pass of a model the whole of
it, from ids and pixels to logits, is held against the pass that is observed.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, Cache
from transformers.masking_utils import sdpa_mask

from infoflow.errors import InfoflowError
from infoflow.hooks.attention import Attention, ordinary_attention
from infoflow.models.lvlm import LVLM, Prompt

IMPLEMENTATION = "infoflow"
"""The registered name of the attention function, and of its masks, which are those of SDPA."""
_UNFOLLOWED = ("softcap", "s_aux", "position_bias")
"""Options of attention that change its weights in ways that observers do not follow."""


class Observer:
    """What a method does during a forward pass; this base leaves the pass as it is."""

    def attend(self, layer: int, call: Attention) -> Tensor:
        """Answer a layer's attention call, as the model makes it: shape (B, Q, H, d)."""
        if modifier := _hooks[call.module].modifier:
            call = modifier.modify(layer, call)
        self.see(layer, call)
        return ordinary_attention(call)

    def see(self, layer: int, call: Attention) -> None:
        """See a call as it is answered, a modifier's changes included."""

    def after_layer(
        self, layer: int, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor
    ) -> None:
        """See a decoder layer's inputs and its output (B, S, D) after it has run."""


class Stream(Observer):
    """Keeps states, (1, S, D) behind 0 layers to L, and what layers take beside them."""

    def __init__(self) -> None:
        self.states: list[Tensor] = []
        self.arguments: list[dict[str, Any]] = []

    def after_layer(
        self, layer: int, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor
    ) -> None:
        self.states[layer:] = args[0], output
        self.arguments.append(kwargs)


class Modifier(Protocol):
    """What changes forward passes, whether or not a method observes them."""

    def reading(self, prompt: Prompt) -> AbstractContextManager[None]:
        """Make ready for passes over a prompt and its answer, which run inside."""

    def modify(self, layer: int, call: Attention) -> Attention:
        """Change a layer's attention call."""


@dataclass
class _Hooks:
    observer: Observer | None = None
    modifier: Modifier | None = None
    is_checked: bool = False


_hooks: WeakKeyDictionary[nn.Module, _Hooks] = WeakKeyDictionary()
"""What is at work on a decoder, by each of its attention modules."""


@contextmanager
def forward_pass(
    lvlm: LVLM,
    prompt: Prompt,
    answer: Tensor | None = None,
    observer: Observer | None = None,
    cache: Cache | None = None,
) -> Iterator[Tensor]:
    """Run the decoder on a prompt and, teacher forcing, on an answer (T,): normed hidden states.

    They have the shape (B, S + T - 1, D); the last T predict the answer, whose last token is never
    read in. Embeddings may be those of B prompts that differ in their images alone, after what is
    in the cache. What interventions choose lasts as long as the context.
    """
    lvlm.require_prompt(prompt)
    require_whole_model(lvlm, prompt)
    embeds = prompt.inputs_embeds
    if answer is not None:
        read_in = lvlm.decoder.embed_tokens(answer[:-1]).expand(len(embeds), -1, -1)
        embeds = torch.cat([embeds, read_in], dim=1)
    start = 0 if cache is None else cache.get_seq_length()
    given = prompt.decoder_arguments(start, start + embeds.shape[1])
    watching = nullcontext() if observer is None else attached(lvlm, observer)
    with lvlm.reading(prompt), watching:
        yield lvlm.decoder(
            inputs_embeds=embeds, past_key_values=cache, use_cache=cache is not None, **given
        ).last_hidden_state


def record(
    lvlm: LVLM,
    prompt: Prompt,
    read: Callable[[int, Attention], Tensor | None],
    answer: Tensor | None = None,
) -> Tensor:
    """Read something off every layer's attention call, or off some: (L, ...), on the CPU."""
    found: list[Tensor] = []

    class Recorder(Observer):
        def see(self, layer: int, call: Attention) -> None:
            if (value := read(layer, call)) is not None:
                found.append(value)

    with torch.inference_mode(), forward_pass(lvlm, prompt, answer, Recorder()):
        pass
    # layers may lie on several devices
    return torch.stack([value.to(found[0].device) for value in found]).cpu()


def answer_ids(lvlm: LVLM, prompt: Prompt, answer: str | Tensor) -> Tensor:
    """Return an answer's ids, (T,), without the token that ends it; raise if it cannot be read."""
    lvlm.require_prompt(prompt)
    ids = lvlm.encode_answer(answer) if isinstance(answer, str) else answer
    if isinstance(ids, Tensor) and ids.ndim == 1 and len(ids):
        ids = lvlm.before_eos(ids.to(lvlm.device))
    lvlm.require_token_ids(ids, f"the answer {answer!r}")
    lvlm.require_context(len(prompt) + len(ids) - 1, "the prompt with its answer")
    return ids


@contextmanager
def attached(lvlm: LVLM, observer: Observer) -> Iterator[None]:
    """Let an observer watch the decoder, which takes no masks then; after, all is as before."""
    hooks = _hooks_of(lvlm)
    if hooks.observer is not None:
        raise InfoflowError(f"a measure is already running on {lvlm.name}; run one at a time.")
    with attending(lvlm, IMPLEMENTATION), ExitStack() as after:
        hooks.observer = observer
        after.callback(setattr, hooks, "observer", None)
        for i, layer in enumerate(lvlm.layers):
            see = partial(observer.after_layer, i)
            after.callback(layer.register_forward_hook(see, with_kwargs=True).remove)
        yield


@contextmanager
def modified(lvlm: LVLM, modifier: Modifier) -> Iterator[None]:
    """Let a modifier change forward passes, in another's place; after, all is as before."""
    hooks = _hooks_of(lvlm)
    before = hooks.modifier, lvlm.reading
    hooks.modifier, lvlm.reading = modifier, modifier.reading
    try:
        with attending(lvlm, IMPLEMENTATION):
            yield
    finally:
        hooks.modifier, lvlm.reading = before


@contextmanager
def attending(lvlm: LVLM, name: str) -> Iterator[None]:
    """Let the decoder attend by the function that transformers knows by that name."""
    before = lvlm.decoder.config._attn_implementation
    lvlm.decoder.set_attn_implementation(name)
    try:
        yield
    finally:
        lvlm.decoder.set_attn_implementation(before)


def modifier_of(lvlm: LVLM) -> Modifier | None:
    """Return the modifier at work on a model, if there is one."""
    return _hooks_of(lvlm).modifier


class _MaskObserver(Observer):
    # no layer may have a mask but the prompt's: methods go by that one
    def __init__(self, prompt: Prompt) -> None:
        self._mask = prompt.visible(len(prompt))

    def see(self, layer: int, call: Attention) -> None:
        if call.mask is not None and not torch.equal(call.mask, self._mask.to(call.mask.device)):
            what = f"the decoder's attention uses attention_mask in layer {layer}"
            raise InfoflowError(f"{what} in a way of its own, so it cannot be observed.")


@torch.no_grad()
def require_whole_model(lvlm: LVLM, prompt: Prompt) -> None:
    """Check, once a model, that an observed pass gives the logits of the whole, untouched model.

    Ids and pixels go through the model's own forward pass; what the prompt carries of them goes
    through the decoder, observed. To compare the decoder with itself would not show what a prompt
    lacks: positions on several axes, image tokens that see ahead, features added inside.
    """
    hooks = _hooks_of(lvlm)
    if hooks.is_checked or prompt.model_key is None:  # put together by hand: no pixels to compare
        return
    modifier, hooks.modifier = hooks.modifier, None
    try:
        own = lvlm.with_pixels(prompt, prompt.pixel_values)
        # a method may have changed the embeddings
        given = prompt if torch.equal(own.inputs_embeds, prompt.inputs_embeds) else own
        arguments = {"inputs_embeds": given.inputs_embeds, "use_cache": False}
        arguments |= given.decoder_arguments(0, len(given))
        with attached(lvlm, _MaskObserver(given)):
            observed = lvlm.lm_head(lvlm.decoder(**arguments).last_hidden_state)
        with attending(lvlm, "sdpa"):
            whole = lvlm.family.whole_logits(prompt)
    finally:
        hooks.modifier = modifier
    # the same kernels on the same shapes: equal on a CPU; a GPU may be allowed the last bits
    difference = float((observed - whole).abs().max())
    if not difference <= 4 * torch.finfo(whole.dtype).eps * float(whole.abs().max()):
        raise InfoflowError(
            f"{lvlm.name} cannot be measured: with hooks its output changes. Its logits differ by "
            f"{difference:.1g} from those of the whole model, given the same ids and pixels."
        )
    hooks.is_checked = True


def _hooks_of(lvlm: LVLM) -> _Hooks:
    attentions: list[Any] = [getattr(layer, "self_attn", None) for layer in lvlm.layers]
    if without := [i for i, each in enumerate(attentions) if each is None]:
        n, kind = f"{len(without)} of its {lvlm.n_layers} layers", lvlm.layers[without[0]]
        why = f"{n} have no self-attention (the first is a {type(kind).__name__})"
        raise InfoflowError(f"{lvlm.name} cannot be observed: {why}.")
    if attentions[0] not in _hooks:
        _hooks.update(dict.fromkeys(attentions, _Hooks()))
    return _hooks[attentions[0]]


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any
) -> tuple[Tensor, None]:
    n_keys = key.shape[2]
    unfollowed = [f"uses {name}" for name in _UNFOLLOWED if options.get(name) is not None]
    if mask is not None:  # one for all sequences and heads: they differ in their images alone
        if mask.dtype != torch.bool or mask.shape[1] != 1:
            unfollowed.append("uses a mask that is not boolean, or differs between heads")
        mask = mask[0, 0]
    if mask is None and query.shape[2] > 1 and not getattr(module, "is_causal", True):
        unfollowed.append("is not causal")
    if (window := options.get("sliding_window") or n_keys) < n_keys:
        unfollowed.append(f"has a sliding window of {window} tokens, less than the {n_keys} given")
    if unfollowed:
        raise InfoflowError(f"the decoder's attention {unfollowed[0]}, so it cannot be observed.")
    call = Attention(module, query, key, value, options["scaling"], mask=mask)
    observer = _hooks[module].observer or Observer()
    return observer.attend(int(module.layer_idx), call), None  # type: ignore[arg-type]


AttentionInterface.register(IMPLEMENTATION, _attend)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
