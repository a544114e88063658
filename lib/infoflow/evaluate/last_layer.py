"""The gradient in the last layer, over a task."""

import pandas as pd

from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.evaluate.collecting import Row, collect
from infoflow.methods.gradients import last_layer_gradients as gradients_of
from infoflow.models.lvlm import LVLM
from infoflow.results.store import Store


def last_layer_gradients(lvlm: LVLM, task: Task, store: Store) -> pd.DataFrame:
    """Measure the gradient of the first answer token's logit in the last layer, for every item.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.

    Returns:
        Columns ``item``, ``kind``, ``site``, ``at_image`` and ``at_answer``: the largest absolute
        gradient at image positions and at the last position of the prompt.
    """

    def measure(sample: Sample) -> list[Row]:
        prompt = lvlm.prompt(sample.image, sample.question)
        return [
            {"kind": sample.kind, "site": site, "at_image": at_image, "at_answer": at_answer}
            for site, (at_image, at_answer) in gradients_of(lvlm, prompt).items()
        ]

    return collect("last_layer_gradients", lvlm, task, store, {"logit": "first token"}, measure)
