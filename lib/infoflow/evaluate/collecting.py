"""What every measure over a task does: name the result, measure what is missing, return all."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import pandas as pd

from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.models.lvlm import LVLM
from infoflow.results.provenance import provenance
from infoflow.results.sources import code_digest
from infoflow.results.store import Store

Row = Mapping[str, Any]

_code_digest = cache(code_digest)  # what runs is the code that was there when it was loaded


def collect(
    measure_name: str,
    lvlm: LVLM,
    task: Task,
    store: Store,
    parameters: Mapping[str, Any],
    measure: Callable[[Sample], Sequence[Row]],
) -> pd.DataFrame:
    """Measure every item of a task that the store does not hold yet.

    Args:
        measure_name: Name of the measure, the first part of the result's key.
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.
        parameters: What else the rows depend on.
        measure: The rows of one item. The code of its room is part of the result's key.

    Returns:
        The rows of all items of the task, its record in ``attrs["record"]``.
    """
    code = _code_digest(measure.__module__)
    key = {
        "measure": measure_name,
        "model": lvlm.digest,
        "dtype": str(lvlm.dtype),
        "task": task.name,
        "rule": task.rule,
        "source": task.source,
        "split": task.split,
        "parameters": dict(parameters),
        "code": code,
    }
    rows = store.collect(
        key,
        task,  # type: ignore[arg-type]  # len and order are all that is asked of the sequence
        measure,
        progress=f"{measure_name} {task.name} {task.split}",
        provenance=provenance(lvlm, task, parameters, code),
    )
    rows.attrs["record"] = store.meta(key)
    return rows
