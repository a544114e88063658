"""Rival maps: how else than by LLaVA-CAM an answer can be laid onto the image tokens.

Each is a function of a model, a prompt and an answer's ids (T,), without an end token. It makes
values (L, N), not negative, one a layer and image token; or (1, N) if it has no layer, and NaN
throughout where undefined. The page *Which map?* shows all that stand in ``MAPS``.
"""

from functools import partial

import torch
from captum.attr import IntegratedGradients
from PIL import Image
from torch import Tensor

from infoflow.data.controls import GREY
from infoflow.errors import InfoflowError
from infoflow.hooks.attention import Attention, attention_rows
from infoflow.hooks.forward import Observer, forward_pass, record
from infoflow.methods.flow import attention_flow, reduce_heads
from infoflow.methods.gradients import logit_of_features
from infoflow.models.lvlm import LVLM, Prompt

COMPLETE = 0.02  # of the logit's change: by what the sum of integrated gradients may miss it
NEUTRAL = "Please describe this image in detail."  # the authors' has words the zoo does not know


def attention(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Average the rows that predict the answer over heads and tokens: (L, N) (paper, Eq. 9)."""
    return reduce_heads(attention_flow(lvlm, prompt, answer).rows)[:, prompt.spans.image]


def relative_attention(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Divide attention after the question by attention after a neutral one: (L, N).

    As in the authors' code (Zhang et al., ICLR 2025) both rows predict the first answer token.
    """
    neutral = lvlm.prompt(prompt.image, NEUTRAL)
    here, anyway = (attention(lvlm, each, answer[:1]) for each in (prompt, neutral))
    return here / anyway.clamp(min=torch.finfo(anyway.dtype).tiny)


def rollout(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Multiply (A + I) / 2 over the layers, A the mean over heads: the answer's rows, (1, N).

    Of the product only the image's columns, (S, N), are kept (Abnar & Zuidema, 2020).
    """
    reached = torch.eye(len(prompt) + len(answer) - 1)[:, prompt.spans.image]

    def follow(layer: int, call: Attention) -> Tensor:
        nonlocal reached
        weights = attention_rows(call).mean(0)
        reached = (weights @ reached.to(weights) + reached.to(weights)) / 2
        return reached[-len(answer) :].mean(0)

    return record(lvlm, prompt, follow, answer)[-1:]


def value_weighted(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Measure what each image token adds to the rows that predict the answer: (L, N).

    That is the norm of the sum over heads of alpha_ij v_j W_O, averaged over the rows i: how much
    is read, not how often (Kobayashi et al., 2020).
    """
    image = prompt.spans.image

    def added(layer: int, call: Attention) -> Tensor:
        weights = attention_rows(call, len(answer))[..., image]  # (H, T, N)
        value = call.values_by_head[:, image]
        project = call.module.get_submodule("o_proj")
        bias = project(value.new_zeros(1, len(weights) * value.shape[-1]))
        mixed = (row[..., None].to(value) * value for row in weights.unbind(1))  # (H, N, d) each
        norms = [(project(m.transpose(0, 1).flatten(1)) - bias).norm(dim=-1) for m in mixed]
        return torch.stack(norms).float().mean(0)

    return record(lvlm, prompt, added, answer)


def token_activation(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Average over answer tokens their logits at image states, less what earlier words explain.

    Earlier words, of the question and the answer, are weighted by the answer token's logit at their
    own places; the least-squares share of their mixed map is taken away, and negative values become
    zero: (1, N). The rank filter of the published maps is left out (TAM; Li et al., ICCV 2025).
    """
    words = torch.cat([prompt.input_ids[prompt.spans.user], answer])
    with torch.inference_mode(), forward_pass(lvlm, prompt, answer) as states:
        logits = (states[0] @ lvlm.lm_head.get_parameter("weight")[words].mT).float().relu()
    at_image, at_words = logits[prompt.spans.image], logits[prompt.spans.user.start :]
    maps = []
    for place in range(len(words) - len(answer), len(words)):
        others = (words[:place] != words[place]).nonzero()[:, 0]  # the other words before it
        own, shared = at_image[:, place], at_image[:, others] @ at_words[others, place]
        scale = own @ shared / shared.square().sum().clamp(min=torch.finfo(shared.dtype).tiny)
        maps.append((own - scale * shared).relu())
    return torch.stack(maps).mean(0, keepdim=True).cpu()


def relevancy(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Average the rows of (I + E_L) ... (I + E_1) that predict the answer: (1, N).

    E is the mean over heads of the positive part of A dz/dA, z the answer's summed logit (Chefer et
    al., ICCV 2021). A row goes through the layers, last to first: no such product is ever made.
    """
    calls, outputs = list[Attention](), list[Tensor]()

    class Keep(Observer):
        def see(self, layer: int, call: Attention) -> None:
            calls.append(call)

        def attend(self, layer: int, call: Attention) -> Tensor:
            outputs.append(super().attend(layer, call))
            return outputs[-1]

    row = torch.zeros(len(prompt) + len(answer) - 1)
    row[-len(answer) :] = 1 / len(answer)
    with torch.inference_mode(False), torch.enable_grad():
        leaf = prompt.inputs_embeds[:, prompt.spans.image].detach().clone().requires_grad_()
        z = logit_of_features(lvlm, prompt, answer, leaf, Keep())
        gradients = torch.autograd.grad(z.sum(), outputs)
    for call, gradient in zip(calls[::-1], gradients[::-1], strict=True):
        weights = attention_rows(call).detach()
        by_weight = gradient[0].transpose(0, 1) @ call.values_by_head.detach().mT  # dz/dA
        row = row.to(weights) + row.to(weights) @ (weights * by_weight).relu().mean(0)
    return row[None, prompt.spans.image].cpu()


def integrated_gradients(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Attribute the answer's summed logit to the image tokens: what speaks for it, (1, N).

    Where 20 steps do not complete to 2 %, twice as many are taken, up to 160; a map that is not
    complete then is undefined.
    """
    for n_steps in (20, 40, 80, 160):
        values, missed = attributions(lvlm, prompt, answer, n_steps)
        if missed <= COMPLETE:
            return values.relu()
    return torch.full_like(values, torch.nan)


def attributions(lvlm: LVLM, prompt: Prompt, answer: Tensor, n_steps: int) -> tuple[Tensor, float]:
    """Integrate gradients from a grey image on: (1, N), and how far their sum is off, by captum.

    They should add up to the logit's change, of which that is a part (Sundararajan et al., 2017).
    """
    if prompt.deepstack:
        raise InfoflowError(f"{lvlm.name} adds to image tokens between layers: there is no path.")
    blank = lvlm.prompt(Image.new("RGB", prompt.image.size, GREY), prompt.question)
    logit = partial(logit_of_features, lvlm, prompt, answer)
    path = {"n_steps": n_steps, "method": "riemann_middle", "internal_batch_size": 4}
    with torch.inference_mode(False):
        start, end = (p.inputs_embeds[:, p.spans.image].detach().clone() for p in (blank, prompt))
        with torch.no_grad():
            change = logit(end) - logit(start)
        values = IntegratedGradients(logit).attribute(end, start, **path).sum(-1)
    missed = ((values.sum() - change) / change).abs().nan_to_num(0)  # nothing of nothing
    return values.float().cpu(), float(missed)


_BY_LAYER = (attention, relative_attention, value_weighted)
_WHOLE = (integrated_gradients, relevancy, rollout, token_activation)
MAPS = {each.__name__: each for each in sorted((*_BY_LAYER, *_WHOLE), key=lambda m: m.__name__)}
