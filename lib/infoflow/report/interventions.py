"""Arms of an experiment side by side, each paired with one of them."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from infoflow.errors import InfoflowError
from infoflow.report.display import Table
from infoflow.stats.paired import LEVEL, Equivalence, McNemar, equivalence, mcnemar

Arms = Mapping[str, pd.DataFrame]
"""By name, rows of :func:`infoflow.evaluate.interventions.answers_under` on the same items."""


@dataclass(frozen=True)
class Comparison:
    """One arm beside another on the same items.

    Attributes:
        score: The arm's mean score, from 0 to 1.
        worse: Items that score lower than in the other arm.
        better: Items that score higher.
        equivalence: The difference of mean scores against the margin.
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
        low, high = self.equivalence.interval
        return not low <= 0 <= high

    @property
    def equivalent(self) -> bool:
        """Whether the difference is shown to lie within the margin.

        A bootstrap of scores of which none changed holds nothing but zero, however few they are,
        so that shows nothing.
        """
        untouched = self.mcnemar is None and self.worse == self.better == 0
        return self.equivalence.equivalent and not untouched

    @property
    def change(self) -> dict[str, float]:
        """The difference and its 90 % interval in points: ``change``, ``low``, ``high``."""
        low, high = self.equivalence.interval
        return {"change": 100 * self.equivalence.difference, "low": 100 * low, "high": 100 * high}

    @property
    def points(self) -> str:
        """The same, to be read."""
        return "{change:+.1f} [{low:+.1f}, {high:+.1f}]".format(**self.change)


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
    before = intact.set_index("item")["score"]
    after = arm.set_index("item")["score"]
    if set(before.index) != set(after.index):
        raise InfoflowError(
            f"{len(before)} and {len(after)} items are not the same items; "
            "arms are compared on the items that both have answered."
        )
    after = after[before.index]
    binary = bool(before.isin((0, 1)).all() and after.isin((0, 1)).all())
    return Comparison(
        score=float(after.mean()),
        worse=int((after < before).sum()),
        better=int((after > before).sum()),
        equivalence=equivalence(before, after, margin, seed),
        mcnemar=mcnemar(before, after) if binary else None,
    )


def paired_table(arms: Arms, margin: float, title: str, seed: int = 0) -> Table:
    """Every arm beside the first one, item by item.

    Args:
        arms: By name, the rows; the first arm is what the others are compared with.
        margin: The difference of mean scores that does not matter, from 0 to 1.
        title: What was measured, to begin the caption with.
        seed: Seed of the bootstrap, for scores that are not 0 or 1.
    """
    (first, intact), *others = arms.items()
    found = {name: compare_arms(intact, rows, margin, seed) for name, rows in others}
    points = f"{100 * margin:g} points"
    lines = {
        name: {
            "score %": f"{100 * c.score:.1f}",
            "difference, points": c.points,
            "worse": str(c.worse),
            "better": str(c.better),
            "McNemar p": f"{c.mcnemar.p_value:.2g}" if c.mcnemar else "scores not binary",
            f"within {points}": "yes" if c.equivalent else "not shown",
        }
        for name, c in found.items()
    }
    mean = {"score %": f"{100 * intact['score'].mean():.1f}"}
    data = pd.DataFrame.from_dict({first: mean, **lines}, orient="index").fillna("-")
    caption = f"{title}: {len(intact)} items, each arm paired with “{first}”. {_told(found)}"
    return Table(data.rename_axis("arm"), caption)


def _told(found: Mapping[str, Comparison]) -> str:
    """The finding in words: which arms differ and which are shown to be as good."""
    differ = [f"{name} ({c.points})" for name, c in found.items() if c.differs]
    same = [name for name, c in found.items() if c.equivalent]
    by = (
        "interval" if any(c.mcnemar is None for c in found.values()) else "McNemar's test, p < 0.05"
    )
    return (
        f"Told apart from it ({by}, uncorrected): {', '.join(differ) or 'none'}. "
        f"Shown to be within the margin (90 % interval inside it): {', '.join(same) or 'none'}."
    )
