"""The rules of the claims that are measured on a model."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from infoflow.claims.findings import (
    BROADCAST,
    FAILS,
    FEWEST,
    HOLDS,
    MASK,
    NONE,
    PARTLY,
    UNDECIDED,
    UNDEFINED,
    Evidence,
    Found,
    OnTask,
    combined,
    decided,
    joined,
    rule,
    rule_by_task,
)
from infoflow.claims.scores import ratios
from infoflow.claims.selection import biases_of
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.stats.cliff import cliff_layer
from infoflow.stats.intervals import Estimate, difference_estimate, mean_estimate
from infoflow.stats.layers import depths
from infoflow.stats.paired import Equivalence, equivalence

EARLY = 5
"""The layer up to which the image's share is said to fall, in the paper's count."""
FAST = 0.5
"""What part of the first layer's share may be left for its fall to be called fast."""
FLAT = 0.25
"""What part of its movement over all layers the share may make where it is called flat."""
BOUND_PERCENT = 2.0
"""The paper's bound: less attention than this is as good as none."""
WHOLE = 1e-4
"""How far three shares may be from a whole by rounding."""
MARGIN = 0.05
"""The loss of mean score that counts as no harm."""
SMALL_GAIN = 0.01
"""A gain below this counts as none."""
ORDER = ("scienceqa", "textvqa", "pope", "chair")
"""The paper's tasks from the earliest cliff to the latest."""
SITE = "post_attention_layernorm"
"""Where the paper reads the features."""
BESIDE = "input_layernorm"
WEIGHTS = "mean"
SPANS = ("system", "image", "user")


def _shares(evidence: Evidence, task: str) -> pd.DataFrame:
    """Shares in percent: one row an item, columns group and layer."""
    shares = evidence.flow[task].pivot(index="item", columns="layer", values=list(SPANS))
    return 100 * shares.sort_index()


@rule_by_task(
    "flow-sums-to-one",
    "flow",
    "Holds if the three shares of every item and layer add up to 1, rounding of 0.0001 aside.",
)
def _sums_to_one(evidence: Evidence, task: str) -> OnTask:
    off = float((evidence.flow[task][list(SPANS)].sum(axis=1) - 1).abs().max())
    return HOLDS if off < WHOLE else FAILS, f"off by {off:.4f} at most"


@rule_by_task(
    "flow-falls-early",
    "flow",
    f"Per task: layer {EARLY} has less than {FAST:g} of the image share of layer 1. Holds or "
    "fails if the 95 % interval over items lies on one side.",
)
def _falls(evidence: Evidence, task: str) -> OnTask:
    image = _shares(evidence, task)["image"]
    late = min(EARLY, image.columns[-1])
    verdict = decided(difference_estimate(FAST * image[1] - image[late]))
    return verdict, f"{image[1].mean():.1f} to {image[late].mean():.1f} %"


@rule_by_task(
    "flow-flat-middle",
    "flow",
    f"Per task: from layer {EARLY + 1} to the last but one the mean image share moves by at "
    f"most {FLAT:g} of what it moves over all layers. Holds if so, fails if not.",
)
def _flat(evidence: Evidence, task: str) -> OnTask:
    means = pd.DataFrame(_shares(evidence, task)["image"]).mean()
    middle = means.loc[EARLY + 1 : means.index[-1] - 1]
    if len(middle) < 2:
        return UNDECIDED, "too few layers"
    within = np.ptp(middle) <= FLAT * np.ptp(means)
    return HOLDS if within else FAILS, f"{middle.min():.1f} to {middle.max():.1f} %"


@rule_by_task(
    "flow-rises-last",
    "flow",
    "Per task: the shares of image and user text are both larger in the last layer than in the "
    "one before. Holds or fails if the 95 % intervals over items lie on one side.",
)
def _rises(evidence: Evidence, task: str) -> OnTask:
    shares = _shares(evidence, task)
    last = shares["image"].columns[-1]
    if last < 2:
        return UNDECIDED, "too few layers"
    rises = {
        name: difference_estimate(shares[name][last] - shares[name][last - 1])
        for name in ("image", "user")
    }
    words = ", ".join(f"{name} {rise.value:+.1f}" for name, rise in rises.items())
    return _all(map(decided, rises.values())), f"{words} points"


def _all(verdicts: Iterable[str]) -> str:
    """Sum up what must all be so: one that fails is enough."""
    found = list(verdicts)
    return FAILS if FAILS in found else combined(found)


@rule_by_task(
    "flow-below-two-percent",
    "flow",
    f"Per task: the largest mean image share of layers 4 to L is below {BOUND_PERCENT:g} %. "
    "Holds or fails if its 95 % interval lies on one side.",
)
def _below_bound(evidence: Evidence, task: str) -> OnTask:
    image = _shares(evidence, task)["image"]
    means = pd.DataFrame(image).mean().loc[4:]
    if means.empty:
        return UNDECIDED, "too few layers"
    worst = means.idxmax()
    verdict = decided(-1 * mean_estimate(image[worst]), above=-BOUND_PERCENT)
    return verdict, f"at most {means.max():.1f} % (layer {worst})"


@rule_by_task(
    "flow-system-most",
    "flow",
    "Per task: the system text has the largest share and the image the smallest. Holds if in "
    "all layers, in part if half of them or more, fails otherwise.",
)
def _system_most(evidence: Evidence, task: str) -> OnTask:
    means = _shares(evidence, task).mean().unstack(level=0)
    holds = (means.idxmax(axis=1) == "system") & (means.idxmin(axis=1) == "image")
    verdict = HOLDS if holds.all() else PARTLY if holds.mean() >= 0.5 else FAILS
    return verdict, f"in {holds.sum()} of {len(holds)} layers"


def _third(evidence: Evidence, task: str, which: int) -> dict[str, Estimate]:
    """Shares of one third of the layers, averaged over its layers, in percent."""
    shares, third = _shares(evidence, task), depths(evidence.n_layers)[which]
    return {
        name: mean_estimate(shares[name].loc[:, third.first : third.last].mean(axis=1))
        for name in SPANS
    }


@rule_by_task(
    "depth-shallow-read",
    "flow",
    "Per task: over the first third of the layers the system, image and user shares are each above "
    f"the paper's bound of {BOUND_PERCENT:g} %. Holds if the 95 % intervals over items lie above, "
    "fails if one lies below.",
)
def _shallow_read(evidence: Evidence, task: str) -> OnTask:
    shares = _third(evidence, task, 0)
    words = ", ".join(f"{name} {share.value:.1f} %" for name, share in shares.items())
    return _all(decided(share, above=BOUND_PERCENT) for share in shares.values()), words


@rule_by_task(
    "depth-deep-unread",
    "flow",
    "Per task: over the last third of the layers the image's share is below the paper's bound of "
    f"{BOUND_PERCENT:g} %. Holds or fails if its 95 % interval lies on one side.",
)
def _deep_unread(evidence: Evidence, task: str) -> OnTask:
    image = _third(evidence, task, -1)["image"]
    return decided(-1 * image, above=-BOUND_PERCENT), f"image {image:.1f} %"


def _change(evidence: Evidence, task: str, cut: int) -> Equivalence:
    """Truncated at a cut against intact, on the test items."""
    scores = scores_by_cut(evidence.cuts[task])
    return equivalence(scores[:, -1], scores[:, cut], MARGIN)


def _no_loss(change: Equivalence) -> str:
    return decided(change, above=-MARGIN, below=0.0)


def _points(change: Estimate) -> str:
    return f"{100 * change:+.1f} points"


_HARM = (
    f"a loss of {100 * MARGIN:g} points or more is ruled out by the 90 % interval of the paired "
    "difference"
)


@rule_by_task(
    "depth-shallow-needed",
    "cuts",
    f"Per task, the image hidden from all layers: fails if {_HARM}, holds if a loss is shown.",
)
def _shallow_needed(evidence: Evidence, task: str) -> OnTask:
    change = _change(evidence, task, 0)
    unharmed = _no_loss(change)
    return {HOLDS: FAILS, FAILS: HOLDS}.get(unharmed, unharmed), _points(change)


@rule_by_task(
    "depth-deep-unneeded",
    "cuts",
    f"Per task, the image hidden from the last third of the layers: holds if {_HARM}, fails if a "
    "loss is shown.",
)
def _deep_unneeded(evidence: Evidence, task: str) -> OnTask:
    cut = depths(evidence.n_layers)[-1].cut
    change = _change(evidence, task, cut)
    return _no_loss(change), f"cut {cut}: {_points(change)}"


@rule_by_task(
    "cam-on-target",
    "cam",
    "Per task with known target regions: the share of the map inside them, averaged over the "
    "layers up to the cliff, less what an even map would have. Holds or fails if its 95 % "
    "interval over items lies on one side of 0.",
)
def _on_target(evidence: Evidence, task: str) -> OnTask:
    rows = evidence.cam[task]
    upto = rows[rows["layer"] <= evidence.cliffs[task].cut].dropna(subset=["mass"])
    if upto.empty:
        return None
    excess = (100 * (upto["mass"] - upto["mass_chance"])).groupby(upto["item"]).mean()
    return decided(difference_estimate(excess)), (
        f"{100 * upto['mass'].mean():.1f} % of the map on target, "
        f"{100 * upto['mass_chance'].mean():.1f} % by chance ({len(excess)} items)"
    )


@rule_by_task(
    "cam-sparse-deep",
    "cam",
    "Per task: the share of cells above half of the map's maximum is smaller beyond the cliff "
    "than up to it. Holds or fails if the 95 % interval of the difference lies on one side.",
)
def _sparse(evidence: Evidence, task: str) -> OnTask:
    rows, cut = evidence.cam[task].dropna(subset=["lit"]), evidence.cliffs[task].cut
    rows = rows.assign(deep=rows["layer"] > cut)
    means = rows.pivot_table(index="item", columns="deep", values="lit", aggfunc="mean").dropna()
    if means.shape[1] < 2 or means.empty:
        return UNDECIDED, f"cliff at cut {cut}: no layers on both sides of it"
    return decided(difference_estimate(means[False] - means[True])), (
        f"{100 * means[True].mean():.1f} % of the cells lit beyond cut {cut}, "
        f"{100 * means[False].mean():.1f} % up to it"
    )


@rule_by_task(
    "cam-last-layer",
    "last_layer",
    "The largest absolute gradient of the answer's logit at image positions in the last layer. "
    "Undefined if it is exactly zero on every item: Eq. 3 then gives no map. Fails if not, for "
    "then our reasoning is wrong.",
)
def _lights_up(evidence: Evidence, task: str) -> OnTask:
    rows = evidence.last_layer[task]
    largest = rows.groupby("site")["at_image"].max()
    there, n_items = float(largest[SITE]), rows["item"].nunique()
    words = f"{there:g} behind the attention, {largest[BESIDE]:.2g} before it ({n_items} items)"
    return UNDEFINED if there == 0 else FAILS, words


@rule_by_task(
    "cam-site",
    "localisation",
    "Per task with known target regions: the share of the map inside them, averaged over "
    "layers, is larger at the paper's site than at the best other one. Holds or fails if the "
    "95 % interval of the difference lies on one side.",
)
def _clearest(evidence: Evidence, task: str) -> OnTask:
    rows = evidence.localisation[task]
    if rows.empty:
        return None  # no item has a region that its answer could be read from
    of_maps = rows[(rows["weights"] == WEIGHTS) & rows["mass"].notna()]
    by_site = of_maps.pivot_table(index="item", columns="site", values="mass", aggfunc="mean")
    by_site = by_site.dropna()
    if SITE not in by_site or by_site.shape[1] < 2:
        return None
    rival = str(by_site.drop(columns=SITE).mean().idxmax())
    return decided(difference_estimate(by_site[SITE] - by_site[rival])), (
        f"{100 * by_site[SITE].mean():.1f} % of the map on target, best other site {rival} "
        f"{100 * by_site[rival].mean():.1f} %"
    )


@rule_by_task(
    "cliff-no-harm",
    "cuts",
    "Per task, at the cliff chosen on calibration items: holds if the loss on the test items "
    f"is shown to be below {100 * MARGIN:g} points (one test at 5 %), fails if a loss is "
    "shown, or if every layer needs the image.",
)
def _no_harm(evidence: Evidence, task: str) -> OnTask:
    cut = evidence.cliffs[task].cut
    if cut == evidence.n_layers:
        return FAILS, "no cliff: every layer needs the image"
    change = _change(evidence, task, cut)
    return _no_loss(change), f"cut {cut} of {evidence.n_layers}: {_points(change)}"


@rule_by_task(
    "cliff-helps",
    "cuts",
    "Per task, at the same cliff: holds if the 90 % interval of the paired difference is above "
    f"0, fails if it is below {100 * SMALL_GAIN:g} point.",
)
def _helps(evidence: Evidence, task: str) -> OnTask:
    cut = evidence.cliffs[task].cut
    if cut == evidence.n_layers:
        return FAILS, "no cliff to truncate at"
    change = _change(evidence, task, cut)
    return decided(change, below=SMALL_GAIN), _points(change)


@rule(
    "cliff-best-of-all",
    "Per task: the best cut from the cliff on, chosen on the test items themselves, gains more "
    "than chance gives in 95 % of sign flips. Holds if so; otherwise nothing is shown.",
    "cuts",
)
def _chance_gain(evidence: Evidence) -> Found:
    found = {}
    for task, bias in biases_of(evidence).items():
        if bias is None:
            found[task] = (UNDECIDED, "no cut to choose from")
            continue
        shown = bias.gain > bias.chance_high and bias.n_items >= FEWEST
        found[task] = (
            HOLDS if shown else UNDECIDED,
            f"best of {bias.n_cuts} cuts {100 * bias.gain:+.1f}, by chance up to "
            f"{100 * bias.chance_high:+.1f} points",
        )
    return joined(found)


def _cuts_of(evidence: Evidence) -> dict[str, str]:
    cliffs = evidence.cliffs.items()
    return {task: f"cut {c.cut} [{c.interval[0]}, {c.interval[1]}]" for task, c in cliffs}


def _too_few(evidence: Evidence) -> bool:
    """Whether some cliff was chosen on too few items for its interval to say much."""
    return min(cliff.n_calibration for cliff in evidence.cliffs.values()) < FEWEST


@rule(
    "cliff-moves",
    "Holds if the cliffs' 95 % intervals of some two tasks do not overlap; fails if all are "
    "known to be the same cut.",
    "cliffs",
)
def _moves(evidence: Evidence) -> Found:
    cliffs, words = evidence.cliffs.values(), _cuts_of(evidence)
    if len(cliffs) < 2 or _too_few(evidence):
        return Found(UNDECIDED, words)
    if max(c.interval[0] for c in cliffs) > min(c.interval[1] for c in cliffs):
        return Found(HOLDS, words)
    same = len({end for c in cliffs for end in (c.cut, *c.interval)}) == 1
    return Found(FAILS if same else UNDECIDED, words)


@rule(
    "cliff-order",
    "Holds if all cliffs' intervals follow each other in the paper's order, fails if two of "
    "them follow each other in the reverse order.",
    "cliffs",
)
def _order(evidence: Evidence) -> Found:
    words = _cuts_of(evidence)
    shown = [evidence.cliffs[task] for task in ORDER if task in evidence.cliffs]
    pairs = [(a, b) for i, a in enumerate(shown) for b in shown[i + 1 :]]
    if _too_few(evidence) or not pairs:
        return Found(UNDECIDED, words)
    if any(b.interval[1] < a.interval[0] for a, b in pairs):
        return Found(FAILS, words)
    kept = all(a.interval[1] < b.interval[0] for a, b in pairs)
    return Found(HOLDS if kept else UNDECIDED, words)


@rule_by_task(
    "cliff-definition",
    "cuts",
    "Per task: the cut by four readings of the paper's words. Undefined if they differ on any "
    "task: without a rule the cliff is a choice.",
)
def _readings(evidence: Evidence, task: str) -> OnTask:
    scores, cliff = scores_by_cut(evidence.cuts[task]), evidence.cliffs[task]
    found = {
        "sparse": _sparse_from(evidence.flow.get(task)),
        "unharmed within the margin": cliff.cut,
        "unharmed without a margin": cliff_layer(scores, margin=0.0, n_resamples=1).cut,
        "best score": cliff.best,
    }
    known = {name: cut for name, cut in found.items() if cut is not None}
    words = ", ".join(f"{name} {cut}" for name, cut in known.items())
    return HOLDS if len(set(known.values())) == 1 else UNDEFINED, words


def _sparse_from(flow: pd.DataFrame | None) -> int | None:
    """The cut from which on the image's share stays below what even attention would give it."""
    if flow is None:
        return None
    means = flow.groupby("layer")[["image", "uniform_image"]].mean()
    dense = np.flatnonzero(means["image"] >= means["uniform_image"])
    return int(dense[-1]) + 1 if len(dense) else 0


@rule_by_task(
    "no-image",
    "guesses",
    "ScienceQA: holds if the 95 % interval of the accuracy at cut 0 is above the best blind guess, "
    "fails if it is below.",
)
def _without_image(evidence: Evidence, task: str) -> OnTask:
    if task != "scienceqa":
        return None
    blind, guess = mean_estimate(scores_by_cut(evidence.cuts[task])[:, 0]), evidence.guesses[task]
    words = f"{100 * blind:.1f} % at cut 0, {100 * guess:.1f} % by the best blind guess"
    return decided(blind, above=guess), words


def _with_arm(evidence: Evidence, arm: str, task: str, metric: str) -> list[Equivalence]:
    """Answers under an intervention against those of the untouched model, if there are any."""
    if task not in evidence.arms.get(arm, {}):
        return []
    rows = (evidence.arms[name][task].sort_values("item") for name in (NONE, arm))
    before, after = (ratios(metric, of_arm).above for of_arm in rows)
    return [equivalence(before, after, MARGIN)]


@rule(
    "simignore-alone",
    "ScienceQA, with the same share of image tokens masked as in the released settings and "
    "nothing else: holds if the 90 % interval of the paired difference is above 0, fails if it "
    "is below.",
    "arms",
)
def _mask_helps(evidence: Evidence) -> Found:
    found = {}
    for change in _with_arm(evidence, MASK, "scienceqa", "accuracy"):
        found["scienceqa"] = (decided(change), _points(change))
    return joined(found)


@rule(
    "eah-measured",
    "With the layer and threshold of the README: on captions, CHAIRs falls (90 % interval of "
    "the paired difference below 0; fails if above); on POPE, a loss of accuracy of "
    f"{100 * MARGIN:g} points or more is ruled out (fails if a loss is shown).",
    "arms",
)
def _broadcast(evidence: Evidence) -> Found:
    found = {}
    for change in _with_arm(evidence, BROADCAST, "chair", "CHAIRs"):
        found["chair"] = (decided(-1 * change), f"CHAIRs {_points(change)}")
    for change in _with_arm(evidence, BROADCAST, "pope", "accuracy"):
        found["pope"] = (_no_loss(change), f"accuracy {_points(change)}")
    return joined(found)
