"""Attention at one layer: where the answer reads (paper, Eq. 9)."""

from torch import Tensor

from infoflow.methods.flow import attention_flow, reduce_heads
from infoflow.models.lvlm import LVLM, Prompt


def attention(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Average the rows that predict the answer over heads and answer tokens: (L, N)."""
    return reduce_heads(attention_flow(lvlm, prompt, answer).rows)[:, prompt.spans.image]
