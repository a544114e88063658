"""Truncated branches: the prompt without its image from a layer on, run beside the intact one.

A branch is cheap because it recomputes only what removing the image changes: tokens before the
image never see it, so their keys are the intact prompt's; a branch starts as a copy of the intact
hidden states; and all branches go through a layer as one batch.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from infoflow.hooks.attention import Attention, attention_rows, ordinary_attention
from infoflow.hooks.forward import Observer
from infoflow.models.lvlm import Prompt

KeyValue = tuple[Tensor, Tensor]
"""Keys and values, of the same leading shape."""


class Plan(NamedTuple):
    """Which branches to run, and what they keep.

    Attributes:
        asked: The cuts in the order asked for.
        n_layers: L.
        keep: K.
        ranking: Scores of the image tokens, a row a truncated cut, or None for the attention that
            the last prompt token pays them in the layer before the cut, heads averaged (paper,
            Eq. 10-11).
    """

    asked: list[int]
    n_layers: int
    keep: int
    ranking: Tensor | None = None

    @property
    def distinct(self) -> list[int]:
        """The cuts, ascending, each once: a branch each."""
        return sorted(set(self.asked))

    @property
    def truncated(self) -> list[int]:
        """The cuts that truncate anything."""
        return [cut for cut in self.distinct if cut < self.n_layers]

    def part(self, cuts: list[int]) -> "Plan":
        """Take some neighbouring cuts of ``distinct``."""
        first = self.distinct.index(cuts[0])
        ranking = None if self.ranking is None else self.ranking[first : first + len(cuts)]
        return self._replace(asked=cuts, ranking=ranking)


class Branches(Observer):
    """Runs, beside the intact prompt, one branch for each cut.

    The branch of cut ``c`` starts before layer ``c`` with the U positions it keeps: all text after
    the P tokens of the prefix and, of the image, the K tokens that rank highest. Tokens stay at
    their original positions. From layer ``c`` on every layer is called a second time, on all
    branches begun so far.

    Attributes:
        hidden: The branches begun so far, shape (b, U, D), in order of their cuts.
        caches: One ``BranchCache`` a layer if there is room for tokens to decode, else empty.
    """

    def __init__(self, plan: Plan, prompt: Prompt, n_tokens: int, n_prefix: int, room: int) -> None:
        """Prepare the branches of a prompt, in a sequence of S tokens with an answer read in.

        The prefix are leading tokens, at most those before the image, that are the same in a branch
        as in the intact prompt. There is room for so many generated tokens.
        """
        image, embeds = prompt.spans.image, prompt.inputs_embeds
        self._plan, self._image, self._n_prefix, self._room = plan, image, n_prefix, room
        self._n_rows = n_tokens - len(prompt) + 1  # from the last prompt token on
        text = [*range(n_prefix, image.start), *range(image.stop, n_tokens)]
        self._text = torch.tensor(text, device=embeds.device)
        n_own = plan.keep + len(text)
        visible = torch.ones(n_own, n_prefix + n_own, dtype=torch.bool)
        self._mask = visible.tril(n_prefix).to(embeds.device)[None, None]
        self._positions = self._text.new_empty(0, n_own)
        self._in_branches = False
        self._intact: Attention
        self._own: KeyValue
        self._row: Tensor
        self.hidden = embeds.new_empty(0, n_own, embeds.shape[-1])
        self.caches: list[BranchCache] = []

    def attend(self, layer: int, call: Attention) -> Tensor:
        """Answer for the intact prompt or, during a layer's second call, for the branches."""
        return self._attend_truncated(call) if self._in_branches else super().attend(layer, call)

    def see(self, layer: int, call: Attention) -> None:
        n_own = self._text.shape[0] + self._plan.keep
        self._intact = call
        self._own = call.key[:0, :, :n_own], call.value[:0, :, :n_own]

    def after_layer(
        self, layer: int, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor
    ) -> None:
        """Begin this layer's branch, if it has one, and run the layer on all branches."""
        plan = self._plan
        if layer in plan.truncated:
            self._begin(args[0])
        if len(self.hidden):
            self._in_branches = True
            # not module(...): that would call this hook again
            self.hidden = module.forward(self.hidden, **self._at_positions(kwargs))
            self._in_branches = False
        if self._room:
            n_branches = len(plan.distinct)
            cache = BranchCache(self._intact, self._own, n_branches, self._n_prefix, self._room)
            cache.hide(self._intact.hidden, self._positions)
            self.caches.append(cache)
        if plan.keep and plan.ranking is None and layer + 1 in plan.truncated:
            self._row = attention_rows(self._intact, self._n_rows)[:, 0].mean(0)[self._image]

    def _begin(self, hidden: Tensor) -> None:
        """Start a branch from a layer's intact input, shape (1, S, D)."""
        positions, plan = self._text, self._plan
        if plan.keep:
            row = self._row if plan.ranking is None else plan.ranking[len(self.hidden)]
            best = row.topk(plan.keep).indices.to(positions.device) + self._image.start
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

    def _attend_truncated(self, call: Attention) -> Tensor:
        self._own = call.key, call.value
        key, value = (
            torch.cat([intact[:, :, : self._n_prefix].expand(len(own), -1, -1, -1), own], dim=2)
            for intact, own in zip((self._intact.key, self._intact.value), self._own, strict=True)
        )
        return ordinary_attention(call._replace(key=key, value=value), self._visible())

    def _visible(self) -> Tensor:
        """Say which keys the branches' queries may see: (1 or b, 1, U, P + U)."""
        hidden = self._intact.hidden
        mask = self._mask.to(self._intact.key.device)
        if hidden is None:
            return mask
        positions = self._positions.to(mask.device)
        prefix = hidden[: self._n_prefix].expand(len(positions), -1)
        hidden = torch.cat([prefix, hidden[positions]], dim=1)
        return mask & ~hidden[:, None, None] | mask.triu(self._n_prefix)


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
        self, intact: Attention, truncated: KeyValue, n_branches: int, n_prefix: int, room: int
    ) -> None:
        """Fill the cache from the intact prompt's call and the keys and values of branches.

        These, (b, G, U, d), are of those truncated at this layer, the first b of all: they see the
        prefix and these; the others see the whole prompt.
        """
        n_truncated, _, self.length, _ = truncated[0].shape
        n_shared = intact.key.shape[2]
        self.shared = intact.key[0], intact.value[0]
        self.own = (
            _with_room(truncated[0], n_branches, room),
            _with_room(truncated[1], n_branches, room),
        )
        hidden = torch.zeros(n_branches, n_shared + self.length + room, dtype=torch.bool)
        hidden[:n_truncated, n_prefix:n_shared] = True
        hidden[n_truncated:, n_shared : n_shared + self.length] = True
        bias = torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)
        self.bias = bias.to(intact.key.device)[:, None, None]

    def hide(self, hidden: Tensor | None, positions: Tensor) -> None:
        """Hide prompt tokens (S,) from generated ones; positions (b, U) are those of own keys."""
        if hidden is None:
            return
        n_shared, (n_truncated, n_own) = len(hidden), positions.shape
        self.bias[..., :n_shared].masked_fill_(hidden, -torch.inf)
        own = self.bias[:n_truncated, 0, 0, n_shared : n_shared + n_own]
        own.masked_fill_(hidden[positions.to(hidden.device)], -torch.inf)

    def attend(self, call: Attention) -> Tensor:
        """Take in each branch's newest token and attend from it: shape (B, 1, H, d)."""
        key, value = self.own
        key[:, :, self.length] = call.key[:, :, 0]
        value[:, :, self.length] = call.value[:, :, 0]
        self.length += 1
        own = key[:, :, : self.length], value[:, :, : self.length]
        bias = self.bias[..., : self.shared[0].shape[1] + self.length]
        return _cascade_attention(call, self.shared, own, bias)

    def keep(self, branches: Tensor) -> None:
        """Drop all branches but those at the given places."""
        branches = branches.to(self.bias.device)
        self.own = self.own[0][branches], self.own[1][branches]
        self.bias = self.bias[branches]


class CachedBranches(Observer):
    """Decodes all branches as one batch, one token a pass."""

    def __init__(self, caches: list[BranchCache]) -> None:
        self._caches = caches

    def attend(self, layer: int, call: Attention) -> Tensor:
        """Attend each branch's newest token to what that branch may see."""
        return self._caches[layer].attend(call)

    def keep(self, branches: Tensor) -> None:
        """Drop all branches but those at the given places."""
        for cache in self._caches:
            cache.keep(branches)


def _cascade_attention(call: Attention, shared: KeyValue, own: KeyValue, bias: Tensor) -> Tensor:
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


def _with_room(filled: Tensor, n_branches: int, room: int) -> Tensor:
    """Copy (b, G, U, d) to the front of zeros of shape (B, G, U + N, d)."""
    b, groups, length, width = filled.shape
    # zeros, not empty: hidden places are weighted with zero, and zero times NaN is NaN
    roomy = filled.new_zeros(n_branches, groups, length + room, width)
    roomy[:b, :, :length] = filled
    return roomy
