"""What the workflow files take: checked in full before the first job, each mistake in one line."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infoflow.errors import InfoflowError
from infoflow.files import read_yaml
from infoflow.options import read_options
from infoflow.parameters import full_set, notebook_parameters


def read_checked(name: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a workflow's settings in the working folder, and hold them against their schema.

    Args:
        name: Of ``NAME.yml``, beside which lies ``NAME.schema.yml``.
        given: What goes before the file's own entries.

    Raises:
        InfoflowError: The file cannot be read, or an entry is not as the schema says.
    """
    import jsonschema  # by both workflows alone

    validators: Any = jsonschema.validators
    kinds = validators.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: type(value) is int
    )
    strict = validators.extend(validators.Draft202012Validator, type_checker=kinds)
    content, schema = (read_yaml(Path(f"{part}.yml")) for part in (name, f"{name}.schema"))
    if isinstance(content, dict):
        content |= given or {}
    for error in strict(schema).iter_errors(content):
        place = "".join(f"{step}: " for step in error.absolute_path)
        raise InfoflowError(f"{name}.yml: {place}{error.message:.500}.")
    return content


def text_given(arguments: Iterable[str] | None, names: Iterable[str]) -> dict[str, str]:
    """Find what a build is given as text, exactly as it was typed.

    Args:
        arguments: ``NAME=VALUE`` each, as typed after Snakemake's ``--config``.
        names: What is asked for; an environment variable of that name in capitals does as well.

    Returns:
        The text of each name that is given and not empty.
    """
    typed = dict(text.split("=", 1) for text in arguments or ())
    found = {name: typed.get(name) or os.environ.get(name.upper(), "") for name in names}
    return {name: text for name, text in found.items() if text}


def as_options(values: Mapping[str, Any]) -> Iterator[str]:
    """Write values as the command line takes them, ``NAME=VALUE`` each."""
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield f"{name}={text}"


def check_given(notebook: Path, values: Mapping[str, Any], place: str) -> None:
    """Check values for a notebook's parameters, and that they arrive as they are.

    Raises:
        InfoflowError: There is no such parameter, or a value is of another kind.
    """
    try:
        full_set(notebook, values)
        kinds = {name: each.kind for name, each in notebook_parameters(notebook).items()}
        if read_options(kinds, as_options(values), notebook.name) != dict(values):
            raise InfoflowError("the text 'null' cannot be told from no value; drop it")
    except InfoflowError as error:
        raise InfoflowError(f"{place}: {error}") from error
