"""A layer's whole attention matrix: what every prompt token attends to (paper, Figure 6)."""

import torch
from torch import Tensor

from infoflow.hooks.attention import Attention, attention_rows, ordinary_attention
from infoflow.hooks.probe import Observer, attached, intervened, require_faithful
from infoflow.interventions import Truncate, intervene
from infoflow.models.lvlm import LVLM, Prompt, Spans
from infoflow.options import require_whole


def attention_matrix(lvlm: LVLM, prompt: Prompt, layer: int) -> Tensor:
    """Read one layer's attention weights on a prompt, all rows of them.

    Inside ``intervene`` they are those of the changed model: a hidden token's column is zero but
    for the token's own row.

    Args:
        lvlm: The model.
        prompt: The picture and question.
        layer: Which decoder layer, counted from 0; the paper's layer is one more.

    Returns:
        Float32 of shape (H, S, S): head, attending token, attended token. Each row sums to one, and
        is zero for later tokens.

    Raises:
        InfoflowError: There is no such layer, or the model cannot be probed.
    """
    lvlm.require_prompt(prompt)
    layer = require_whole(layer, "layer", 0, lvlm.n_layers - 1)
    recorder = _MatrixRecorder(layer)
    with torch.inference_mode():
        require_faithful(lvlm, prompt.inputs_embeds)
        with attached(lvlm, recorder):
            lvlm.decoder(inputs_embeds=prompt.inputs_embeds, use_cache=False)
    return torch.stack(recorder.matrices)[0].cpu()


def renormalised(matrix: Tensor, hidden: Tensor) -> Tensor:
    """Take some columns out of attention weights and scale what is left of each row to one.

    In the first truncated layer this is all that truncation does, since what enters the layer is
    still that of the intact model; a softmax over fewer scores is the same weights, scaled. Heads
    are scaled apart, so the mean over heads is not.

    Args:
        matrix: Attention weights, shape (..., S, S).
        hidden: Which tokens no other token may attend to, boolean of shape (S,). Each still attends
            to itself, as in ``infoflow.interventions``.

    Returns:
        Shape (..., S, S).
    """
    own = torch.eye(len(hidden), dtype=torch.bool, device=matrix.device)
    left = matrix.masked_fill(hidden & ~own, 0)
    return left / left.sum(-1, keepdim=True)


def group_blocks(matrix: Tensor, spans: Spans) -> Tensor:
    """Sum attention weights over groups of attended tokens, and average over attending ones.

    Args:
        matrix: Attention weights, heads averaged, shape (S, S).
        spans: The token groups.

    Returns:
        Shape (3, 3): the mean share that the tokens of a group (system, image, user) give to each
        group; rows sum to one. NaN for a group without tokens: some families begin with the image.
    """
    return torch.stack(
        [torch.stack([matrix[rows, columns].sum(-1).mean() for columns in spans]) for rows in spans]
    )


def drift_by_layer(lvlm: LVLM, prompt: Prompt, cut: int) -> Tensor:
    """Measure how far truncation is from mere renormalisation, layer by layer.

    Args:
        lvlm: The model.
        prompt: The picture and question.
        cut: Where the image is taken out, 0 to L.

    Returns:
        Float32 of shape (L - cut,), for the truncated layers in order: the total variation distance
        (0: the same, 1: disjoint) between the attention of the truncated model and the intact
        model's, renormalised; mean over heads and the user's rows.

    Raises:
        InfoflowError: There is no such cut, or the model cannot be probed.
    """
    lvlm.require_prompt(prompt)
    hidden = torch.zeros(len(prompt), dtype=torch.bool)
    hidden[prompt.spans.image] = True
    distances = []
    with intervene(lvlm, Truncate(cut)):
        pass  # refuses a cut that is out of range
    for layer in range(cut, lvlm.n_layers):
        by_hand = renormalised(attention_matrix(lvlm, prompt, layer), hidden)
        with intervene(lvlm, Truncate(cut)):
            truncated = attention_matrix(lvlm, prompt, layer)
        apart = (truncated - by_hand)[:, prompt.spans.user].abs().sum(-1) / 2
        distances.append(apart.mean())
    return torch.stack(distances) if distances else torch.zeros(0)


class _MatrixRecorder(Observer):
    """Keeps one layer's weights, shape (H, S, S)."""

    def __init__(self, layer: int) -> None:
        self.matrices: list[Tensor] = []
        self._layer = layer

    def attend(self, layer: int, call: Attention) -> Tensor:
        call = intervened(call)
        if layer == self._layer:
            self.matrices.append(attention_rows(call, call.query.shape[2]))
        return ordinary_attention(call)
