"""The measures over a task by their names, for the command line and for workflows.

Those that take more than plain values (interventions, a second task, places of maps) are called
from Python.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter as Argument
from inspect import signature
from typing import Any

import pandas as pd

from infoflow.errors import InfoflowError, unknown_name
from infoflow.evaluate.answers import answers
from infoflow.evaluate.cam import cam_by_layer
from infoflow.evaluate.flow import flow_by_layer
from infoflow.evaluate.last_layer import last_layer_gradients
from infoflow.evaluate.localisation import localisation_by_layer
from infoflow.evaluate.sinks import sink_density_by_head
from infoflow.evaluate.text_only import text_answers
from infoflow.evaluate.topk import topk_by_cut
from infoflow.evaluate.truncation import log_probs_by_cut, truncation_by_cut
from infoflow.options import kind_of, read_options

Measure = Callable[..., pd.DataFrame]
"""Takes a model, a task, a store and the measure's own parameters."""

MEASURES: Mapping[str, Measure] = {
    measure.__name__: measure
    for measure in (
        answers,
        text_answers,
        flow_by_layer,
        sink_density_by_head,
        truncation_by_cut,
        log_probs_by_cut,
        topk_by_cut,
        cam_by_layer,
        localisation_by_layer,
        last_layer_gradients,
    )
}
"""By name, which is the name of the result's folder in the store too."""

_GIVEN = ("lvlm", "task", "store")


def find_measure(name: str) -> Measure:
    """Return the measure of that name.

    Raises:
        UnknownNameError: There is no such measure.
    """
    if name not in MEASURES:
        raise unknown_name("measure", name, MEASURES)
    return MEASURES[name]


def read_settings(name: str, options: Sequence[str]) -> dict[str, Any]:
    """Read a measure's own parameters as they are typed.

    Args:
        name: The measure.
        options: ``NAME=VALUE`` each; lists are written ``[1, 2]``.

    Returns:
        The full set: what is not given has its default.

    Raises:
        UnknownNameError: There is no such measure, or it has no such parameter.
        InfoflowError: A value is not of the parameter's type, or one that is needed is missing.
    """
    arguments = signature(find_measure(name)).parameters.values()
    own = [argument for argument in arguments if argument.name not in _GIVEN]
    given = read_options({each.name: kind_of(each.annotation) for each in own}, options, name)
    values = {each.name: each.default for each in own} | given
    if missing := [each.name for each in own if values[each.name] is Argument.empty]:
        raise InfoflowError(f"{name} needs {', '.join(missing)}: -p {missing[0]}=VALUE.")
    return values
