"""The rules of the claims that are measured on a model; ``paper_values.yml`` has them in words."""

from itertools import combinations

import numpy as np
import pandas as pd

from infoflow.claims.findings import (
    FAILS,
    FEWEST,
    HOLDS,
    PARTLY,
    UNDECIDED,
    UNDEFINED,
    Evidence,
    Found,
    OnTask,
    Rows,
    combined,
    decided,
    rule,
    rule_by_task,
)
from infoflow.claims.scores import METRICS, bias_of, ratios
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.stats.cliff import MARGIN, Cliff, cliff_layer
from infoflow.stats.intervals import Estimate, difference_estimate, mean_estimate
from infoflow.stats.layers import depths
from infoflow.stats.paired import Equivalence, equivalence

EARLY = 5  # the layer up to which the image's share is said to fall, in the paper's count
FAST = 0.5  # what part of the first layer's share may be left for its fall to be called fast
FLAT = 0.25  # what part of its movement over all layers the share may make where it is called flat
BOUND_PERCENT = 2.0  # the paper's bound: less attention than this is as good as none
WHOLE = 1e-4  # how far three shares may be from a whole by rounding
SMALL_GAIN = 0.01  # a gain below this counts as none
ORDER = ("scienceqa", "textvqa", "pope", "chair")  # from the earliest cliff to the latest
# where the paper reads the features, the place before it, and how it weights them
SITE, BESIDE, WEIGHTS = "post_attention_layernorm", "input_layernorm", "mean"
SPANS = ("system", "image", "user")
TOO_SHALLOW = (UNDECIDED, "too few layers")


def _shares(evidence: Evidence, task: str) -> dict[str, pd.DataFrame]:
    """Shares in percent by span: one row an item, one column a layer."""
    rows = evidence.flow[task]
    return {span: 100 * rows.pivot(index="item", columns="layer", values=span) for span in SPANS}


@rule_by_task("flow-sums-to-one", "flow")
def _sums_to_one(evidence: Evidence, task: str) -> OnTask:
    off = (evidence.flow[task][list(SPANS)].sum(axis=1) - 1).abs().max()
    return HOLDS if off < WHOLE else FAILS, f"off by {off:.4f} at most"


@rule_by_task("flow-falls-early", "flow")
def _falls(evidence: Evidence, task: str) -> OnTask:
    image = _shares(evidence, task)["image"]
    late = min(EARLY, evidence.n_layers)
    verdict = decided(difference_estimate(FAST * image[1] - image[late]))
    return verdict, f"{image[1].mean():.1f} to {image[late].mean():.1f} %"


@rule_by_task("flow-flat-middle", "flow")
def _flat(evidence: Evidence, task: str) -> OnTask:
    means = _shares(evidence, task)["image"].mean()
    middle = means.loc[EARLY + 1 : evidence.n_layers - 1]
    if len(middle) < 2:
        return TOO_SHALLOW
    flat = middle.max() - middle.min() <= FLAT * (means.max() - means.min())
    return HOLDS if flat else FAILS, f"{middle.min():.1f} to {middle.max():.1f} %"


@rule_by_task("flow-rises-last", "flow")
def _rises(evidence: Evidence, task: str) -> OnTask:
    shares, last = _shares(evidence, task), evidence.n_layers
    if last < 2:
        return TOO_SHALLOW
    image, user = (
        difference_estimate(shares[span][last] - shares[span][last - 1])
        for span in ("image", "user")
    )
    words = f"image {image.value:+.1f}, user {user.value:+.1f} points"
    return _all([decided(image), decided(user)]), words


def _all(verdicts: list[str]) -> str:
    """Sum up what must all be so: one that fails is enough."""
    return FAILS if FAILS in verdicts else combined(verdicts)


@rule_by_task("flow-below-two-percent", "flow")
def _below_bound(evidence: Evidence, task: str) -> OnTask:
    image = _shares(evidence, task)["image"]
    means = image.mean().loc[4:]
    if means.empty:
        return TOO_SHALLOW
    layer = means.idxmax()
    verdict = decided(-1 * mean_estimate(image[layer]), above=-BOUND_PERCENT)
    return verdict, f"at most {means.max():.1f} % (layer {layer})"


@rule_by_task("flow-system-most", "flow")
def _system_most(evidence: Evidence, task: str) -> OnTask:
    means = pd.DataFrame({span: of.mean() for span, of in _shares(evidence, task).items()})
    holds = (means.idxmax(axis=1) == "system") & (means.idxmin(axis=1) == "image")
    verdict = HOLDS if holds.all() else PARTLY if holds.mean() >= 0.5 else FAILS
    return verdict, f"in {holds.sum()} of {len(holds)} layers"


def _third(evidence: Evidence, task: str, which: int) -> dict[str, Estimate]:
    """Shares averaged over one third of the layers, in percent."""
    shares, third = _shares(evidence, task), depths(evidence.n_layers)[which]
    return {
        span: mean_estimate(of_span.loc[:, third.first : third.last].mean(axis=1))
        for span, of_span in shares.items()
    }


@rule_by_task("depth-shallow-read", "flow")
def _shallow_read(evidence: Evidence, task: str) -> OnTask:
    shares = _third(evidence, task, 0)
    words = ", ".join(f"{name} {share.value:.1f} %" for name, share in shares.items())
    return _all([decided(share, above=BOUND_PERCENT) for share in shares.values()]), words


@rule_by_task("depth-deep-unread", "flow")
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


@rule_by_task("depth-shallow-needed", "cuts")
def _shallow_needed(evidence: Evidence, task: str) -> OnTask:
    change = _change(evidence, task, cut=0)
    unharmed = _no_loss(change)
    return {HOLDS: FAILS, FAILS: HOLDS}.get(unharmed, unharmed), _points(change)


@rule_by_task("depth-deep-unneeded", "cuts")
def _deep_unneeded(evidence: Evidence, task: str) -> OnTask:
    cut = depths(evidence.n_layers)[-1].cut
    change = _change(evidence, task, cut)
    return _no_loss(change), f"cut {cut}: {_points(change)}"


@rule_by_task("cam-on-target", "cam")
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


@rule_by_task("cam-sparse-deep", "cam")
def _sparse(evidence: Evidence, task: str) -> OnTask:
    rows, cut = evidence.cam[task].dropna(subset=["lit"]), evidence.cliffs[task].cut
    lit = rows.assign(deep=rows["layer"] > cut).pivot_table("lit", "item", "deep").dropna()
    if lit.shape[1] < 2 or lit.empty:
        return UNDECIDED, f"cliff at cut {cut}: no layers on both sides of it"
    return decided(difference_estimate(lit[False] - lit[True])), (
        f"{100 * lit[True].mean():.1f} % of the cells lit beyond cut {cut}, "
        f"{100 * lit[False].mean():.1f} % up to it"
    )


@rule_by_task("cam-last-layer", "last_layer")
def _lights_up(evidence: Evidence, task: str) -> OnTask:
    rows = evidence.last_layer[task]
    largest, n_items = rows.groupby("site")["at_image"].max(), rows["item"].nunique()
    words = f"{largest[SITE]:g} behind the attention, {largest[BESIDE]:.2g} before it"
    return UNDEFINED if largest[SITE] == 0 else FAILS, f"{words} ({n_items} items)"


@rule_by_task("cam-site", "localisation")
def _clearest(evidence: Evidence, task: str) -> OnTask:
    rows = evidence.localisation[task]
    if rows.empty:
        return None  # no item has a region that its answer could be read from
    by_site = rows[rows["weights"] == WEIGHTS].pivot_table("mass", "item", "site").dropna()
    if SITE not in by_site or by_site.shape[1] < 2:
        return None
    means = 100 * by_site.mean()
    rival = str(means.drop(SITE).idxmax())
    return decided(difference_estimate(by_site[SITE] - by_site[rival])), (
        f"{means[SITE]:.1f} % of the map on target, best other site {rival} {means[rival]:.1f} %"
    )


@rule_by_task("cliff-no-harm", "cuts")
def _no_harm(evidence: Evidence, task: str) -> OnTask:
    cliff = evidence.cliffs[task]
    if not cliff.exists:
        return FAILS, "no cliff: every layer needs the image"
    change = _change(evidence, task, cliff.cut)
    return _no_loss(change), f"cut {cliff.cut} of {evidence.n_layers}: {_points(change)}"


@rule_by_task("cliff-helps", "cuts")
def _helps(evidence: Evidence, task: str) -> OnTask:
    cliff = evidence.cliffs[task]
    if not cliff.exists:
        return FAILS, "no cliff to truncate at"
    change = _change(evidence, task, cliff.cut)
    return decided(change, below=SMALL_GAIN), _points(change)


@rule_by_task("cliff-best-of-all", "cuts")
def _chance_gain(evidence: Evidence, task: str) -> OnTask:
    bias = bias_of(evidence, task)
    if bias is None:
        return UNDECIDED, "no cut to choose from"
    shown = bias.gain > bias.chance_high and bias.n_items >= FEWEST
    return HOLDS if shown else UNDECIDED, (
        f"best of {bias.n_cuts} cuts {100 * bias.gain:+.1f}, by chance up to "
        f"{100 * bias.chance_high:+.1f} points"
    )


def _cuts_of(evidence: Evidence) -> dict[str, str]:
    cliffs = evidence.cliffs.items()
    return {task: str(cliff) for task, cliff in cliffs}


def _in_order(evidence: Evidence) -> list[tuple[Cliff, Cliff]]:
    """Pairs of cliffs in the paper's order of tasks; none if items are too few for an interval."""
    cliffs = [evidence.cliffs[task] for task in ORDER if task in evidence.cliffs]
    few = any(cliff.n_calibration < FEWEST for cliff in cliffs)
    return [] if few else list(combinations(cliffs, 2))


def _before(one: Cliff, other: Cliff) -> bool:
    return one.interval[1] < other.interval[0]


@rule("cliff-moves", "cliffs")
def _moves(evidence: Evidence) -> Found:
    pairs, words = _in_order(evidence), _cuts_of(evidence)
    if any(_before(*pair) or _before(*reversed(pair)) for pair in pairs):
        return Found(HOLDS, words)
    ends = {end for pair in pairs for cliff in pair for end in (cliff.cut, *cliff.interval)}
    return Found(FAILS if len(ends) == 1 else UNDECIDED, words)


@rule("cliff-order", "cliffs")
def _order(evidence: Evidence) -> Found:
    pairs, words = _in_order(evidence), _cuts_of(evidence)
    if any(_before(later, earlier) for earlier, later in pairs):
        return Found(FAILS, words)
    return Found(HOLDS if pairs and all(_before(*pair) for pair in pairs) else UNDECIDED, words)


@rule_by_task("cliff-definition", "cuts")
def _readings(evidence: Evidence, task: str) -> OnTask:
    scores, cliff = scores_by_cut(evidence.cuts[task]), evidence.cliffs[task]
    found = {
        **({"sparse": _sparse_from(evidence.flow[task])} if task in evidence.flow else {}),
        "unharmed within the margin": cliff.cut,
        "unharmed without a margin": cliff_layer(scores, margin=0.0, n_resamples=1).cut,
        "best score": cliff.best,
    }
    words = ", ".join(f"{name} {cut}" for name, cut in found.items())
    return HOLDS if len(set(found.values())) == 1 else UNDEFINED, words


def _sparse_from(flow: pd.DataFrame) -> int:
    """The cut from which on the image's share stays below what even attention would give it."""
    means = flow.groupby("layer")[["image", "uniform_image"]].mean()
    dense = np.flatnonzero(means["image"] >= means["uniform_image"])
    return int(dense[-1]) + 1 if len(dense) else 0


@rule_by_task("no-image", "guesses", "scienceqa")
def _without_image(evidence: Evidence, task: str) -> OnTask:
    blind, guess = mean_estimate(scores_by_cut(evidence.cuts[task])[:, 0]), evidence.guesses[task]
    words = f"{100 * blind:.1f} % at cut 0, {100 * guess:.1f} % by the best blind guess"
    return decided(blind, above=guess), words


def _against_intact(evidence: Evidence, arm: Rows, task: str, metric: str) -> Equivalence:
    """Answers under an intervention against those of the untouched model."""
    rows = (of_arm[task].sort_values("item") for of_arm in (evidence.intact, arm))
    before, after = (ratios(metric, of_arm).above for of_arm in rows)
    return equivalence(before, after, MARGIN)


@rule_by_task("simignore-alone", "masked", "scienceqa")
def _mask_helps(evidence: Evidence, task: str) -> OnTask:
    change = _against_intact(evidence, evidence.masked, task, "accuracy")
    return decided(change), _points(change)


@rule_by_task("eah-measured", "broadcast", "pope", "chair")
def _broadcast(evidence: Evidence, task: str) -> OnTask:
    metric = METRICS[task][0]
    change = _against_intact(evidence, evidence.broadcast, task, metric)
    verdict = _no_loss(change) if task == "pope" else decided(-1 * change)
    return verdict, f"{metric} {_points(change)}"
