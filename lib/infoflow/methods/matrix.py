"""A layer's whole attention matrix: what every prompt token attends to (paper, Figure 6)."""

import torch
from torch import Tensor

from infoflow.hooks.attention import attention_rows
from infoflow.hooks.forward import record
from infoflow.interventions import Truncate, intervene
from infoflow.interventions.base import image_mask
from infoflow.models.lvlm import LVLM, Prompt, Spans
from infoflow.options import require_whole


def attention_matrix(lvlm: LVLM, prompt: Prompt, layer: int) -> Tensor:
    """Read one layer's attention weights on a prompt, all rows of them.

    Inside ``intervene`` a hidden token's column is zero but for the token's own row.

    Args:
        lvlm: The model.
        prompt: The image and question.
        layer: Which decoder layer, counted from 0; the paper's layer is one more.

    Returns:
        Float32 of shape (H, S, S): head, attending token, attended token. Rows sum to one.

    Raises:
        InfoflowError: There is no such layer, or the model cannot be observed.
    """
    wanted = require_whole(layer, "layer", 0, lvlm.n_layers - 1)
    return record(lvlm, prompt, lambda i, call: attention_rows(call) if i == wanted else None)[0]


def renormalised(matrix: Tensor, hidden: Tensor) -> Tensor:
    """Take hidden tokens, boolean (S,), out of attention weights and scale each row to one.

    In the first truncated layer this is all that truncation does: a softmax over fewer scores is
    the same weights, scaled. Heads are scaled apart, so the mean over heads is not. Hidden tokens
    still attend to themselves, as in ``infoflow.interventions``.
    """
    own = torch.eye(len(hidden), dtype=torch.bool, device=matrix.device)
    left = matrix.masked_fill(hidden & ~own, 0)
    return left / left.sum(-1, keepdim=True)


def group_blocks(matrix: Tensor, spans: Spans) -> Tensor:
    """Average, over the tokens of each group, the shares they give to each: (S, S) to (3, 3).

    NaN for a group without tokens: some families begin with the image.
    """
    return torch.stack(
        [torch.stack([matrix[rows, columns].sum(-1).mean() for columns in spans]) for rows in spans]
    )


def drift_by_layer(lvlm: LVLM, prompt: Prompt, cut: int) -> Tensor:
    """Measure how far truncation is from mere renormalisation, in each truncated layer: (L - cut,).

    It is the total variation distance (0: the same, 1: disjoint) between the truncated model's
    attention and the intact model's, renormalised; mean over heads and the user's rows.
    """
    lvlm.require_prompt(prompt)
    require_whole(cut, "cut", 0, lvlm.n_layers)
    hidden = image_mask(prompt).cpu()
    distances = []
    for layer in range(cut, lvlm.n_layers):
        by_hand = renormalised(attention_matrix(lvlm, prompt, layer), hidden)
        with intervene(lvlm, Truncate(cut)):
            truncated = attention_matrix(lvlm, prompt, layer)
        distances.append(((truncated - by_hand)[:, prompt.spans.user].abs().sum(-1) / 2).mean())
    return torch.tensor(distances)
