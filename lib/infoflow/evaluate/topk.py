"""Truncation that keeps K image tokens, over a task."""

from collections.abc import Callable, Mapping, Sequence
from zlib import crc32

import torch
from torch import Tensor

from infoflow.errors import require_name
from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.methods.cam import llava_cam
from infoflow.methods.truncation import truncation_sweep
from infoflow.models.prompt import Prompt


def _at_random(lvlm: LVLM, prompt: Prompt, sample: Sample, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(crc32(f"{seed} {sample.id}".encode()))
    return torch.rand(prompt.grid.n_tokens, generator=generator)


def _by_cam(lvlm: LVLM, prompt: Prompt, sample: Sample, seed: int) -> Tensor:
    return llava_cam(lvlm, prompt, sample.answer, n_samples=1, sigma=0.0).by_token


RANKINGS: Mapping[str, Callable[[LVLM, Prompt, Sample, int], Tensor | None]] = {
    "attention": lambda lvlm, prompt, sample, seed: None,
    "random": _at_random,
    "cam": _by_cam,
}
"""Scores of image tokens, of shape (N,) or (L, N); None for the sweep's own."""


@measure
def topk_by_cut(
    lvlm: LVLM,
    task: Task,
    sample: Sample,
    keeps: Sequence[int],
    cuts: Sequence[int],
    by: str = "attention",
    seed: int = 0,
) -> list[Row]:
    """Answer with only K image tokens left from a cut on, and score the answers.

    Settings:
        keeps: The Ks; for 0 there is ``truncation_by_cut``.
        cuts: The cuts, each 1 to L.
        by: One of ``RANKINGS``. ``"attention"``: what the last prompt token attends to most in the
            last layer before the cut, heads averaged (Eq. 10-11). ``"random"``: any K tokens, more
            of which hold fewer. ``"cam"``: LLaVA-CAM of the reference answer: a bound, no method.
        seed: Seed of the random choice; each sample has its own.

    Returns:
        Columns ``keep`` (K), ``n_image`` (N), ``cut`` and those of
        :meth:`infoflow.data.task.Task.details`.
    """
    require_name(by, "ranking", RANKINGS)
    prompt = lvlm.prompt(sample.image, sample.question)
    ranking = RANKINGS[by](lvlm, prompt, sample, seed)
    rows: list[Row] = []
    for keep in keeps:
        sweep = truncation_sweep(lvlm, prompt, keep, cuts, task.max_new_tokens, ranking)
        for cut, tokens in zip(sweep.cuts.tolist(), sweep.tokens, strict=True):
            details = task.details(sample, lvlm.decode(tokens))
            rows.append({"keep": keep, "n_image": prompt.grid.n_tokens, "cut": cut, **details})
    return rows
