"""Attention rollout: attention followed through all layers (Abnar & Zuidema, 2020)."""

import torch
from torch import Tensor

from infoflow.hooks.attention import Attention, attention_rows
from infoflow.hooks.forward import record
from infoflow.models.lvlm import LVLM, Prompt


def rollout(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Multiply (A + I) / 2 over the layers, A the mean over heads: the answer's rows, (1, N).

    Only the product's image columns, (S, N), are kept, and taken on layer by layer during the pass.
    """
    reached = torch.eye(len(prompt) + len(answer) - 1)[:, prompt.spans.image]

    def follow(layer: int, call: Attention) -> Tensor:
        nonlocal reached
        weights = attention_rows(call).mean(0)
        reached = (weights @ reached.to(weights) + reached.to(weights)) / 2
        return reached[-len(answer) :].mean(0)

    return record(lvlm, prompt, follow, answer)[-1:]
