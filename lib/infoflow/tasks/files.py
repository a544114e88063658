"""Reading the originals' own files."""

import json
from pathlib import Path
from typing import Any

from infoflow.errors import InfoflowError


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InfoflowError: It is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InfoflowError(f"{path} cannot be read ({type(error).__name__}).") from error
    except ValueError as error:
        raise InfoflowError(f"{path} is no JSON: {error}.") from error


def read_json_lines(path: Path) -> list[Any]:
    """Read a file with a JSON value a line; empty lines do not count.

    Raises:
        InfoflowError: It is missing, or a line is damaged; the error names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InfoflowError(f"{path} cannot be read ({type(error).__name__}).") from error
    values = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values.append(json.loads(line))
        except ValueError as error:
            raise InfoflowError(f"line {number} of {path} is no JSON: {error}.") from error
    return values


def find_file(folder: Path, *places: str) -> Path:
    """Find a file at the first of some places.

    Args:
        folder: Where to look.
        *places: Paths within it.

    Raises:
        InfoflowError: It is at none of them.
    """
    for place in places:
        if (folder / place).is_file():
            return folder / place
    raise InfoflowError(f"{folder} lacks {' or '.join(places)}.")
