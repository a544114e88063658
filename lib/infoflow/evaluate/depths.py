"""Shallow, middle and deep layers: what is read there, and what is lost without it."""

import pandas as pd

from infoflow.evaluate.flow import SPANS
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.stats.layers import depths
from infoflow.stats.paired import equivalence


def shares_by_depth(flow: pd.DataFrame) -> pd.DataFrame:
    """Average rows of :func:`infoflow.evaluate.flow.flow_by_layer` over samples and each depth.

    Returns:
        One row a depth (its name); columns ``first`` and ``last`` (layers, paper's count), the mean
        shares ``system``, ``image`` and ``user``, from 0 to 1, and ``uniform_system``,
        ``uniform_image`` and ``uniform_user``: what even attention would give.
    """
    columns = [*SPANS, *(f"uniform_{name}" for name in SPANS)]
    by_layer = flow.groupby("layer")[columns].mean()
    lines = {
        d.name: {"first": d.first, "last": d.last, **by_layer.loc[d.first : d.last].mean()}
        for d in depths(len(by_layer))
    }
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("depth")
    return table.astype({"first": int, "last": int})


def loss_by_depth(cuts: pd.DataFrame, margin: float, seed: int = 0) -> pd.DataFrame:
    """What is lost when the image is removed from each depth on, by rows of ``truncation_by_cut``.

    Returns:
        One row a depth (its name): ``cut``, the mean scores ``intact`` and ``removed``, their
        paired ``difference`` (removed less intact) with its 90 % interval ``low`` to ``high``, and
        ``unharmed``: whether a loss of the margin or more is ruled out
        (:attr:`infoflow.stats.paired.Equivalence.unharmed`).
    """
    scores = scores_by_cut(cuts)
    lines = {}
    for depth in depths(scores.shape[1] - 1):
        intact, removed = scores[:, -1], scores[:, depth.cut]
        found = equivalence(intact, removed, margin, seed)
        lines[depth.name] = {
            **{"cut": depth.cut, "intact": float(intact.mean()), "removed": float(removed.mean())},
            **{"difference": found.difference, "low": found.interval[0]},
            **{"high": found.interval[1], "unharmed": found.unharmed},
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("depth")
