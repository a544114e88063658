"""Truncated branches: the prompt without its image from a layer on, run beside the intact one.

A branch is cheap because it recomputes only what removing the image changes: tokens before the
image never see it, so their keys are the intact prompt's; a branch starts as a copy of the intact
hidden states; and all branches go through a layer as one batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from infoflow.hooks.attention import Attention, attention_rows, ordinary_attention
from infoflow.hooks.probe import Observer, intervened
from infoflow.models.lvlm import Spans

KeyValue = tuple[Tensor, Tensor]
"""Keys and values, of the same leading shape."""


def cascade_attention(call: Attention, shared: KeyValue, own: KeyValue, bias: Tensor) -> Tensor:
    """Attend from one query a branch to keys that all branches share and to keys of its own.

    One softmax runs over both, so the result is that of attention to the joined keys; the shared
    ones are read once for all branches and never copied.

    Args:
        call: The call, with queries of shape (B, H, 1, d); its keys and values are not used.
        shared: Keys and values of shape (G, S, d).
        own: Keys and values of shape (B, G, T, d).
        bias: Added to the scores, shape (B, 1, 1, S + T); minus infinity hides a key.

    Returns:
        Shape (B, 1, H, d).
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


class BranchCache:
    """The keys and values of B branches at one layer, while they are decoded.

    Attributes:
        shared: The intact prompt's keys and values, shape (G, S, d).
        own: The branches' keys and values, shape (B, G, U + N, d): U prompt tokens that a
            truncated branch recomputes, then room for N generated ones.
        bias: What each branch may see, shape (B, 1, 1, S + U + N): zero, or minus infinity.
        length: How many of the U + N places are filled.
    """

    def __init__(
        self, intact: KeyValue, truncated: KeyValue, n_branches: int, n_prefix: int, room: int
    ) -> None:
        """Fill the cache from a prompt's prefill.

        Args:
            intact: The intact prompt's keys and values, shape (1, G, S, d).
            truncated: Those of the branches that are truncated at this layer, the first b of all:
                shape (b, G, U, d). They see the prefix and these; the others see the whole prompt.
            n_branches: B.
            n_prefix: Tokens before the image.
            room: N.
        """
        n_truncated, _, self.length, _ = truncated[0].shape
        n_shared = intact[0].shape[2]
        self.shared = intact[0][0], intact[1][0]
        self.own = (
            _with_room(truncated[0], n_branches, room),
            _with_room(truncated[1], n_branches, room),
        )
        hidden = torch.zeros(n_branches, n_shared + self.length + room, dtype=torch.bool)
        hidden[:n_truncated, n_prefix:n_shared] = True
        hidden[n_truncated:, n_shared : n_shared + self.length] = True
        bias = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)
        self.bias = bias.to(intact[0].device)[:, None, None]

    def hide(self, hidden: Tensor, positions: Tensor) -> None:
        """Hide prompt tokens from the tokens that will be generated.

        Args:
            hidden: Which tokens, boolean of shape (S,).
            positions: Where in the prompt the truncated branches' own keys lie, shape (b, U).
        """
        n_shared, (n_truncated, n_own) = len(hidden), positions.shape
        self.bias[..., :n_shared].masked_fill_(hidden, -torch.inf)
        own = self.bias[:n_truncated, 0, 0, n_shared : n_shared + n_own]
        own.masked_fill_(hidden[positions], -torch.inf)

    def attend(self, call: Attention) -> Tensor:
        """Take in each branch's newest token and attend from it: shape (B, 1, H, d)."""
        key, value = self.own
        key[:, :, self.length] = call.key[:, :, 0]
        value[:, :, self.length] = call.value[:, :, 0]
        self.length += 1
        own = key[:, :, : self.length], value[:, :, : self.length]
        bias = self.bias[..., : self.shared[0].shape[1] + self.length]
        return cascade_attention(call, self.shared, own, bias)

    def keep(self, branches: Tensor) -> None:
        """Drop all branches but those at the given places."""
        branches = branches.to(self.bias.device)
        self.own = self.own[0][branches], self.own[1][branches]
        self.bias = self.bias[branches]


class CachedBranches(Observer):
    """Decodes all branches as one batch, one token a pass."""

    def __init__(self, caches: Sequence[BranchCache]) -> None:
        self._caches = caches

    def attend(self, layer: int, call: Attention) -> Tensor:
        """Attend each branch's newest token to what that branch may see."""
        return self._caches[layer].attend(call)

    def keep(self, branches: Tensor) -> None:
        """Drop all branches but those at the given places."""
        for cache in self._caches:
            cache.keep(branches)


class Branches(Observer):
    """Runs, beside the intact prompt, one branch for each cut.

    The branch of cut ``c`` starts before layer ``c`` with the U positions it keeps: all text after
    the prefix and, of the image, the K tokens that rank highest. Tokens stay at their original
    positions. From layer ``c`` on every layer is called a second time, on all branches begun so
    far.

    Attributes:
        hidden: The branches begun so far, shape (b, U, D), in order of their cuts.
        caches: One ``BranchCache`` a layer if room was asked for, else empty.
    """

    def __init__(
        self,
        cuts: Sequence[int],
        spans: Spans,
        embeds: Tensor,
        keep: int,
        ranking: Tensor | None,
        n_prefix: int,
        n_branches: int,
        room: int,
    ) -> None:
        """Prepare the branches of one prompt.

        Args:
            cuts: The truncated branches' cuts, ascending, each below the number of layers.
            spans: The prompt's token groups.
            embeds: The prompt and, perhaps, an answer that is read in after it: shape (1, S, D).
            keep: K, how many image tokens a branch keeps.
            ranking: Each branch's scores of the image tokens, shape (b, N). None for the attention
                that the last prompt token pays them in layer ``c - 1``, heads averaged (paper,
                Eq. 10-11); with K > 0 cuts then start at 1.
            n_prefix: How many leading tokens, at most those before the image, are the same in a
                branch as in the intact prompt.
            n_branches: B, how many branches will be decoded, untruncated ones included.
            room: N, how many generated tokens to leave room for.
        """
        self._cuts, self._image, self._keep = set(cuts), spans.image, keep
        self._n_branches, self._room = n_branches, room
        self._n_prefix = n_prefix
        self._ranking = ranking
        device, n_tokens = embeds.device, embeds.shape[1]
        self._n_rows = n_tokens - spans.user.stop + 1  # from the last prompt token on
        text = [*range(n_prefix, spans.image.start), *range(spans.user.start, n_tokens)]
        self._text = torch.tensor(text, device=device)
        self._n_own = keep + len(text)
        visible = torch.ones(self._n_own, self._n_prefix + self._n_own, dtype=torch.bool)
        self._mask = visible.tril(self._n_prefix).to(device)[None, None]
        self._positions = self._text.new_empty(0, self._n_own)
        self._answer: Callable[[Attention], Tensor] = self._attend_intact
        self._intact: KeyValue
        self._own: KeyValue
        self._hidden: Tensor | None
        self._row: Tensor
        self._row_before: Tensor
        self.hidden = embeds.new_empty(0, self._n_own, embeds.shape[-1])
        self.caches: list[BranchCache] = []

    def attend(self, layer: int, call: Attention) -> Tensor:
        """Answer for the intact prompt or, during a layer's second call, for the branches."""
        return self._answer(call)

    def after_layer(
        self,
        layer: int,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Tensor,
    ) -> None:
        """Begin this layer's branch, if it has one, and run the layer on all branches."""
        if layer in self._cuts:
            self._begin(args[0])
        if len(self.hidden):
            self._answer = self._attend_truncated
            # not module(...): that would call this hook again
            self.hidden = module.forward(self.hidden, **self._at_positions(kwargs))
            self._answer = self._attend_intact
        if self._room:
            self.caches.append(self._cache())
        if self._ranks_by_attention:
            self._row_before = self._row

    @property
    def _ranks_by_attention(self) -> bool:
        return self._keep > 0 and self._ranking is None

    def _begin(self, hidden: Tensor) -> None:
        """Start a branch from a layer's intact input, shape (1, S, D)."""
        positions = self._text
        if self._keep:
            row = self._row_before if self._ranking is None else self._ranking[len(self.hidden)]
            best = row.topk(self._keep).indices.to(positions.device) + self._image.start
            positions = torch.cat([best, positions]).sort().values
        self._positions = torch.cat([self._positions, positions[None]])
        # layers may lie on several devices; positions stay where the prompt is
        begun = hidden[:, positions.to(hidden.device)]
        self.hidden = torch.cat([self.hidden.to(begun.device), begun])

    def _at_positions(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Turn the intact prompt's layer arguments into those of the branches."""
        at = self._positions
        cosine, sine = kwargs["position_embeddings"]
        return kwargs | {
            "position_ids": kwargs["position_ids"][0][at],
            "position_embeddings": (cosine[0][at], sine[0][at]),
        }

    def _cache(self) -> BranchCache:
        """Keep this layer's keys and values for decoding."""
        cache = BranchCache(self._intact, self._own, self._n_branches, self._n_prefix, self._room)
        if self._hidden is not None:
            cache.hide(self._hidden, self._positions.to(self._hidden.device))
        return cache

    def _attend_intact(self, call: Attention) -> Tensor:
        call = intervened(call)
        self._intact, self._hidden = (call.key, call.value), call.hidden
        self._own = call.key[:0, :, : self._n_own], call.value[:0, :, : self._n_own]
        if self._ranks_by_attention:
            self._row = attention_rows(call, self._n_rows)[:, 0].mean(0)[self._image]
        return ordinary_attention(call)

    def _attend_truncated(self, call: Attention) -> Tensor:
        self._own = call.key, call.value
        n = len(self.hidden)
        key, value = (
            torch.cat([intact[:, :, : self._n_prefix].expand(n, -1, -1, -1), own], dim=2)
            for intact, own in zip(self._intact, self._own, strict=True)
        )
        return ordinary_attention(call._replace(key=key, value=value), self._visible())

    def _visible(self) -> Tensor:
        """Say which keys the branches' queries may see: (1 or b, 1, U, P + U), P the prefix."""
        mask = self._mask.to(self._intact[0].device)
        if self._hidden is None:
            return mask
        positions = self._positions.to(mask.device)
        prefix = self._hidden[: self._n_prefix].expand(len(positions), -1)
        hidden = torch.cat([prefix, self._hidden[positions]], dim=1)
        return mask & ~hidden[:, None, None] | mask.triu(self._n_prefix)


def _with_room(filled: Tensor, n_branches: int, room: int) -> Tensor:
    """Copy (b, G, U, d) to the front of zeros of shape (B, G, U + N, d)."""
    b, groups, length, width = filled.shape
    # zeros, not empty: hidden places are weighted with zero, and zero times NaN is NaN
    roomy = filled.new_zeros(n_branches, groups, length + room, width)
    roomy[:b, :, :length] = filled
    return roomy
