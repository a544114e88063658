"""The doctor: what can be measured of a model, and what stands in the way.

What the library does is held against the plain way to do the same.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from infoflow.errors import InfoflowError
from infoflow.hooks.attention import Attention, attention_rows, ordinary_attention
from infoflow.hooks.forward import attending, record, require_whole_model
from infoflow.interventions import FastV, Truncate, intervene
from infoflow.methods.cam import activation_map, llava_cam
from infoflow.methods.flow import attention_flow
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
        The capabilities. Where the first does not work, the whole model against the observed pass,
        nothing else was tried.

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


def check_text(model: str | Path) -> str:
    """The same for a terminal."""
    lines = ((("refused", "works")[each.works], each) for each in check_model(model))
    return "\n".join(f"{word:7}  {each.name}: {each.word}" for word, each in lines)


def _carried(prompt: Prompt) -> str:
    """What a prompt of the model carries beside embeddings."""
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
        """The last row's output by the weights read off, less the kernel's."""
        weights = attention_rows(call, 1)[:, 0]
        values = call.value[0].repeat_interleave(len(weights) // call.value.shape[1], dim=0)
        return torch.einsum("hk,hkd->hd", weights, values) - ordinary_attention(call)[0, -1]

    return float(record(lvlm, prompt, difference).abs().max())


def _sweep(lvlm: LVLM, prompt: Prompt) -> float:
    swept = truncation_sweep(lvlm, prompt, max_new_tokens=N_TOKENS)
    cuts = zip(swept.cuts.tolist(), swept.logits, swept.tokens, strict=True)
    return _largest(_apart(lvlm, prompt, first, tokens, cut) for cut, first, tokens in cuts)


def _cam(lvlm: LVLM, prompt: Prompt) -> float:
    site, image, apart = "post_attention_layernorm", prompt.spans.image, []
    # of random answers, one that something speaks for: there are no maps of others
    answers = torch.arange(4, 58, device=lvlm.device).view(-1, 3)
    cams = ((answer, llava_cam(lvlm, prompt, answer, site, sigma=0.0)) for answer in answers)
    answer, cam = next((each for each in cams if (each[1].peaks[:-1] > 0).all()))
    for layer, by_token in zip(lvlm.layers[:-1], cam.by_token, strict=False):
        both = _with_gradient(lvlm, prompt, answer, layer.get_submodule(site))
        feature, gradient = (each[0, image] for each in both)
        summed = activation_map(feature.abs(), gradient.abs(), "mean").max()
        apart.append((by_token - activation_map(feature, gradient, "mean")).abs().max() / summed)
    return _largest(apart)


def _interventions(lvlm: LVLM, prompt: Prompt) -> float:
    apart, cut, image = [], lvlm.n_layers // 2, prompt.spans.image
    row = attention_flow(lvlm, prompt).rows[cut - 1].mean(0)[image]
    for hiding, n_kept in ((Truncate(cut), 0), (FastV(cut, 0.5), round(len(row) / 2))):
        with intervene(lvlm, hiding), lvlm.reading(prompt):
            tokens = lvlm.family.generate(prompt, N_TOKENS, [-1])
        with intervene(lvlm, hiding):
            first = lvlm.logits(prompt)[0, -1]
        kept = row.topk(n_kept).indices + image.start
        apart.append(_apart(lvlm, prompt, first, tokens, cut, kept))
    return _largest(apart)


def _decoding(lvlm: LVLM, prompt: Prompt) -> float:
    """Whether some token is another one."""
    lengths = {"max_new_tokens": N_TOKENS, "min_new_tokens": N_TOKENS, "do_sample": False}
    ids = prompt.input_ids[None]
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **prompt.inputs}
    with torch.no_grad():
        theirs = lvlm.model.generate(pixel_values=prompt.pixel_values, **given, **lengths)
    ours = lvlm.family.generate(prompt, N_TOKENS, [-1])
    return float((theirs[0, -N_TOKENS:] != ours).any())


_CHECKS: dict[str, tuple[Callable[[LVLM, Prompt], float], str]] = {
    "forward pass": (_whole, "the whole model"),
    "attention flow": (_flow, "what the model's own kernel attends to"),
    "truncation sweep": (_sweep, "a masked pass for each cut and token"),
    "LLaVA-CAM": (_cam, "a pass and a backward pass for each layer"),
    "FastV, Truncate": (_interventions, "a masked pass for each token"),
    "answers": (_decoding, "the model's own way to decode, from ids and pixels"),
}
"""How far something is from its plain twin, and what that is."""


def _largest(differences: Iterable[float | Tensor]) -> float:
    """The largest, or NaN if one of them is: Python's own would let that pass."""
    return float(torch.tensor([float(each) for each in differences]).max())


def _apart(
    lvlm: LVLM, prompt: Prompt, first: Tensor, tokens: Tensor, cut: int, kept: Tensor | None = None
) -> float:
    """How far a truncated answer is from masked passes: in its first logits, or in a token.

    Where two tokens are as likely but for rounding, either may be decoded.
    """
    with masked(lvlm, prompt, cut, kept):
        logits = _read_in(lvlm, prompt, tokens)
    n = len(lvlm.before_eos(tokens)) + 1  # what follows an end is no answer
    chosen = logits.gather(-1, tokens[:, None].to(logits.device))[:n, 0]
    lead = (logits[:n].amax(-1) - chosen).max()
    return _largest([(logits[0] - first).abs().max(), lead]) / float(logits.abs().max())


def _with_gradient(
    lvlm: LVLM, prompt: Prompt, answer: Tensor, module: nn.Module
) -> tuple[Tensor, Tensor]:
    """What a module gives, and the gradient there of the answer's logits: each (1, S, D)."""
    features: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        features.append(output.detach().requires_grad_())
        return features[0]

    hook = module.register_forward_hook(keep)
    with torch.enable_grad():
        logits = _read_in(lvlm, prompt, answer).gather(-1, answer[:, None])
        (gradient,) = torch.autograd.grad(logits.sum(), features)
    hook.remove()
    return features[0].detach(), gradient


def _read_in(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Read an answer in, in one pass of the ordinary decoder: the logits of its tokens, (T, V)."""
    said = lvlm.decoder.embed_tokens(answer[:-1].to(lvlm.device))[None]
    embeds = torch.cat([prompt.inputs_embeds, said], dim=1)
    given = prompt.decoder_arguments(0, embeds.shape[1])
    with attending(lvlm, "sdpa"):
        states = lvlm.decoder(inputs_embeds=embeds, use_cache=False, **given).last_hidden_state
    return cast(Tensor, lvlm.lm_head(states)[0, len(prompt) - 1 :])


@contextmanager
def masked(lvlm: LVLM, prompt: Prompt, cut: int, kept: Tensor | None = None) -> Iterator[None]:
    """Hide the image from layer ``cut`` on, but for the positions kept, in the ordinary decoder."""

    def hide(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        n, mask = args[0].shape[1], kwargs["attention_mask"]
        hidden = torch.zeros(n, dtype=torch.bool, device=args[0].device)
        hidden[prompt.spans.image] = True
        hidden[[] if kept is None else kept] = False
        seen = torch.ones(n, n, dtype=torch.bool, device=hidden.device).tril()
        seen = (seen if mask is None else mask[0, 0]) & ~hidden
        return args, kwargs | {"attention_mask": seen.fill_diagonal_(True)[None, None]}

    with ExitStack() as hooks:
        for layer in lvlm.layers[cut:]:
            hooks.callback(layer.register_forward_pre_hook(hide, with_kwargs=True).remove)
        yield
