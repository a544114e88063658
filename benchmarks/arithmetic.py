"""What a GPU, checkpointing and the baselines are counted with, beside the library's counts."""

from benchmarks.model import Size
from infoflow.evaluate.costs.work import Calls, Card, Ways, Work

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


class BaselineWays(Ways):
    """With the work of the ways that the sweep over all cuts is compared with."""

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
