"""Value-weighted attention: how much is read, not how often (Kobayashi et al., 2020)."""

import torch
from torch import Tensor

from infoflow.hooks.attention import Attention, attention_rows
from infoflow.hooks.forward import record
from infoflow.models.lvlm import LVLM, Prompt


def value_weighted(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Measure what each image token adds to the rows that predict the answer: (L, N).

    That is the norm of the sum over heads of alpha_ij v_j W_O, averaged over the rows i.
    """

    def added(layer: int, call: Attention) -> Tensor:
        weights = attention_rows(call, len(answer))[..., prompt.spans.image]  # (H, T, N)
        value = call.value[0, :, prompt.spans.image]
        value = value.repeat_interleave(len(weights) // len(value), 0)  # several heads share a key
        project = call.module.get_submodule("o_proj")
        bias = project(value.new_zeros(1, len(weights) * value.shape[-1]))
        mixed = (row[..., None].to(value) * value for row in weights.unbind(1))  # (H, N, d) each
        norms = [(project(m.transpose(0, 1).flatten(1)) - bias).norm(dim=-1) for m in mixed]
        return torch.stack(norms).float().mean(0)

    return record(lvlm, prompt, added, answer)
