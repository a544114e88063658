"""Values that users give: by their declared kind, whole or finite, or one error that says so."""

import json
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from inspect import formatannotation
from typing import Any, TypeVar

from infoflow.errors import InfoflowError, one_line, require_name
from infoflow.files import parse_json

Number = TypeVar("Number", int, float)
KINDS: Mapping[str, tuple[type, ...]] = {
    **{"str": (str,), "bool": (bool,), "int": (int,), "float": (int, float)},
    **{"list": (list,), "dict": (dict,), "None": (type(None),), "Any": (object,)},
}


def kind_of(annotation: Any) -> str:
    """Write an argument's annotation as a kind of plain values: sequences and paths have none."""
    written = formatannotation(annotation).replace("collections.abc.Sequence", "list")
    return written.replace("pathlib.Path", "str")


def require_kind(value: Any, kind: str, what: str) -> None:
    """Check that a plain value is of a declared kind: :data:`KINDS`, ``list[int]``, ``int | None``.

    ``True`` is no ``int``, and ``"1"`` neither. No number is infinite or NaN, wherever it stands.
    """
    if not _is_of(kind, value):
        got = f"{value!r:.80}, a {type(value).__name__}"
        raise InfoflowError(f"{what} is declared {kind}; got {got}.")


def read_value(text: str, kind: str, what: str) -> Any:
    """Read a value as it is typed, by its declared kind (see :func:`require_kind`).

    Where the kind takes text, it is the text, but for ``null`` and ``None``; else it is JSON.
    """
    if text in ("null", "None") and _is_of(kind, None):
        return None
    if _is_of(kind, text):
        return text
    valid = 'valid: JSON, such as 1e-3, true or ["a", "b"]'
    failed = f"{what} is declared {kind}; got {text!r:.80}; {valid}"
    with one_line(failed, ValueError, RecursionError):
        value = parse_json(text)
    require_kind(value, kind, what)
    return value


def read_options(kinds: Mapping[str, str], options: Iterable[str], what: str) -> dict[str, Any]:
    """Read ``NAME=VALUE`` options, as typed on the command line, by the kinds of all names."""
    values: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals:
            raise InfoflowError(f"a parameter is given as NAME=VALUE; got {option!r}.")
        require_name(name, f"parameter of {what}", kinds)
        if name in values:
            raise InfoflowError(f"parameter {name!r} of {what} is given twice.")
        values[name] = read_value(text, kinds[name], f"parameter {name!r} of {what}")
    return values


def as_options(values: Mapping[str, Any]) -> Iterator[str]:
    """Write values as :func:`read_options` reads them, ``NAME=VALUE`` each."""
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield f"{name}={text}"


def require_whole(value: Any, what: str, least: int | None = None, most: int | None = None) -> int:
    """Return a whole number within limits, of NumPy or torch too; ``True`` and ``2.0`` are none."""
    return _limited(operator.index, "whole", value, what, least, most)


def require_finite(
    value: Any, what: str, least: float | None = None, most: float | None = None
) -> float:
    """Return a finite number within limits, of NumPy too; ``True`` is none."""
    return _limited(float, "finite", value, what, least, most)


def _limited(
    convert: Callable[[Any], Number], kind: str, value: Any, what: str, *bounds: float | None
) -> Number:
    least, most = bounds
    low = -sys.float_info.max if least is None else least
    high = sys.float_info.max if most is None else most
    with suppress(TypeError, ValueError, OverflowError):
        number = convert(value)
        if low <= number <= high and not isinstance(value, bool | str | bytes):
            return number
    limits = "" if least is None else f" of at least {least}"
    limits = limits if most is None else f" from {least} to {most}"
    raise InfoflowError(f"{what} is {value!r}; valid: a {kind} number{limits}.")


def _is_of(kind: str, value: Any) -> bool:
    if "|" in kind:
        return any(_is_of(each.strip(), value) for each in kind.split("|"))
    if kind.startswith("list[") and kind.endswith("]"):
        return isinstance(value, list) and all(_is_of(kind[5:-1], each) for each in value)
    require_name(kind, "kind of values", KINDS)
    of_type = kind == "Any" or type(value) in KINDS[kind]
    return of_type and _is_plain(value)


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return "\0" not in str(value)
