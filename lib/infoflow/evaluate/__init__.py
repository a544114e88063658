"""A measure over a whole task: rows of every sample, kept in a store.

To add one, add a file with a function of one sample, decorated with :func:`measure`.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import BoundArguments, Parameter, Signature, signature
from typing import Any, cast

import numpy as np
import pandas as pd
from torch import Tensor

from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.errors import InfoflowError
from infoflow.models.lvlm import LVLM
from infoflow.models.threads import own_threads
from infoflow.results.parts import Row
from infoflow.results.provenance import provenance
from infoflow.results.sources import code_digest
from infoflow.results.store import Store

__all__ = ["LVLM", "Row", "Sample", "Task", "measure"]

Rows = pd.DataFrame | Iterable[Row]
Measure = Callable[..., pd.DataFrame]
"""Takes a model, a task, a store and the measure's own settings."""
REGISTERED: dict[str, Measure] = {}  # by name, the measures of all files that are imported


def measure(function: Callable[..., Rows]) -> Measure:
    """Make a measure over a task of a function of one sample.

    Args:
        function: Takes ``(lvlm, task, sample, **settings)`` and returns rows: a frame, or mappings;
            ``kind`` is added if they have none. Its name names the results; its settings,
            ``task.max_new_tokens`` and its code are part of their key. A further parameter of the
            type ``Sample`` is the sample at the same place in a second task.

    Returns:
        The measure, called with a store in place of the sample, and a task in place of each further
        one. It measures what the store lacks, and returns rows of all samples with the column
        ``item``; ``attrs["record"]`` has the result's key, provenance and cost.
    """
    over_task = _signature_over_task(function)

    @wraps(function)
    def measured(*args: Any, **kwargs: Any) -> pd.DataFrame:
        call = over_task.bind(*args, **kwargs)
        call.apply_defaults()
        task = call.arguments["task"]
        beside = {n: each for n, each in call.arguments.items() if isinstance(each, Task)}
        for other in beside.values():
            if len(other) < len(task):
                raise InfoflowError(f"{len(task)} samples cannot be paired with {len(other)}.")

        def rows_of(place: int) -> list[Row]:
            samples = {name: each[place] for name, each in beside.items()}
            sample = samples.pop("task")
            given = BoundArguments(over_task, call.arguments | samples | {"store": sample})
            with own_threads(call.arguments["lvlm"].model):
                found = function(*given.args, **given.kwargs)
            if isinstance(found, pd.DataFrame):
                found = cast("list[Row]", found.to_dict("records"))
            return [row if "kind" in row else {"kind": sample.kind, **row} for row in found]

        return _collect(function, call.arguments, rows_of)

    # what help(), the command line and the API pages go by
    vars(measured)["__signature__"] = over_task
    measured.__annotations__ = {p.name: p.annotation for p in over_task.parameters.values()}
    REGISTERED[function.__name__] = measured
    return measured


_RUN = ("lvlm", "task", "store")


def _signature_over_task(function: Callable[..., Rows]) -> Signature:
    def over_task(p: Parameter) -> Parameter:
        if p.name == "sample":
            return p.replace(name="store", annotation=Store)
        return p.replace(annotation=Task) if p.annotation is Sample else p

    parameters = map(over_task, signature(function).parameters.values())
    return Signature([*parameters], return_annotation=pd.DataFrame)


def _collect(
    function: Callable[..., Rows], given: Mapping[str, Any], rows_of: Callable[[int], list[Row]]
) -> pd.DataFrame:
    lvlm, task, store = (given[name] for name in _RUN)
    own = {name: value for name, value in given.items() if name not in _RUN}
    own["max_new_tokens"] = task.max_new_tokens
    settings = json.loads(json.dumps(own, default=_plain))
    code = code_digest("evaluate", function.__module__)
    key = {
        **{"measure": function.__name__, "model": lvlm.digest, "dtype": str(lvlm.dtype)},
        **{"task": task.name, "rule": task.rule, "source": task.source, "split": task.split},
        **{"parameters": settings, "code": code},
    }
    rows: pd.DataFrame = store.collect(
        key,
        range(len(task)),
        rows_of,
        item_id=task.ids.__getitem__,
        progress=f"{function.__name__} {task.name} {task.split}",
        provenance=provenance(lvlm, task, settings, code),
    )
    return rows


def _plain(value: Any) -> Any:
    """What JSON, by which results are kept apart, shall write for a setting it does not know."""
    if isinstance(value, Task):
        return f"{value.name} {value.split} ({value.source})"
    if is_dataclass(value):
        return {type(value).__name__: {f.name: getattr(value, f.name) for f in fields(value)}}
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Sequence):
        return list(value)
    raise InfoflowError(f"results cannot be kept by the setting {value!r}.")


def own_settings(measure: Measure) -> dict[str, Parameter]:
    """The parameters of a measure that have names of their own: not those of every measure."""
    own = {name: p for name, p in signature(measure).parameters.items() if name not in _RUN}
    return {name: p for name, p in own.items() if p.kind is not Parameter.VAR_POSITIONAL}
