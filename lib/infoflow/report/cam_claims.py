"""The paper's words on its LLaVA-CAM figures, held against measured maps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from infoflow.evaluate.cam import change_at_cliff, mass_above_chance
from infoflow.report.display import NOT_RUN, Table
from infoflow.report.style import TASK_TITLES
from infoflow.stats.cliff import Cliff
from infoflow.stats.intervals import difference_interval, mean_interval

Rows = Mapping[str, pd.DataFrame]


def cam_paper_table(
    claims: Sequence[Mapping[str, Any]],
    rows: Rows,
    cliffs: Mapping[str, Cliff],
    paper_model: str,
    model: str,
    seed: int = 0,
) -> Table:
    """What the paper says of its maps beside what these rows show.

    "Yes" and "no" are said where the 95 % interval of the mean over items lies on one side of zero,
    "open" where it does not.

    Args:
        claims: Those of ``claims`` of the paper's values to look at; with ids that begin with
            ``cam-`` and speak of layers.
        rows: By task, rows of :func:`infoflow.evaluate.cam.cam_by_layer`.
        cliffs: By task, the cliff.
        paper_model: The model the claims are about.
        model: Name of the model.
        seed: Seed of the bootstrap of the intervals.
    """
    lines = [
        {
            f"paper, {paper_model}": claim["claim"],
            "paper: place": claim["place"],
            f"ours, {paper_model} on the benchmarks": NOT_RUN,
            **{
                f"ours, {model}: {TASK_TITLES[task]}": _CHECKS[claim["id"]](
                    frame, cliffs[task].cut, seed
                )
                for task, frame in rows.items()
            },
        }
        for claim in claims
    ]
    index = pd.Index([claim["id"].removeprefix("cam-") for claim in claims], name="claim")
    data = pd.DataFrame(lines, index=index)
    return Table(data, "The paper's words on its maps beside ours", comparison=True)


def _sparse(rows: pd.DataFrame, cut: int, seed: int) -> str:
    lit, entropy = (change_at_cliff(rows, cut, column) for column in ("lit", "entropy"))
    if not len(lit):
        return f"undefined: no map on one side of the cliff, cut {cut}"
    return (
        f"{_judged(-lit, seed)}: from layer {cut + 1} on {_told(100 * lit, seed, '{:+.1f}')} "
        f"points of lit cells, entropy {_told(entropy, seed, '{:+.2f}')} bits"
    )


def _on_target(rows: pd.DataFrame, cut: int, seed: int) -> str:
    before = mass_above_chance(rows, 1, cut)
    if not len(before):
        return "undefined: no known target, or no map before the cliff"
    told = (
        f"{_judged(before, seed)}: {_told(100 * before, seed, '{:+.1f}')} points above an even map"
    )
    return f"{told}; on its own in {_n_layers_above(rows, cut, seed)} of {cut} layers"


def _n_layers_above(rows: pd.DataFrame, cut: int, seed: int) -> int:
    layers = range(1, cut + 1)
    return sum(_judged(mass_above_chance(rows, x, x), seed) == "yes" for x in layers)


def _last_layer(rows: pd.DataFrame, cut: int, seed: int) -> str:
    last = rows[rows["layer"] == rows["layer"].max()]
    n_defined = int(last["peak"].notna().sum())
    if n_defined:
        return f"a map for {n_defined} of {len(last)} items"
    return "undefined: the map is zero whatever the answer"


_CHECKS = {
    "cam-sparse-deep": _sparse,
    "cam-on-target": _on_target,
    "cam-last-layer": _last_layer,
}


def _judged(differences: npt.NDArray[np.float64], seed: int) -> str:
    """Say whether a mean difference is above zero, below, or not told apart from it."""
    if not len(differences):
        return "open"
    low, high = difference_interval(differences, seed)
    return "yes" if low > 0 else "no" if high < 0 else "open"


def _told(values: npt.NDArray[np.float64], seed: int, form: str) -> str:
    low, high = mean_interval(values, seed)
    return f"{form} [{form}, {form}]".format(values.mean(), low, high)
