"""Is a heat map right? Every map of every sample of a task, held against the answer's region."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from infoflow.errors import InfoflowError
from infoflow.evaluate import LVLM, Count, Level, Row, Sample, Seed, Task, measure
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
from infoflow.methods.localisation import localise, target_mask
from infoflow.stats.held_out import choose_held_out

Floats = npt.NDArray[np.float64]

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
    lvlm: LVLM, task: Task, sample: Sample, n_samples: Count = 4, sigma: Level = 0.1, seed: Seed = 0
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


class ChosenPlace(NamedTuple):
    """The best place of some sources: chosen on calibration samples, scored on test samples."""

    place: Place
    calibration: float  # mean score of its maps on the calibration samples
    test: float  # that on the test samples
    interval: tuple[float, float]  # 95 % interval of that
    scores: Floats  # the test samples' scores, shape (M,)
    best: Place  # with the best mean on the test samples themselves, which flatters it
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
    places, known = _by_place(calibration, sources, score)
    _, scores = _by_place(test, sources, score)
    chosen, best = choose_held_out(known, scores), choose_held_out(scores, scores)
    (at,), (at_best,) = chosen.index, best.index
    held_out = chosen.calibration, chosen.test, chosen.interval
    return ChosenPlace(places[at], *held_out, scores[:, at], places[at_best], best.test)


def choices(
    calibration: Sequence[pd.DataFrame], test: Sequence[pd.DataFrame]
) -> dict[str, ChosenPlace]:
    """Choose the best place of every group of maps (``GROUPS``); args are ``choose_place``'s."""
    return {name: choose_place(calibration, test, sources) for name, sources in GROUPS.items()}


def _by_place(
    frames: Sequence[pd.DataFrame], sources: Sequence[Source], score: str
) -> tuple[list[Place], Floats]:
    """Scores of the samples of all frames by place, (N, C), NaN where undefined."""
    if any(frame.empty for frame in frames):
        raise InfoflowError("no item names a region that its answer could be read from.")
    keys = ["site", "weights", "layer"]
    rows = pd.concat([frame.assign(frame=number) for number, frame in enumerate(frames)])
    known = (Place(*key) for key in rows[keys].drop_duplicates().itertuples(index=False))
    places = [place for place in known if place.source in sources]
    table = rows.set_index(["frame", "item", *keys])[score].unstack(keys)
    return places, table[[tuple(place) for place in places]].to_numpy(dtype=np.float64)
