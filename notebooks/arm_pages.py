"""What the pages on interventions share: the change under each arm, and what each arm hides."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from infoflow import report
from infoflow.errors import InfoflowError
from infoflow.methods.localisation import target_mask
from infoflow.stats.paired import LEVEL, Equivalence, McNemar, equivalence, mcnemar


def changes(arms, intact, seed, names):
    """How much the score changes under each arm, in points with its 95 % interval."""
    lines = {}
    for arm, rows in arms.items():
        found = 100 * compare_arms(intact, rows, margin=1.0, seed=seed).equivalence
        lines[arm] = {"change": found.value, "low": found.low, "high": found.high}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(names).sort_index()


def same_depth(layer, of, n_layers):
    """Find the layer at the depth of a layer, from 0, of a model of so many in another's n_layers.

    Its middle lies nearest to that layer's, as shares of the two depths; it is the deeper of two.
    """
    return (2 * layer + 1) * n_layers // (2 * of)


def hidden_maps(hidden, prompt, sample, model):
    """Show which image tokens each arm hides from the last layer: boolean of shape (N,) by arm.

    The table holds tokens `hidden`, the same in percent and, where the sample has target regions,
    `target hidden %`: the share of their area.
    """
    tokens = {name: np.asarray(one, dtype=float) for name, one in hidden.items()}
    masks = {name: _darkened(one, prompt) for name, one in tokens.items()}
    lines = {n: {"hidden": int(t.sum()), "hidden %": 100 * t.mean()} for n, t in tokens.items()}
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("arm")
    covered = "The item has no such region."
    if sample.targets:
        target = target_mask(sample)
        table["target hidden %"] = [100 * mask[target].mean() for mask in masks.values()]
        covered = f"Of that region's area are hidden: {_listed(table['target hidden %'])}."
    titles = [f"{name}\n{share:.0f} % hidden" for name, share in table["hidden %"].items()]
    figure, panels = report.image_panels(titles, sample, room=0.5)
    image = np.asarray(prompt.image) / 255
    for axes, mask in zip(panels, masks.values(), strict=True):
        axes.imshow(np.where(mask[..., None], 0.12 * image + 0.1, image))
    question = sample.question.partition("\n")[0]
    return report.Plot(
        figure,
        f"The image, with the hidden image tokens darkened. Hidden: {_listed(table['hidden %'])}."[
            :400
        ],
        f"What the last layer of {model} is not shown of {sample.id} (“{question}”): dark. "
        f"White outline: the region that holds the answer, where there is one. {covered}",
        table,
    )


def _listed(shares):
    return ", ".join(f"{name} {share:.0f} %" for name, share in shares.items())


def _darkened(tokens, prompt):
    """Which pixels lie in a cell of which more than half is hidden: shape (height, width).

    A cell may mix several tokens, as much of each as the grid says.
    """
    grid = prompt.grid
    hidden, whole = (grid.cells(part).ravel() for part in (tokens, np.ones_like(tokens)))
    # a grid interpolates between cells' centres, so a cell's edges lie half way between them
    places = np.indices((grid.rows, grid.cols))
    row, column = (np.rint(grid.to_picture(place, prompt.image.size)) for place in places)
    return (hidden > whole / 2)[(row * grid.cols + column).astype(int)]


@dataclass(frozen=True)
class Comparison:
    """One arm beside another on the same items; scores and differences from 0 to 1."""

    score: float
    worse: int  # items that score lower than in the other arm
    better: int
    equivalence: Equivalence  # of mean scores, with the 95 % interval of their difference
    mcnemar: McNemar | None  # None unless all scores are 0 or 1

    @property
    def differs(self) -> bool:
        """Whether the two are told apart: McNemar's test at 5 %, else the 95 % interval."""
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
        """The difference and its 95 % interval in points, to be read."""
        return f"{100 * self.equivalence:+.1f}"


def compare_arms(
    intact: pd.DataFrame, arm: pd.DataFrame, margin: float, seed: int = 0
) -> Comparison:
    """Pair an arm's scores with the intact model's, item by item, in whatever order they come.

    `margin` is the difference of mean scores that does not matter, from 0 to 1.
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
) -> report.Table:
    """Every arm beside the first one, item by item; `title` says what was measured."""
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
    return report.table(
        lines,
        f"{title}: {len(intact)} items, each arm paired with “{first}”. Told apart from it "
        f"({by}, uncorrected): {differ or 'none'}. "
        f"Shown to be within the margin (95 % interval inside it): {same or 'none'}.",
        index="arm",
    )


def metrics_by_arm(task, arms):
    """The benchmark's own metrics (:meth:`infoflow.data.task.Task.summary`) of each arm's answers.

    One row an arm, in the order given; one column a metric.
    """
    summaries = {name: task.summary(rows) for name, rows in arms.items()}
    return pd.DataFrame.from_dict(summaries, orient="index").rename_axis("arm")


def score_grid(kept: pd.DataFrame, truncated: pd.DataFrame) -> pd.DataFrame:
    """Arrange mean scores of ``topk_by_cut`` by K and cut, from no image token to all of them.

    One row a K, one column a cut of ``kept``, both ascending. K = 0 and K = N are of rows of
    ``truncation_by_cut`` of the same samples.
    """
    if set(kept["item"]) != set(truncated["item"]):
        raise InfoflowError("scores by K need truncation_by_cut of the very same items.")
    grid = kept.pivot_table(index="keep", columns="cut", values="score", aggfunc="mean")
    by_cut = truncated.groupby("cut")["score"].mean()
    grid.loc[0] = by_cut[grid.columns]
    grid.loc[int(kept["n_image"].max())] = by_cut.iloc[-1]
    return grid.sort_index()


def fewest_kept(grid: pd.DataFrame, margin: float) -> pd.Series:
    """By cut of a ``score_grid``, the smallest K from which on no mean score is harmed.

    A score is harmed where it is below the intact model's, the last row, by more than the margin.
    """
    harmed = grid < grid.iloc[-1] - margin - 1e-9  # equal means may differ in their last bits
    # from all tokens down: the last K before the first that harms
    enough = ~harmed.iloc[::-1].astype(int).cummax().astype(bool)
    return enough.iloc[::-1].idxmax().rename("fewest")
