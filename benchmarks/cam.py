"""LLaVA-CAM of all layers at once, against a pass for each layer; and what checkpointing saves."""

import argparse
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers.utils import logging

from benchmarks.gauges import cpu_seconds, peak_megabytes
from benchmarks.model import SIZES, random_lvlm
from infoflow.cam import llava_cam
from infoflow.gradients import OUTPUT
from infoflow.lvlm import LVLM, Prompt

N_PICTURES = 4
_SITE = "post_attention_layernorm"
_ANSWER = torch.tensor([7])


def main() -> None:
    """Measure at the size asked for and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cam", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="quick", help="default: quick")
    size = parser.parse_args().size
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    lvlm, prompt = _model(size)
    print(
        f"{size}: maps of {lvlm.n_layers} layers and {N_PICTURES} noisy pictures, "
        f"{len(prompt)} tokens; float32, one thread, CPU seconds"
    )
    cams = partial(_cams, lvlm, prompt)
    cams(micro_batch=1)
    together = cpu_seconds(lambda: cams(micro_batch=1))
    recomputed = cpu_seconds(lambda: cams(micro_batch=1, checkpointed=True))
    loop = _loop_seconds(lvlm, prompt)
    plain = peak_megabytes(_plain_task, size)
    bounded = peak_megabytes(_checkpointed_task, size)
    print(f"a pass for each layer and picture  {loop:8.2f} s (from two layers)")
    print(
        f"all layers at once                 {together:8.2f} s, {loop / together:.1f} times faster"
    )
    print(f"all layers, checkpointed           {recomputed:8.2f} s")
    print(f"peak memory of one batch           {plain:8.0f} MB")
    print(f"the same, checkpointed             {bounded:8.0f} MB, {bounded / plain:.2f} of it")


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

    def task() -> None:
        for layer in (0, lvlm.n_layers // 2):
            layer_gradients(lvlm, prompt.inputs_embeds, _ANSWER, _SITE, layer)

    return cpu_seconds(task) / 2 * lvlm.n_layers * N_PICTURES


def _cams(lvlm: LVLM, prompt: Prompt, **options: Any) -> None:
    llava_cam(lvlm, prompt, _ANSWER, _SITE, n_samples=N_PICTURES, **options)


def _plain_task(size: str) -> Callable[[], object]:
    return _batch(size, checkpointed=False)


def _checkpointed_task(size: str) -> Callable[[], object]:
    return _batch(size, checkpointed=True)


def _batch(size: str, checkpointed: bool) -> Callable[[], object]:
    torch.set_num_threads(1)
    lvlm, prompt = _model(size)
    return partial(_cams, lvlm, prompt, micro_batch=N_PICTURES, checkpointed=checkpointed)


def _model(size: str) -> tuple[LVLM, Prompt]:
    lvlm, prompt = random_lvlm(SIZES[size])
    lvlm.family.image_processor = SimpleNamespace(image_std=[0.27, 0.26, 0.28])
    return lvlm, prompt


if __name__ == "__main__":
    main()
