"""The rules of the claims that are measured on a model; ``paper_values.yml`` has them in words.

Each finds verdict and measurement on one task, or None where it cannot tell; those that compare the
tasks' cliffs find them once for all tasks.
"""

from dataclasses import replace
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
    Decision,
    Evidence,
    OnTask,
    Rows,
    decided,
)
from infoflow.evaluate.flow import SPANS
from infoflow.evaluate.knockout import changes_by_layer
from infoflow.evaluate.truncation import log_probs_per_token, scores_by_cut
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
SMALL_LOSS = 0.01  # so does a loss, in nats a token
ORDER = ("scienceqa", "textvqa", "pope", "chair")  # from the earliest cliff to the latest
ONE_TOKEN = ("scienceqa", "pope")  # a letter, or yes or no; words read and captions have several
# where the paper reads the features, the place before it, and how it weights them
SITE, BESIDE, WEIGHTS = "post_attention_layernorm", "input_layernorm", "mean"
TOO_SHALLOW = (UNDECIDED, "too few layers")


def flow_sums_to_one(evidence: Evidence, task: str) -> OnTask:
    off = (evidence.flow[task][list(SPANS)].sum(axis=1) - 1).abs().max()
    return HOLDS if off < WHOLE else FAILS, f"off by {off:.4f} at most"


def _share(evidence: Evidence, task: str, span: str = "image") -> pd.DataFrame:
    """A span's share in percent: one row an item, one column a layer."""
    return 100 * evidence.flow[task].pivot(index="item", columns="layer", values=span)


def flow_falls_early(evidence: Evidence, task: str) -> OnTask:
    image, late = _share(evidence, task), min(EARLY, evidence.n_layers)
    verdict = decided(difference_estimate(FAST * image[1] - image[late]))
    return verdict, f"{image[1].mean():.1f} to {image[late].mean():.1f} %"


def flow_flat_middle(evidence: Evidence, task: str) -> OnTask:
    means = _share(evidence, task).mean()
    middle = means.loc[EARLY + 1 : evidence.n_layers - 1]
    if len(middle) < 2:
        return TOO_SHALLOW
    flat = np.ptp(middle) <= FLAT * np.ptp(means)
    return HOLDS if flat else FAILS, f"{middle.min():.1f} to {middle.max():.1f} %"


def flow_rises_last(evidence: Evidence, task: str) -> OnTask:
    last = evidence.n_layers
    if last < 2:
        return UNDEFINED, "no layer comes before the last"
    shares = (_share(evidence, task, span) for span in ("image", "user"))
    image, user = (difference_estimate(of_span[last] - of_span[last - 1]) for of_span in shares)
    words = f"image {image.value:+.1f}, user {user.value:+.1f} points"
    return [decided(image), decided(user)], words


def flow_below_two_percent(evidence: Evidence, task: str) -> OnTask:
    image = _share(evidence, task)
    means = image.mean().loc[4:]
    if means.empty:
        return TOO_SHALLOW
    verdict = decided(-1 * mean_estimate(image[means.idxmax()]), above=-BOUND_PERCENT)
    return verdict, f"at most {means.max():.1f} % (layer {means.idxmax()})"


def flow_system_most(evidence: Evidence, task: str) -> OnTask:
    means = evidence.flow[task].groupby("layer")[list(SPANS)].mean()
    holds = (means.idxmax(axis=1) == "system") & (means.idxmin(axis=1) == "image")
    verdict = HOLDS if holds.all() else PARTLY if holds.mean() >= 0.5 else FAILS
    return verdict, f"in {holds.sum()} of {len(holds)} layers"


def _in_third(evidence: Evidence, task: str, which: int, span: str) -> Estimate:
    """A span's share averaged over one third of the layers, in percent."""
    third = depths(evidence.n_layers)[which]
    share = _share(evidence, task, span).loc[:, third.first : third.last]
    return mean_estimate(share.mean(axis=1))


def depth_shallow_read(evidence: Evidence, task: str) -> OnTask:
    shares = {span: _in_third(evidence, task, 0, span) for span in SPANS}
    words = ", ".join(f"{span} {share.value:.1f} %" for span, share in shares.items())
    return [decided(share, above=BOUND_PERCENT) for share in shares.values()], words


def depth_deep_unread(evidence: Evidence, task: str) -> OnTask:
    image = _in_third(evidence, task, -1, "image")
    return decided(-1 * image, above=-BOUND_PERCENT), f"image {image:.1f} %"


def road_shallow_read(evidence: Evidence, task: str) -> OnTask:
    return _more_lost(evidence, task, ("image to user", 0), ("image to user", -1))


def road_deep_text(evidence: Evidence, task: str) -> OnTask:
    return _more_lost(evidence, task, ("question to last", -1), ("image to last", -1))


def _more_lost(evidence: Evidence, task: str, *roads: tuple[str, int]) -> OnTask:
    """Whether blocking an edge in one third of the layers loses more than another elsewhere."""
    losses, words = [], []
    for edge, which in roads:
        third = depths(evidence.n_layers)[which]
        changes = changes_by_layer(evidence.knockout[task], edge)[:, third.first - 1 : third.last]
        losses.append(-changes.mean(1))
        words.append(f"{losses[-1].mean():z.2f} by {edge} in {third.name} layers")
    more = difference_estimate(losses[0] - losses[1])
    verdict = decided(more, above=SMALL_LOSS)
    return verdict, f"nats a token lost, {', '.join(words)} ({more.n_items} items)"


def _change(evidence: Evidence, task: str, cut: int) -> Equivalence:
    """Truncated at a cut against intact, on the test items."""
    scores = scores_by_cut(evidence.cuts[task])
    return equivalence(scores[:, -1], scores[:, cut], MARGIN)


def _no_loss(change: Equivalence) -> Decision:
    return decided(change, above=-MARGIN, below=0.0)


def _points(change: Estimate) -> str:
    return f"{100 * change:+.1f} points"


def depth_shallow_needed(evidence: Evidence, task: str) -> OnTask:
    change = _change(evidence, task, cut=0)
    unharmed = _no_loss(change)
    needed = {HOLDS: FAILS, FAILS: HOLDS}.get(unharmed.verdict, unharmed.verdict)
    return replace(unharmed, verdict=needed), _points(change)


def depth_deep_unneeded(evidence: Evidence, task: str) -> OnTask:
    cut = depths(evidence.n_layers)[-1].cut
    change = _change(evidence, task, cut)
    return _no_loss(change), f"cut {cut}: {_points(change)}"


def cam_on_target(evidence: Evidence, task: str) -> OnTask:
    rows = evidence.cam[task]
    upto = rows[rows["layer"] <= evidence.cliffs[task].cut].dropna(subset=["mass"])
    if upto.empty:
        return None
    excess = (100 * (upto["mass"] - upto["mass_chance"])).groupby(upto["item"]).mean()
    return decided(difference_estimate(excess)), (
        f"{100 * upto['mass'].mean():.1f} % of the map on target, "
        f"{100 * upto['mass_chance'].mean():.1f} % by chance ({len(excess)} items)"
    )


def cam_sparse_deep(evidence: Evidence, task: str) -> OnTask:
    rows, cut = evidence.cam[task].dropna(subset=["lit"]), evidence.cliffs[task].cut
    lit = rows.assign(deep=rows["layer"] > cut).pivot_table("lit", "item", "deep").dropna()
    if lit.shape[1] < 2 or lit.empty:
        return UNDECIDED, f"cliff at cut {cut}: no layers on both sides of it"
    return decided(difference_estimate(lit[False] - lit[True])), (
        f"{100 * lit[True].mean():.1f} % of the cells lit beyond cut {cut}, "
        f"{100 * lit[False].mean():.1f} % up to it"
    )


def cam_last_layer(evidence: Evidence, task: str) -> OnTask:
    rows = evidence.last_layer[task]
    largest, n_items = rows.groupby("site")["at_image"].max(), rows["item"].nunique()
    words = f"{largest[SITE]:g} behind the attention, {largest[BESIDE]:.2g} before it"
    return UNDEFINED if largest[SITE] == 0 else FAILS, f"{words} ({n_items} items)"


def cam_site(evidence: Evidence, task: str) -> OnTask:
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


def cliff_no_harm(evidence: Evidence, task: str) -> OnTask:
    cliff = evidence.cliffs[task]
    if not cliff.exists:
        return FAILS, "no cliff: every layer needs the image"
    change = _change(evidence, task, cliff.cut)
    return _no_loss(change), f"cut {cliff.cut} of {evidence.n_layers}: {_points(change)}"


def cliff_helps(evidence: Evidence, task: str) -> OnTask:
    cliff = evidence.cliffs[task]
    if not cliff.exists:
        return FAILS, "no cliff to truncate at"
    change = _change(evidence, task, cliff.cut)
    return decided(change, below=SMALL_GAIN), _points(change)


def cliff_best_of_all(evidence: Evidence, task: str) -> OnTask:
    bias = evidence.bias(task)
    if bias is None:
        return UNDECIDED, "no cut to choose from"
    shown = bias.gain > bias.chance_high and bias.n_items >= FEWEST
    words = (
        f"best of {bias.n_cuts} cuts {100 * bias.gain:+.1f}, by chance up to "
        f"{100 * bias.chance_high:+.1f} points"
    )
    tested = f"{bias.gain:+z.3f} against {bias.chance_high:+z.3f} by sign flips"
    return Decision(HOLDS if shown else UNDECIDED, bias.p_value, bias.n_items, tested), words


def cliff_moves(evidence: Evidence) -> tuple[str, dict[str, str]]:
    pairs, words = _in_order(evidence)
    if any(_before(*pair) or _before(*reversed(pair)) for pair in pairs):
        return HOLDS, words
    ends = {end for pair in pairs for cliff in pair for end in (cliff.cut, *cliff.interval)}
    return FAILS if len(ends) == 1 else UNDECIDED, words


def cliff_order(evidence: Evidence) -> tuple[str, dict[str, str]]:
    pairs, words = _in_order(evidence)
    if any(_before(later, earlier) for earlier, later in pairs):
        return FAILS, words
    return HOLDS if pairs and all(_before(*pair) for pair in pairs) else UNDECIDED, words


def _in_order(evidence: Evidence) -> tuple[list[tuple[Cliff, Cliff]], dict[str, str]]:
    """Pairs in the paper's order of tasks, none if items are too few; and all cliffs in words."""
    cliffs = [evidence.cliffs[task] for task in ORDER if task in evidence.cliffs]
    few = any(cliff.n_calibration < FEWEST for cliff in cliffs)
    words = {task: str(cliff) for task, cliff in evidence.cliffs.items()}
    return [] if few else list(combinations(cliffs, 2)), words


def _before(one: Cliff, other: Cliff) -> bool:
    return one.interval[1] < other.interval[0]


def cliff_definition(evidence: Evidence, task: str) -> OnTask:
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


def no_image(evidence: Evidence, task: str) -> OnTask:
    if task != "scienceqa":
        return None
    blind, guess = mean_estimate(scores_by_cut(evidence.cuts[task])[:, 0]), evidence.guesses[task]
    words = f"{100 * blind:.1f} % at cut 0, {100 * guess:.1f} % by the best blind guess"
    return decided(blind, above=guess), words


def simignore_alone(evidence: Evidence, task: str) -> OnTask:
    change = _against_intact(evidence, evidence.masked, task)
    return decided(change), _points(change)


def eah_measured(evidence: Evidence, task: str) -> OnTask:
    change = _against_intact(evidence, evidence.broadcast, task)
    if task == "chair":
        return decided(-1 * change), f"CHAIRs {_points(change)}"
    return _no_loss(change), f"accuracy {_points(change)}"


def _against_intact(evidence: Evidence, arm: Rows, task: str) -> Equivalence:
    """Accuracy, or of captions CHAIRs, under an intervention against the untouched model's."""
    both = (of_arm[task].sort_values("item") for of_arm in (evidence.intact, arm))
    before, after = (r["hallucinated"] > 0 if task == "chair" else r["score"] for r in both)
    return equivalence(before, after, MARGIN)


def similar_tokens_read(evidence: Evidence, task: str) -> OnTask:
    by_item = evidence.similarity[task].groupby("item")[["attention", "gradient"]].mean()
    attention, gradient = (mean_estimate(by_item[name].dropna()) for name in by_item)
    words = f"rank correlation {attention:+.2f} with attention, {gradient:+.2f} with the gradient"
    return [decided(attention), decided(gradient)], words


def sinks_dense_shallow(evidence: Evidence, task: str) -> OnTask:
    dense = 100 * evidence.words[task].pivot_table("dense", "item", "cut")
    by_third = (dense.loc[:, d.cut : d.last - 1].mean(axis=1) for d in depths(evidence.n_layers))
    shallow, *_, deep = by_third
    words = f"{shallow.mean():.1f} % of image tokens in shallow layers, {deep.mean():.1f} % in deep"
    return decided(difference_estimate(shallow - deep)), words


def sinks_hallucination(evidence: Evidence, task: str) -> OnTask:
    words, seen = evidence.words[task], depths(evidence.n_layers)[0].last
    objects = words[(words["object"] != "") & (words["cut"] < seen)]
    sunk = 100 * objects.pivot_table("sunk", "item", "true").dropna()
    if sunk.empty or sunk.shape[1] < 2:
        return None  # no caption names objects of both kinds
    more = difference_estimate(sunk[False] - sunk[True])
    return decided(more), f"{more:+.1f} points more of the look at the image ({len(sunk)} captions)"


def tokens_several(evidence: Evidence, task: str) -> OnTask:
    own, cliffs = evidence.cliffs[task], evidence.cliffs
    single = [cliffs[name] for name in ONE_TOKEN if name in cliffs]
    if task in ONE_TOKEN or not single:
        return None
    words = f"{own}, one-token answers {' and '.join(map(str, single))}"
    if min(cliff.n_calibration for cliff in (own, *single)) < FEWEST:
        return UNDECIDED, words
    if any(_before(own, one) for one in single):
        return FAILS, words
    return HOLDS if all(_before(one, own) for one in single) else UNDECIDED, words


def states_interchangeable(evidence: Evidence, task: str) -> OnTask:
    scores = log_probs_per_token(evidence.frozen[task])
    change = equivalence(scores[:, -1], scores[:, depths(evidence.n_layers)[0].last], MARGIN)
    return _no_loss(change), f"{change:+.3f} nats a token"
