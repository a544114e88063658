"""Truncated branches: the prompt without its image from a layer on, run beside the intact one.

A branch is cheap because it recomputes only what removing the image changes: tokens before the
image never see it, so their keys are the intact prompt's; a branch starts as a copy of the intact
hidden states; and all branches go through a layer as one batch.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from infoflow.hooks.attention import Attention, attention_rows, ordinary_attention
from infoflow.hooks.forward import Observer
from infoflow.models.lvlm import Prompt

KeyValue = tuple[Tensor, Tensor]


class Branch(NamedTuple):
    """A cut, how many image tokens it keeps, and scores (N,) that rank them; None: by attention."""

    cut: int
    keep: int
    ranking: Tensor | None = None


class Branches(Observer):
    """Runs, beside the intact prompt, one branch for each cut.

    The branch of cut ``c`` starts before layer ``c`` with the U positions it keeps: all text after
    the P tokens of the prefix and, of the image, the K tokens that rank highest. Tokens stay at
    their original positions. From layer ``c`` on every layer is called a second time, on all
    branches begun so far: ``hidden``, (b, U, D), in order of their cuts. If there is room for
    tokens to decode, ``caches`` holds one cache a layer.
    """

    def __init__(
        self, branches: list[Branch], prompt: Prompt, n_answer: int, n_prefix: int, room: int
    ) -> None:
        """Prepare branches that all keep as many tokens; prefix tokens are as in the intact one."""
        image, embeds = prompt.spans.image, prompt.inputs_embeds
        self._rankings = {branch.cut: branch.ranking for branch in branches}
        self._keep, self._image, self._n_answer = branches[0].keep, image, n_answer
        self._n_branches, self._n_prefix, self._room = len(branches), n_prefix, room
        text = [*range(n_prefix, image.start), *range(image.stop, len(prompt) + n_answer)]
        self._text = torch.tensor(text, device=embeds.device)
        self._n_own = self._keep + len(text)
        visible = torch.ones(self._n_own, n_prefix + self._n_own, dtype=torch.bool)
        self._mask = visible.tril(n_prefix).to(embeds.device)[None, None]
        self._positions = self._text.new_empty(0, self._n_own)
        self._in_branches = False
        self.hidden = embeds.new_empty(0, self._n_own, embeds.shape[-1])
        self.caches: list[BranchCache] = []

    def attend(self, layer: int, call: Attention) -> Tensor:
        # a layer's second call is that of the branches
        return self._attend_truncated(call) if self._in_branches else super().attend(layer, call)

    def see(self, layer: int, call: Attention) -> None:
        self._intact = call
        self._own = call.key[:0, :, : self._n_own], call.value[:0, :, : self._n_own]

    def after_layer(
        self, layer: int, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor
    ) -> None:
        if layer in self._rankings:
            self._begin(args[0], self._rankings[layer])
        if len(self.hidden):
            self._in_branches = True
            # not module(...): that would call this hook again
            self.hidden = module.forward(self.hidden, **self._at_positions(kwargs))
            self._in_branches = False
        if self._room:
            self.caches.append(self._cache())
        if self._keep and layer + 1 in self._rankings and self._rankings[layer + 1] is None:
            rows = attention_rows(self._intact, self._n_answer + 1)  # from the last prompt token on
            self._rankings[layer + 1] = rows[:, 0].mean(0)[self._image]

    def _begin(self, hidden: Tensor, ranking: Tensor | None) -> None:
        """Start a branch from a layer's intact input (1, S, D)."""
        positions = self._text
        if ranking is not None:
            best = ranking.topk(self._keep).indices.to(positions.device) + self._image.start
            positions = torch.cat([best, positions]).sort().values
        self._positions = torch.cat([self._positions, positions[None]])
        # layers may lie on several devices; positions stay where the prompt is
        begun = hidden[:, positions.to(hidden.device)]
        self.hidden = torch.cat([self.hidden.to(begun.device), begun])

    def _at_positions(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Turn the intact prompt's layer arguments into those of the branches."""
        at = self._positions
        cosine, sine = kwargs["position_embeddings"]
        places = kwargs["position_ids"]  # None where only the rotation knows of several axes
        return kwargs | {
            "position_ids": None if places is None else places.squeeze(-2)[..., at],
            "position_embeddings": (cosine[0][at], sine[0][at]),
        }

    def _attend_truncated(self, call: Attention) -> Tensor:
        self._own = call.key, call.value
        key, value = (
            torch.cat([intact[:, :, : self._n_prefix].expand(len(own), -1, -1, -1), own], dim=2)
            for intact, own in zip((self._intact.key, self._intact.value), self._own, strict=True)
        )
        return ordinary_attention(call._replace(key=key, value=value), self._visible())

    def _visible(self) -> Tensor:
        """Say which keys the branches' queries may see: (1 or b, 1, U, P + U)."""
        own, hidden = self._intact.mask, self._intact.hidden
        causal = mask = self._mask.to(self._intact.key.device)
        if own is None and hidden is None:
            return mask
        positions = self._positions.to(mask.device)
        prefix = torch.arange(self._n_prefix, device=mask.device).expand(len(positions), -1)
        keys = torch.cat([prefix, positions], dim=1)
        if own is not None:
            mask = own[positions[:, :, None], keys[:, None]][:, None]
        if hidden is not None:
            mask = mask & ~hidden[keys][:, None, None] | causal.triu(self._n_prefix)
        return mask

    def _cache(self) -> "BranchCache":
        """Keep a layer's keys and values; branches not begun see those of the whole prompt."""
        intact, (key, value) = self._intact, self._own
        n_shared, (n_begun, groups, n_own, width) = intact.key.shape[2], key.shape
        # zeros, not empty: hidden places are weighted with zero, and zero times NaN is NaN
        own = key.new_zeros(2, self._n_branches, groups, n_own + self._room, width)
        own[0, :n_begun, :, :n_own], own[1, :n_begun, :, :n_own] = key, value
        n_prompt, device = n_shared + n_own, key.device
        size = self._n_branches, n_prompt + self._room
        hidden = torch.zeros(size, dtype=torch.bool, device=device)
        hidden[:n_begun, self._n_prefix : n_shared] = True
        hidden[n_begun:, n_shared:n_prompt] = True
        if intact.hidden is not None:
            hidden[:, :n_shared] |= intact.hidden
            hidden[:n_begun, n_shared:n_prompt] |= intact.hidden[self._positions.to(device)]
        bias = torch.zeros(hidden.shape, device=device).masked_fill(hidden, -torch.inf)
        shared = intact.key[0], intact.value[0]
        return BranchCache(shared, own, bias[:, None, None], n_own)


@dataclass
class BranchCache:
    """The keys and values of B branches at one layer, while they are decoded."""

    shared: KeyValue  # the intact prompt's, (G, S, d)
    own: Tensor  # (2, B, G, U + N, d): U prompt tokens, then room for N generated ones
    bias: Tensor  # of the scores: (B, 1, 1, S + U + N)
    length: int  # how many of the own tokens are there

    def attend(self, call: Attention) -> Tensor:
        """Take in each branch's newest token and attend from it: shape (B, 1, H, d)."""
        self.own[..., self.length, :] = torch.stack([call.key, call.value])[..., 0, :]
        self.length += 1
        bias = self.bias[..., : self.shared[0].shape[1] + self.length]
        return _cascade_attention(call, self.shared, self.own[..., : self.length, :], bias)

    def keep(self, branches: Tensor) -> None:
        """Drop all branches but those that a mask, or places, choose."""
        branches = branches.to(self.bias.device)
        self.own, self.bias = self.own[:, branches], self.bias[branches]


class CachedBranches(Observer):
    """Decodes all branches as one batch, one token a pass."""

    def __init__(self, caches: list[BranchCache]) -> None:
        self._caches = caches

    def attend(self, layer: int, call: Attention) -> Tensor:
        return self._caches[layer].attend(call)


def _cascade_attention(call: Attention, shared: KeyValue, own: Tensor, bias: Tensor) -> Tensor:
    """Attend from one query a branch (B, H, 1, d) to shared and to own keys: (B, 1, H, d).

    One softmax runs over both, so the result is that of attention to the joined keys; the shared
    ones (G, S, d) are read once for all branches and never copied. A bias is added to the scores.
    """
    (shared_key, shared_value), (own_key, own_value) = shared, own
    n, heads, _, width = call.query.shape
    groups, n_shared, _ = shared_key.shape
    query = call.query.reshape(n, groups, heads // groups, width)
    folded = query.transpose(0, 1).reshape(groups, -1, width)
    to_shared = (folded @ shared_key.mT).view(groups, n, -1, n_shared).transpose(0, 1)
    scores = torch.cat([to_shared, query @ own_key.mT], dim=-1)
    weights = (scores.float() * call.scaling + bias).softmax(-1).to(query.dtype)
    folded = weights[..., :n_shared].transpose(0, 1).reshape(groups, -1, n_shared)
    from_shared = (folded @ shared_value).view(groups, n, -1, shared_value.shape[-1])
    output = from_shared.transpose(0, 1) + weights[..., n_shared:] @ own_value
    return output.reshape(n, 1, heads, -1)
