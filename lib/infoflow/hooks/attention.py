"""A layer's attention call, and how it is answered."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward


class Attention(NamedTuple):
    """A call of a module's attention: B sequences, H query heads, G key heads, rotated positions.

    A modifier may hide keys from all queries but their own, or set the attention weights.
    """

    module: nn.Module
    query: Tensor  # (B, H, Q, d)
    key: Tensor  # (B, G, K, d)
    value: Tensor  # (B, G, K, d)
    scaling: float  # of the scores
    hidden: Tensor | None = None  # boolean (K,)
    weights: Tensor | None = None  # (H, Q, K)
    mask: Tensor | None = None  # boolean (Q, K): what queries see; None: all up to themselves

    @property
    def values_by_head(self) -> Tensor:
        """The values of a single sequence, (H, K, d), also where several heads share a key."""
        return self.value[0].repeat_interleave(self.query.shape[1] // self.value.shape[1], 0)


def ordinary_attention(call: Attention, mask: Tensor | None = None) -> Tensor:
    """Attend as transformers' SDPA path does, by the call's own mask or another: (B, Q, H, d)."""
    module, query, key, value, scaling, hidden, weights, own_mask = call
    if weights is not None:
        heads, n_queries, n_keys = weights.shape
        folded = weights.to(value.dtype).reshape(value.shape[1], -1, n_keys)
        return (folded @ value[0]).view(heads, n_queries, -1).transpose(0, 1)[None]
    if mask is None and not (hidden is None and own_mask is None):
        mask = _visible(call, query.shape[2])[None, None]
    return sdpa_attention_forward(module, query, key, value, mask, scaling=scaling)[0]


def attention_rows(call: Attention, n_rows: int | None = None) -> Tensor:
    """Compute the attention weights of a single sequence's last R queries, or of all: (H, R, K).

    They are float32, or wider; a row sums to one and is zero for keys that its query does not see.
    """
    n_rows = call.query.shape[2] if n_rows is None else n_rows
    if call.weights is not None:
        return call.weights[:, -n_rows:]
    wide = torch.promote_types(call.query.dtype, torch.float32)
    query, key = call.query[0, :, -n_rows:].to(wide), call.key[0].to(wide)
    heads, (groups, n_keys, width) = query.shape[0], key.shape
    scores = query.reshape(groups, -1, width) @ key.mT * call.scaling
    scores = scores.view(heads, n_rows, n_keys)
    if n_rows > 1 or call.hidden is not None or call.mask is not None:
        scores = scores.masked_fill(~_visible(call, n_rows), -torch.inf)
    return scores.softmax(-1)


def _visible(call: Attention, n_rows: int) -> Tensor:
    """Say which keys the last queries may see: boolean of shape (R, K)."""
    n_keys = call.key.shape[2]
    ones = torch.ones(n_rows, n_keys, dtype=torch.bool, device=call.key.device)
    before = ones.tril(n_keys - n_rows)
    seen = before if call.mask is None else call.mask[-n_rows:]
    return seen if call.hidden is None else seen & ~call.hidden | before.triu(n_keys - n_rows)
