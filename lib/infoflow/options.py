"""Values that users give: by their declared kind, whole or finite, or one error that says so."""

import ast
import json
import math
import operator
import sys
from collections.abc import Iterable, Mapping
from inspect import formatannotation
from typing import Any

from infoflow.errors import InfoflowError, unknown_name
from infoflow.files import parse_json

_TYPES: Mapping[str, type] = {"bool": bool, "int": int, "list": list, "tuple": list, "dict": dict}
_VALID = "str, int, float, bool, None, Any, list, tuple, dict, Literal, and several of them with |"


def kind_of(annotation: Any) -> str:
    """Write an argument's annotation as a kind of plain values: sequences and paths have none."""
    written = formatannotation(annotation).replace("collections.abc.Sequence", "list")
    return written.replace("pathlib.Path", "str")


def require_kind(value: Any, kind: str, what: str) -> None:
    """Check that a plain value, as JSON knows them, is of a declared kind.

    Args:
        value: The value; it is taken as it is, so that ``True`` is no ``int`` and ``"1"`` neither.
        kind: The kind as an annotation says it: ``str``, ``int``, ``float`` (finite), ``bool``,
            ``None``, ``list``, ``list[int]``, ``tuple[int, str]``, ``dict[str, int]``,
            ``Literal['a', 'b']``, ``Any``, or several with ``|`` between them.
        what: What has the value, to begin the error with.

    Raises:
        InfoflowError: It is of another kind, or the kind is none of these.
    """
    if not _is_of(_tree(kind), value):
        raise InfoflowError(
            f"{what} is declared {kind}; got {_short(value)}, a {type(value).__name__}."
        )


def read_value(text: str, kind: str, what: str) -> Any:
    """Read a value from text, by its declared kind.

    Args:
        text: As typed. It stands as it is where the kind takes text, but for ``null`` and ``None``
            where the kind has ``None``; else it is JSON: ``3``, ``1e-3``, ``true``, ``[1, 2]``,
            ``["a", "b"]``.
        kind: As of :func:`require_kind`.
        what: What the value is for, to begin the error with.

    Returns:
        The value, plain: what JSON writes is read back equal.

    Raises:
        InfoflowError: The text is no JSON, or is of another kind.
    """
    tree = _tree(kind)
    if text in ("null", "None") and _is_of(tree, None):
        return None
    if _is_of(tree, text):
        return text
    try:
        value = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise InfoflowError(
            f"{what} is declared {kind}; got {_short(text)}; valid: JSON, such as 3, 1e-3, true, "
            '[1, 2] or ["a", "b"].'
        ) from error
    require_kind(value, kind, what)
    return value


def read_options(kinds: Mapping[str, str], options: Iterable[str], what: str) -> dict[str, Any]:
    """Read values as they are typed on the command line.

    Args:
        kinds: The declared kind of every name.
        options: ``NAME=VALUE`` each.
        what: What has the parameters, for errors.

    Returns:
        The values given, by name.

    Raises:
        UnknownNameError: There is no such parameter.
        InfoflowError: An option has no value, or one of another kind, or is given twice.
    """
    values: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals:
            raise InfoflowError(f"a parameter is given as NAME=VALUE; got {option!r}.")
        if not kinds:
            raise InfoflowError(f"{what} has no parameters of its own; got {option!r}.")
        if name not in kinds:
            raise unknown_name(f"parameter of {what}", name, kinds)
        if name in values:
            raise InfoflowError(f"parameter {name!r} of {what} is given twice.")
        values[name] = read_value(text, kinds[name], f"parameter {name!r} of {what}")
    return values


def require_whole(value: Any, what: str, least: int | None = None, most: int | None = None) -> int:
    """Return a whole number as an ``int``.

    Args:
        value: An ``int``, or an integer of NumPy or torch. ``True`` and ``2.0`` are none.
        what: What the number is, to begin the error with.
        least: The smallest value allowed.
        most: The largest value allowed.

    Raises:
        InfoflowError: It is no whole number, or outside the limits.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not _within(number, least, most):
        raise InfoflowError(f"{what} is {value!r}; valid: a whole number{_limits(least, most)}.")
    return number


def require_finite(
    value: Any, what: str, least: float | None = None, most: float | None = None
) -> float:
    """Return a finite number as a ``float``.

    Args:
        value: An ``int`` or ``float``, or a number of NumPy. ``True`` is none.
        what: What the number is, to begin the error with.
        least: The smallest value allowed.
        most: The largest value allowed.

    Raises:
        InfoflowError: It is no number, infinite, not a number (NaN), or outside the limits.
    """
    try:
        number = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or not _within(number, least, most):
        raise InfoflowError(f"{what} is {value!r}; valid: a finite number{_limits(least, most)}.")
    return number


def require_noise(n_samples: Any, sigma: Any, seed: Any) -> None:
    """Check how maps are averaged: 1 noisy picture or more, deviation and seed at least 0.

    Raises:
        InfoflowError: One of them is no such number.
    """
    require_whole(n_samples, "n_samples", least=1)
    require_finite(sigma, "sigma", least=0)
    require_whole(seed, "seed", least=0, most=2**63 - 1)


def _within(number: float, least: float | None, most: float | None) -> bool:
    return (least is None or number >= least) and (most is None or number <= most)


def _limits(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f" of at least {least}"
    return "" if most is None else f" of at most {most}"


def _tree(kind: str) -> ast.expr:
    try:
        return ast.parse(kind, mode="eval").body
    except SyntaxError:
        return ast.Constant(kind)  # which is no kind


def _is_of(kind: ast.expr, value: Any) -> bool:
    match kind:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return any([_is_of(left, value), _is_of(right, value)])  # both must be known
        case ast.Constant(value=None):
            return value is None
        case ast.Name(id="Any"):
            return _is_plain(value)
        case ast.Name(id="str"):
            return isinstance(value, str) and _is_plain(value)
        case ast.Name(id="float"):
            return type(value) in (int, float) and abs(value) <= sys.float_info.max
        case ast.Name(id=name) if name in _TYPES:
            return type(value) is _TYPES[name] and _is_plain(value)
        case ast.Subscript(value=ast.Name(id="list" | "tuple" as name), slice=inner):
            kinds = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if not isinstance(value, list):
                return False
            if name == "list" or ast.unparse(kinds[-1]) == "...":
                kinds = kinds[:1] * len(value)
            return len(value) == len(kinds) and all(map(_is_of, kinds, value))
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[_, each])):
            return isinstance(value, dict) and all(_is_of(each, v) for v in value.values())
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            valid = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return any(repr(value) == ast.unparse(each) for each in valid)
    raise InfoflowError(f"no value can be declared {ast.unparse(kind)}; valid: {_VALID}.")


def _is_plain(value: Any) -> bool:
    """Whether JSON can write a value and other programs can read it: no NaN, no broken text."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return "\0" not in str(value)


def _short(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 80 else f"{told[:77]}..."
