"""Files: reading text, JSON and YAML, names that stay in a folder, whole writing."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import yaml

from infoflow.errors import InfoflowError, one_line


def cache_folder() -> Path:
    """Return where what was fetched is kept: ``INFOFLOW_CACHE``, or ``~/.cache/infoflow``."""
    return Path(os.environ.get("INFOFLOW_CACHE") or Path.home() / ".cache" / "infoflow")


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark."""
    with one_line(f"{path} cannot be read", OSError, ValueError):
        if path.exists() and not path.is_file():
            raise OSError("it is no regular file")
        return path.read_text(encoding="utf-8-sig")


def parse_json(text: str) -> Any:
    """Read JSON by the standard, each key of an object once; else a ValueError."""

    def constant(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for name, value in pairs:
            if name in content:
                raise ValueError(f"an object has the key {name!r} twice")
            content[name] = value
        return content

    return json.loads(text, object_pairs_hook=unique, parse_constant=constant)


def read_json(path: Path) -> Any:
    """Read a JSON file; see :func:`parse_json`."""
    text = read_text(path)
    with one_line(f"{path} cannot be read as JSON", ValueError, RecursionError):
        return parse_json(text)


def read_yaml(path: Path) -> Any:
    """Read a YAML file as JSON's types, each key once; all else (dates, ``on``) is text."""
    text = read_text(path)
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        why = f"line {mark.line + 1}: {getattr(error, 'problem', None)}" if mark else str(error)
        raise InfoflowError(f"{path} cannot be read as YAML: {why}.") from error


_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}


class _Loader(yaml.BaseLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        content: dict[Any, Any] = {}
        for key, value in node.value:
            if str(key.value) in content:
                problem = f"the key {key.value!r} is there twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            content[str(key.value)] = self.construct_object(value, deep)
        return content

    def construct_scalar(self, node: Any) -> Any:
        if node.style is not None:  # quoted, or a block of text
            return node.value
        if node.value.lower() in _WORDS:
            return _WORDS[node.value.lower()]
        with suppress(json.JSONDecodeError):
            return json.loads(node.value, parse_constant=str)
        return node.value


def read_checked(name: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read ``NAME.yml`` in the working folder, what is given going before it, by its schema."""
    from jsonschema import Draft202012Validator, validators  # by the workflows alone

    content, schema = (read_yaml(Path(f"{part}.yml")) for part in (name, f"{name}.schema"))
    if isinstance(content, dict):
        content |= given or {}
    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, n: type(n) is int)
    strict = validators.extend(Draft202012Validator, type_checker=checker)  # type: ignore[no-untyped-call]
    for error in strict(schema).iter_errors(content):  # 2.0 is no whole number
        place = "".join(f"{step}: " for step in error.absolute_path)
        raise InfoflowError(f"{name}.yml: {place}{error.message:.500}.")
    return content


def files_below(folder: Path | str, pattern: str = "*") -> list[str]:
    """List the files in a folder and in those below it, compiled Python left out, sorted."""
    found = [path for path in Path(folder).rglob(pattern) if path.is_file()]
    return sorted(str(path) for path in found if "__pycache__" not in path.parts)


def require_path(given: Any, what: str) -> Path:
    """Return a path that a user gives, ``~`` expanded; nothing need be there."""
    if not isinstance(given, str | Path) or not str(given).strip() or "\0" in str(given):
        raise InfoflowError(f"{what} is {given!r}; valid: a path.")
    with one_line(f"{what} is {str(given)!r}, which cannot be read", RuntimeError, OSError):
        path = Path(given).expanduser()
        path.exists()  # raises for names that no disk takes
    return path


def inside(folder: Path, name: str, what: str) -> Path:
    """Return the path of a name within a folder, which it may not leave; links are not followed."""
    parts = PureWindowsPath(name).parts  # splits at both kinds of slashes
    rooted = PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor
    if not parts or rooted or ".." in parts or "\0" in name:
        raise InfoflowError(f"{what} {name!r} is no name within {folder}.")
    return folder / name


def require_writable(path: Path) -> None:
    """Refuse before long work a file that could not be written."""
    with one_line(f"{path} cannot be written", OSError, ValueError):
        if path.is_dir():
            raise OSError("it is a folder")
        there = next(folder for folder in path.absolute().parents if folder.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise OSError(f"{there} is no folder that may be written to")


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file, and its folder, that is whole or absent even if the machine dies meanwhile."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with one_line(f"{path} cannot be written", OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
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
