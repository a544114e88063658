"""Is a heat map right? Every map of every sample of a task, held against the answer's region."""

from collections.abc import Sequence

from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.methods.heatmaps import RIVALS, SOURCES, Source, explained_answer, heat_maps
from infoflow.methods.localisation import localise, target_mask


@measure
def localisation_by_layer(
    lvlm: LVLM, task: Task, sample: Sample, n_samples: int = 4, sigma: float = 0.1, seed: int = 0
) -> list[Row]:
    """Play the pointing game with every heat map (:mod:`infoflow.methods.heatmaps`).

    Explained are all tokens of the model's answer. Samples without target regions have no rows.

    Settings:
        n_samples: Over how many noisy images CAMs are averaged, raw. The authors' code takes 50.
        sigma: Standard deviation of that noise, pixels being in [0, 1]; 0 for none.
        seed: Seed of the noise and of the random maps.

    Returns:
        Columns ``kind``, ``layer`` (the paper's count, 1 to L; 0 where there is none), ``site``,
        ``weights`` and what :class:`infoflow.methods.localisation.Localisation` has: ``hit``,
        ``mass`` (NaN for an undefined map), ``hit_chance`` and ``mass_chance``.
    """
    return _localised(lvlm, task, sample, SOURCES, (n_samples, sigma, seed))


@measure
def localisation_of_rivals(
    lvlm: LVLM, task: Task, sample: Sample, n_samples: int = 4, sigma: float = 0.1, seed: int = 0
) -> list[Row]:
    """Do as :func:`localisation_by_layer` with the vision tower's CAMs and the rivals of CAM."""
    return _localised(lvlm, task, sample, RIVALS, (n_samples, sigma, seed))


def _localised(
    lvlm: LVLM, task: Task, sample: Sample, sources: Sequence[Source], noise: tuple[int, float, int]
) -> list[Row]:
    if not sample.targets:
        return []
    prompt = lvlm.prompt(sample.image, sample.question)
    answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
    maps = heat_maps(lvlm, prompt, answer, sources, *noise)
    mask = target_mask(sample)
    return [
        {"layer": layer, **source._asdict(), "hit": hit, "mass": mass, **chances}
        for source, of_layers in maps.items()
        for found in [localise(of_layers, prompt.grid, mask)]
        for chances in [{"hit_chance": found.hit_chance, "mass_chance": found.mass_chance}]
        for first in [1 if len(of_layers) == lvlm.n_layers else 0]  # of a map without a layer
        for layer, (hit, mass) in enumerate(zip(found.hits, found.mass, strict=True), first)
    ]
