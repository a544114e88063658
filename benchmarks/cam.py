"""LLaVA-CAM of all layers at once, against a pass for each layer; and what checkpointing saves."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.arithmetic import H200, Ways, saved_share
from benchmarks.gauges import peak_megabytes, seconds
from benchmarks.model import Size
from benchmarks.table import Line
from infoflow.methods.cam import CAM, llava_cam
from infoflow.methods.gradients import OUTPUT
from infoflow.models.lvlm import LVLM, Prompt

N_PICTURES = 4
SHARE_OF_LAYERS = 0.8
"""What must be reached of L, the gain of one backward pass over one a layer."""
CHECKPOINTED_PEAK = 0.3
"""What of the memory a checkpointed pass may take at most."""

_SITE = "post_attention_layernorm"
_ANSWER = torch.tensor([7])


def cam_lines(size: Size, lvlm: LVLM, prompt: Prompt) -> Iterator[Line]:
    """Measure the maps of all layers, for some noisy pictures."""
    ways = Ways(lvlm.n_layers, prompt.spans)
    one_by_one = partial(_maps, micro_batch=1)
    recomputing = partial(_maps, micro_batch=1, checkpointed=True)
    together = seconds(lambda: one_by_one(lvlm, prompt), lvlm.device, runs=2)
    recomputed = seconds(lambda: recomputing(lvlm, prompt), lvlm.device)
    gradients = ways.gradients(N_PICTURES)
    loop = gradients.times(lvlm.n_layers)
    yield Line(
        "CAM of all layers, against a pass a layer",
        *("s", _loop_seconds(lvlm, prompt), together),
        *(loop.tokens / gradients.tokens, SHARE_OF_LAYERS * lvlm.n_layers),
        f"{N_PICTURES} noisy pictures; passes of two layers and one picture, multiplied up",
        (loop.seconds(size.layer, H200), gradients.seconds(size.layer, H200)),
    )
    again = ways.gradients(N_PICTURES, recomputed=True)
    yield Line(
        "CAM checkpointed, against plain",
        *("s", together, recomputed, gradients.tokens / again.tokens),
        h200=(gradients.seconds(size.layer, H200), again.seconds(size.layer, H200)),
    )
    yield Line(
        "CAM checkpointed, against plain, peak memory",
        "MB",
        peak_megabytes(_in_one_batch, size, lvlm, prompt),
        peak_megabytes(_checkpointed, size, lvlm, prompt),
        *(1 / saved_share(size), 1 / CHECKPOINTED_PEAK),
        f"{N_PICTURES} noisy pictures in one batch",
    )


def layer_gradients(
    lvlm: LVLM, embeds: Tensor, ids: Tensor, site: str, layer: int
) -> tuple[Tensor, Tensor]:
    """Compute one site's feature and gradient by a forward and a backward pass of its own.

    Args:
        lvlm: The model.
        embeds: The prompt, shape (1, S, D).
        ids: The answer, shape (T,).
        site: The name of a module in a decoder layer, or ``"output"``.
        layer: Which layer.

    Returns:
        Both of shape (S + T - 1, C).
    """
    kept: list[Tensor] = []

    def keep(module: object, args: object, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    module = lvlm.layers[layer]
    module = module if site == OUTPUT else module.get_submodule(site)
    handle = module.register_forward_hook(keep)
    try:
        said = lvlm.decoder.embed_tokens(ids[:-1])[None]
        logits = lvlm.logits(torch.cat([embeds, said], dim=1).requires_grad_())[0]
        first = embeds.shape[1] - 1
        sum(logits[first + t, ids[t]] for t in range(len(ids))).backward()  # type: ignore[union-attr]
    finally:
        handle.remove()
    gradient = kept[0].grad
    return kept[0].detach()[0], torch.zeros_like(kept[0])[0] if gradient is None else gradient[0]


def _loop_seconds(lvlm: LVLM, prompt: Prompt) -> float:
    """Time a pass for each layer and picture; two layers are timed, and multiplied up."""
    ids = _ANSWER.to(lvlm.device)

    def task() -> None:
        with torch.enable_grad():
            for layer in (0, lvlm.n_layers // 2):
                layer_gradients(lvlm, prompt.inputs_embeds, ids, _SITE, layer)

    return seconds(task, lvlm.device) / 2 * lvlm.n_layers * N_PICTURES


def _maps(lvlm: LVLM, prompt: Prompt, micro_batch: int, checkpointed: bool = False) -> CAM:
    return llava_cam(
        *(lvlm, prompt, _ANSWER, _SITE),
        n_samples=N_PICTURES,
        micro_batch=micro_batch,
        checkpointed=checkpointed,
    )


def _in_one_batch(lvlm: LVLM, prompt: Prompt) -> None:
    _maps(lvlm, prompt, N_PICTURES)


def _checkpointed(lvlm: LVLM, prompt: Prompt) -> None:
    _maps(lvlm, prompt, N_PICTURES, checkpointed=True)
