"""Shallow, middle and deep layers."""

from typing import NamedTuple

import numpy as np

NAMES = ("shallow", "middle", "deep")


class Depth(NamedTuple):
    """A third of the layers, from first to last in the paper's count, 1 to L."""

    name: str
    first: int
    last: int

    @property
    def cut(self) -> int:
        """The cut that takes the image from this depth on, and from all layers above."""
        return self.first - 1


def depths(n_layers: int) -> list[Depth]:
    """Divide the layers into thirds, as equal as can be; the first ones take what is left over.

    Two layers are shallow and deep, a single one is shallow.
    """
    names = NAMES if n_layers >= len(NAMES) else (NAMES[0], NAMES[-1])[:n_layers]
    parts = np.array_split(np.arange(1, n_layers + 1), len(names))
    return [Depth(n, int(part[0]), int(part[-1])) for n, part in zip(names, parts, strict=True)]
