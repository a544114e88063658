"""A seeded order that is the same on every machine and in every version of every library."""

import hashlib
from collections.abc import Iterable

SEED = "infoflow"


def in_drawn_order(names: Iterable[str], seed: str = SEED) -> list[str]:
    """Shuffle names: each goes to the place its SHA-256 has among all.

    Args:
        names: What is drawn from; repeated names count once, and their order does not matter.
        seed: Goes before each name.

    Returns:
        The names in drawn order. The first n of it are a draw of n.
    """
    return sorted(set(names), key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
