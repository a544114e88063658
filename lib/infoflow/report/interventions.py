"""Arms of an experiment side by side: paired with one of them, and over one picture."""

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd

from infoflow.data.sample import Sample
from infoflow.errors import InfoflowError
from infoflow.methods.localisation import target_mask
from infoflow.models.lvlm import Prompt
from infoflow.report.display import Plot, Table
from infoflow.report.pictures import outline_targets, picture_panels
from infoflow.report.style import HOUSE_STYLE
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


def arm_metrics_table(metrics: pd.DataFrame, columns: list[str], title: str) -> Table:
    """Chosen metrics of one task by arm, in percent.

    Args:
        metrics: Of :func:`infoflow.evaluate.interventions.metrics_by_arm`.
        columns: The metrics to show.
        title: Caption of the table.
    """
    return Table((100 * metrics[columns]).map("{:.1f}".format), title)


def hidden_maps(
    hidden: Mapping[str, npt.ArrayLike], prompt: Prompt, sample: Sample, model: str
) -> Plot:
    """Show which parts of a picture are hidden from the last layer, arm by arm.

    Args:
        hidden: By arm, whether each image token is hidden: boolean of shape (N,).
        prompt: The picture and question.
        sample: The item; the regions its answer can be read from are outlined.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds, by arm, tokens ``hidden``, the same in percent and, if the item
        has target regions, ``target hidden %``: the share of their area.
    """
    places = _cell_places(prompt)
    masks = {name: _hidden_cells(tokens, prompt)[places] for name, tokens in hidden.items()}
    table = _hidden_table(hidden, masks, sample)
    shares = table["hidden %"]
    picture = np.asarray(prompt.image) / 255
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = picture_panels(len(masks), room=0.5)
        for axes, (name, mask) in zip(panels, masks.items(), strict=True):
            axes.imshow(np.where(mask[..., None], 0.12 * picture + 0.1, picture))
            outline_targets(axes, sample)
            title = f"{name}\n{shares[name]:.0f} % hidden"
            axes.set_title(title, fontsize=10, weight="normal", parse_math=False)
    told = ", ".join(f"{name} {share:.0f} %" for name, share in shares.items())
    first_line = sample.question.partition("\n")[0]
    return Plot(
        figure,
        f"The picture, with the hidden image tokens darkened. Hidden: {told}."[:400],
        f"What the last layer of {model} is not shown of {sample.id} (“{first_line}”): dark. "
        f"White outline: the region that holds the answer, where there is one. {_kept_told(table)}",
        table,
    )


def _hidden_cells(tokens: npt.ArrayLike, prompt: Prompt) -> npt.NDArray[np.bool_]:
    """Say of which cells more than half is hidden: shape (rows * cols,).

    A cell may mix several tokens, as much of each as the grid says.
    """
    gone = np.asarray(tokens, dtype=np.float64)
    hidden, whole = (prompt.grid.cells(part).ravel() for part in (gone, np.ones_like(gone)))
    return np.asarray(hidden > whole / 2, dtype=bool)


def _cell_places(prompt: Prompt) -> npt.NDArray[np.intp]:
    """Say which cell of the grid each pixel belongs to: shape (height, width)."""
    grid = prompt.grid
    row, column = np.indices((grid.rows, grid.cols))
    # a grid interpolates between cells' centres, so a cell's edges lie half way between them
    y, x = (np.rint(grid.to_picture(place, prompt.image.size)) for place in (row, column))
    return (y * grid.cols + x).astype(np.intp)


def _hidden_table(
    hidden: Mapping[str, npt.ArrayLike], masks: Mapping[str, npt.NDArray[np.bool_]], sample: Sample
) -> pd.DataFrame:
    tokens = {name: np.asarray(one, dtype=bool) for name, one in hidden.items()}
    table = pd.DataFrame(
        {
            "hidden": {name: int(one.sum()) for name, one in tokens.items()},
            "hidden %": {name: 100 * float(one.mean()) for name, one in tokens.items()},
        }
    ).rename_axis("arm")
    if sample.targets:
        target = target_mask(sample)
        table["target hidden %"] = [100 * float(mask[target].mean()) for mask in masks.values()]
    return table


def _kept_told(table: pd.DataFrame) -> str:
    if "target hidden %" not in table:
        return "The item has no such region."
    told = ", ".join(f"{name} {share:.0f} %" for name, share in table["target hidden %"].items())
    return f"Of that region's area are hidden: {told}."
