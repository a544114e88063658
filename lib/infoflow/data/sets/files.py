"""Finding and reading the originals' own files."""

from pathlib import Path
from typing import Any

from infoflow.errors import InfoflowError
from infoflow.files import parse_json


def read_json_lines(path: Path) -> list[Any]:
    """Read a file with a JSON value a line, parted by line feeds; empty lines do not count.

    Raises:
        InfoflowError: It is unreadable, or a line is damaged; the error names the line.
    """
    try:
        # bytes, for read_text would take a carriage return for an end of line, too
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InfoflowError(f"{path} cannot be read: {error}.") from error
    values = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip(" \t\r"):
            continue
        try:
            values.append(parse_json(line))
        except (ValueError, RecursionError) as error:
            raise InfoflowError(f"line {number} of {path} is no JSON: {error}.") from error
    return values


def is_file(path: Path) -> bool:
    """Tell whether a file is there; it is not where no file can be, as under too long a name."""
    try:
        return path.is_file()
    except OSError:
        return False


def find_file(folder: Path, *places: str) -> Path:
    """Find a file at the one of some places where it is.

    Args:
        folder: Where to look.
        *places: Paths within it.

    Raises:
        InfoflowError: It is at none of them, or at several.
    """
    found = [place for place in places if is_file(folder / place)]
    if not found:
        raise InfoflowError(f"{folder} lacks {' or '.join(places)}.")
    if len(found) > 1:
        raise InfoflowError(f"{folder} holds both {' and '.join(found)}; leave the one meant.")
    return folder / found[0]
