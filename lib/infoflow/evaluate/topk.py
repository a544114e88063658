"""Truncation that keeps K image tokens, over a task."""

from collections.abc import Callable, Mapping, Sequence
from zlib import crc32

import pandas as pd
import torch
from torch import Tensor

from infoflow.errors import InfoflowError, unknown_name
from infoflow.evaluate import LVLM, Count, Row, Sample, Seed, Task, measure
from infoflow.methods.cam import llava_cam
from infoflow.methods.truncation import truncation_sweep
from infoflow.models.prompt import Prompt

ROUNDING = 1e-9  # of equal means after summation; no real difference is this small


def _at_random(lvlm: LVLM, prompt: Prompt, sample: Sample, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(crc32(f"{seed} {sample.id}".encode()))
    return torch.rand(_n_image(prompt), generator=generator)


def _by_cam(lvlm: LVLM, prompt: Prompt, sample: Sample, seed: int) -> Tensor:
    return llava_cam(lvlm, prompt, sample.answer, n_samples=1, sigma=0.0).by_token


RANKINGS: Mapping[str, Callable[[LVLM, Prompt, Sample, int], Tensor | None]] = {
    "attention": lambda lvlm, prompt, sample, seed: None,
    "random": _at_random,
    "cam": _by_cam,
}
"""How image tokens can be ranked: scores of shape (N,) or (L, N), or None for the sweep's own."""


@measure
def topk_by_cut(
    lvlm: LVLM,
    task: Task,
    sample: Sample,
    keeps: Sequence[Count],
    cuts: Sequence[Count],
    by: str = "attention",
    seed: Seed = 0,
) -> list[Row]:
    """Answer with only K image tokens left from a cut on, and score the answers.

    One sweep for each K; the prompt is encoded and its tokens are ranked once for all K.

    Settings:
        keeps: The Ks, each at least 1; for K = 0 there is
            :func:`infoflow.evaluate.truncation.truncation_by_cut`.
        cuts: The cuts, each 1 to L.
        by: One of ``RANKINGS``. ``"attention"``: what the last prompt token attends to most in the
            last layer before the cut, heads averaged (Eq. 10-11). ``"random"``: any K tokens; more
            tokens hold those of fewer. ``"cam"``: the plain LLaVA-CAM of the reference answer
            behind the second norm of that layer, without noise. It is given the answer, so it is no
            method but a bound on what choosing well could do.
        seed: Seed of the random choice; each sample has its own.

    Returns:
        Columns ``keep`` (K), ``n_image`` (N), ``cut`` and those of
        :meth:`infoflow.data.task.Task.details`.

    Raises:
        UnknownNameError: There is no such ranking.
        InfoflowError: There is no K, or a K or cut is out of range.
    """
    if by not in RANKINGS:
        raise unknown_name("ranking", by, RANKINGS)
    prompt = lvlm.prompt(sample.image, sample.question)
    ranking = RANKINGS[by](lvlm, prompt, sample, seed)
    rows: list[Row] = []
    for keep in keeps:
        sweep = truncation_sweep(lvlm, prompt, keep, cuts, task.max_new_tokens, ranking)
        for cut, tokens in zip(sweep.cuts.tolist(), sweep.tokens, strict=True):
            details = task.details(sample, lvlm.decode(tokens))
            rows.append({"keep": keep, "n_image": _n_image(prompt), "cut": cut, **details})
    return rows


def _n_image(prompt: Prompt) -> int:
    return prompt.spans.image.stop - prompt.spans.image.start


def score_grid(kept: pd.DataFrame, truncated: pd.DataFrame) -> pd.DataFrame:
    """Arrange mean scores of :func:`topk_by_cut` by K and cut, from no image token to all of them.

    One row a K, one column a cut of ``kept``, both ascending. K = 0 and K = N are of rows of
    :func:`infoflow.evaluate.truncation.truncation_by_cut` of the same samples.
    """
    if set(kept["item"]) != set(truncated["item"]):
        raise InfoflowError("scores by K need truncation_by_cut of the very same items.")
    grid = kept.pivot_table(index="keep", columns="cut", values="score", aggfunc="mean")
    by_cut = truncated.groupby("cut")["score"].mean()
    grid.loc[0] = by_cut[grid.columns]
    grid.loc[int(kept["n_image"].max())] = by_cut.iloc[-1]
    return grid.sort_index()


def fewest_kept(grid: pd.DataFrame, margin: float) -> pd.Series:
    """By cut of a :func:`score_grid`, the smallest K from which on no mean score is harmed.

    A score is harmed where it is below the intact model's, the last row, by more than the margin.
    """
    harmed = grid < grid.iloc[-1] - margin - ROUNDING
    # from all tokens down: the last K before the first that harms
    enough = ~harmed.iloc[::-1].astype(int).cummax().astype(bool)
    return enough.iloc[::-1].idxmax().rename("fewest")
