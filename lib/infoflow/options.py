"""Values that users give: by their declared kind, whole or finite, or one error that says so."""

import ast
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

_TYPES: Mapping[str, type] = {"bool": bool, "int": int, "list": list, "tuple": list, "dict": dict}
_VALID = "str, int, float, bool, None, Any, list, tuple, dict, Literal, and several of them with |"


def kind_of(annotation: Any) -> str:
    """Write an argument's annotation as a kind of plain values: sequences and paths have none."""
    written = formatannotation(annotation).replace("collections.abc.Sequence", "list")
    return written.replace("pathlib.Path", "str")


def require_kind(value: Any, kind: str, what: str) -> None:
    """Check that a plain value is of a declared kind; ``True`` is no ``int``, and ``"1"`` neither.

    The kind is written as an annotation: ``str``, ``int``, ``float`` (finite), ``bool``, ``None``,
    ``list``, ``list[int]``, ``tuple``, ``dict[str, int]``, ``Literal['a', 'b']``, ``Any``, or
    several with ``|`` between them.
    """
    if not _is_of(_tree(kind), value):
        got = f"{_short(value)}, a {type(value).__name__}"
        raise InfoflowError(f"{what} is declared {kind}; got {got}.")


def read_value(text: str, kind: str, what: str) -> Any:
    """Read a value as it is typed, by its declared kind (see :func:`require_kind`).

    The text stands as it is where the kind takes text, but for ``null`` and ``None`` where the kind
    has ``None``; else it is JSON: ``3``, ``1e-3``, ``true``, ``[1, 2]``, ``["a", "b"]``.
    """
    tree = _tree(kind)
    if text in ("null", "None") and _is_of(tree, None):
        return None
    if _is_of(tree, text):
        return text
    valid = 'valid: JSON, such as 1e-3, true or ["a", "b"]'
    failed = f"{what} is declared {kind}; got {_short(text)}; {valid}"
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
        if not kinds:
            raise InfoflowError(f"{what} has no parameters of its own; got {option!r}.")
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
    refusal = f"{what} is {value!r}; valid: a whole number"
    return _limited(operator.index, value, refusal, least, most)


def require_finite(
    value: Any, what: str, least: float | None = None, most: float | None = None
) -> float:
    """Return a finite number within limits, of NumPy too; ``True`` is none."""
    return _limited(float, value, f"{what} is {value!r}; valid: a finite number", least, most)


def _limited(
    convert: Callable[[Any], Number],
    value: Any,
    refusal: str,
    least: float | None,
    most: float | None,
) -> Number:
    low = -sys.float_info.max if least is None else least
    high = sys.float_info.max if most is None else most
    with suppress(TypeError, ValueError, OverflowError):
        number = convert(value)
        if low <= number <= high and not isinstance(value, bool | str | bytes):
            return number
    limits = {
        (True, True): "",
        (False, True): f" of at least {least}",
        (True, False): f" of at most {most}",
        (False, False): f" from {least} to {most}",
    }
    raise InfoflowError(f"{refusal}{limits[least is None, most is None]}.")


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
        case ast.Subscript(value=ast.Name(id="list"), slice=each):
            return isinstance(value, list) and all(_is_of(each, v) for v in value)
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
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
