"""Files: where fetched ones are kept, reading text, names that stay in a folder, whole writing."""

import json
import math
import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

import yaml

from infoflow.errors import InfoflowError


def cache_folder() -> Path:
    """Return where what was fetched or converted is kept: ``INFOFLOW_CACHE``, or a default.

    Returns:
        The folder, which need not exist yet; by default ``~/.cache/infoflow``.

    Raises:
        InfoflowError: The user has no home folder.
    """
    if named := os.environ.get("INFOFLOW_CACHE"):
        return Path(named)
    try:
        return Path.home() / ".cache" / "infoflow"
    except RuntimeError as error:
        raise InfoflowError(f"no folder to keep files in ({error}); set INFOFLOW_CACHE.") from error


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises:
        InfoflowError: It is missing, unreadable, no UTF-8, or no file that has an end.
    """
    try:
        if not path.exists() or path.is_file():
            return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InfoflowError(f"{path} cannot be read: {error}.") from error
    raise InfoflowError(f"{path} cannot be read: it is no regular file.")


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
    text = read_text(path)
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise InfoflowError(f"{path} cannot be read as JSON: {error}.") from error


def read_yaml(path: Path) -> Any:
    """Read a YAML file as JSON's types, without YAML's guesses.

    What is no number as JSON writes it, no ``true``, ``false`` or ``null`` (in whichever case) is
    text: ``on``, ``010``, ``1:30`` and dates.

    Raises:
        InfoflowError: It is missing, unreadable or damaged, a key is there twice or is no text, a
            number is not finite, or an anchor is used.
    """
    text = read_text(path)
    try:
        return yaml.load(text, _PlainLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InfoflowError(f"{path} cannot be read: line {line}: {error.problem}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InfoflowError(f"{path} cannot be read as YAML: {error}.") from error


_KINDS = ("null", "bool", "str", "seq", "map")


class _PlainLoader(yaml.SafeLoader):
    """Resolves YAML 1.2's core schema, but numbers as JSON writes them, and no alias."""

    yaml_implicit_resolvers: ClassVar = {}  # type: ignore[misc]
    yaml_constructors: ClassVar = {
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (None, *(f"tag:yaml.org,2002:{kind}" for kind in _KINDS))
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):  # a few of them can stand for gigabytes
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "write out what * stands for", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                problem = "a key must be text; quote it"
            elif key.value in seen:
                problem = f"the key {key.value!r} is there twice"
            else:
                seen.add(key.value)
                continue
            raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: Any) -> int | float:
        number = json.loads(node.value)
        if abs(number) == math.inf:
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value} is too large", node.start_mark
            )
        return number


for _tag, _pattern, _first in (
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", "true|True|TRUE|false|False|FALSE", ["t", "T", "f", "F"]),
    ("float", r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", [*"-0123456789"]),
):
    _PlainLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first
    )
_PlainLoader.add_constructor("tag:yaml.org,2002:float", _PlainLoader.construct_number)


def require_path(given: Any, what: str) -> Path:
    """Return a path that a user gives, ``~`` expanded; nothing need be there.

    Args:
        given: The path.
        what: What it was given as, to begin the error with.

    Raises:
        InfoflowError: It is none, or one that no disk takes.
    """
    if not isinstance(given, str | Path) or not str(given).strip() or "\0" in str(given):
        raise InfoflowError(f"{what} is {given!r}; valid: a path.")
    try:
        path = Path(given).expanduser()
        path.exists()  # names that no disk takes are told here
    except (RuntimeError, OSError) as error:
        raise InfoflowError(f"{what} is {str(given)!r}, which cannot be read: {error}") from error
    return path


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


def make_folder(path: Path) -> Path:
    """Make a folder, and those above it, if it is not there; return it.

    Raises:
        InfoflowError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InfoflowError(f"the folder {path} cannot be made: {error.strerror}.") from error
    return path


def require_writable(path: Path) -> None:
    """Check before long work that a file, there already or not, will not fail to be written.

    Raises:
        InfoflowError: It is a folder, or its folder cannot be written to, or cannot be made.
    """
    if _exists(path) and path.is_dir():
        raise InfoflowError(f"{path} cannot be written: it is a folder.")
    require_folder(path.parent)


def require_folder(path: Path) -> None:
    """Check before long work that a folder, there already or not, can be written to.

    Raises:
        InfoflowError: It or what is above it is no folder, or cannot be written to.
    """
    there = next(folder for folder in (path, *path.absolute().parents) if _exists(folder))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "may not be written to" if there.is_dir() else "is no folder"
        raise InfoflowError(f"{path} cannot be written to: {there} {why}.")


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise InfoflowError(f"{path} cannot be written to: {error}.") from error
    return True


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file that is whole or absent, even if the process or the machine dies meanwhile.

    Args:
        path: Where it shall be; its folder exists.
        content: All of it.

    Raises:
        InfoflowError: It cannot be written.
    """
    try:
        _write(path, content)
    except OSError as error:
        raise InfoflowError(f"{path} cannot be written: {error.strerror}.") from error


def _write(path: Path, content: bytes) -> None:
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
