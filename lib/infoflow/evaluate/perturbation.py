"""Does a heat map say what the model uses? Over a task: changed images, and random weights."""

from collections.abc import Sequence
from functools import partial

from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.methods.faithfulness import faithfulness_curve, randomised_weights
from infoflow.methods.heatmaps import Place, Source, explained_answer, heat_maps, layers_of
from infoflow.methods.localisation import coverage, localise, rank_correlation, target_mask

CURVES = ("deletion", "insertion")
TRUTH = Place("target", "none", 0)  # the answer's region itself, as a map


@measure
def perturbation_curves(
    lvlm: LVLM,
    task: Task,
    sample: Sample,
    places: Sequence[Place],
    n_steps: int = 6,
    n_samples: int = 1,
    sigma: float = 0.0,
    seed: int = 0,
) -> list[Row]:
    """Delete from, and insert into, the image what some maps show hottest (RISE).

    Followed is the probability of the answer to the whole image. Samples without target regions
    have no rows.

    Settings:
        places: Which maps; that of the target itself is added.
        n_steps: In how many steps an image goes.
        n_samples: As of :func:`infoflow.methods.cam.llava_cam`, and so is ``sigma``.
        seed: Seed of the noise, of random maps and of the order of equally hot pixels.

    Returns:
        Columns ``kind``, ``site``, ``weights``, ``layer``, ``curve`` (``"deletion"`` or
        ``"insertion"``), ``fraction`` (of the image that is changed) and ``probability``.
    """
    if not sample.targets:
        return []
    prompt = lvlm.prompt(sample.image, sample.question)
    answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
    sources = list(dict.fromkeys(place.source for place in places))
    maps = heat_maps(lvlm, prompt, answer, sources, n_samples, sigma, seed)
    heats = {place: maps[place.source][max(place.layer - 1, 0)] for place in places}
    heats[TRUTH] = coverage(target_mask(sample), prompt.grid)
    return [
        {**place._asdict(), "curve": name, "fraction": fraction, "probability": probability}
        for place, heat in heats.items()
        for name in CURVES
        for curve in [faithfulness_curve(lvlm, prompt, answer, heat, name, n_steps, seed)]
        for fraction, probability in zip(curve.fractions, curve.scores, strict=True)
    ]


@measure
def randomised_maps(
    lvlm: LVLM,
    task: Task,
    sample: Sample,
    sources: Sequence[Source],
    n_samples: int = 1,
    sigma: float = 0.0,
    seed: int = 0,
) -> list[Row]:
    """Compare maps with those of the same model with random weights (Adebayo et al.).

    The decoder and its head are drawn anew, the vision tower stays. Both models explain the answer
    that the trained one gives. Samples without target regions have no rows.

    Settings:
        sources: Whose maps.
        n_samples: As of :func:`infoflow.methods.cam.llava_cam`, and so is ``sigma``.
        seed: Seed of the weights and of the noise.

    Returns:
        Columns ``kind``, ``site``, ``weights``, ``layer``, ``correlation`` (Spearman's, of cells),
        ``hit`` and ``random_hit`` (the pointing game of either model's map) and ``hit_chance``; NaN
        where a map is undefined.
    """
    if not sample.targets:
        return []
    prompt = lvlm.prompt(sample.image, sample.question)
    answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
    maps_of = partial(heat_maps, lvlm, prompt, answer, sources, n_samples, sigma, seed)
    trained, mask = maps_of(), target_mask(sample)
    with randomised_weights(lvlm, seed=seed):
        drawn = maps_of()
    rows: list[Row] = []
    for source in sources:
        found, at_random = (localise(m[source], prompt.grid, mask) for m in (trained, drawn))
        alike = rank_correlation(trained[source], drawn[source])
        for n, layer in enumerate(layers_of(alike, lvlm.n_layers)):
            place = {**source._asdict(), "layer": layer}
            hits = {"hit": found.hits[n], "random_hit": at_random.hits[n]}
            chance = {"hit_chance": found.hit_chance}
            rows.append({**place, "correlation": alike[n], **hits, **chance})
    return rows
