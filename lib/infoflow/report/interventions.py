"""Arms of an experiment side by side, each paired with one of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from infoflow.errors import InfoflowError
from infoflow.report.display import Table, table
from infoflow.stats.paired import LEVEL, Equivalence, McNemar, equivalence, mcnemar


@dataclass(frozen=True)
class Comparison:
    """One arm beside another on the same items.

    Attributes:
        score: The arm's mean score, from 0 to 1.
        worse: Items that score lower than in the other arm.
        better: Items that score higher.
        equivalence: The difference of mean scores against the margin, with its 90 % interval.
        mcnemar: McNemar's test; None unless all scores are 0 or 1.
    """

    score: float
    worse: int
    better: int
    equivalence: Equivalence
    mcnemar: McNemar | None

    @property
    def differs(self) -> bool:
        """Whether the two are told apart: McNemar's test at 5 %, else the 90 % interval."""
        if self.mcnemar is not None:
            return self.mcnemar.p_value < LEVEL
        return not self.equivalence.low <= 0 <= self.equivalence.high

    @property
    def equivalent(self) -> bool:
        """Whether the difference is shown to lie within the margin.

        A bootstrap of scores of which none changed holds nothing but zero, however few they are,
        so that shows nothing.
        """
        untouched = self.mcnemar is None and self.worse == self.better == 0
        return self.equivalence.equivalent and not untouched

    @property
    def points(self) -> str:
        """The difference and its 90 % interval in points, to be read."""
        return f"{100 * self.equivalence:+.1f}"


def compare_arms(
    intact: pd.DataFrame, arm: pd.DataFrame, margin: float, seed: int = 0
) -> Comparison:
    """Pair an arm's scores with those of the intact model, item by item.

    Args:
        intact: Rows with ``item`` and ``score``.
        arm: Rows about the same items, in any order.
        margin: The difference of mean scores that does not matter, from 0 to 1.
        seed: Seed of the bootstrap, for scores that are not 0 or 1.

    Raises:
        InfoflowError: The items are not the same.
    """
    before, after = (rows.set_index("item")["score"] for rows in (intact, arm))
    if set(before.index) != set(after.index):
        raise InfoflowError(
            f"{len(before)} and {len(after)} items are not the same items; "
            "arms are compared on the items that both have answered."
        )
    after = after[before.index]
    binary = before.isin((0, 1)).all() and after.isin((0, 1)).all()
    return Comparison(
        score=float(after.mean()),
        worse=int((after < before).sum()),
        better=int((after > before).sum()),
        equivalence=equivalence(before, after, margin, seed),
        mcnemar=mcnemar(before, after) if binary else None,
    )


def paired_table(
    arms: Mapping[str, pd.DataFrame], margin: float, title: str, seed: int = 0
) -> Table:
    """Every arm beside the first one, item by item.

    Args:
        arms: By name, rows of answers to the same items; the others are compared with the first.
        margin: The difference of mean scores that does not matter, from 0 to 1.
        title: What was measured, to begin the caption with.
        seed: Seed of the bootstrap, for scores that are not 0 or 1.
    """
    (first, intact), *others = arms.items()
    found = {name: compare_arms(intact, rows, margin, seed) for name, rows in others}
    within = f"within {100 * margin:g} points"
    columns = ["difference, points", "worse", "better", "McNemar p", within]
    mean = {"score %": f"{100 * intact['score'].mean():.1f}", **dict.fromkeys(columns, "-")}
    lines = {first: mean}
    for name, c in found.items():
        p_value = f"{c.mcnemar.p_value:.2g}" if c.mcnemar else "scores not binary"
        shown = "yes" if c.equivalent else "not shown"
        cells = (c.points, str(c.worse), str(c.better), p_value, shown)
        lines[name] = {"score %": f"{100 * c.score:.1f}", **dict(zip(columns, cells, strict=True))}
    differ = ", ".join(f"{name} ({c.points})" for name, c in found.items() if c.differs)
    same = ", ".join(name for name, c in found.items() if c.equivalent)
    by = "McNemar's test, p < 0.05" if all(c.mcnemar for c in found.values()) else "interval"
    return table(
        lines,
        f"{title}: {len(intact)} items, each arm paired with “{first}”. Told apart from it "
        f"({by}, uncorrected): {differ or 'none'}. "
        f"Shown to be within the margin (90 % interval inside it): {same or 'none'}.",
        index="arm",
    )
