"""Relative attention: what the question makes the model read (Zhang et al., ICLR 2025)."""

import torch
from torch import Tensor

from infoflow.methods.maps.attention import attention
from infoflow.models.lvlm import LVLM, Prompt

NEUTRAL = "Please describe this image in detail."
"""A question about nothing in particular. The authors' own has words that the zoo does not know."""


def relative_attention(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Divide attention after the question by attention after a neutral one: (L, N).

    As in the authors' code both rows predict the first answer token. A sink does not survive it.
    """
    neutral = lvlm.prompt(prompt.image, NEUTRAL)
    here, anyway = (attention(lvlm, each, answer[:1]) for each in (prompt, neutral))
    return here / anyway.clamp(min=torch.finfo(anyway.dtype).tiny)
