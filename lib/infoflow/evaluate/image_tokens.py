"""What image tokens say: the logit lens over a task."""

import numpy as np

from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.methods.lens import logit_lens
from infoflow.methods.localisation import Floats, Mask, coverage


@measure
def lens_by_depth(lvlm: LVLM, task: Task, sample: Sample) -> list[Row]:
    """Ask whether patches say the colour and the shape of what they show.

    Returns:
        Columns ``word``, ``depth`` (layers passed, 0 to L), ``auc`` (how often a cell that touches
        things of that name says it more than one that does not) and ``elsewhere``, the same of
        cells that touch other things alone; NaN where there are none.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    touched = {n: coverage(sample.regions[n], prompt.grid) > 0 for n in sample.objects}
    anything = np.logical_or.reduce([*touched.values()])
    words = sorted({word for name in touched for word in name.split()})
    maps = prompt.grid.cells(logit_lens(lvlm, prompt, words).permute(2, 0, 1))
    rows: list[Row] = []
    for word, of_word in zip(words, maps, strict=True):
        own = np.logical_or.reduce([on for name, on in touched.items() if word in name.split()])
        scores = zip(_auc(of_word, own), _auc(of_word, anything & ~own), strict=True)
        for depth, (auc, elsewhere) in enumerate(scores):
            rows.append({"word": word, "depth": depth, "auc": auc, "elsewhere": elsewhere})
    return rows


def _auc(maps: Floats, inside: Mask) -> Floats:
    """How often a cell inside is above one outside: maps (L + 1, h, w) to (L + 1,)."""
    if not inside.any():
        return np.full(len(maps), np.nan)
    lead = maps[:, inside, None] - maps[:, None, ~inside]
    return np.asarray((1 + np.sign(lead).mean(axis=(1, 2))) / 2)
