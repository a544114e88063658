"""Attention flow (paper, Eq. 6-9), and a layer's whole attention matrix (Figure 6)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from infoflow.errors import require_name
from infoflow.hooks.attention import Attention, attention_rows
from infoflow.hooks.forward import answer_ids, record
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.threads import on_own_threads
from infoflow.options import require_whole


@dataclass(frozen=True, eq=False)
class AttentionFlow:
    """How the rows that predict an answer spread their attention over the prompt.

    Attributes:
        rows: Float32 of shape (L, H, S): each head's weights on the prompt's tokens. The mean over
            heads sums to one, and with a single answer token so does each head's row. With several
            answer tokens, the mean of their rows.
        shares: Float32 of shape (L, 3): the sums over the system, image and user tokens of the rows
            with heads reduced; they sum to one (Eq. 7-8).
    """

    rows: Tensor
    shares: Tensor


@on_own_threads
def attention_flow(
    lvlm: LVLM, prompt: Prompt, answer: str | Tensor | None = None, head_reduce: str = "mean"
) -> AttentionFlow:
    """Measure the attention flow of one prompt in one forward pass.

    Answer token t is predicted by the position before it, so its row starts at the prompt's last
    token. Rows of later answer tokens also see earlier ones: those weights are set to zero, the
    rest is divided by what is left with heads averaged, and the rows are averaged over t. Beside
    the rows of one layer at a time nothing of size S x S is ever held.

    Args:
        lvlm: The model.
        prompt: The image and question.
        answer: The answer that is read out, as text or as ids of shape (T,); None for the first
            answer token, whatever it is.
        head_reduce: ``"mean"`` over heads (Eq. 9), or ``"max"`` with the row divided by its sum, as
            in OPERA's maps.

    Raises:
        InfoflowError: The answer is empty, holds ids outside the vocabulary, or does not fit the
            context; there is no such reduction; or the model cannot be observed.
    """
    require_name(head_reduce, "head reduction", ("mean", "max"))
    ids = None if answer is None else answer_ids(lvlm, prompt, answer)
    n_rows = 1 if ids is None else len(ids)

    def mean_row(layer: int, call: Attention) -> Tensor:
        """The mean of the answer's rows over the prompt: shape (H, S)."""
        weights = attention_rows(call, n_rows)[..., : len(prompt)]
        left = weights.sum(-1).mean(0)  # (T,): what the prompt gets, heads averaged
        return (weights / left[:, None]).mean(1)

    rows = record(lvlm, prompt, mean_row, ids)
    return AttentionFlow(rows, group_shares(reduce_heads(rows, head_reduce), prompt))


@on_own_threads
def attention_matrix(lvlm: LVLM, prompt: Prompt, layer: int) -> Tensor:
    """Read one layer's attention weights on a prompt: head, attending token, attended: (H, S, S).

    Layers are counted from 0; the paper's layer is one more. Float32; rows sum to one.
    """
    wanted = require_whole(layer, "layer", 0, lvlm.n_layers - 1)
    return record(lvlm, prompt, lambda i, call: attention_rows(call) if i == wanted else None)[0]


def reduce_heads(rows: Tensor, head_reduce: str = "mean") -> Tensor:
    """Reduce heads, (L, H, S) to (L, S): the mean (Eq. 9), or the maximum divided by its sum."""
    if head_reduce == "mean":
        return rows.mean(1)
    strongest = rows.amax(1)
    return strongest / strongest.sum(-1, keepdim=True)


def group_shares(profile: Tensor, prompt: Prompt) -> Tensor:
    """Sum a profile over the prompt's token groups (Eq. 7-8): (L, S) to (L, 3)."""
    return torch.stack([profile[:, span].sum(-1) for span in prompt.spans], dim=-1)
