"""A task's answers under interventions, and what Simignore hides of its items."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import pandas as pd
import torch
from torch import Tensor

from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.errors import InfoflowError
from infoflow.evaluate.answers import answers
from infoflow.evaluate.collecting import Row, collect
from infoflow.interventions import Intervention, Simignore, intervene
from infoflow.models.lvlm import LVLM
from infoflow.results.store import Store


@dataclass(frozen=True)
class ByOptions:
    """Simignore that compares the image with each item's own options, as the released code does.

    The text is the options without their letters, joined by spaces, after the tokenizer's token
    that begins a sequence, if it has one.

    Attributes:
        simignore: All other settings; its ``text`` is replaced.
    """

    simignore: Simignore

    def of(self, lvlm: LVLM, sample: Sample) -> Simignore:
        """Settings for one item.

        Raises:
            InfoflowError: The item has no options.
        """
        if not sample.choices:
            raise InfoflowError(
                f"{sample.id} has no options to compare the image with; "
                "valid for it: Simignore(...) itself, which reads the whole question."
            )
        begin = lvlm.tokenizer.bos_token_id
        options = lvlm.encode_answer(" ".join(sample.choices))
        first = options.new_tensor([] if begin is None else [begin])
        return replace(self.simignore, text=torch.cat([first, options]))


_Own = TypeVar("_Own", bound=Intervention)

Change = Intervention | ByOptions
"""What can be done to a model: the same for all items, or set by each item."""


def answers_under(lvlm: LVLM, task: Task, store: Store, *changes: Change) -> pd.DataFrame:
    """Answer every item under interventions, by transformers' own greedy decoding.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept; every setting is part of the result's key.
        *changes: Interventions, all at work at once; none for the rows of
            :func:`infoflow.evaluate.answers.answers`.

    Returns:
        Columns ``item`` and those of :meth:`infoflow.data.load.Task.details`.

    Raises:
        InfoflowError: A setting does not suit the model, a prompt or an item.
    """
    if not changes:
        return answers(lvlm, task, store)

    def measure(sample: Sample) -> list[Row]:
        prompt = lvlm.prompt(sample.image, sample.question)
        with intervene(lvlm, *(_for(change, lvlm, sample) for change in changes)):
            return [task.details(sample, lvlm.answer(prompt, task.max_new_tokens))]

    parameters = {
        "max_new_tokens": task.max_new_tokens,
        "interventions": " + ".join(described(change) for change in changes),
    }
    return collect("answers_under", lvlm, task, store, parameters, measure)


def metrics_by_arm(task: Task, arms: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The benchmark's own metrics of every arm.

    Args:
        task: The task the rows belong to.
        arms: By name, rows of :func:`answers_under`.

    Returns:
        One row an arm, in the order given (the index); one column a metric of
        :meth:`infoflow.data.load.Task.summary`.
    """
    summaries = {name: task.summary(rows) for name, rows in arms.items()}
    return pd.DataFrame.from_dict(summaries, orient="index").rename_axis("arm")


def tokens_ignored(
    lvlm: LVLM, task: Task, store: Store, choices: Sequence[Simignore | ByOptions]
) -> pd.DataFrame:
    """Count the image tokens that settings of Simignore hide; no decoder is run.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.
        choices: The settings.

    Returns:
        Columns ``item``, ``kind``, ``choice`` (its number, from 0), ``keep`` (K, as set),
        ``n_image`` (N) and ``n_ignored``.

    Raises:
        InfoflowError: A setting does not suit a prompt or an item.
    """

    def measure(sample: Sample) -> list[Row]:
        prompt = lvlm.prompt(sample.image, sample.question)
        with torch.inference_mode():
            settings = [_for(choice, lvlm, sample) for choice in choices]
            ignored = [int(setting.ignored(lvlm, prompt).sum()) for setting in settings]
        return [
            {
                **{"kind": sample.kind, "choice": number, "keep": setting.keep},
                **{"n_image": prompt.grid.n_tokens, "n_ignored": n_ignored},
            }
            for number, (setting, n_ignored) in enumerate(zip(settings, ignored, strict=True))
        ]

    parameters = {"choices": ", ".join(described(choice) for choice in choices)}
    return collect("tokens_ignored", lvlm, task, store, parameters, measure)


def described(change: Change) -> str:
    """Write an intervention and its settings down, as its results are named by them.

    Settings at their defaults are left out: a default is part of the code, whose digest is in the
    name as well.

    Raises:
        InfoflowError: It is no dataclass, so its settings cannot be told.
    """
    if isinstance(change, ByOptions):
        return f"{described(replace(change.simignore, text=None))[:-1]}, text=options of the item)"
    if not is_dataclass(change):
        raise InfoflowError(
            f"the settings of {change!r} cannot be told; an intervention whose results are to be "
            "kept must be a dataclass."
        )
    values = ((field, getattr(change, field.name)) for field in fields(change))
    told = (f"{f.name}={_told(value)}" for f, value in values if _told(value) != _told(f.default))
    return f"{type(change).__name__}({', '.join(told)})"


def _told(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"ids {value.tolist()}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return repr(list(value))
    return repr(value)


def _for(change: _Own | ByOptions, lvlm: LVLM, sample: Sample) -> _Own | Simignore:
    return change.of(lvlm, sample) if isinstance(change, ByOptions) else change
