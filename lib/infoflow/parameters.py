"""The parameters a notebook declares, and values for them that can be trusted to fit.

The parameters cell is parsed as Python: papermill's own inspection goes by a regular expression,
which overlooks ``checkpoint: str | None = None``, and papermill injects a misspelt name or a value
of the wrong type with no more than a warning.
"""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import yaml
from nbformat import NotebookNode

from infoflow.errors import InfoflowError, unknown_name

KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "list": (list,),
    "tuple": (list,),
    "dict": (dict,),
    "None": (type(None),),
}
"""What a parameter of each declared kind may be, once it is plain JSON."""


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

    def accepts(self, value: Any) -> bool:
        """Tell whether a plain value is of the declared kind; an unknown kind takes anything."""
        for option in self.kind.split("|"):
            types = KINDS.get(option.strip().split("[")[0], (object,))
            if isinstance(value, types) and (not isinstance(value, bool) or int not in types):
                return True
        return False


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
        if not declared[name].accepts(values[name]):
            raise InfoflowError(
                f"parameter {name!r} of {notebook.name} is declared {declared[name].kind}; "
                f"got {value!r}, a {type(value).__name__}."
            )
    return {name: _plain(name, value) for name, value in values.items()}


def parse_value(text: str, parameter: Parameter) -> Any:
    """Read a parameter's value from the command line, by the parameter's own kind.

    Args:
        text: As typed. Where the parameter may be a string, it is taken as it stands (``yes`` and
            ``1e3`` too), but for ``null`` and ``None`` where that is allowed; else it is YAML.
        parameter: What it is for.

    Returns:
        The value, plain.

    Raises:
        InfoflowError: The text is no YAML.
    """
    if text in ("null", "None") and parameter.accepts(None):
        return None
    if parameter.accepts(text):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InfoflowError(f"parameter {parameter.name!r}: cannot read {text!r}.") from error


def read_options(
    declared: Iterable[Parameter], options: Iterable[str], what: str
) -> dict[str, Any]:
    """Read values for declared parameters as they are typed on the command line.

    Args:
        declared: The parameters.
        options: ``NAME=VALUE`` each.
        what: What has the parameters, for errors.

    Returns:
        A value for every parameter: what is not given has its default.

    Raises:
        UnknownNameError: There is no such parameter.
        InfoflowError: An option has no value, or one that is not of the parameter's type.
    """
    known = {parameter.name: parameter for parameter in declared}
    values = {name: parameter.default for name, parameter in known.items()}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals:
            raise InfoflowError(f"a parameter is given as NAME=VALUE; got {option!r}.")
        if not known:
            raise InfoflowError(f"{what} has no parameters of its own; got {option!r}.")
        if name not in known:
            raise unknown_name(f"parameter of {what}", name, known)
        values[name] = parse_value(text, known[name])
        if not known[name].accepts(values[name]):
            kind = known[name].kind
            raise InfoflowError(f"parameter {name!r} of {what} is declared {kind}; got {text!r}.")
    return values


def read_notebook(notebook: Path) -> NotebookNode:
    """Read a notebook in the newest version 4 of the format.

    Raises:
        InfoflowError: There is no such file, or it is no notebook.
    """
    try:
        return nbformat.read(notebook, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
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
