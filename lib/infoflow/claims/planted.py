"""Made-up evidence in which the claims hold, or do not: what the audit's rules are tried on.

An audit that cannot say "holds" is worth as little as one that cannot say "fails".
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from infoflow.claims.findings import BROADCAST, MASK, NONE, Evidence, Rows
from infoflow.claims.measured import BESIDE, ORDER, SITE, WEIGHTS
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.stats.cliff import cliff_layer

N_LAYERS, N_ITEMS = 12, 200
CLIFFS = dict(zip(ORDER, (2, 4, 6, 8), strict=True))
BLIND, INTACT, TRUNCATED = 0.5, 0.7, 0.9
"""Planted mean scores: without the picture, intact, and truncated at the cliff."""

_EVEN = {True: {"uniform_image": 0.015}, False: {"uniform_image": 0.9}}


def planted(favourable: bool) -> Evidence:
    """Make up the evidence of a model of 12 layers.

    Args:
        favourable: Whether the claims shall hold in it. If not, every layer needs the image,
            attention stays on it, and maps and methods do no good.
    """
    cuts: Rows = {task: _cut_rows(task, favourable) for task in ORDER}
    scores = {task: scores_by_cut(rows) for task, rows in cuts.items()}
    return Evidence(
        model="claims planted" if favourable else "their opposite planted",
        n_layers=N_LAYERS,
        cliffs={task: cliff_layer(table, table, margin=0.02) for task, table in scores.items()},
        cuts=cuts,
        calibration=cuts,
        guesses=dict.fromkeys(ORDER, BLIND - 0.2 if favourable else INTACT + 0.2),
        flow={task: _flow_rows(task, favourable) for task in ORDER},
        last_layer={task: _gradient_rows(favourable) for task in ORDER},
        cam={task: _map_rows(task, favourable) for task in ORDER},
        localisation={task: _site_rows(favourable) for task in ORDER},
        arms=_arms(favourable),
    )


def _items() -> list[str]:
    return [f"item-{i:03}" for i in range(N_ITEMS)]


def _right(share: float) -> list[float]:
    """Scores with the first items right, so many that the mean is the share."""
    return [float(i < round(share * N_ITEMS)) for i in range(N_ITEMS)]


def _rows_of(values: Callable[[int], dict[str, object]], places: range, name: str) -> pd.DataFrame:
    frames = [pd.DataFrame({"item": _items(), name: place, **values(place)}) for place in places]
    return pd.concat(frames, ignore_index=True)


def _cut_rows(task: str, favourable: bool) -> pd.DataFrame:
    def share(cut: int) -> float:
        if cut == N_LAYERS:
            return INTACT
        if not favourable:
            return BLIND if cut else INTACT
        # the cliff itself is the best cut, so that all readings of the cliff agree on it
        return BLIND if cut < CLIFFS[task] else TRUNCATED - 0.01 * (cut > CLIFFS[task])

    return _rows_of(lambda cut: {"score": _right(share(cut))}, range(N_LAYERS + 1), "cut")


def _flow_rows(task: str, favourable: bool) -> pd.DataFrame:
    noise = np.random.default_rng(0).normal(0, 1e-4, N_ITEMS)

    def shares(layer: int) -> dict[str, object]:
        if favourable:
            # more than even attention up to the cliff, so that "sparse" means the same cut
            image = 0.29 if layer <= 2 else 0.019 if layer <= CLIFFS[task] else 0.01
            user = 0.34 if layer < N_LAYERS else 0.4
            image += 0.004 * (layer == N_LAYERS)
            drawn = np.full(N_ITEMS, image) + noise
            return {"image": drawn, "user": user, "system": 1 - drawn - user, **_EVEN[True]}
        drawn = np.full(N_ITEMS, 0.75 + 0.004 * (layer % 2) * layer) + noise
        return {"image": drawn, "user": 0.01, "system": 0.1, **_EVEN[False]}

    return _rows_of(shares, range(1, N_LAYERS + 1), "layer")


def _gradient_rows(favourable: bool) -> pd.DataFrame:
    behind = 0.0 if favourable else 0.1
    frames = [
        pd.DataFrame({"item": _items(), "site": site, "at_image": size, "at_answer": 1.0})
        for site, size in ((SITE, behind), (BESIDE, 0.2))
    ]
    return pd.concat(frames, ignore_index=True)


def _map_rows(task: str, favourable: bool) -> pd.DataFrame:
    def looks(layer: int) -> dict[str, object]:
        upto = layer <= CLIFFS[task]
        lit = (0.5 if upto else 0.1) if favourable else 0.1 + 0.05 * layer
        mass = 0.6 if favourable else 0.01
        return {"lit": lit, "mass": mass, "mass_chance": 0.1}

    return _rows_of(looks, range(1, N_LAYERS + 1), "layer")


def _site_rows(favourable: bool) -> pd.DataFrame:
    masses = {SITE: 0.6 if favourable else 0.2, BESIDE: 0.4}
    frames = [
        pd.DataFrame({"item": _items(), "site": site, "weights": WEIGHTS, "mass": mass})
        for site, mass in masses.items()
    ]
    return pd.concat(frames, ignore_index=True)


def _arms(favourable: bool) -> dict[str, Rows]:
    after = 0.9 if favourable else 0.5

    def answered(share: float) -> pd.DataFrame:
        return pd.DataFrame({"item": _items(), "score": _right(share)})

    def captioned(share: float) -> pd.DataFrame:
        return pd.DataFrame({"item": _items(), "hallucinated": _right(share)})

    return {
        NONE: {"scienceqa": answered(INTACT), "pope": answered(INTACT), "chair": captioned(INTACT)},
        MASK: {"scienceqa": answered(after)},
        BROADCAST: {"pope": answered(after), "chair": captioned(1.4 - after)},
    }
