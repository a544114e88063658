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


def drawn_half(names: Iterable[str], split: str) -> list[str]:
    """Take one half of names: what is chosen on it can be reported on the other.

    Args:
        names: What is halved; repeated names count once, and their order does not matter.
        split: ``"calibration"`` for the half drawn first, ``"held-out"`` for the other, which has
            one more where their number is odd.

    Returns:
        The half's names in drawn order.
    """
    drawn = in_drawn_order(names)
    middle = len(drawn) // 2
    return drawn[:middle] if split == "calibration" else drawn[middle:]
