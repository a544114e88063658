"""What image tokens say, and who needs them: the logit lens and activation patching over a task."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.methods.lens import logit_lens
from infoflow.methods.localisation import Floats, Mask, coverage
from infoflow.methods.patching import activation_patching
from infoflow.models.prompt import Prompt


@measure
def lens_by_depth(lvlm: LVLM, task: Task, sample: Sample) -> list[Row]:
    """Ask whether patches say the colour and the shape of what they show.

    Returns:
        Columns ``word``, ``depth`` (layers passed, 0 to L), ``auc`` (how often a cell that touches
        things of that name says it more than one that does not) and ``elsewhere`` (the same of the
        scene's other things, NaN without any).
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    cells = {n: coverage(sample.regions[n], prompt.grid) > 0 for n in sample.objects}
    words = sorted({word for name in cells for word in name.split()})
    rows: list[Row] = []
    for word, log_probs in zip(words, logit_lens(lvlm, prompt, words).unbind(-1), strict=True):
        maps = prompt.grid.cells(log_probs)
        own, others = (
            _auc(maps, [of for name, of in cells.items() if (word in name.split()) == named])
            for named in (True, False)
        )
        for depth, scores in enumerate(zip(own, others, strict=True)):
            rows.append({"word": word, "depth": depth, "auc": scores[0], "elsewhere": scores[1]})
    return rows


@measure
def patching_by_depth(lvlm: LVLM, task: Task, twin: Sample, sample: Sample) -> list[Row]:
    """Put states of a picture into the run of its twin: which rows bring the answer along?

    Settings:
        twin: The task of the twins; there are no rows where both answers begin with one token.

    Returns:
        Columns ``group`` (of :func:`row_groups`), ``depth`` (layers passed, 0 to L), ``recovery``,
        ``right`` (both answers begin right) and ``apart`` (the distance of the two pictures'
        embeddings, over their length: the group's mean).
    """
    answers = sample.answer, twin.answer
    first, second = (lvlm.encode_answer(answer)[:1] for answer in answers)
    if torch.equal(first, second):
        return []
    clean, other = (lvlm.prompt(each.image, each.question) for each in (sample, twin))
    said = lvlm.generate(clean, 1), lvlm.generate(other, 1)
    right = torch.equal(said[0], first) and torch.equal(said[1], second)
    groups = row_groups(clean, (np.asarray(sample.image) != np.asarray(twin.image)).any(-1))
    recovery = activation_patching(lvlm, clean, other, answers, torch.stack([*groups.values()]))
    ours, theirs = clean.inputs_embeds[0], other.inputs_embeds[0]
    apart = (ours - theirs).norm(dim=-1) / ours.norm(dim=-1)
    return [
        {"group": name, "depth": depth, "recovery": share, "right": right, "apart": distance}
        for (name, rows), of_group in zip(groups.items(), recovery.tolist(), strict=True)
        for distance in [float(apart[rows].mean())]
        for depth, share in enumerate(of_group)
    ]


def row_groups(prompt: Prompt, region: Mask) -> dict[str, Tensor]:
    """Divide a prompt's rows, boolean (S,): image tokens on a region, others, question, last row.

    A token is on it if over a quarter of it goes to cells that touch the region. Empty groups are
    left out.
    """
    cells, spread = (coverage(region, prompt.grid) > 0).ravel(), prompt.grid.spread
    is_on = cells if spread is None else spread.T @ cells > spread.sum(axis=0) / 4
    names, image = ("object", "background", "question", "last"), prompt.spans.image
    rows = torch.zeros(len(names), len(prompt), dtype=torch.bool)
    rows[0, image] = torch.from_numpy(is_on)
    rows[1, image] = ~rows[0, image]
    rows[2, image.stop : -1] = rows[3, -1] = True
    return {name: of for name, of in zip(names, rows, strict=True) if of.any()}


def _auc(maps: Floats, regions: Sequence[Mask]) -> Floats:
    """How often a cell of some regions is above another cell: maps (L + 1, h, w) to (L + 1,)."""
    if not regions:
        return np.full(len(maps), np.nan)
    inside = np.logical_or.reduce(regions)
    lead = maps[:, inside, None] - maps[:, None, ~inside]
    return np.asarray((1 + np.sign(lead).mean(axis=(1, 2))) / 2)
