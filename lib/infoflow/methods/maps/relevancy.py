"""Relevancy: attention weighted by its gradient, through all layers (Chefer et al., ICCV 2021)."""

import torch
from torch import Tensor

from infoflow.hooks.attention import Attention, attention_rows
from infoflow.hooks.forward import Observer
from infoflow.methods.gradients import logit_of_features
from infoflow.models.lvlm import LVLM, Prompt


class _Relevance(Observer):
    """Takes the answer's row of (I + E_L) ... (I + E_1) from the left, as the backward pass goes.

    E is the mean over heads of the positive part of A dz/dA: one layer's is there at a time.
    """

    def __init__(self, row: Tensor) -> None:
        self.row = row

    def see(self, layer: int, call: Attention) -> None:
        self._call = call

    def attend(self, layer: int, call: Attention) -> Tensor:
        output = super().attend(layer, call)
        seen = self._call  # as a modifier leaves it

        def take_in(gradient: Tensor) -> None:
            weights, value = attention_rows(seen), seen.value[0]
            of_heads = gradient[0].transpose(0, 1).unflatten(0, (len(value), -1))
            by_weight = (of_heads @ value[:, None].mT).flatten(0, 1)  # dz/dA: (H, Q, K)
            row = self.row.to(weights)
            self.row = row + row @ (weights * by_weight).relu().mean(0)

        output.register_hook(take_in)  # type: ignore[no-untyped-call]
        return output


def relevancy(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Average the rows that predict the answer, z being its summed logit: (1, N)."""
    row = torch.zeros(len(prompt) + len(answer) - 1)
    row[-len(answer) :] = 1 / len(answer)
    with torch.inference_mode(False), torch.enable_grad():
        leaf = prompt.inputs_embeds[:, prompt.spans.image].detach().clone().requires_grad_()
        relevance = _Relevance(row)
        torch.autograd.grad(logit_of_features(lvlm, prompt, answer, leaf, relevance).sum(), leaf)
    return relevance.row[None, prompt.spans.image].detach().cpu()
