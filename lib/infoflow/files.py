"""Files: where fetched ones are kept, reading JSON, names that stay in a folder, whole writing."""

import json
import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from infoflow.errors import InfoflowError


def cache_folder() -> Path:
    """Return where what was fetched or converted is kept: ``INFOFLOW_CACHE``, or a default.

    Returns:
        The folder, which need not exist yet; by default ``~/.cache/infoflow``.
    """
    base = os.environ.get("INFOFLOW_CACHE") or Path.home() / ".cache" / "infoflow"
    return Path(base)


def parse_json(text: str) -> Any:
    """Read a JSON text, by the standard: without NaN or infinity, and each key of an object once.

    Raises:
        ValueError: It is none.
        RecursionError: It is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        double = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise ValueError(f"an object has the key {double!r} twice")
    return content


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def read_json(path: Path) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark; see :func:`parse_json`.

    Raises:
        InfoflowError: It is missing, unreadable or damaged.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InfoflowError(f"{path} cannot be read as JSON: {error}.") from error


def inside(folder: Path, name: str, what: str) -> Path:
    """Return the path of a name within a folder; links are not followed.

    Args:
        folder: The folder.
        name: A relative path, as a file or a user names it.
        what: What the name is of, to begin the error with.

    Raises:
        InfoflowError: The name is empty or would leave the folder.
    """
    parts = PureWindowsPath(name).parts  # splits at both kinds of slashes
    rooted = PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor
    if not parts or rooted or ".." in parts or "\0" in name:
        raise InfoflowError(f"{what} {name!r} is no name within {folder}.")
    return folder / name


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file that is whole or absent, even if the process or the machine dies meanwhile.

    Args:
        path: Where it shall be; its folder exists.
        content: All of it.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself must reach the disk too
    finally:
        os.close(folder)
