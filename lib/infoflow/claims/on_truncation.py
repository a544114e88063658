"""Claims about truncation and the cliff, decided from scores by cut."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from infoflow.claims.findings import (
    FAILS,
    FEWEST,
    HOLDS,
    UNDECIDED,
    UNDEFINED,
    Check,
    Evidence,
    Finding,
    by_task,
    decided,
)
from infoflow.claims.selection import biases_of
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.stats.cliff import cliff_layer
from infoflow.stats.intervals import mean_interval
from infoflow.stats.paired import Equivalence, equivalence

MARGIN = 0.05
"""The loss of mean score that counts as no harm."""
SMALL_GAIN = 0.01
"""A gain below this counts as none."""
ORDER = ("scienceqa", "textvqa", "pope", "chair")
"""The paper's tasks from the earliest cliff to the latest."""


def _change(evidence: Evidence, task: str) -> Equivalence:
    """Truncated at the cliff against intact, on the test items."""
    scores = scores_by_cut(evidence.cuts[task])
    return equivalence(scores[:, -1], scores[:, evidence.cliffs[task].cut], MARGIN)


def points(change: Equivalence) -> str:
    """Write a paired difference with its 90 % interval, in points."""
    low, high = (100 * end for end in change.interval)
    return f"{100 * change.difference:+.1f} points [{low:+.1f}, {high:+.1f}]"


def _on_each_task(find: Callable[[Evidence, str], tuple[str, str]]) -> Callable[..., Finding]:
    return lambda evidence: by_task({task: find(evidence, task) for task in evidence.cuts})


def _no_harm(evidence: Evidence, task: str) -> tuple[str, str]:
    cut = evidence.cliffs[task].cut
    if cut == evidence.n_layers:
        return "no cliff: every layer needs the image", FAILS
    change = _change(evidence, task)
    verdict = decided(change.interval, change.n_items, above=-MARGIN, below=0.0)
    return f"cut {cut} of {evidence.n_layers}: {points(change)}", verdict


def _helps(evidence: Evidence, task: str) -> tuple[str, str]:
    if evidence.cliffs[task].cut == evidence.n_layers:
        return "no cliff to truncate at", FAILS
    change = _change(evidence, task)
    return points(change), decided(change.interval, change.n_items, above=0.0, below=SMALL_GAIN)


def _chance_gain(evidence: Evidence) -> Finding:
    found = {}
    for task, bias in biases_of(evidence).items():
        if bias is None:
            found[task] = ("no cut to choose from", UNDECIDED)
            continue
        told = (
            f"best of {bias.n_cuts} cuts {100 * bias.gain:+.1f}, by chance up to "
            f"{100 * bias.chance_high:+.1f} points"
        )
        shown = bias.gain > bias.chance_high and bias.n_items >= FEWEST
        found[task] = (told, HOLDS if shown else UNDECIDED)
    return by_task(found)


def _moves(evidence: Evidence) -> Finding:
    cliffs = sorted(evidence.cliffs.items(), key=lambda pair: pair[1].cut)
    told = {
        task: f"cut {c.cut} [{c.interval[0]}, {c.interval[1]}]"
        for task, c in evidence.cliffs.items()
    }
    if len(cliffs) < 2 or _too_few(evidence):
        return Finding(told, UNDECIDED)
    first, last = cliffs[0][1], cliffs[-1][1]
    apart = max(c.interval[0] for _, c in cliffs) > min(c.interval[1] for _, c in cliffs)
    certain = all(c.interval[0] == c.interval[1] for _, c in cliffs) and first.cut == last.cut
    return Finding(told, HOLDS if apart else FAILS if certain else UNDECIDED)


def _too_few(evidence: Evidence) -> bool:
    """Whether some cliff was chosen on too few items for its interval to say much."""
    return min(cliff.n_calibration for cliff in evidence.cliffs.values()) < FEWEST


def _order(evidence: Evidence) -> Finding:
    shown = [(task, evidence.cliffs[task]) for task in ORDER if task in evidence.cliffs]
    pairs = [(a, b) for i, (_, a) in enumerate(shown) for _, b in shown[i + 1 :]]
    reversed_ = any(b.interval[1] < a.interval[0] for a, b in pairs)
    kept = all(a.interval[1] < b.interval[0] for a, b in pairs)
    told = {task: f"cut {c.cut} [{c.interval[0]}, {c.interval[1]}]" for task, c in shown}
    if _too_few(evidence):
        return Finding(told, UNDECIDED)
    return Finding(told, FAILS if reversed_ else HOLDS if kept and pairs else UNDECIDED)


def _without_picture(evidence: Evidence) -> Finding:
    if "scienceqa" not in evidence.cuts:
        return Finding("ScienceQA was not among the tasks", UNDECIDED)
    blind = scores_by_cut(evidence.cuts["scienceqa"])[:, 0]
    guess = evidence.guesses["scienceqa"]
    low, high = mean_interval(blind)
    told = (
        f"{100 * blind.mean():.1f} % [{100 * low:.1f}, {100 * high:.1f}] at cut 0, "
        f"{100 * guess:.1f} % by the best blind guess"
    )
    return Finding(told, decided((low, high), len(blind), above=guess))


def _readings(evidence: Evidence, task: str) -> tuple[str, str]:
    scores = scores_by_cut(evidence.cuts[task])
    strict = cliff_layer(scores, margin=0.0, n_resamples=1).cut
    found = {
        "sparse": _sparse_from(evidence.flow.get(task)),
        "unharmed within the margin": evidence.cliffs[task].cut,
        "unharmed without a margin": strict,
        "best score": evidence.cliffs[task].best,
    }
    known = {name: cut for name, cut in found.items() if cut is not None}
    told = ", ".join(f"{name} {cut}" for name, cut in known.items())
    return told, HOLDS if len(set(known.values())) == 1 else UNDEFINED


def _sparse_from(flow: pd.DataFrame | None) -> int | None:
    """The cut from which on the image's share stays below what even attention would give it."""
    if flow is None:
        return None
    means = flow.groupby("layer")[["image", "uniform_image"]].mean()
    dense = np.flatnonzero(means["image"] >= means["uniform_image"])
    return int(dense[-1]) + 1 if len(dense) else 0


CHECKS = {
    "cliff-no-harm": Check(
        "Per task, at the cliff chosen on calibration items: holds if the loss on the test items "
        f"is shown to be below {100 * MARGIN:g} points (one test at 5 %), fails if a loss is "
        "shown, or if every layer needs the image.",
        _on_each_task(_no_harm),
    ),
    "cliff-helps": Check(
        "Per task, at the same cliff: holds if the 90 % interval of the paired difference is above "
        f"0, fails if it is below {100 * SMALL_GAIN:g} point.",
        _on_each_task(_helps),
    ),
    "cliff-best-of-all": Check(
        "Per task: the best cut from the cliff on, chosen on the test items themselves, gains more "
        "than chance gives in 95 % of sign flips. Holds if so; otherwise nothing is shown.",
        _chance_gain,
    ),
    "cliff-moves": Check(
        "Holds if the cliffs' 95 % intervals of some two tasks do not overlap; fails if all are "
        "known to be the same cut.",
        _moves,
    ),
    "cliff-order": Check(
        "Holds if all cliffs' intervals follow each other in the paper's order, fails if two of "
        "them follow each other in the reverse order.",
        _order,
    ),
    "cliff-definition": Check(
        "Per task: the cut by four readings of the paper's words. Undefined if they differ on any "
        "task: without a rule the cliff is a choice.",
        _on_each_task(_readings),
    ),
    "no-image": Check(
        "Holds if the 95 % interval of the accuracy at cut 0 is above the best blind guess, fails "
        "if it is below.",
        _without_picture,
    ),
}
