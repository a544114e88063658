"""Relevancy: attention weighted by its gradient, through all layers (Chefer et al., ICCV 2021)."""

import torch
from torch import Tensor

from infoflow.hooks.attention import Attention, attention_rows
from infoflow.hooks.forward import Observer
from infoflow.methods.gradients import logit_of_features
from infoflow.models.lvlm import LVLM, Prompt


class _Kept(Observer):
    """Every layer's attention call, as a modifier leaves it, and what it gives."""

    def __init__(self) -> None:
        self.calls: list[Attention] = []
        self.outputs: list[Tensor] = []

    def see(self, layer: int, call: Attention) -> None:
        self.calls.append(call)

    def attend(self, layer: int, call: Attention) -> Tensor:
        self.outputs.append(super().attend(layer, call))
        return self.outputs[-1]


def relevancy(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Average the rows of (I + E_L) ... (I + E_1) that predict the answer: (1, N).

    E is the mean over heads of the positive part of A dz/dA, z the answer's summed logit. The row
    goes through the layers from the last to the first: no such product is ever made.
    """
    kept, row = _Kept(), torch.zeros(len(prompt) + len(answer) - 1)
    row[-len(answer) :] = 1 / len(answer)
    with torch.inference_mode(False), torch.enable_grad():
        leaf = prompt.inputs_embeds[:, prompt.spans.image].detach().clone().requires_grad_()
        z = logit_of_features(lvlm, prompt, answer, leaf, kept)
        gradients = torch.autograd.grad(z.sum(), kept.outputs)
    for call, gradient in zip(reversed(kept.calls), reversed(gradients), strict=True):
        weights, value = attention_rows(call).detach(), call.value[0].detach()
        value = value.repeat_interleave(len(weights) // len(value), 0)  # several heads share a key
        by_weight = gradient[0].transpose(0, 1) @ value.mT  # dz/dA: (H, Q, K)
        row = row.to(weights) + row.to(weights) @ (weights * by_weight).relu().mean(0)
    return row[None, prompt.spans.image].cpu()
