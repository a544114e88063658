"""The untouched model's answers to a task."""

import pandas as pd

from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.evaluate.collecting import Row, collect
from infoflow.models.lvlm import LVLM
from infoflow.results.store import Store


def answers(lvlm: LVLM, task: Task, store: Store) -> pd.DataFrame:
    """Answer every item with the untouched model, by transformers' own greedy decoding.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.

    Returns:
        Columns ``item`` and those of :meth:`infoflow.data.load.Task.details`.
    """

    def measure(sample: Sample) -> list[Row]:
        prompt = lvlm.prompt(sample.image, sample.question)
        return [task.details(sample, lvlm.answer(prompt, task.max_new_tokens))]

    parameters = {"max_new_tokens": task.max_new_tokens}
    return collect("answers", lvlm, task, store, parameters, measure)
