"""The parameters a notebook declares, and values for them that can be trusted to fit.

The parameters cell is parsed as Python: papermill's own inspection goes by a regular expression,
which overlooks ``checkpoint: str | None = None``.
"""

import ast
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from nbformat import NotebookNode

from infoflow.errors import InfoflowError, one_line, unknown_name
from infoflow.files import read_text
from infoflow.options import as_options, read_options, require_kind


@dataclass(frozen=True)
class Parameter:
    """One assignment of a parameters cell; the kind is as annotated, or that of the default."""

    name: str
    kind: str
    default: Any


def notebook_parameters(notebook: Path) -> dict[str, Parameter]:
    """Read the parameters a notebook declares, by name and in its order, without running it.

    One of its code cells is tagged ``parameters`` and only assigns literals.
    """
    cells = read_notebook(notebook).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise InfoflowError(f"{notebook} needs one cell tagged 'parameters'; it has {len(tagged)}.")
    failed = f"the parameters cell of {notebook} may only assign literals"
    with one_line(failed, SyntaxError, ValueError, TypeError):
        return _declared(tagged[0].source)


def full_set(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check values for a notebook's parameters and complete them by the defaults, all made plain.

    A run is given the full set: then it shows all its parameters, not only the unusual ones.
    """
    declared = notebook_parameters(notebook)
    values = {name: parameter.default for name, parameter in declared.items()}
    for name, value in given.items():
        if name not in declared:
            raise unknown_name(f"parameter of {notebook.name}", name, declared)
        values[name] = _plain(name, value)
        require_kind(values[name], declared[name].kind, f"parameter {name!r} of {notebook.name}")
    return {name: _plain(name, value) for name, value in values.items()}


def read_parameters(notebook: Path, options: Iterable[str]) -> dict[str, Any]:
    """Read values as they are typed, ``NAME=VALUE`` each, by the kinds that a notebook declares."""
    kinds = {name: parameter.kind for name, parameter in notebook_parameters(notebook).items()}
    return read_options(kinds, options, notebook.name)


def check_given(notebook: Path, values: Mapping[str, Any], place: str) -> None:
    """Check values of a workflow file for a notebook, and that they arrive as they are."""
    with one_line(place, InfoflowError):
        full_set(notebook, values)
        if read_parameters(notebook, as_options(values)) != dict(values):
            raise InfoflowError("the text 'null' is read as no value; drop it")


def read_notebook(notebook: Path) -> NotebookNode:
    """Read a notebook in the newest version 4 of the format."""
    text = read_text(notebook)
    # nbformat raises what it likes, AttributeError among it
    with one_line(f"{notebook} cannot be read as a notebook", Exception):
        return nbformat.reads(text, as_version=4)


def _declared(cell: str) -> dict[str, Parameter]:
    found = [_parameter(node) for node in ast.parse(cell).body]
    return {parameter.name: parameter for parameter in found}


def _parameter(node: ast.stmt) -> Parameter:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        kind = ast.unparse(node.annotation).strip("'\"")
        return Parameter(node.target.id, kind, ast.literal_eval(node.value))
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        default = ast.literal_eval(node.value)
        kind = "Any" if default is None else type(default).__name__
        return Parameter(node.targets[0].id, kind, default)
    raise ValueError(f"line {node.lineno} is no assignment")


def _plain(name: str, value: Any) -> Any:
    """Turn a value into plain JSON types; papermill would turn a tuple into a string, silently."""

    def other(part: Any) -> Any:
        if isinstance(part, np.generic | Path):
            return part.item() if isinstance(part, np.generic) else str(part)
        kind = type(part).__name__
        raise InfoflowError(f"parameter {name!r}: a notebook cannot be given a {kind}.")

    return json.loads(json.dumps(value, default=other))
