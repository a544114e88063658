"""Is a heat map right? Every map of every sample of a task, held against the answer's region."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.errors import InfoflowError
from infoflow.evaluate import Count, Row, Seed, Strength, measure
from infoflow.methods.heatmaps import (
    ATTENTION,
    CAMS,
    CENTRE,
    PAPER,
    RANDOM,
    Place,
    Source,
    explained_answer,
    heat_maps,
    layer_of,
)
from infoflow.methods.localisation import choose_held_out, localise, target_mask
from infoflow.models.lvlm import LVLM

GROUPS = {
    "CAM, any site": CAMS,
    "CAM, paper's site": (PAPER,),
    "attention": (ATTENTION,),
    "centre map": (CENTRE,),
    "random map": (RANDOM,),
}
"""Among which maps the best is chosen, each group for itself."""


@measure
def localisation_by_layer(
    lvlm: LVLM,
    task: Task,
    sample: Sample,
    n_samples: Count = 4,
    sigma: Strength = 0.1,
    seed: Seed = 0,
) -> list[Row]:
    """Play the pointing game with every heat map (:mod:`infoflow.methods.heatmaps`).

    The answer explained is that of ``explained_answer``, all its tokens. Samples without target
    regions, such as questions about what is not there, have no rows.

    Settings:
        n_samples: Over how many noisy images CAMs are averaged, raw. The authors' code takes 50, at
            a cost in proportion.
        sigma: Standard deviation of that noise, pixels being in [0, 1]; 0 for none.
        seed: Seed of the noise and of the random maps.

    Returns:
        Columns ``kind``, ``layer`` (the paper's count, 1 to L; 0 where there is none), ``site``,
        ``weights``, ``hit`` and ``mass`` (NaN for an undefined map), and what a random token and an
        even map score, ``hit_chance`` and ``mass_chance``; see
        :class:`infoflow.methods.localisation.Localisation`.
    """
    if not sample.targets:
        return []
    prompt = lvlm.prompt(sample.image, sample.question)
    answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
    maps = heat_maps(lvlm, prompt, answer, n_samples=n_samples, sigma=sigma, seed=seed)
    mask = target_mask(sample)
    return [
        {
            **{"layer": layer_of(source, index), **source._asdict(), "hit": hit, "mass": mass},
            **{"hit_chance": found.hit_chance, "mass_chance": found.mass_chance},
        }
        for source, of_layers in maps.items()
        for found in [localise(of_layers, prompt.grid, mask)]
        for index, (hit, mass) in enumerate(zip(found.hits, found.mass, strict=True))
    ]


def scores_by_place(
    rows: pd.DataFrame, score: str = "hit"
) -> tuple[list[Place], npt.NDArray[np.float64]]:
    """Arrange rows of :func:`localisation_by_layer`, of one task or of several, by place.

    Args:
        rows: The rows.
        score: ``"hit"`` or ``"mass"``.

    Returns:
        The C places, and the scores of N samples in order, shape (N, C); NaN where undefined.

    Raises:
        InfoflowError: There are no rows, as for a task whose samples name no regions.
    """
    if "site" not in rows or rows.empty:
        raise InfoflowError("no item names a region that its answer could be read from.")
    keys = ["site", "weights", "layer"]
    places = [Place(*key) for key in rows[keys].drop_duplicates().itertuples(index=False)]
    table = rows.set_index(["item", *keys])[score].unstack(keys)
    return places, table[[tuple(place) for place in places]].to_numpy(dtype=np.float64)


@dataclass(frozen=True, eq=False)
class ChosenPlace:
    """The best place of some sources: chosen on calibration samples, scored on test samples.

    Attributes:
        place: Where the chosen maps are read.
        calibration: Their mean score on the calibration samples.
        test: Their mean score on the test samples, one score a sample in ``scores``.
        interval: The 95 % interval of that.
        scores: The test samples' scores, shape (M,).
        best: The place with the best mean on the test samples themselves, which flatters it.
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
        test: Those of other samples, to score on; every sample counts alike, whatever its task.
        sources: Whose maps may be chosen.
        score: ``"hit"`` or ``"mass"``.

    Raises:
        InfoflowError: A frame has no rows, or the sources have no map that is defined for all.
    """
    known, new = (_pooled(frames, sources, score) for frames in (calibration, test))
    places, scores = new
    chosen, best = choose_held_out(known[1], scores), choose_held_out(scores, scores)
    return ChosenPlace(
        **{"place": places[chosen.index[0]], "scores": scores[:, chosen.index[0]]},
        **{"calibration": chosen.calibration, "test": chosen.test, "interval": chosen.interval},
        **{"best": places[best.index[0]], "best_score": best.test},
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
