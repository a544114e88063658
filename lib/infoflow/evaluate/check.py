"""The doctor: what can be measured of a model, and what stands in the way.

What the library does is held against the plain way to do the same.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from infoflow.errors import InfoflowError
from infoflow.hooks.attention import Attention, attention_rows, ordinary_attention
from infoflow.hooks.forward import forward_pass, record, require_whole_model
from infoflow.interventions import Truncate, intervene
from infoflow.methods.cam import activation_map, llava_cam
from infoflow.methods.truncation import truncation_sweep
from infoflow.models.checkpoint import in_one_line
from infoflow.models.families.auto import read_config
from infoflow.models.loading import locate_settings
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.miniature import miniature

TOLERANCE = 1e-5
"""Of logits, weights and maps, relative to the largest, in float32."""
N_TOKENS = 6
"""How many tokens are decoded."""


class Capability(NamedTuple):
    """Something that can be measured of a model, or cannot."""

    name: str
    works: bool
    word: str  #: What it was held against, or what stands in the way.


def check_model(
    model: LVLM | str | Path | Any, prompt: Prompt | None = None, seed: int = 0
) -> list[Capability]:
    """Say what can be measured of a model: a line a capability.

    Args:
        model: A name, a folder, a ``config.json`` or a configuration of transformers, of which a
            tiny random model is built: no weights are read. Or a loaded model, itself checked; that
            takes a pass a layer and two a cut, so it is meant for small ones.
        prompt: A prompt of the loaded model.
        seed: Of the tiny model's weights.

    Returns:
        The capabilities; where the first does not work, nothing else was tried.

    Raises:
        InfoflowError: There is no such configuration.
    """
    if isinstance(model, LVLM) and prompt is None:
        raise InfoflowError("a loaded model is checked on one of its prompts; give prompt=.")
    if isinstance(model, str | Path):
        model = read_config(model if Path(model).exists() else locate_settings(str(model)))
    found: list[Capability] = []
    for name, (difference, word) in _CHECKS.items():
        try:
            with in_one_line("it fails"):
                if not found:
                    lvlm, asked = miniature(model, seed) if prompt is None else (model, prompt)
                apart = difference(lvlm, asked)
            works = apart <= TOLERANCE
            word = f"equal to {word}" if works else f"differs by {apart:.1g} from {word}"
            found.append(Capability(name, works, word + _carried(asked) * (not found)))
        except InfoflowError as error:
            found.append(Capability(name, False, " ".join(str(error).split())))
        if not found[0].works:
            break
    return found


def _carried(prompt: Prompt) -> str:
    axes = 0 if prompt.position_ids is None else len(prompt.position_ids)
    carried = {
        f"positions on {axes} axes": axes > 1,
        "a mask by which tokens see later ones": prompt.mask is not None,
        f"features added in {len(prompt.deepstack)} layers": prompt.deepstack,
    }
    said = ", ".join(what for what, is_so in carried.items() if is_so)
    return f"; a prompt carries {said or 'no more than embeddings'}"


def _whole(lvlm: LVLM, prompt: Prompt) -> float:
    require_whole_model(lvlm, prompt)
    return 0.0


def _flow(lvlm: LVLM, prompt: Prompt) -> float:
    def difference(layer: int, call: Attention) -> Tensor:
        weights = attention_rows(call, 1)[:, 0]
        read = torch.einsum("hk,hkd->hd", weights, call.values_by_head)
        return read - ordinary_attention(call)[0, -1]

    return float(record(lvlm, prompt, difference).abs().max())


def _sweep(lvlm: LVLM, prompt: Prompt) -> float:
    swept, apart = truncation_sweep(lvlm, prompt, max_new_tokens=N_TOKENS), []
    for cut, first, tokens in zip(swept.cuts.tolist(), swept.logits, swept.tokens, strict=True):
        with torch.no_grad(), intervene(lvlm, Truncate(cut)):
            logits = _read_in(lvlm, prompt, tokens)
        # where two tokens are as likely but for rounding, either may be decoded
        lead = logits.amax(-1) - logits.gather(-1, tokens[:, None])[:, 0]
        lead = lead[: len(lvlm.before_eos(tokens)) + 1]  # what follows an end is no answer
        most = torch.maximum((logits[0] - first).abs().max(), lead.max())
        apart.append(most / logits.abs().max())
    return float(torch.stack(apart).max())


def _cam(lvlm: LVLM, prompt: Prompt) -> float:
    site, image, features = "post_attention_layernorm", prompt.spans.image, list[Tensor]()
    # of some answers, one that something speaks for: others have no maps
    answers = torch.arange(4, 58).view(-1, 3)
    cams = ((answer, llava_cam(lvlm, prompt, answer, site, sigma=0.0)) for answer in answers)
    answer, cam = next(each for each in cams if (each[1].peaks[:-1] > 0).all())
    leaf = prompt.inputs_embeds.detach().clone().requires_grad_()
    with torch.enable_grad(), ExitStack() as hooks:
        for layer in lvlm.layers[:-1]:
            watch = layer.get_submodule(site).register_forward_hook
            hooks.callback(watch(lambda *call: features.append(call[2])).remove)
        logits = _read_in(lvlm, replace(prompt, inputs_embeds=leaf), answer)
        gradients = torch.autograd.grad(logits.gather(-1, answer[:, None]).sum(), features)
    apart = []
    for by_token, *both in zip(cam.by_token, features, gradients, strict=False):
        feature, gradient = (each[0, image].detach() for each in both)
        summed = activation_map(feature.abs(), gradient.abs(), "mean").max()
        apart.append((by_token - activation_map(feature, gradient, "mean")).abs().max() / summed)
    return float(torch.stack(apart).max())


def _decoding(lvlm: LVLM, prompt: Prompt) -> float:
    lengths = {"max_new_tokens": N_TOKENS, "min_new_tokens": N_TOKENS, "do_sample": False}
    ids = prompt.input_ids[None]
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **prompt.inputs}
    with torch.no_grad():
        theirs = lvlm.model.generate(pixel_values=prompt.pixel_values, **given, **lengths)
    ours = lvlm.family.generate(prompt, N_TOKENS, [-1])
    return float((theirs[0, -N_TOKENS:] != ours).any())


def _read_in(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Read an answer in, in one plain pass: the logits of its tokens, (T, V)."""
    with forward_pass(lvlm, prompt, answer) as states:
        return cast(Tensor, lvlm.lm_head(states)[0, -len(answer) :])


_CHECKS: dict[str, tuple[Callable[[LVLM, Prompt], float], str]] = {
    "forward pass": (_whole, "the whole model"),
    "attention flow": (_flow, "what the model's own kernel attends to"),
    "truncation sweep": (_sweep, "a masked pass for each cut and token"),
    "LLaVA-CAM": (_cam, "a plain backward pass"),
    "answers": (_decoding, "the model's own way to decode, from ids and pixels"),
}
"""How far something is from its plain twin, and what that is."""
