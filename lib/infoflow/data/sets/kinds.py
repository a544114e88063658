"""What a field of a benchmark's data may hold: one check for parquet rows and for JSON."""

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infoflow.errors import InfoflowError

_SHOWN = 12  # of the keys that are needed: a file may need thousands


@dataclass(frozen=True)
class Kind:
    """A kind of value.

    Attributes:
        valid: The values that are of the kind, in words.
        holds: Whether a value is one of them.
    """

    valid: str
    holds: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which no tokenizer takes
        return False
    return True


def _is_full_text(value: Any) -> bool:
    return _is_text(value) and bool(value.strip())


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0  # True is an int


def _is_id(value: Any) -> bool:
    return _is_whole(value) or (_is_full_text(value) and value == value.strip())


def _list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


STRING = Kind("a text", _is_text)
STRINGS = Kind("a list of texts", _list_of(_is_text))
TEXT = Kind("a text that is not blank", _is_full_text)
TEXTS = Kind("a list of texts that are not blank", _list_of(_is_full_text))
TEXT_OR_NONE = Kind("a text, or null for none", lambda value: value is None or _is_text(value))
WHOLE = Kind("a whole number of at least 0", _is_whole)
ID = Kind("a whole number of at least 0, or a text without blanks around it", _is_id)
LIST = Kind("a list", lambda value: isinstance(value, list))
OBJECT = Kind("an object", lambda value: isinstance(value, Mapping))


def one_of(*texts: str) -> Kind:
    """Make the kind of some fixed texts."""
    return Kind(", ".join(sorted(texts)), lambda value: isinstance(value, str) and value in texts)


def require_fields(item: Any, kinds: Mapping[str, Kind], where: str) -> None:
    """Raise unless an object has what is needed.

    Args:
        item: The object.
        kinds: The kind of each field that is needed; others do not matter.
        where: What the object is, for errors.

    Raises:
        InfoflowError: It is no object, or a field is missing or of another kind.
    """
    if not isinstance(item, Mapping):
        raise InfoflowError(f"{where} is no object with the keys {_listed(kinds)}.")
    if missing := [name for name in kinds if name not in item]:
        raise InfoflowError(f"{where} lacks {_listed(missing)}; needed are {_listed(kinds)}.")
    for name, kind in kinds.items():
        if not kind.holds(item[name]):
            raise InfoflowError(
                f"{name!r} of {where} is {reprlib.repr(item[name])}; valid: {kind.valid}."
            )


def require_items(
    items: Sequence[Any], kinds: Mapping[str, Kind], where: str, noun: str = "entry", first: int = 1
) -> None:
    """Raise unless every object of a list has what is needed, and its ids are all of one type.

    Args:
        items: The objects.
        kinds: See :func:`require_fields`.
        where: What holds the list, for errors.
        noun: What one of them is called.
        first: The number of the first.

    Raises:
        InfoflowError: One is no such object; the error names it.
    """
    for number, item in enumerate(items, start=first):
        require_fields(item, kinds, f"{noun} {number} of {where}")
    for name, kind in kinds.items():
        if kind is ID and len({type(item[name]) for item in items}) > 1:
            raise InfoflowError(
                f"some {name!r} of {where} are numbers and some are texts; valid: one of the two."
            )


def require_once(names: Iterable[int | str], what: str, where: str) -> None:
    """Raise if a name stands twice.

    Args:
        names: Numbers or texts.
        what: What they are names of, such as ``"the picture"``.
        where: What holds them, to begin the error with.

    Raises:
        InfoflowError: One does; the error names it.
    """
    seen: set[int | str] = set()
    for name in names:
        if name in seen:
            raise InfoflowError(f"{where} holds {what} {name!r} twice.")
        seen.add(name)


def _listed(names: Mapping[str, Kind] | Sequence[str]) -> str:
    shown = [repr(name) for name in names][:_SHOWN]
    return ", ".join(shown) + (", ..." if len(names) > _SHOWN else "")
