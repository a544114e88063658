"""The untouched model's answers to a task."""

import pandas as pd

from infoflow.evaluate.collecting import Row, collect
from infoflow.lvlm import LVLM
from infoflow.sample import Sample
from infoflow.store import Store
from infoflow.tasks import Task


def answers(lvlm: LVLM, task: Task, store: Store) -> pd.DataFrame:
    """Answer every item with the untouched model, by transformers' own greedy decoding.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.

    Returns:
        Columns ``item`` and those of :meth:`infoflow.tasks.Task.details`.
    """

    def measure(sample: Sample) -> list[Row]:
        prompt = lvlm.prompt(sample.image, sample.question)
        return [task.details(sample, lvlm.answer(prompt, task.max_new_tokens))]

    parameters = {"max_new_tokens": task.max_new_tokens}
    return collect("answers", lvlm, task, store, parameters, measure)
