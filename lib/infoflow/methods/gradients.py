"""The gradient of an answer's logit at the image tokens, everywhere in a decoder at once.

One forward and one backward pass serve every layer and site: each feature is handed on with its
gradient at the moment the backward pass reaches it, so gradients of two layers never coexist.
Tokens before the image never see it, so many pictures share one pass over them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache

from infoflow.errors import InfoflowError
from infoflow.hooks.probe import modifier_of
from infoflow.methods.teacher_forcing import predicting_states
from infoflow.models.lvlm import LVLM

PROJECTOR = "projector"
OUTPUT = "output"
LAYER_SITES = ("input_layernorm", "self_attn.v_proj", "post_attention_layernorm", OUTPUT)
SITES = (*LAYER_SITES, PROJECTOR)
"""Where features are read: four places in every decoder layer, and what the decoder is given."""

_DEAD_ENDS = ("post_attention_layernorm", OUTPUT)

Consumer = Callable[[str, int, Tensor, Tensor], None]
"""Takes a site, a layer, a feature (B, N, C) and its gradient (B, N, C); must keep neither."""


def reaches_answer(lvlm: LVLM, site: str, layer: int) -> bool:
    """Say whether image tokens can act on the answer from a site of a layer on.

    Behind the attention of the last layer no token reads another one any more, so features of
    image tokens there have a gradient of exactly zero.
    """
    return site not in _DEAD_ENDS or layer < lvlm.n_layers - 1


def gradient_visitor(
    lvlm: LVLM, ids: Tensor, image: slice, sites: Sequence[str], checkpointed: bool
) -> Callable[[Tensor, Consumer], None]:
    """Prepare to hand every feature of the image tokens, with its gradient, to a consumer.

    The gradient is that of the sum of the answer's logits (paper, Eq. 1-2), each read at the
    position that predicts its token. Batched prompts do not mix. Not for use in inference mode.

    Args:
        lvlm: The model; its parameters get no gradient.
        ids: The answer, shape (T,).
        image: Where the image tokens lie.
        sites: Some of ``SITES``; a site of a layer that does not reach the answer is left out.
        checkpointed: Recompute each layer during the backward pass instead of keeping its
            activations: less memory, about a third more time, the same gradients.

    Returns:
        What visits a batch of prompts, shape (B, S, D), that differ from one another and from those
        of other calls in their pictures alone. It calls the consumer once for each layer and site,
        from the last layer to the first.

    Raises:
        InfoflowError: The decoder has no such site, or cannot recompute its layers: raised by the
            visit.
    """
    # what recomputes layers, or changes them, must be given the whole prompt
    alone = checkpointed or modifier_of(lvlm) is not None
    n_shared = 0 if alone else image.start
    place = slice(image.start - n_shared, image.stop - n_shared)
    shared: DynamicCache | None = None

    def visit(embeds: Tensor, consumer: Consumer) -> None:
        nonlocal shared

        def watch(site: str, layer: int, feature: Tensor) -> None:
            at_image = feature.detach()[:, place]
            feature.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: consumer(site, layer, at_image, gradient[:, place])
            )

        if n_shared and shared is None:
            shared = _read_in(lvlm, embeds[:1, :n_shared])
        recomputing = _checkpointing(lvlm) if checkpointed else nullcontext()
        read = None if shared is None else _repeated(shared, len(embeds))
        with torch.enable_grad(), recomputing, _hooked(lvlm, sites, watch):
            leaf = embeds[:, n_shared:].detach().requires_grad_()
            if PROJECTOR in sites:
                watch(PROJECTOR, 0, leaf)
            states = predicting_states(lvlm, leaf, ids, read)
            # the head's rows of the answer alone: logits of the whole vocabulary are not needed
            head: Tensor = lvlm.lm_head.get_parameter("weight")
            torch.autograd.grad((states * head[ids]).sum(), leaf)

    return visit


def _read_in(lvlm: LVLM, embeds: Tensor) -> DynamicCache:
    """Keys and values of the tokens (1, P, D) that a sequence begins with."""
    cache = DynamicCache(config=lvlm.decoder.config)
    with torch.no_grad():
        lvlm.decoder(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
    return cache


def _repeated(cache: DynamicCache, n: int) -> DynamicCache:
    """A copy of a cache for n sequences that begin alike."""
    copy = deepcopy(cache)
    copy.batch_repeat_interleave(n)
    return copy


@contextmanager
def _hooked(
    lvlm: LVLM, sites: Sequence[str], watch: Callable[[str, int, Tensor], None]
) -> Iterator[None]:
    """Watch every site's output, once a forward pass."""
    seen = set()

    def see(site: str, layer: int, module: nn.Module, args: object, output: Tensor) -> None:
        # a checkpointed layer runs, and calls its hooks, a second time
        if (site, layer) not in seen:
            seen.add((site, layer))
            watch(site, layer, output)

    handles = []
    try:
        for site in sites:
            for i, layer in enumerate(lvlm.layers):
                if site != PROJECTOR and reaches_answer(lvlm, site, i):
                    module = _module(lvlm, layer, site)
                    handles.append(module.register_forward_hook(partial(see, site, i)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _module(lvlm: LVLM, layer: nn.Module, site: str) -> nn.Module:
    try:
        return layer if site == OUTPUT else layer.get_submodule(site)
    except AttributeError as error:
        raise InfoflowError(f"the decoder layers of {lvlm.name} have no {site}.") from error


@contextmanager
def _checkpointing(lvlm: LVLM) -> Iterator[None]:
    """Recompute the decoder layers during the backward pass.

    Transformers recomputes only what is in training mode. The layers are, but not the modules in
    them, so whatever acts in training alone, such as dropout, stays off.
    """
    settings = {
        "training": True,
        "gradient_checkpointing": True,
        "_gradient_checkpointing_func": partial(
            checkpoint, use_reentrant=False, preserve_rng_state=False
        ),
    }
    if not all(hasattr(layer, "gradient_checkpointing") for layer in lvlm.layers):
        raise InfoflowError(f"the decoder layers of {lvlm.name} cannot be checkpointed.")
    before = [
        {name: value for name, value in vars(layer).items() if name in settings}
        for layer in lvlm.layers
    ]
    try:
        for layer in lvlm.layers:
            vars(layer).update(settings)
        yield
    finally:
        for layer, old in zip(lvlm.layers, before, strict=True):
            for name in settings:
                vars(layer).pop(name, None)
            vars(layer).update(old)
