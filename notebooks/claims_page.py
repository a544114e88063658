"""What the page on the claims adds: made-up evidence, and whether the connector moves the cliff.

Rules that cannot say "holds" are worth as little as rules that cannot say "fails", so they are
tried on evidence in which the claims hold, and on its opposite.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from infoflow.claims.findings import (
    FAILS,
    FEWEST,
    HOLDS,
    UNDECIDED,
    Evidence,
    Finding,
    Rows,
    joined,
)
from infoflow.claims.gather import cliffs_of
from infoflow.claims.measured import BESIDE, ORDER, SITE, WEIGHTS

N_LAYERS, N_ITEMS = 12, 200
CLIFFS = dict(zip(ORDER, (2, 4, 6, 8), strict=True))
BLIND, INTACT, TRUNCATED = 0.5, 0.7, 0.9
"""Planted mean scores: without the image, intact, and truncated at the cliff."""
_LAYERS = range(1, N_LAYERS + 1)
_ITEMS = [f"item-{i:03}" for i in range(N_ITEMS)]


def planted(favourable: bool) -> Evidence:
    """Make up the evidence of a model of 12 layers in which the claims hold.

    If not favourable, the image can only be taken from all layers or from none, attention stays on
    it, and maps and methods do no good.
    """
    cuts: Rows = {task: _cut_rows(CLIFFS[task], favourable) for task in ORDER}
    gradients = {SITE: 0.0 if favourable else 0.1, BESIDE: 0.2}
    masses = {SITE: 0.6 if favourable else 0.2, BESIDE: 0.4}
    last_layer = _rows("site", gradients, lambda site: {"at_image": gradients[site]})
    sites = _rows("site", masses, lambda site: {"weights": WEIGHTS, "mass": masses[site]})
    return Evidence(
        model="claims planted" if favourable else "their opposite planted",
        n_layers=N_LAYERS,
        cliffs=cliffs_of(cuts, cuts, seed=0),
        cuts=cuts,
        calibration=cuts,
        guesses=dict.fromkeys(ORDER, BLIND - 0.2 if favourable else INTACT + 0.2),
        flow={task: _flow_rows(CLIFFS[task], favourable) for task in ORDER},
        last_layer=dict.fromkeys(ORDER, last_layer),
        cam={task: _map_rows(CLIFFS[task], favourable) for task in ORDER},
        localisation=dict.fromkeys(ORDER, sites),
        intact=_answers(INTACT, "scienceqa", "pope", "chair"),
        masked=_answers(TRUNCATED if favourable else BLIND, "scienceqa"),
        broadcast=_answers(TRUNCATED if favourable else BLIND, "pope", "chair"),
    )


def _rows(
    name: str, places: Iterable[Any], values: Callable[[Any], dict[str, object]]
) -> pd.DataFrame:
    """Rows of all items at some places: layers, cuts or sites."""
    frames = [pd.DataFrame({"item": _ITEMS, name: place, **values(place)}) for place in places]
    return pd.concat(frames, ignore_index=True)


def _right(share: float) -> list[float]:
    """Scores with the first items right, so many that the mean is the share."""
    return [float(i < round(share * N_ITEMS)) for i in range(N_ITEMS)]


def _cut_rows(cliff: int, favourable: bool) -> pd.DataFrame:
    def mean(cut: int) -> float:
        if cut in (0, N_LAYERS):
            return INTACT if cut or not favourable else BLIND
        if not favourable or cut < cliff:
            return BLIND
        return TRUNCATED - 0.01 * (cut > cliff)  # the cliff is the best cut by all readings

    return _rows("cut", range(N_LAYERS + 1), lambda cut: {"score": _right(mean(cut))})


def _flow_rows(cliff: int, favourable: bool) -> pd.DataFrame:
    noise = np.random.default_rng(0).normal(0, 1e-4, N_ITEMS)

    def shares(layer: int) -> dict[str, object]:
        if not favourable:
            image = 0.75 + 0.004 * (layer % 2) * layer + noise
            return {"image": image, "user": 0.01, "system": 0.1, "uniform_image": 0.9}
        # more than even attention up to the cliff, so that "sparse" means the same cut
        share = 0.29 if layer <= 2 else 0.019 if layer <= cliff else 0.01
        image = share + 0.004 * (layer == N_LAYERS) + noise
        user = 0.34 if layer < N_LAYERS else 0.4
        return {"image": image, "user": user, "system": 1 - image - user, "uniform_image": 0.015}

    return _rows("layer", _LAYERS, shares)


def _map_rows(cliff: int, favourable: bool) -> pd.DataFrame:
    def lit(layer: int) -> float:
        return 0.5 - 0.4 * (layer > cliff) if favourable else 0.1 + 0.05 * layer

    mass = 0.6 if favourable else 0.01
    return _rows("layer", _LAYERS, lambda x: {"lit": lit(x), "mass": mass, "mass_chance": 0.1})


def _answers(right: float, *tasks: str) -> Rows:
    flawed = [1 - score for score in _right(right)]
    rows = pd.DataFrame({"item": _ITEMS, "score": _right(right), "hallucinated": flawed})
    return dict.fromkeys(tasks, rows)


class CliffDepth(NamedTuple):
    """A model's cliff on a task with its interval, as shares of its layers."""

    model: str
    connector: str
    depth: float
    low: float
    high: float
    n_items: int


def cliff_depths(
    evidence: Mapping[str, Evidence],
    connectors: Mapping[str, str],
    seeds: Mapping[str, Mapping[str, Any]],
) -> dict[str, list[CliffDepth]]:
    """Gather the cliffs by task, models with one kind of connector together; arguments by model.

    ``seeds`` is what was measured where a recipe was run with other seeds (``zoo.seeds``), its own
    first: the strictest control, for nothing differs but chance. They stand behind their model.
    """
    found: dict[str, list[CliffDepth]] = {}
    for model in sorted(evidence, key=lambda name: connectors[name]):
        of_model, kind = evidence[model], connectors[model]
        others = list(seeds[model]["seeds"].items())[1:] if model in seeds else []
        for task, cliff in of_model.cliffs.items():
            cuts, n_items = (cliff.cut, *cliff.interval), cliff.n_calibration
            depths = [_depth(model, kind, cuts, of_model.n_layers, n_items)]
            for seed, results in others:
                if of_seed := results.get(task):
                    n_layers, other = len(of_seed["mean_score"]) - 1, of_seed["cliff"]
                    cuts = (other["cut"], *other["interval"])
                    n_items = seeds[model]["items"]["calibration"]
                    depths.append(_depth(f"{model}, seed {seed}", kind, cuts, n_layers, n_items))
            found.setdefault(task, []).extend(depths)
    return found


def _depth(
    model: str, connector: str, cuts: Iterable[int], n_layers: int, n_items: int
) -> CliffDepth:
    depth, low, high = (cut / n_layers for cut in cuts)
    return CliffDepth(model, connector, depth, low, high, n_items)


def depends_on_connector(depths: Mapping[str, Sequence[CliffDepth]]) -> Finding:
    """Decide by task whether cliffs differ between kinds of connectors more than within one.

    Holds if some two models of different kinds have intervals apart, and no two of one kind have;
    fails if all cliffs are known to lie at one depth. A difference within a kind shows that other
    things move the cliff as well, and then nothing can be put down to the connector.
    """
    return joined({task: _decide(of_task) for task, of_task in depths.items()})


def _decide(depths: Sequence[CliffDepth]) -> tuple[str, str]:
    if len({d.connector for d in depths}) < 2:
        return UNDECIDED, "one kind of connector only"
    if min(d.n_items for d in depths) < FEWEST:
        return UNDECIDED, "too few items"
    if len({end for d in depths for end in (d.low, d.high)}) == 1:
        return FAILS, "all at one depth"
    apart = [(a, b) for a, b in combinations(depths, 2) if a.high < b.low or b.high < a.low]
    within = sum(a.connector == b.connector for a, b in apart)
    words = f"pairs of models apart: {len(apart) - within} of different connectors, {within} of one"
    return HOLDS if apart and not within else UNDECIDED, words
