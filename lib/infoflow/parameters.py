"""The parameters a notebook declares, and values for them that can be trusted to fit.

The parameters cell is parsed as Python: papermill's own inspection goes by a regular expression,
which overlooks ``checkpoint: str | None = None``.
"""

import ast
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import numpy as np
from nbformat import NotebookNode

from infoflow.errors import InfoflowError, one_line, require_name
from infoflow.files import read_text
from infoflow.options import read_options, require_kind


class Parameter(NamedTuple):
    """One assignment of a parameters cell; the kind is as annotated, or that of the default."""

    name: str
    kind: str
    default: Any


def notebook_parameters(notebook: Path) -> dict[str, Parameter]:
    """Read what a notebook's cell tagged ``parameters`` declares, by name, without running it."""
    cells = read_notebook(notebook).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise InfoflowError(f"{notebook} needs one cell tagged 'parameters'; it has {len(tagged)}.")
    failed = f"the parameters cell of {notebook} may only assign literals"
    with one_line(failed, SyntaxError, ValueError, TypeError):
        found = [_parameter(node) for node in ast.parse(tagged[0].source).body]
    return {parameter.name: parameter for parameter in found}


def _parameter(node: ast.stmt) -> Parameter:
    match node:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=kind, value=ast.expr() as value):
            return Parameter(name, ast.unparse(kind).strip("'\""), ast.literal_eval(value))
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            default = ast.literal_eval(value)
            return Parameter(name, "Any" if default is None else type(default).__name__, default)
    raise ValueError(f"line {node.lineno} is no assignment of one name")


def full_set(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check values for a notebook and complete them by its defaults, all as plain JSON types."""
    declared = notebook_parameters(notebook)
    for name in given:
        require_name(name, f"parameter of {notebook.name}", declared)
    values = {name: _plain(name, given.get(name, p.default)) for name, p in declared.items()}
    for name in given:
        require_kind(values[name], declared[name].kind, f"parameter {name!r} of {notebook.name}")
    return values


def _plain(name: str, value: Any) -> Any:
    # papermill would turn a tuple into a string, silently
    def other(part: Any) -> Any:
        return part.item() if isinstance(part, np.generic) else os.fspath(part)

    with one_line(f"parameter {name!r} cannot be given to a notebook", TypeError, ValueError):
        return json.loads(json.dumps(value, default=other))


def read_parameters(notebook: Path, options: Iterable[str]) -> dict[str, Any]:
    """Read values as they are typed, ``NAME=VALUE`` each, by the kinds that a notebook declares."""
    kinds = {name: parameter.kind for name, parameter in notebook_parameters(notebook).items()}
    return read_options(kinds, options, notebook.name)


def read_notebook(notebook: Path) -> NotebookNode:
    """Read a notebook in the newest version 4 of the format."""
    text = read_text(notebook)
    # nbformat raises what it likes, AttributeError among it
    with one_line(f"{notebook} cannot be read as a notebook", Exception):
        return nbformat.reads(text, as_version=4)
