"""The parameters a notebook declares, and values for them that can be trusted to fit.

The parameters cell is parsed as Python: papermill's own inspection goes by a regular expression,
which overlooks ``checkpoint: str | None = None``, and papermill injects a misspelt name or a value
of the wrong type with no more than a warning.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from nbformat import NotebookNode

from infoflow.errors import InfoflowError, unknown_name
from infoflow.files import read_text
from infoflow.options import require_kind


@dataclass(frozen=True)
class Parameter:
    """One assignment of a notebook's parameters cell.

    Attributes:
        name: Its name.
        kind: Its type as annotated (``"str | None"``), or that of its default.
        default: Its default.
    """

    name: str
    kind: str
    default: Any


def notebook_parameters(notebook: Path) -> dict[str, Parameter]:
    """Read the parameters a notebook declares, without running it.

    Args:
        notebook: Its file; one code cell is tagged ``parameters`` and only assigns literals.

    Returns:
        The parameters by name, in the notebook's order.

    Raises:
        InfoflowError: The file is no notebook, or has no such cell.
    """
    cells = read_notebook(notebook).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise InfoflowError(f"{notebook} needs one cell tagged 'parameters'; it has {len(tagged)}.")
    try:
        found = [_parameter(node) for node in ast.parse(tagged[0].source).body]
    except (SyntaxError, ValueError, TypeError) as error:
        raise InfoflowError(
            f"the parameters cell of {notebook} may only assign literals: {error}."
        ) from error
    return {parameter.name: parameter for parameter in found}


def page_parameters() -> dict[str, Any]:
    """Tell the parameters of the notebook that runs in this kernel, with the values they have now.

    They are the names that its cells declare with a type, as a parameters cell does. The kernel's
    list of cells would not do: nbval runs cells without noting them there.

    Returns:
        The values by name, in the notebook's order; nothing outside IPython.
    """
    from IPython import get_ipython  # slow to import, and at hand where a notebook runs

    shell = get_ipython()
    names = shell.user_ns if shell else {}
    return {name: names[name] for name in names.get("__annotations__", {}) if name in names}


def full_set(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the parameters given and complete them by the defaults.

    A run is given the full set: then it shows all its parameters, not only the unusual ones.

    Args:
        notebook: Its file.
        given: Values by name; NumPy scalars and paths are made plain, tuples become lists.

    Returns:
        A value of plain JSON types for every parameter of the notebook.

    Raises:
        UnknownNameError: The notebook has no such parameter.
        InfoflowError: A value is not of the parameter's type.
    """
    declared = notebook_parameters(notebook)
    values = {name: parameter.default for name, parameter in declared.items()}
    for name, value in given.items():
        if name not in declared:
            raise unknown_name(f"parameter of {notebook.name}", name, declared)
        values[name] = _plain(name, value)
        require_kind(values[name], declared[name].kind, f"parameter {name!r} of {notebook.name}")
    return {name: _plain(name, value) for name, value in values.items()}


def read_notebook(notebook: Path) -> NotebookNode:
    """Read a notebook in the newest version 4 of the format.

    Raises:
        InfoflowError: There is no such file, or it is no notebook.
    """
    text = read_text(notebook)
    try:
        return nbformat.reads(text, as_version=4)
    except Exception as error:  # nbformat raises what it likes, AttributeError among it
        raise InfoflowError(f"{notebook} cannot be read as a notebook: {error}") from error


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
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(name, entry) for entry in value]
    if isinstance(value, dict):
        return {str(label): _plain(name, entry) for label, entry in value.items()}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise InfoflowError(f"parameter {name!r}: a notebook cannot be given a {type(value).__name__}.")
