"""The gradient of an answer's logit at the image tokens, everywhere in a decoder at once.

One forward and one backward pass serve every layer and site: each feature is handed on with its
gradient at the moment the backward pass reaches it. Images share a pass over tokens before them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache

from infoflow.errors import one_line
from infoflow.hooks.forward import Observer, forward_pass, modifier_of, require_whole_model
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.threads import on_own_threads

PROJECTOR = "projector"
OUTPUT = "output"
LAYER_SITES = ("input_layernorm", "self_attn.v_proj", "post_attention_layernorm", OUTPUT)
SITES = (*LAYER_SITES, PROJECTOR)
"""Where features are read: four places in every decoder layer, and what the decoder is given."""
TOWER = "vision_tower"
"""A further site: the last layer of the vision tower of which image tokens are made."""
Site = tuple[str, int]
"""One of ``SITES``, or ``TOWER``, and its layer."""
Consumer = Callable[[str, int, Tensor, Tensor], None]
"""Takes a site, a layer, a feature (B, N, C) and its gradient (B, N, C); must keep neither."""


def reaches_answer(lvlm: LVLM, site: str, layer: int) -> bool:
    """Say whether image tokens act on the answer from there on: not behind the last attention."""
    return site not in ("post_attention_layernorm", OUTPUT) or layer < lvlm.n_layers - 1


def gradient_visitor(
    lvlm: LVLM, prompt: Prompt, ids: Tensor, sites: Sequence[str], checkpointed: bool
) -> Callable[..., None]:
    """Prepare to hand every feature of the image tokens, with its gradient, to a consumer.

    The gradient is that of the answer's summed logit (Eq. 1-2). What is returned visits prompts
    that differ from this one in their images alone, in one pass: it calls the consumer once for
    each layer and site that reaches the answer, last layer first. Not for inference mode.
    """
    require_whole_model(lvlm, prompt)
    image, within = prompt.spans.image, [site for site in LAYER_SITES if site in sites]
    for site in {*within} - {OUTPUT}:  # not all decoders have parts of these names
        with one_line(f"no site {site!r} in the layers of {lvlm.name}", AttributeError):
            lvlm.layers[0].get_submodule(site)
    numbers = range(lvlm.n_layers)
    in_layers = [(site, i) for site in within for i in numbers if reaches_answer(lvlm, site, i)]
    # what recomputes layers, or changes them, must be given the whole prompt
    n_shared = 0 if checkpointed or modifier_of(lvlm) else prompt.n_before
    place = slice(image.start - n_shared, image.stop - n_shared)
    shared = DynamicCache(config=lvlm.decoder.config) if n_shared else None
    if shared is not None:
        before = prompt.inputs_embeds[:, :n_shared]
        with torch.no_grad():
            given = prompt.decoder_arguments(0, n_shared)
            lvlm.decoder(inputs_embeds=before, past_key_values=shared, use_cache=True, **given)

    def visit(batch: Sequence[Prompt], consumer: Consumer) -> None:
        def watch(site: Site, feature: Tensor) -> None:
            at_image = feature.detach()[:, place]
            feature.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: consumer(*site, at_image, gradient[:, place])
            )

        def at_tower(gradient: Tensor) -> None:
            pairs = map(partial(to_tower, lvlm), batch, gradient[:, place])
            consumer(TOWER, 0, *map(torch.stack, zip(*pairs, strict=True)))

        cache = deepcopy(shared)
        if cache is not None:
            cache.batch_repeat_interleave(len(batch))
        leaf = torch.cat([each.inputs_embeds for each in batch])[:, n_shared:]
        leaf = leaf.detach().requires_grad_()
        inside = map(torch.cat, zip(*(each.deepstack for each in batch), strict=True))
        visited = replace(prompt, inputs_embeds=leaf, deepstack=tuple(inside))
        recomputing = _checkpointing(lvlm) if checkpointed else nullcontext()
        with torch.enable_grad(), recomputing, _watched(lvlm, in_layers, watch):
            if PROJECTOR in sites:
                watch((PROJECTOR, 0), leaf)
            if TOWER in sites:  # whose gradients are the projector's, carried on
                leaf.register_hook(at_tower)  # type: ignore[no-untyped-call]
            with forward_pass(lvlm, visited, ids, cache=cache) as states:
                torch.autograd.grad(summed_logit(lvlm, states, ids).sum(), leaf)

    return visit


def summed_logit(lvlm: LVLM, states: Tensor, ids: Tensor) -> Tensor:
    """Sum the logits of an answer's tokens (Eq. 1), given a pass's normed states: shape (B,)."""
    # the head's rows of the answer alone: logits of the whole vocabulary are not needed
    head = lvlm.lm_head.get_parameter("weight")[ids]
    return (states[:, -len(ids) :] * head).sum((1, 2))


def logit_of_features(
    lvlm: LVLM, prompt: Prompt, ids: Tensor, features: Tensor, observer: Observer | None = None
) -> Tensor:
    """Compute that logit with other features, (B, N, D), of the image tokens: shape (B,)."""
    image, embeds = prompt.spans.image, prompt.inputs_embeds
    parts = embeds[:, : image.start], features, embeds[:, image.stop :]
    whole = torch.cat([part.expand(len(features), -1, -1) for part in parts], 1)
    with forward_pass(lvlm, replace(prompt, inputs_embeds=whole), ids, observer) as states:
        return summed_logit(lvlm, states, ids)


def to_tower(lvlm: LVLM, prompt: Prompt, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Carry a gradient at an image's tokens, (N, D), to the tower: features and theirs, (P, C)."""
    family, seen = lvlm.family, list[Tensor]()
    with torch.enable_grad(), ExitStack() as after:
        watch = family.tower_layer.register_forward_hook
        after.callback(watch(lambda *call: seen.append(call[2])).remove)
        leaf = prompt.pixel_values.detach().clone().requires_grad_()
        features = family.encode_image(leaf, prompt.input_ids, prompt.image.size).features
    (found,), patches = torch.autograd.grad(features, seen, gradient), family.tower_patches
    return patches(seen[0].detach(), prompt.image.size), patches(found, prompt.image.size)


@on_own_threads
def last_layer_gradient_maxima(lvlm: LVLM, prompt: Prompt) -> dict[str, tuple[float, float]]:
    """Differentiate the first answer token's logit by the features of the last layer.

    By site, the largest absolute gradient at image positions, also where it must vanish
    (:func:`reaches_answer`), and at the last one, where the answer is read.
    """
    lvlm.require_prompt(prompt)
    features: dict[Site, Tensor] = {}
    sites = [(site, lvlm.n_layers - 1) for site in LAYER_SITES if site != OUTPUT]
    with torch.inference_mode(False), torch.enable_grad():
        embeds = prompt.inputs_embeds.detach().clone().requires_grad_()
        with _watched(lvlm, sites, features.__setitem__):
            logits = lvlm.logits(replace(prompt, inputs_embeds=embeds))[0, -1]
        gradients = torch.autograd.grad(logits.max(), list(features.values()))
    image = prompt.spans.image
    return {
        site: (float(gradient[0, image].abs().max()), float(gradient[0, -1].abs().max()))
        for (site, _), gradient in zip(features, gradients, strict=True)
    }


@contextmanager
def _watched(
    lvlm: LVLM, sites: Sequence[Site], watch: Callable[[Site, Tensor], None]
) -> Iterator[None]:
    seen: set[Site] = set()

    def see(site: Site, module: nn.Module, args: object, output: Tensor) -> None:
        # once: a checkpointed layer runs, and calls its hooks, a second time
        if site not in seen:
            seen.add(site)
            watch(site, output)

    with ExitStack() as hooks:
        for name, i in sites:
            module = lvlm.layers[i].get_submodule("" if name == OUTPUT else name)
            hooks.callback(module.register_forward_hook(partial(see, (name, i))).remove)
        yield


@contextmanager
def _checkpointing(lvlm: LVLM) -> Iterator[None]:
    # transformers recomputes what is in training mode: the layers alone, so that dropout stays off
    recompute = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
    settings = {"gradient_checkpointing": True, "_gradient_checkpointing_func": recompute}
    before = [dict(vars(layer)) for layer in lvlm.layers]
    try:
        for layer in lvlm.layers:
            vars(layer).update(settings, training=True)
        yield
    finally:
        for layer, old in zip(lvlm.layers, before, strict=True):
            vars(layer).clear()
            vars(layer).update(old)
