"""Does a heat map say what the model uses? Over a task: changed pictures, and random weights."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.evaluate.collecting import Row, collect
from infoflow.methods.faithfulness import deletion_curve, insertion_curve, randomised_weights
from infoflow.methods.heatmaps import (
    Floats,
    Place,
    Source,
    explained_answer,
    heat_maps,
    layer_of,
    pick,
)
from infoflow.methods.localisation import coverage, localise, rank_correlation, target_mask
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.options import require_noise, require_whole
from infoflow.results.store import Store

CURVES = {"deletion": deletion_curve, "insertion": insertion_curve}
TRUTH = Place("target", "none", 0)
"""The answer's region itself, as a map: the right answer to the question of where to look."""


def perturbation_curves(
    lvlm: LVLM,
    task: Task,
    store: Store,
    places: Sequence[Place],
    n_steps: int = 6,
    n_samples: int = 1,
    sigma: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Delete from, and insert into, every item's picture what some maps show hottest (RISE).

    The answer whose probability is followed is that of ``explained_answer`` on the whole picture.
    Items without target regions have no rows.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.
        places: Which maps; that of the target itself is added.
        n_steps: In how many steps a picture goes.
        n_samples: Over how many noisy pictures CAMs are averaged.
        sigma: Deviation of that noise.
        seed: Seed of the noise, of random maps and of the order of equally hot pixels.

    Returns:
        Columns ``item``, ``kind``, ``site``, ``weights``, ``layer``, ``curve`` (``"deletion"`` or
        ``"insertion"``), ``fraction`` (of the picture that is changed) and ``probability``.
    """
    require_whole(n_steps, "n_steps", least=1)
    require_noise(n_samples, sigma, seed)

    def measure(sample: Sample) -> list[Row]:
        if not sample.targets:
            return []
        prompt = lvlm.prompt(sample.image, sample.question)
        answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
        maps = _maps(lvlm, prompt, answer, places, (n_samples, sigma, seed))
        heats = {place: pick(maps, place) for place in places}
        heats[TRUTH] = coverage(target_mask(sample), prompt.grid)
        rows: list[Row] = []
        for place, heat in heats.items():
            for name, curve_of in CURVES.items():
                curve = curve_of(lvlm, prompt, answer, heat, n_steps, seed)
                rows += [
                    {
                        "kind": sample.kind,
                        **place._asdict(),
                        "curve": name,
                        "fraction": float(fraction),
                        "probability": float(probability),
                    }
                    for fraction, probability in zip(curve.fractions, curve.scores, strict=True)
                ]
        return rows

    parameters = {
        "places": [" ".join(map(str, place)) for place in places],
        "n_steps": n_steps,
        "n_samples": n_samples,
        "sigma": sigma,
        "seed": seed,
    }
    return collect("perturbation_curves", lvlm, task, store, parameters, measure)


def areas(rows: pd.DataFrame) -> pd.DataFrame:
    """The area under every curve, by the trapezoidal rule.

    Args:
        rows: Rows of :func:`perturbation_curves`.

    Returns:
        Columns ``item``, ``site``, ``weights``, ``layer``, ``curve``, ``area`` (from 0 to 1).
    """
    keys = ["item", "site", "weights", "layer", "curve"]
    under = [
        (*key, float(np.trapezoid(part["probability"], part["fraction"])))
        for key, part in rows.groupby(keys, sort=False)
    ]
    return pd.DataFrame(under, columns=[*keys, "area"])


def randomised_maps(
    lvlm: LVLM,
    task: Task,
    store: Store,
    sources: Sequence[Source],
    n_samples: int = 1,
    sigma: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every item's maps with those of the same model with random weights (Adebayo et al.).

    The decoder and its head are drawn anew (see ``randomised_weights``), the vision tower stays.
    Both models explain the answer that the trained one gives. Items without target regions have no
    rows.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.
        sources: Whose maps.
        n_samples: Over how many noisy pictures CAMs are averaged.
        sigma: Deviation of that noise.
        seed: Seed of the weights and of the noise.

    Returns:
        Columns ``item``, ``kind``, ``site``, ``weights``, ``layer``, ``correlation`` (Spearman's,
        of cells), ``hit`` and ``random_hit`` (the pointing game of either model's map) and
        ``hit_chance``; NaN where a map is undefined.
    """
    require_noise(n_samples, sigma, seed)

    def measure(sample: Sample) -> list[Row]:
        if not sample.targets:
            return []
        prompt = lvlm.prompt(sample.image, sample.question)
        answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
        settings = n_samples, sigma, seed
        trained = heat_maps(lvlm, prompt, answer, sources, *settings)
        with randomised_weights(lvlm, seed=seed):
            drawn = heat_maps(lvlm, prompt, answer, sources, *settings)
        mask = target_mask(sample)
        rows: list[Row] = []
        for source in sources:
            found, at_random = (localise(m[source], prompt.grid, mask) for m in (trained, drawn))
            correlations = rank_correlation(trained[source], drawn[source])
            rows += [
                {
                    "kind": sample.kind,
                    **source._asdict(),
                    "layer": layer_of(source, index),
                    "correlation": float(correlation),
                    "hit": float(found.hits[index]),
                    "random_hit": float(at_random.hits[index]),
                    "hit_chance": found.hit_chance,
                }
                for index, correlation in enumerate(correlations)
            ]
        return rows

    parameters = {
        "sources": [" ".join(source) for source in sources],
        "n_samples": n_samples,
        "sigma": sigma,
        "seed": seed,
    }
    return collect("randomised_maps", lvlm, task, store, parameters, measure)


def _maps(
    lvlm: LVLM,
    prompt: Prompt,
    answer: Tensor,
    places: Sequence[Place],
    settings: tuple[int, float, int],
) -> Mapping[Source, Floats]:
    sources = tuple(dict.fromkeys(place.source for place in places))
    return heat_maps(lvlm, prompt, answer, sources, *settings)
