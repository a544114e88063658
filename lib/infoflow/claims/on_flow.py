"""Claims about attention flow, decided from the shares by layer."""

from collections.abc import Callable

import pandas as pd

from infoflow.claims.findings import (
    FAILS,
    HOLDS,
    PARTLY,
    UNDECIDED,
    Check,
    Evidence,
    Finding,
    by_task,
    combined,
    decided,
)
from infoflow.stats.intervals import difference_interval, mean_interval

EARLY = 5
"""The layer up to which the share is said to fall, in the paper's count."""
FAST = 0.5
"""What part of the first layer's share may be left for its fall to be called fast."""
FLAT = 0.25
"""What part of its movement over all layers the share may make where it is called flat."""
BOUND_PERCENT = 2.0
WHOLE = 1e-4
"""How far three shares may be from a whole by rounding."""

_OnTask = Callable[[pd.DataFrame], tuple[str, str]]


def _on_each_task(find: _OnTask) -> Callable[[Evidence], Finding]:
    def of(evidence: Evidence) -> Finding:
        return by_task({task: find(_by_item(rows)) for task, rows in evidence.flow.items()})

    return of


def _by_item(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares in percent: one row an item, columns group and layer."""
    shares = rows.pivot(index="item", columns="layer", values=["system", "image", "user"])
    return 100 * shares.sort_index()


def _means(shares: pd.DataFrame) -> pd.Series:
    """The mean image share of each layer."""
    return pd.DataFrame(shares["image"]).mean()


def _falls(shares: pd.DataFrame) -> tuple[str, str]:
    image = shares["image"]
    late = min(EARLY, image.columns[-1])
    interval = difference_interval((FAST * image[1] - image[late]).to_numpy())
    words = f"{image[1].mean():.1f} to {image[late].mean():.1f} %"
    return words, decided(interval, len(shares), above=0.0)


def _flat(shares: pd.DataFrame) -> tuple[str, str]:
    means = _means(shares)
    middle = means.loc[EARLY + 1 : means.index[-1] - 1]
    if len(middle) < 2:
        return "too few layers", UNDECIDED
    within = middle.max() - middle.min() <= FLAT * (means.max() - means.min())
    return f"{middle.min():.1f} to {middle.max():.1f} %", HOLDS if within else FAILS


def _rises(shares: pd.DataFrame) -> tuple[str, str]:
    last = shares["image"].columns[-1]
    rises = {name: shares[name][last] - shares[name][last - 1] for name in ("image", "user")}
    verdicts = [
        decided(difference_interval(rise.to_numpy()), len(rise), above=0.0)
        for rise in rises.values()
    ]
    words = ", ".join(f"{name} {rise.mean():+.1f}" for name, rise in rises.items())
    # both must rise, so one that falls is enough
    return f"{words} points", FAILS if FAILS in verdicts else combined(verdicts)


def _below_bound(shares: pd.DataFrame) -> tuple[str, str]:
    means = _means(shares).loc[4:]
    if means.empty:
        return "too few layers", UNDECIDED
    worst = means.index[int(means.argmax())]
    low, high = mean_interval(shares["image"][worst].to_numpy())
    words = f"at most {means.max():.1f} % (layer {worst})"
    return words, decided((-high, -low), len(shares), above=-BOUND_PERCENT)


def _system_most(shares: pd.DataFrame) -> tuple[str, str]:
    means = shares.mean().unstack(level=0)
    holds = (means.idxmax(axis=1) == "system") & (means.idxmin(axis=1) == "image")
    verdict = HOLDS if holds.all() else PARTLY if holds.mean() >= 0.5 else FAILS
    return f"in {holds.sum()} of {len(holds)} layers", verdict


def _sums_to_one(evidence: Evidence) -> Finding:
    found = {}
    for task, rows in evidence.flow.items():
        off = float((rows[["system", "image", "user"]].sum(axis=1) - 1).abs().max())
        found[task] = (f"off by {off:.4f} at most", HOLDS if off < WHOLE else FAILS)
    return by_task(found)


CHECKS = {
    "flow-sums-to-one": Check(
        "Holds if the three shares of every item and layer add up to 1, rounding of 0.0001 aside.",
        _sums_to_one,
    ),
    "flow-falls-early": Check(
        f"Per task: layer {EARLY} has less than {FAST:g} of the image share of layer 1. Holds or "
        "fails if the 95 % interval over items lies on one side.",
        _on_each_task(_falls),
    ),
    "flow-flat-middle": Check(
        f"Per task: from layer {EARLY + 1} to the last but one the mean image share moves by at "
        f"most {FLAT:g} of what it moves over all layers. Holds if so, fails if not.",
        _on_each_task(_flat),
    ),
    "flow-rises-last": Check(
        "Per task: the shares of image and user text are both larger in the last layer than in the "
        "one before. Holds or fails if the 95 % intervals over items lie on one side.",
        _on_each_task(_rises),
    ),
    "flow-below-two-percent": Check(
        f"Per task: the largest mean image share of layers 4 to L is below {BOUND_PERCENT:g} %. "
        "Holds or fails if its 95 % interval lies on one side.",
        _on_each_task(_below_bound),
    ),
    "flow-system-most": Check(
        "Per task: the system text has the largest share and the image the smallest. Holds if in "
        "all layers, in part if in half of them or more, fails otherwise.",
        _on_each_task(_system_most),
    ),
}
