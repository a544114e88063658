"""Does a map say what the model uses? What the page on maps measures, with changed images."""

import numpy as np

from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.methods.faithfulness import faithfulness_curve, randomised_weights
from infoflow.methods.heatmaps import Place, explained_answer, heat_maps
from infoflow.methods.localisation import coverage, localise, rank_correlation, target_mask

CURVES = ("deletion", "insertion")
TRUTH = Place("target", "none", 0)  # the answer's region itself, as a map


@measure
def faithfulness_of_maps(
    lvlm: LVLM,
    task: Task,
    sample: Sample,
    places: list[Place],
    n_steps: int = 6,
    n_samples: int = 1,
    sigma: float = 0.0,
    seed: int = 0,
) -> list[Row]:
    """Delete from, and insert into, the image what maps show hottest (RISE), and draw weights anew.

    Followed is the probability of the answer to the whole image, in so many steps; random weights,
    in decoder and head, explain the same answer (Adebayo et al.). Noise, weights, random maps and
    the order of equally hot pixels have one seed. Samples without target regions have no rows.

    Returns:
        Of each place and of the target itself ``deletion`` and ``insertion``, the areas under the
        curves; ``correlation`` (Spearman's, of cells) with the map of random weights, and that
        one's ``random_hit`` in the pointing game. NaN where a map is undefined.
    """
    if not sample.targets:
        return []
    prompt, mask = lvlm.prompt(sample.image, sample.question), target_mask(sample)
    answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
    asked = lvlm, prompt, answer, [place.source for place in places], n_samples, sigma, seed
    trained = heat_maps(*asked)
    with randomised_weights(lvlm, seed=seed):
        drawn = heat_maps(*asked)
    trained[TRUTH.source] = drawn[TRUTH.source] = coverage(mask, prompt.grid)[None]
    rows: list[Row] = []
    for place in (*places, TRUTH):
        at = slice(max(place.layer - 1, 0), max(place.layer, 1))
        heat, other = trained[place.source][at], drawn[place.source][at]
        areas = dict.fromkeys(CURVES, np.nan)
        for name in CURVES if np.isfinite(heat).all() else ():
            curve = faithfulness_curve(lvlm, prompt, answer, heat[0], name, n_steps, seed)
            areas[name] = float(np.trapezoid(curve.scores, curve.fractions))
        hit = localise(other, prompt.grid, mask).hits[0]
        alike = {"correlation": rank_correlation(heat, other)[0], "random_hit": hit}
        rows.append({**place._asdict(), **areas, **alike})
    return rows
