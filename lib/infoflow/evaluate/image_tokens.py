"""What image tokens say, and who needs them: logit lens and activation patching over a task."""

import numpy as np
import torch
from torch import Tensor

from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.methods.lens import logit_lens
from infoflow.methods.localisation import Floats, Mask, coverage, tokens_on
from infoflow.methods.patching import activation_patching
from infoflow.models.prompt import Prompt


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


@measure
def patching_by_depth(lvlm: LVLM, task: Task, twin: Sample, sample: Sample) -> list[Row]:
    """Put states of a picture into the run of its twin: which rows bring the answer along?

    Settings:
        twin: The task of the twins; there are no rows where both answers begin with one token.

    Returns:
        Columns ``group`` (of :func:`row_groups`), ``depth`` (layers passed, 0 to L), ``recovery``
        and ``right`` (both answers begin right).
    """
    answers = sample.answer, twin.answer
    first, second = (lvlm.encode_answer(answer)[:1] for answer in answers)
    if torch.equal(first, second):
        return []
    clean, other = (lvlm.prompt(each.image, each.question) for each in (sample, twin))
    said = torch.cat([lvlm.generate(clean, 1), lvlm.generate(other, 1)])
    right = torch.equal(said, torch.cat([first, second]))
    groups = row_groups(clean, (np.asarray(sample.image) != np.asarray(twin.image)).any(-1))
    found = activation_patching(lvlm, clean, other, answers, torch.stack([*groups.values()]))
    return [
        {"group": group, "depth": depth, "recovery": recovery, "right": right}
        for group, of_group in zip(groups, found.tolist(), strict=True)
        for depth, recovery in enumerate(of_group)
    ]


def row_groups(prompt: Prompt, region: Mask) -> dict[str, Tensor]:
    """Divide a prompt's rows, boolean (S,): image tokens on a region or not, question, last row.

    A group without a row is left out.
    """
    image, rows = prompt.spans.image, torch.zeros(4, len(prompt), dtype=torch.bool)
    rows[0, image] = torch.from_numpy(tokens_on(region, prompt.grid))
    rows[1, image] = ~rows[0, image]
    rows[2, image.stop : -1] = rows[3, -1] = True
    named = zip(("object", "background", "question", "last"), rows, strict=True)
    return {name: of for name, of in named if of.any()}


def _auc(maps: Floats, inside: Mask) -> Floats:
    """How often a cell inside is above one outside: maps (L + 1, h, w) to (L + 1,)."""
    if not inside.any():
        return np.full(len(maps), np.nan)
    lead = maps[:, inside, None] - maps[:, None, ~inside]
    return np.asarray((1 + np.sign(lead).mean(axis=(1, 2))) / 2)
