"""What a GPU and checkpointing are counted with; the counting itself is the library's."""

from benchmarks.model import Size
from infoflow.evaluate.costs.work import Card

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
