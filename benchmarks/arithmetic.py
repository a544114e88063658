"""What a way of measuring should cost, from the tokens it takes through the decoder's layers.

Ratios of tokens are the predictions for any machine, and on a GPU of known speed they become
seconds.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

from benchmarks.model import Layer, Size
from infoflow.evaluate.costs import Card
from infoflow.models.prompt import Spans

H200 = Card("H200", operations_per_second=790e12, bytes_per_second=4.3e12)
"""As it is reached on large matrices."""


def saved_share(size: Size) -> float:
    """What checkpointing keeps of the activations that a backward pass needs, roughly.

    A layer keeps, in units of D numbers a token, the inputs of two norms (2), queries, keys, values
    and the output of attention (4), and three tensors of the feed-forward layer's inner width.
    Checkpointed, it keeps its input (1), and one layer at a time has all of them.
    """
    of_layer = 6 + 3 * size.inner / size.width
    return (size.layers + of_layer) / (size.layers * of_layer)


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

    def seconds(self, layer: Layer, card: Card) -> float:
        """Turn it into seconds on a GPU."""
        return sum(calls.number * card.seconds(*layer, *calls[1:]) for calls in self)


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

    def knockout(self, n_own: int, window: int) -> Work:
        """An edge blocked around every layer, beside one pass: the last rows of each window again.

        They are computed from the window's first layer on.
        """
        half, pairs = window // 2, n_own * self.spans.user.stop
        begun = (min(layer + half + 1, self.layers) for layer in range(self.layers))
        return Work(Calls(1, n * n_own, n * pairs) for n in begun)

    def gradients(self, n_images: int, recomputed: bool = False) -> Work:
        """Forward and backward passes of noisy images; a backward pass costs one forward."""
        return self.one_pass().times(n_images * (3 if recomputed else 2))

    def masked(self, n_cuts: int) -> Work:
        """One full masked pass a cut."""
        return self.one_pass().times(n_cuts)

    def masked_with_cache(self, n_tokens: int) -> Work:
        """A masked pass for each of the L + 1 cuts, then token after token with a cache."""
        return self.answer(n_tokens).times(self.layers + 1)

    def dropped(self) -> Work:
        """A pass for each of the L + 1 cuts, without the image from the cut on."""
        s, n = self.spans.user.stop, self.spans.image.stop - self.spans.image.start
        rest = s - n
        return Work(
            calls
            for cut in range(self.layers + 1)
            for calls in (
                Calls(cut, s, s * (s + 1) // 2),
                Calls(self.layers - cut, rest, rest * (rest + 1) // 2),
            )
        )

    def _steps(self, n_tokens: int, n_branches: int) -> Work:
        """Decode after the first token: one of every branch at a time."""
        steps = ((n_branches, n_branches * (self.spans.user.stop + t)) for t in range(1, n_tokens))
        return Work(Calls(self.layers, *step) for step in steps)
