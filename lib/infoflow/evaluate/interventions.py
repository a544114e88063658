"""Answers under interventions, and what Simignore hides of a task's images."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.evaluate.answers import ByOptions, answers
from infoflow.interventions import Simignore

__all__ = ["ByOptions", "answers_under", "metrics_by_arm", "tokens_ignored"]

answers_under = answers
"""The same measure, :func:`infoflow.evaluate.answers.answers`, which takes interventions."""


def metrics_by_arm(task: Task, arms: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The benchmark's own metrics (:meth:`infoflow.data.task.Task.summary`) of each arm's answers.

    One row an arm, in the order given; one column a metric.
    """
    summaries = {name: task.summary(rows) for name, rows in arms.items()}
    return pd.DataFrame.from_dict(summaries, orient="index").rename_axis("arm")


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

    Raises:
        InfoflowError: A setting does not suit a prompt or a sample.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    with torch.inference_mode():
        own = [c.of(lvlm, sample) if isinstance(c, ByOptions) else c for c in choices]
        ignored = [int(setting.ignored(lvlm, prompt).sum()) for setting in own]
    n_image = prompt.grid.n_tokens
    return [
        {"choice": n, "keep": setting.keep, "n_image": n_image, "n_ignored": n_ignored}
        for n, (setting, n_ignored) in enumerate(zip(own, ignored, strict=True))
    ]
