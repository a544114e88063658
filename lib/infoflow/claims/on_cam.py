"""Claims about LLaVA-CAM, decided from gradients, maps and how well the maps find the target."""

import pandas as pd

from infoflow.claims.findings import (
    FAILS,
    UNDECIDED,
    UNDEFINED,
    Check,
    Evidence,
    Finding,
    by_task,
    decided,
)
from infoflow.stats.intervals import difference_interval

SITE = "post_attention_layernorm"
"""Where the paper reads the features."""
BESIDE = "input_layernorm"
WEIGHTS = "mean"


def _lights_up(evidence: Evidence) -> Finding:
    found = {}
    for task, rows in evidence.last_layer.items():
        largest = rows.groupby("site")["at_image"].max()
        there, n_items = float(largest[SITE]), rows["item"].nunique()
        told = f"{there:g} behind the attention, {largest[BESIDE]:.2g} before it ({n_items} items)"
        found[task] = (told, UNDEFINED if there == 0 else FAILS)
    return by_task(found)


def _on_target(evidence: Evidence) -> Finding:
    found = {}
    for task, rows in evidence.cam.items():
        upto = rows[rows["layer"] <= evidence.cliffs[task].cut].dropna(subset=["mass"])
        if upto.empty:
            continue
        excess = (100 * (upto["mass"] - upto["mass_chance"])).groupby(upto["item"]).mean()
        told = (
            f"{100 * upto['mass'].mean():.1f} % of the map on target, "
            f"{100 * upto['mass_chance'].mean():.1f} % by chance ({len(excess)} items)"
        )
        found[task] = (told, _decided(excess))
    return by_task(found)


def _sparse(evidence: Evidence) -> Finding:
    found = {}
    for task, rows in evidence.cam.items():
        cut = evidence.cliffs[task].cut
        lit = rows.dropna(subset=["lit"]).assign(deep=rows["layer"] > cut)
        means = lit.pivot_table(index="item", columns="deep", values="lit", aggfunc="mean").dropna()
        if means.shape[1] < 2 or means.empty:
            found[task] = (f"cliff at cut {cut}: no layers on both sides of it", UNDECIDED)
            continue
        told = (
            f"{100 * means[True].mean():.1f} % of the cells lit beyond cut {cut}, "
            f"{100 * means[False].mean():.1f} % up to it"
        )
        found[task] = (told, _decided(means[False] - means[True]))
    return by_task(found)


def _clearest(evidence: Evidence) -> Finding:
    found = {}
    for task, rows in evidence.localisation.items():
        if rows.empty:
            continue  # no item has a region that its answer could be read from
        of_maps = rows[(rows["weights"] == WEIGHTS) & rows["mass"].notna()]
        by_site = of_maps.pivot_table(index="item", columns="site", values="mass", aggfunc="mean")
        by_site = by_site.dropna()
        if SITE not in by_site or by_site.shape[1] < 2:
            continue
        rival = str(by_site.drop(columns=SITE).mean().idxmax())
        lead = by_site[SITE] - by_site[rival]
        told = (
            f"{100 * by_site[SITE].mean():.1f} % of the map on target, best other site {rival} "
            f"{100 * by_site[rival].mean():.1f} %"
        )
        found[task] = (told, _decided(lead))
    return by_task(found)


def _decided(by_item: pd.Series) -> str:
    """Whether a mean over items is above zero."""
    return decided(difference_interval(by_item.to_numpy()), len(by_item), above=0.0)


CHECKS = {
    "cam-on-target": Check(
        "Per task with known target regions: the share of the map inside them, averaged over the "
        "layers up to the cliff, less what an even map would have. Holds or fails if its 95 % "
        "interval over items lies on one side of 0.",
        _on_target,
    ),
    "cam-sparse-deep": Check(
        "Per task: the share of cells above half of the map's maximum is smaller beyond the cliff "
        "than up to it. Holds or fails if the 95 % interval of the difference lies on one side.",
        _sparse,
    ),
    "cam-last-layer": Check(
        "The largest absolute gradient of the answer's logit at image positions in the last layer. "
        "Undefined if it is exactly zero on every item: Eq. 3 then gives no map. Fails if not, for "
        "then our reasoning is wrong.",
        _lights_up,
    ),
    "cam-site": Check(
        "Per task with known target regions: the share of the map inside them, averaged over "
        "layers, is larger at the paper's site than at the best other one. Holds or fails if the "
        "95 % interval of the difference lies on one side.",
        _clearest,
    ),
}
