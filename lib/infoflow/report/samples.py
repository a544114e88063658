"""Figures of the synthetic world: its items, their masks, and how often objects are seen."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from infoflow.data.sample import Sample
from infoflow.report.display import Plot
from infoflow.report.style import HOUSE_STYLE, WIDTH


def region_sheet(sample: Sample) -> Plot:
    """Show the ground truth of one item: every region, and those the answer can be read from.

    Args:
        sample: The item.

    Returns:
        The plot; its table holds the area of each region in pixels.
    """
    colours = sns.color_palette("colorblind", len(sample.regions))
    painted = np.asarray(sample.image.convert("L").convert("RGB")) / 255 * 0.5 + 0.4
    for colour, mask in zip(colours, sample.regions.values(), strict=True):
        painted[mask] = colour  # letters come after their signs, and so lie above them
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, WIDTH / 2))
        left, right = figure.subplots(1, 2)
        left.imshow(sample.image, interpolation="nearest")
        left.set_title("picture")
        right.imshow(painted, interpolation="nearest")
        right.set_title("regions")
        for name in _outermost(sample):
            y, x = np.nonzero(sample.regions[name])
            place = float(x.mean()), float(y.max()) + 2
            right.text(*place, name, ha="center", va="top", fontsize=9, parse_math=False)
        for name in sample.targets:
            right.contour(sample.regions[name], levels=[0.5], colors="black", linewidths=2)
        for axes in (left, right):
            axes.axis("off")
    table = pd.DataFrame(
        {
            "pixels": [int(mask.sum()) for mask in sample.regions.values()],
            "holds the answer": [name in sample.targets for name in sample.regions],
        },
        index=pd.Index(list(sample.regions), name="region"),
    )
    return Plot(
        figure,
        f"A scene and its {len(table)} regions: {', '.join(table.index)}. "
        f"The answer can be read from: {', '.join(sample.targets) or 'none'}.",
        f"Instance masks of {sample.id}. Black outline: the regions the answer can be read from.",
        table,
    )


def _outermost(sample: Sample) -> list[str]:
    """Names of the regions that lie in no other: a sign, but not its letters."""
    masks = sample.regions
    return [
        name
        for name, mask in masks.items()
        if not any(o != name and (masks[o] >= mask).all() for o in masks)
    ]


def frequency_maps(
    popularity: npt.NDArray[np.float64],
    together: npt.NDArray[np.float64],
    names: Sequence[str],
    n_shown: int = 12,
) -> Plot:
    """Show what POPE's popular and adversarial negatives rest on: a skewed, correlated vocabulary.

    Args:
        popularity: How often each object is drawn, shape (N,).
        together: How often two objects are drawn for one scene, shape (N, N).
        names: Names of the objects, ``"colour shape"``.
        n_shown: How many of the most frequent objects the second map shows.

    Returns:
        The plot; its table holds the lift of each shown pair: how many times more often than by
        chance the two are drawn together.
    """
    pairs = [name.split(" ") for name in names]
    by_name = pd.DataFrame(pairs, columns=["colour", "shape"]).assign(percent=100 * popularity)
    board = by_name.pivot(index="colour", columns="shape", values="percent")
    order = np.argsort(-popularity, kind="stable")[:n_shown]
    lift = together[np.ix_(order, order)] / np.outer(popularity[order], popularity[order])
    shown = [names[i] for i in order]
    table = pd.DataFrame(lift, index=pd.Index(shown, name="object"), columns=shown)
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 8.2))
        top, bottom = figure.subplots(2, 1, height_ratios=(1, 1.9))
        sns.heatmap(
            board,
            ax=top,
            cmap="Blues",
            annot=True,
            fmt=".1f",
            annot_kws={"fontsize": 9},
            cbar=False,
        )
        top.set_title("drawn objects (% of all)")
        sns.heatmap(
            *(table,),
            ax=bottom,
            cmap="PuOr_r",
            center=1,
            annot=True,
            fmt=".1f",
            annot_kws={"fontsize": 8},
            cbar=False,
        )
        bottom.set_title("drawn together, relative to chance")
        for axes in (top, bottom):
            axes.set(xlabel="", ylabel="")
            axes.tick_params(length=0)
    off = lift[~np.eye(len(lift), dtype=bool)]
    return Plot(
        figure,
        f"Two heat maps. The most frequent object, {shown[0]}, makes up "
        f"{100 * popularity[order[0]]:.1f} % of all; among the {n_shown} most frequent, pairs are "
        f"drawn together {off.min():.1f} to {off.max():.1f} times as often as by chance.",
        "How often each object is drawn (what popular negatives are ranked by), and how often two "
        "are drawn for one scene, divided by chance (adversarial negatives are ranked by how often "
        f"an object goes with those in the scene), for the {n_shown} most frequent objects.",
        table,
    )
