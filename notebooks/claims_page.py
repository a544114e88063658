"""What the page on the claims adds: made-up evidence, and tests as one family.

Rules that cannot say "holds" are worth as little as rules that cannot say "fails", so they are
tried on evidence in which the claims hold, and on its opposite.
"""

import numpy as np
import pandas as pd

from infoflow import report
from infoflow.claims.findings import UNDECIDED, Evidence, corrected
from infoflow.claims.gather import cliffs_of
from infoflow.claims.measured import BESIDE, ORDER, SITE, WEIGHTS
from infoflow.stats.paired import LEVEL

N_LAYERS, N_ITEMS = 12, 200
CLIFFS = dict(zip(ORDER, (2, 4, 6, 8), strict=True))
BLIND, INTACT, TRUNCATED = 0.5, 0.7, 0.9  # mean scores: no image, all of it, cut at the cliff


def planted(favourable):
    """Make up the evidence of a model of 12 layers in which the claims hold.

    If not favourable, the image can only be taken from all layers or from none, attention stays on
    it, and maps and methods do no good.
    """
    cuts, layers = ({task: _by(CLIFFS[task], favourable)[i] for task in ORDER} for i in (0, 1))
    seen, mass = ([0.0, 0.2], [0.6, 0.4]) if favourable else ([0.1, 0.2], [0.2, 0.4])
    sites = _rows("site", [SITE, BESIDE], weights=WEIGHTS, at_image=seen, mass=mass)
    intact, arm = (_scored("arm", [x]) for x in (INTACT, TRUNCATED if favourable else BLIND))
    return Evidence(
        model="claims planted" if favourable else "their opposite planted",
        n_layers=N_LAYERS,
        cliffs=cliffs_of(cuts, cuts, seed=0),
        cuts=cuts,
        guesses=dict.fromkeys(ORDER, BLIND - 0.2 if favourable else INTACT + 0.2),
        flow=layers,
        cam=layers,
        knockout=dict.fromkeys(ORDER, _roads(favourable)),
        last_layer=dict.fromkeys(ORDER, sites),
        localisation=dict.fromkeys(ORDER, sites),
        intact=dict.fromkeys(ORDER, intact),
        masked={"scienceqa": arm},
        broadcast={"pope": arm, "chair": arm},
        **_analysed(favourable),
    )


def _analysed(favourable):
    """Evidence of the analysis claims: similarity, sinks of a caption's words, frozen states."""
    sign, cuts = (1 if favourable else -1), np.arange(N_LAYERS)
    similarity = _rows("layer", [1], attention=0.3 * sign, gradient=0.2 * sign)
    said = {"object": "o", "dense": 0.5 - 0.03 * sign * cuts}
    words = [_rows("cut", cuts, true=t, sunk=0.5 - 0.1 * t * sign, **said) for t in (True, False)]
    lost = np.where((np.arange(N_LAYERS + 1) < N_LAYERS) & (not favourable), -1.0, 0.0)
    frozen = _rows("cut", np.arange(N_LAYERS + 1), log_prob=lost, n_tokens=1)
    return {
        "similarity": dict.fromkeys(ORDER, similarity),
        "words": {"chair": pd.concat(words)},
        "frozen": dict.fromkeys(ORDER, frozen),
    }


def _by(cliff, favourable):
    """Scores by cut, and shares of attention with measures of maps by layer, of one task."""
    cuts, layers = np.arange(N_LAYERS + 1), np.arange(1, N_LAYERS + 1)
    last, mass, lit = layers == N_LAYERS, 0.01, 0.1 + 0.05 * layers
    image, system, user, even = 0.75 + 0.004 * (layers % 2) * layers, 0.1, 0.01, 0.9
    means = np.where(cuts % N_LAYERS, BLIND, INTACT)
    if favourable:
        # the cliff is the best cut, and up to it attention is more than even: all readings agree
        image = np.select([layers <= 2, layers <= cliff], [0.29, 0.019], 0.01) + 0.004 * last
        user, even, mass, lit = 0.34 + 0.06 * last, 0.015, 0.6, 0.5 - 0.4 * (layers > cliff)
        system = 1 - image - user
        means[:-1] = np.where(cuts < cliff, BLIND, TRUNCATED - 0.01 * (cuts > cliff))[:-1]
    shares = {"image": image, "user": user, "system": system, "uniform_image": even}
    maps = {"lit": lit, "mass": mass, "mass_chance": 0.1}
    return _scored("cut", means), _rows("layer", layers, **shares, **maps)


def _roads(favourable):
    """Changes by blocked edge: shallow layers read the image and deep ones the question, or not."""
    layers = np.arange(1, N_LAYERS + 1)
    shallow, deep = (layers <= 4) == favourable, (layers > 8) == favourable
    changes = {"image to user": shallow, "question to last": deep, "image to last": ~deep}
    edges = (_rows("layer", layers, edge=e, nats=-1.0 * lost) for e, lost in changes.items())
    return pd.concat(edges).assign(score=1.0)


def _rows(place, places, **columns):
    """Rows of all items at some places (layers, cuts, sites), the same at each for all items."""
    table = pd.DataFrame({place: places, **columns})
    return pd.DataFrame({"item": [f"item-{i:03}" for i in range(N_ITEMS)]}).merge(table, "cross")


def _scored(place, means):
    """Rows with scores: the first items are right, so many as the mean says."""
    last = [f"item-{round(mean * N_ITEMS):03}" for mean in means]
    rows = _rows(place, range(len(means)), last=last)
    right = (rows["item"] < rows["last"]).astype(float)
    return rows.assign(score=right, hallucinated=1 - right)


def family_table(findings, model):
    """Show every test behind the verdicts, alone and as one of a family (Holm)."""
    lines = {}
    for alone, judged in zip(findings, corrected(findings), strict=True):
        for task, tests in alone.decisions.items():
            name = f"{alone.claim.id}, {report.TASK_TITLES[task]}"
            for n, (own, held) in enumerate(zip(tests, judged.decisions[task], strict=True), 1):
                lines[f"{name} ({n})" if len(tests) > 1 else name] = {
                    "by itself": own.verdict,
                    "in the family": held.verdict,
                    "tested [95 %]": own.tested,
                    "n": own.n_items,
                    "p": _p_words(own.p_value),
                    "p, Holm": _p_words(held.p_value),
                }
    judged = pd.DataFrame.from_dict(lines, "index", columns=["by itself", "in the family"])
    alone, held = (judged != UNDECIDED).sum()
    return report.table(
        lines,
        f"All {len(lines)} tests on {model} and the bounds they are held against, in the units of "
        f"the rule (a loss of 1 point is -0.010): {alone} decide by themselves, {held} of them in "
        f"the family. Holm's method lets a wrong call pass with a chance of {LEVEL:.0%} at most",
        "test",
    )


def _p_words(p_value):
    return f"{p_value:.4f}" if p_value >= 1e-4 else "< 0.0001"


def family_words(findings):
    """Say which claims' verdicts change where all tests are judged as one family."""
    pairs = zip(findings, corrected(findings), strict=True)
    changed = [
        f"{one.claim.id} ({one.verdict}, in the family {judged.verdict})"
        for one, judged in pairs
        if one.verdict != judged.verdict
    ]
    n_tests = sum(len(tests) for one in findings for tests in one.decisions.values())
    without = [one.claim.id for one in findings if not one.decisions]
    return (
        f"The verdicts of {len(findings) - len(without)} claims rest on {n_tests} tests. Judged "
        f"together, {', '.join(changed) or 'none'} of these verdicts "
        f"{'change' if len(changed) > 1 else 'changes'}. No test stands behind the other "
        f"{len(without)}: {', '.join(without)}."
    )
