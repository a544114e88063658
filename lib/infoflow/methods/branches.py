"""Branches: the prompt as it would be read if something were changed, run beside the intact one.

A branch is cheap because it recomputes only what the change reaches: tokens before the first that
changes see nothing of it, so their keys are the intact prompt's; a branch starts as a copy of the
intact hidden states; and all branches go through a layer as one batch.
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
    """Runs branches beside the intact prompt, each on U positions of its own from some layer on.

    From there on every layer is called a second time, on all branches begun so far: ``hidden``,
    (b, U, D), in the order in which they began. Tokens stay at their original positions.
    """

    def __init__(self, prompt: Prompt, n_own: int) -> None:
        embeds = prompt.inputs_embeds
        self._n_own, self._in_branches = n_own, False
        self._positions = torch.empty(0, n_own, dtype=torch.long, device=embeds.device)
        self.hidden = embeds.new_empty(0, n_own, embeds.shape[-1])

    def beginning(self, layer: int) -> Tensor:
        """Return the positions of the branches that begin before a layer: shape (n, U)."""
        raise NotImplementedError

    def attend_in_branches(self, layer: int, call: Attention) -> Tensor:
        """Answer a layer's attention call, as all branches make it: shape (b, U, H, d)."""
        raise NotImplementedError

    def attend(self, layer: int, call: Attention) -> Tensor:
        # a layer's second call is that of the branches
        return (self.attend_in_branches if self._in_branches else super().attend)(layer, call)

    def see(self, layer: int, call: Attention) -> None:
        self._intact = call

    def after_layer(
        self, layer: int, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor
    ) -> None:
        if len(begun := self.beginning(layer)):
            self._positions = torch.cat([self._positions, begun])
            # layers may lie on several devices; positions stay where the prompt is
            states = args[0][0, begun.to(args[0].device)]
            self.hidden = torch.cat([self.hidden.to(states.device), states])
        if len(self.hidden):
            places = kwargs["position_ids"]  # None where only the rotation knows of several axes
            ids = None if places is None else places.squeeze(-2)[..., self._positions]
            rotary = tuple(part[0][self._positions] for part in kwargs["position_embeddings"])
            own = kwargs | {"position_ids": ids, "position_embeddings": rotary}
            self._in_branches = True
            # not module(...): that would call this hook again
            self.hidden = module.forward(self.hidden, **own)
            self._in_branches = False


class Truncations(Branches):
    """One branch for each cut; all keep as many tokens.

    The branch of cut ``c`` starts before layer ``c`` with the U positions it keeps: all text after
    the P tokens of the prefix, which are as in the intact prompt, and, of the image, the K tokens
    that rank highest. If there is room for tokens to decode, ``caches`` holds one cache a layer.
    """

    def __init__(
        self, branches: list[Branch], prompt: Prompt, n_answer: int, n_prefix: int, room: int
    ) -> None:
        image, embeds = prompt.spans.image, prompt.inputs_embeds
        self._rankings = {branch.cut: branch.ranking for branch in branches}
        self._keep, self._image, self._n_answer = branches[0].keep, image, n_answer
        self._n_branches, self._n_prefix, self._room = len(branches), n_prefix, room
        text = [*range(n_prefix, image.start), *range(image.stop, len(prompt) + n_answer)]
        self._text = torch.tensor(text, device=embeds.device)
        super().__init__(prompt, self._keep + len(text))
        visible = torch.ones(self._n_own, n_prefix + self._n_own, dtype=torch.bool)
        self._mask = visible.tril(n_prefix).to(embeds.device)[None, None]
        self.caches: list[BranchCache] = []

    def beginning(self, layer: int) -> Tensor:
        ranking = self._rankings.get(layer)
        if ranking is None:
            return self._text[None][: int(layer in self._rankings)]
        best = ranking.topk(self._keep).indices.to(self._text.device) + self._image.start
        return torch.cat([best, self._text]).sort().values[None]

    def see(self, layer: int, call: Attention) -> None:
        super().see(layer, call)
        self._own = call.key[:0, :, : self._n_own], call.value[:0, :, : self._n_own]

    def after_layer(
        self, layer: int, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor
    ) -> None:
        super().after_layer(layer, module, args, kwargs, output)
        if self._room:
            self.caches.append(self._cache())
        if self._keep and layer + 1 in self._rankings and self._rankings[layer + 1] is None:
            rows = attention_rows(self._intact, self._n_answer + 1)  # from the last prompt token on
            self._rankings[layer + 1] = rows[:, 0].mean(0)[self._image]

    def attend_in_branches(self, layer: int, call: Attention) -> Tensor:
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
        return cascade_attention(call, self.shared, self.own[..., : self.length, :], bias)

    def keep(self, branches: Tensor) -> None:
        branches = branches.to(self.bias.device)
        self.own, self.bias = self.own[:, branches], self.bias[branches]


class CachedBranches(Observer):
    """Decodes all branches as one batch, one token a pass."""

    def __init__(self, caches: list[BranchCache]) -> None:
        self._caches = caches

    def attend(self, layer: int, call: Attention) -> Tensor:
        return self._caches[layer].attend(call)


def cascade_attention(
    call: Attention, shared: KeyValue, own: Tensor | KeyValue, bias: Tensor
) -> Tensor:
    """Attend from each branch's queries (B, H, Q, d) to shared and to own keys: (B, Q, H, d).

    One softmax runs over both, so the result is that of attention to the joined keys; the shared
    ones (G, S, d) are read once for all branches and never copied. A bias is added to the scores.
    """
    (shared_key, shared_value), (own_key, own_value) = shared, own
    n_shared, queries = shared_key.shape[1], call.query.shape[:-1]
    grouped = call.query.reshape(len(own_key), len(shared_key), -1, call.query.shape[-1])
    to_shared = torch.einsum("bgqd,gkd->bgqk", grouped, shared_key)
    scores = torch.cat([to_shared, grouped @ own_key.mT], dim=-1)
    scores = scores.view(*queries, -1).float() * call.scaling + bias
    weights = scores.softmax(-1).to(grouped.dtype).view(*grouped.shape[:-1], -1)
    from_shared = torch.einsum("bgqk,gkd->bgqd", weights[..., :n_shared], shared_value)
    output = from_shared + weights[..., n_shared:] @ own_value
    return output.reshape(*queries, -1).transpose(1, 2)
