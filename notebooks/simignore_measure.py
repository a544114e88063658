"""Simignore as its code was released, and how many image tokens settings of it hide."""

from collections.abc import Sequence

import torch

from infoflow.claims.paper import paper_values
from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.evaluate.answers import ByOptions
from infoflow.interventions import Simignore


def at_share(setting, n_image, seed=0):
    """A released setting, for a model of ``n_image`` tokens: the same share of them is kept."""
    keep = round(setting["keep"] * n_image / paper_values()["simignore"]["n_image"])
    return Simignore(keep, start=setting["start"], stride=setting["stride"], seed=seed)


@measure
def tokens_ignored(
    lvlm: LVLM, task: Task, sample: Sample, choices: Sequence[Simignore | ByOptions]
) -> list[Row]:
    """Count the image tokens that settings of Simignore hide; no decoder is run.

    Settings:
        choices: The settings of Simignore.

    Returns:
        Columns ``kind``, ``choice`` (its number, from 0), ``keep`` (K, as set), ``n_image`` (N) and
        ``n_ignored``.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    with torch.inference_mode():
        own = [c.of(lvlm, sample) if isinstance(c, ByOptions) else c for c in choices]
        ignored = [int(setting.ignored(lvlm, prompt).sum()) for setting in own]
    image = {"n_image": prompt.grid.n_tokens}
    return [
        {"choice": n, "keep": setting.keep, **image, "n_ignored": n_ignored}
        for n, (setting, n_ignored) in enumerate(zip(own, ignored, strict=True))
    ]
