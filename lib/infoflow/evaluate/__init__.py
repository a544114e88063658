"""A measure over a whole task: rows of every sample, kept in a store.

A measure is one function of one sample, decorated with :func:`measure`. To add one, add a file
to this folder.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial, wraps
from inspect import BoundArguments, Parameter, Signature, signature, unwrap
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd
from torch import Tensor

from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.errors import InfoflowError
from infoflow.models.lvlm import LVLM
from infoflow.options import require_finite, require_whole
from infoflow.results.provenance import provenance
from infoflow.results.sources import code_digest
from infoflow.results.store import Store

__all__ = ["LVLM", "Count", "Level", "Row", "Sample", "Seed", "Task", "measure"]

Row = Mapping[str, Any]
Rows = pd.DataFrame | Iterable[Row]
Measure = Callable[..., pd.DataFrame]
"""Takes a model, a task, a store and the measure's own settings."""

# kinds of settings with their limits, which are checked before anything is measured
Count = Annotated[int, partial(require_whole, least=1)]
Seed = Annotated[int, partial(require_whole, least=0, most=2**63 - 1)]
Level = Annotated[float, partial(require_finite, least=0)]

REGISTERED: dict[str, Measure] = {}  # by name, the measures of all files that are imported

_RUN = ("lvlm", "task", "store")


def measure(function: Callable[..., Rows]) -> Measure:
    """Make a measure over a task of a function of one sample.

    Args:
        function: Takes ``(lvlm, task, sample, **settings)`` and returns rows: a frame, or mappings.
            Rows get the sample's ``kind`` if they have none. Its name names the results; its
            settings, ``task.max_new_tokens`` and its code are part of their key. A further
            parameter of the type ``Sample`` is the sample at the same place in a second task.

    Returns:
        The measure: called with a store in place of the sample, and with a task in place of each
        further sample. It measures what the store lacks, and returns the rows of all samples with
        the column ``item``; ``attrs["record"]`` has the result's key, provenance and cost.
    """
    over_task = _signature_over_task(function)
    second = [name for name, p in over_task.parameters.items() if p.annotation is Task][1:]

    @wraps(function)
    def measured(*args: Any, **kwargs: Any) -> pd.DataFrame:
        call = over_task.bind(*args, **kwargs)
        call.apply_defaults()
        settings = {name: call.arguments[name] for name in call.arguments if name not in _RUN}
        given = call.arguments | checked(measured, settings)
        tasks = _side_by_side(given["task"], {name: given[name] for name in second})

        def rows_of(place: int) -> list[Row]:
            samples = {name: task[place] for name, task in tasks.items()}
            call = BoundArguments(over_task, given | samples)
            found = function(*call.args, **call.kwargs)
            if isinstance(found, pd.DataFrame):
                found = cast("list[Row]", found.to_dict("records"))
            kind = samples["store"].kind
            return [row if "kind" in row else {"kind": kind, **row} for row in found]

        return _collect(function, given, rows_of)

    # what help(), the command line and the API pages go by
    vars(measured)["__signature__"] = over_task
    measured.__annotations__ = {p.name: p.annotation for p in over_task.parameters.values()}
    REGISTERED[function.__name__] = measured
    return measured


def _collect(
    function: Callable[..., Rows], given: Mapping[str, Any], rows_of: Callable[[int], list[Row]]
) -> pd.DataFrame:
    """Measure what the store does not hold yet under the key of a call; return the rows of all."""
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
        item_id=lambda place: task[place].id,
        progress=f"{function.__name__} {task.name} {task.split}",
        provenance=provenance(lvlm, task, settings, code),
    )
    return rows


def own_settings(measure: Measure) -> dict[str, Parameter]:
    """The parameters of a measure that have names of their own: not those of every measure."""
    own = {name: p for name, p in signature(measure).parameters.items() if name not in _RUN}
    return {name: p for name, p in own.items() if p.kind is not Parameter.VAR_POSITIONAL}


def checked(measure: Measure, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check settings against the limits that a measure declares."""
    kinds = get_type_hints(unwrap(measure), include_extras=True)
    return {name: _within_limits(value, kinds[name], name) for name, value in settings.items()}


def _within_limits(value: Any, kind: Any, what: str) -> Any:
    if get_origin(kind) is Annotated:
        return kind.__metadata__[0](value, what)
    of_each = get_args(kind)[0] if get_origin(kind) is Sequence else None
    if get_origin(of_each) is not Annotated:
        return value
    if not len(value):
        raise InfoflowError(f"{what} is empty; valid: at least 1 number.")
    return [_within_limits(each, of_each, f"a number of {what}") for each in value]


def _signature_over_task(function: Callable[..., Rows]) -> Signature:
    """The signature with a store in place of the sample, a task in place of further samples."""
    kinds = get_type_hints(function)  # without their limits
    kinds |= {name: Task for name, kind in kinds.items() if kind is Sample}
    parameters = [
        p.replace(name="store", annotation=Store)
        if p.name == "sample"
        else p.replace(annotation=kinds[p.name])
        for p in signature(function).parameters.values()
    ]
    return Signature(parameters, return_annotation=pd.DataFrame)


def _side_by_side(task: Task, others: Mapping[str, Task]) -> dict[str, Task]:
    """The tasks by the parameter that gets their samples; the second ones must be long enough."""
    for other in others.values():
        if len(other) < len(task):
            raise InfoflowError(
                f"{len(task)} samples cannot be paired with {len(other)} of {other.name} "
                f"{other.split}; as many are needed."
            )
    return {"store": task, **others}


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
    raise InfoflowError(
        f"results cannot be kept by the setting {value!r}; valid: plain values, lists of them, "
        "tasks, or dataclasses such as an intervention's."
    )
