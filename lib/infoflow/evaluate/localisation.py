"""Is a heat map right? Every map of every item of a task, held against the answer's region."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.errors import InfoflowError
from infoflow.evaluate.collecting import Row, collect
from infoflow.methods.heatmaps import (
    ATTENTION,
    CAMS,
    CENTRE,
    PAPER,
    RANDOM,
    SOURCES,
    Place,
    Source,
    explained_answer,
    heat_maps,
    layer_of,
)
from infoflow.methods.localisation import localise, target_mask
from infoflow.models.lvlm import LVLM
from infoflow.options import require_noise
from infoflow.results.store import Store
from infoflow.stats.held_out import choose_held_out

N_SAMPLES = 4
"""Noisy pictures an item. The authors' code takes 50, at a cost in proportion."""

SIGMA = 0.1

GROUPS = {
    "CAM, any site": CAMS,
    "CAM, paper's site": (PAPER,),
    "attention": (ATTENTION,),
    "centre map": (CENTRE,),
    "random map": (RANDOM,),
}
"""Among which maps the best is chosen, each group for itself."""


def localisation_by_layer(
    lvlm: LVLM,
    task: Task,
    store: Store,
    n_samples: int = N_SAMPLES,
    sigma: float = SIGMA,
    seed: int = 0,
) -> pd.DataFrame:
    """Play the pointing game with every heat map of every item (:mod:`infoflow.methods.heatmaps`).

    The answer explained is that of ``explained_answer``, all its tokens. Items without target
    regions, such as questions about what is not there, have no rows.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.
        n_samples: Over how many noisy pictures CAMs are averaged, raw.
        sigma: Standard deviation of that noise, pixels being in [0, 1]; 0 for none.
        seed: Seed of the noise and of the random maps.

    Returns:
        Columns ``item``, ``kind``, ``layer`` (the paper's count, 1 to L; 0 where there is none),
        ``site``, ``weights``, ``hit`` and ``mass`` (NaN for an undefined map), and what a random
        token and an even map score, ``hit_chance`` and ``mass_chance``; see
        :class:`infoflow.methods.localisation.Localisation`.
    """
    require_noise(n_samples, sigma, seed)

    def measure(sample: Sample) -> list[Row]:
        if not sample.targets:
            return []
        prompt = lvlm.prompt(sample.image, sample.question)
        answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
        mask = target_mask(sample)
        maps = heat_maps(lvlm, prompt, answer, SOURCES, n_samples, sigma, seed)
        rows: list[Row] = []
        for source, of_layers in maps.items():
            found = localise(of_layers, prompt.grid, mask)
            rows += [
                {
                    "kind": sample.kind,
                    "layer": layer_of(source, index),
                    "site": source.site,
                    "weights": source.weights,
                    "hit": float(found.hits[index]),
                    "mass": float(found.mass[index]),
                    "hit_chance": found.hit_chance,
                    "mass_chance": found.mass_chance,
                }
                for index in range(len(of_layers))
            ]
        return rows

    parameters = {"n_samples": n_samples, "sigma": sigma, "seed": seed}
    return collect("localisation_by_layer", lvlm, task, store, parameters, measure)


def scores_by_place(
    rows: pd.DataFrame, score: str = "hit"
) -> tuple[list[Place], npt.NDArray[np.float64]]:
    """Arrange scores as :func:`infoflow.stats.held_out.choose_held_out` takes them.

    Args:
        rows: Rows of :func:`localisation_by_layer`, of one task or of several.
        score: ``"hit"`` or ``"mass"``.

    Returns:
        The C places, and the scores of N items in order, shape (N, C); NaN where undefined.

    Raises:
        InfoflowError: There are no rows, as for a task whose items name no regions.
    """
    if "site" not in rows or rows.empty:
        raise InfoflowError("no item names a region that its answer could be read from.")
    keys = ["site", "weights", "layer"]
    places = [Place(*key) for key in rows[keys].drop_duplicates().itertuples(index=False)]
    table = rows.set_index(["item", *keys])[score].unstack(keys)
    return places, table[[tuple(place) for place in places]].to_numpy(dtype=np.float64)


@dataclass(frozen=True, eq=False)
class ChosenPlace:
    """The best place of some sites: chosen on calibration items, scored on test items.

    Attributes:
        place: Where the chosen maps are read.
        calibration: Their mean score on the calibration items.
        test: Their mean score on the test items, one score an item in ``scores``.
        interval: The 95 % interval of that.
        scores: The test items' scores, shape (M,).
        best: The place with the best mean on the test items themselves, which flatters it.
        best_score: That mean.
    """

    place: Place
    calibration: float
    test: float
    interval: tuple[float, float]
    scores: npt.NDArray[np.float64]
    best: Place
    best_score: float


def choose_place(
    calibration: Sequence[pd.DataFrame],
    test: Sequence[pd.DataFrame],
    sources: Sequence[Source],
    score: str = "hit",
) -> ChosenPlace:
    """Choose the best place among all layers of some sources.

    Args:
        calibration: Rows of :func:`localisation_by_layer`, one frame a task, to choose by.
        test: Those of other items, to score on; every item counts alike, whatever its task.
        sources: Whose maps may be chosen.
        score: ``"hit"`` or ``"mass"``.

    Raises:
        InfoflowError: A frame has no rows, or the sources have no map that is defined for all.
    """
    known, new = (_pooled(frames, sources, score) for frames in (calibration, test))
    places, scores = new
    chosen = choose_held_out(known[1], scores)
    best = choose_held_out(scores, scores)
    return ChosenPlace(
        place=places[chosen.index[0]],
        calibration=chosen.calibration,
        test=chosen.test,
        interval=chosen.interval,
        scores=scores[:, chosen.index[0]],
        best=places[best.index[0]],
        best_score=best.test,
    )


def choices(
    calibration: Sequence[pd.DataFrame], test: Sequence[pd.DataFrame]
) -> dict[str, ChosenPlace]:
    """Choose the best place of every group of maps (``GROUPS``); args are ``choose_place``'s."""
    return {name: choose_place(calibration, test, sources) for name, sources in GROUPS.items()}


def _pooled(
    frames: Sequence[pd.DataFrame], sources: Sequence[Source], score: str
) -> tuple[list[Place], npt.NDArray[np.float64]]:
    tables = [scores_by_place(frame, score) for frame in frames]
    places = [place for place in tables[0][0] if place.source in sources]
    pooled = [scores[:, [found.index(p) for p in places]] for found, scores in tables]
    return places, np.concatenate(pooled)
