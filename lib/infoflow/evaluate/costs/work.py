"""What a way of measuring should cost, from the tokens it takes through the decoder's layers.

The same count serves twice: ratios of tokens are the predictions for any machine, and on a GPU of
known speed they become seconds.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

from infoflow.models.prompt import Spans

BYTES_PER_NUMBER = 2  # weights and activations are counted in bfloat16


class Card(NamedTuple):
    """A GPU: its dense bfloat16 operations, and the bytes it reads from its memory, a second."""

    name: str
    operations_per_second: float
    bytes_per_second: float


class Layer(NamedTuple):
    """A decoder layer: the number of its weights, and its width D."""

    parameters: int
    width: int


class Calls(NamedTuple):
    """Equal calls of one decoder layer each: how many, tokens and pairs of query and key a call."""

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
        """Turn it into seconds on a GPU, of whose peaks a share is reached.

        A call takes as long as its arithmetic or the reading of its weights, whichever is longer,
        and at least ``least``, for the CPU's part in it.
        """
        reading = BYTES_PER_NUMBER * layer.parameters / card.bytes_per_second
        total = 0.0
        for number, tokens, pairs in self:
            operations = 2 * layer.parameters * tokens + 4 * layer.width * pairs
            busy = max(operations / card.operations_per_second, reading) / share
            total += number * max(busy, least)
        return total


@dataclass(frozen=True)
class Ways:
    """The work of each way, for L layers and a prompt with the given token groups."""

    layers: int
    spans: Spans

    def one_pass(self) -> Work:
        """Run the prompt through the untouched model."""
        s = self.spans.user.stop
        return Work([Calls(self.layers, s, s * (s + 1) // 2)])

    def answer(self, n_tokens: int) -> Work:
        """Answer with the untouched model: a pass, then token after token with a cache."""
        return self.one_pass() + self._steps(n_tokens, n_branches=1)

    def sweep(self, n_tokens: int = 1, keep: int = 0) -> Work:
        """All cuts in one pass: from each cut on, only U + K tokens are computed again.

        With K > 0 there is no cut 0. Decoding takes a token of every cut at a time.
        """
        image, user = self.spans.image, self.spans.user
        own, fewest = user.stop - user.start + keep, 1 - min(keep, 1)
        pairs, most = own * (image.start + own), self.layers + fewest
        branches = Work(Calls(1, n * own, n * pairs) for n in range(fewest, most))
        return self.one_pass() + branches + self._steps(n_tokens, n_branches=most)

    def gradients(self, n_images: int, recomputed: bool = False) -> Work:
        """Forward and backward passes of noisy images; a backward pass costs one forward."""
        return self.one_pass().times(n_images * (3 if recomputed else 2))

    def _steps(self, n_tokens: int, n_branches: int) -> Work:
        """Decode after the first token: one of every branch at a time."""
        steps = ((n_branches, n_branches * (self.spans.user.stop + t)) for t in range(1, n_tokens))
        return Work(Calls(self.layers, *step) for step in steps)
