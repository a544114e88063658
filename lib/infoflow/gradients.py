"""The gradient of an answer's logit at the image tokens, everywhere in a decoder at once.

One forward and one backward pass serve every layer and site: each feature is handed on with its
gradient at the moment the backward pass reaches it, so gradients of two layers never coexist.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from infoflow.errors import InfoflowError
from infoflow.forcing import predicting_states
from infoflow.lvlm import LVLM

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


def visit_gradients(
    lvlm: LVLM,
    embeds: Tensor,
    ids: Tensor,
    image: slice,
    sites: Sequence[str],
    consumer: Consumer,
    checkpointed: bool,
) -> None:
    """Hand every feature of the image tokens, with its gradient, to a consumer.

    The gradient is that of the sum of the answer's logits (paper, Eq. 1-2), each read at the
    position that predicts its token. Batched prompts do not mix. Not for use in inference mode.

    Args:
        lvlm: The model; its parameters get no gradient.
        embeds: B prompts of one length, shape (B, S, D).
        ids: The answer, shape (T,).
        image: Where the image tokens lie.
        sites: Some of ``SITES``; a site of a layer that does not reach the answer is left out.
        consumer: Called once for each layer and site, from the last layer to the first.
        checkpointed: Recompute each layer during the backward pass instead of keeping its
            activations: less memory, about a third more time, the same gradients.

    Raises:
        InfoflowError: The decoder has no such site, or cannot recompute its layers.
    """

    def watch(site: str, layer: int, feature: Tensor) -> None:
        at_image = feature.detach()[:, image]
        feature.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: consumer(site, layer, at_image, gradient[:, image])
        )

    recomputing = _checkpointing(lvlm) if checkpointed else nullcontext()
    with torch.enable_grad(), recomputing, _hooked(lvlm, sites, watch):
        leaf = embeds.detach().requires_grad_()
        if PROJECTOR in sites:
            watch(PROJECTOR, 0, leaf)
        states = predicting_states(lvlm, leaf, ids)
        # the head's rows of the answer alone: logits of the whole vocabulary are not needed
        head: Tensor = lvlm.lm_head.get_parameter("weight")
        torch.autograd.grad((states * head[ids]).sum(), leaf)


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
