"""What a way of measuring should cost, from the tokens it takes through the decoder's layers.

The same count serves twice: ratios of tokens are the predictions for any machine, and on a GPU of
known speed they become seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

from infoflow.models.prompt import Spans

BYTES_PER_NUMBER = 2
"""Weights and activations are counted in bfloat16."""


class Card(NamedTuple):
    """A GPU as its maker describes it.

    Attributes:
        name: Its name.
        operations_per_second: Dense bfloat16 operations.
        bytes_per_second: What it reads from its memory.
    """

    name: str
    operations_per_second: float
    bytes_per_second: float


class Layer(NamedTuple):
    """A decoder layer.

    Attributes:
        parameters: Its weights.
        width: D.
    """

    parameters: int
    width: int


class Calls(NamedTuple):
    """Some equal calls of one decoder layer each.

    Attributes:
        number: How many.
        tokens: Tokens in one call.
        pairs: Pairs of query and key in one call.
    """

    number: int
    tokens: int
    pairs: int


class Work(tuple[Calls, ...]):
    """All layer calls of a way of measuring."""

    def __add__(self, other: object) -> Self:
        """Do one after the other."""
        return type(self)((*self, *other))  # type: ignore[misc]

    def times(self, n: int) -> Self:
        """Do it n times."""
        return type(self)(calls._replace(number=n * calls.number) for calls in self)

    @property
    def tokens(self) -> int:
        """Tokens taken through a layer, over all layers and calls."""
        return sum(calls.number * calls.tokens for calls in self)

    def seconds(self, layer: Layer, card: Card, share: float = 1.0, least: float = 0.0) -> float:
        """Turn it into seconds on a GPU, the weights being read once a call.

        A call takes as long as its arithmetic or the reading of its weights, whichever is longer.

        Args:
            layer: A decoder layer.
            card: The GPU.
            share: How much of the GPU's peaks is reached, from 0 to 1.
            least: What a call takes at least, for the CPU's part in it.
        """
        reading = BYTES_PER_NUMBER * layer.parameters / card.bytes_per_second
        total = 0.0
        for calls in self:
            operations = 2 * layer.parameters * calls.tokens + 4 * layer.width * calls.pairs
            busy = max(operations / card.operations_per_second, reading) / share
            total += calls.number * max(busy, least)
        return total


@dataclass(frozen=True)
class Ways:
    """The work of each way, for L layers and a prompt of P, N image and U tokens.

    Attributes:
        layers: L.
        spans: The prompt's token groups.
    """

    layers: int
    spans: Spans

    @property
    def _length(self) -> int:
        return self.spans.user.stop

    @property
    def _after(self) -> int:
        return self.spans.user.stop - self.spans.user.start

    def one_pass(self) -> Work:
        """Run the prompt through the untouched model."""
        s = self._length
        return Work([Calls(self.layers, s, s * (s + 1) // 2)])

    def answer(self, n_tokens: int) -> Work:
        """Answer with the untouched model: a pass, then token after token with a cache."""
        steps = Work(Calls(self.layers, 1, self._length + t) for t in range(1, n_tokens))
        return self.one_pass() + steps

    def masked(self, n_cuts: int) -> Work:
        """One full masked pass a cut."""
        return self.one_pass().times(n_cuts)

    def masked_with_cache(self, n_tokens: int) -> Work:
        """A masked pass for each of the L + 1 cuts, then token after token with a cache."""
        return self.answer(n_tokens).times(self.layers + 1)

    def dropped(self) -> Work:
        """A pass for each of the L + 1 cuts, without the image from the cut on."""
        s, n = self._length, self.spans.image.stop - self.spans.image.start
        rest = s - n
        return Work(
            calls
            for cut in range(self.layers + 1)
            for calls in (
                Calls(cut, s, s * (s + 1) // 2),
                Calls(self.layers - cut, rest, rest * (rest + 1) // 2),
            )
        )

    def sweep(self, n_tokens: int = 1, keep: int = 0) -> Work:
        """All cuts in one pass: from each cut on, only U + K tokens are computed again.

        With K > 0 there is no cut 0. Decoding takes a token of every cut at a time.
        """
        own, first_cut = self._after + keep, min(keep, 1)
        pairs = own * (self.spans.image.start + own)
        branches = Work(
            Calls(1, n * own, n * pairs) for n in range(1 - first_cut, self.layers + 1 - first_cut)
        )
        return self.one_pass() + branches + Work(self._steps(n_tokens, first_cut))

    def _steps(self, n_tokens: int, first_cut: int) -> Iterator[Calls]:
        n_cuts = self.layers + 1 - first_cut
        for t in range(1, n_tokens):
            yield Calls(self.layers, n_cuts, n_cuts * (self._length + t))

    def gradients(self, n_pictures: int, recomputed: bool = False) -> Work:
        """Forward and backward passes of noisy pictures; a backward pass costs one forward."""
        return self.one_pass().times(n_pictures * (3 if recomputed else 2))
