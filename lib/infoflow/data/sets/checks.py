"""What a field of a benchmark's data may hold: one check for parquet rows and for JSON."""

import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from infoflow.errors import InfoflowError

_SHOWN = 12  # of the keys that are needed: a file may need thousands
_SURROGATE = re.compile("[\ud800-\udfff]")  # half of a pair, which no tokenizer takes


class Kind(NamedTuple):
    """A kind of value: in words, and whether a value is of it."""

    valid: str
    holds: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not _SURROGATE.search(value)


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
    """The kind of some fixed texts."""
    return Kind(", ".join(sorted(texts)), lambda value: isinstance(value, str) and value in texts)


def require_fields(entry: Any, kinds: Mapping[str, Kind], where: str) -> Any:
    """Return an object that has these fields, each of its kind; others do not matter."""
    if not isinstance(entry, Mapping):
        raise InfoflowError(f"{where} is no object with the keys {_listed(kinds)}.")
    if missing := [name for name in kinds if name not in entry]:
        raise InfoflowError(f"{where} lacks {_listed(missing)}; needed are {_listed(kinds)}.")
    for name, kind in kinds.items():
        if not kind.holds(entry[name]):
            raise InfoflowError(
                f"{name!r} of {where} is {reprlib.repr(entry[name])}; valid: {kind.valid}."
            )
    return entry


def require_entries(
    entries: Sequence[Any], kinds: Mapping[str, Kind], where: str, noun: str, first: int = 1
) -> None:
    """Raise unless every entry of a list has these fields, and its ids are all of one type."""
    for number, entry in enumerate(entries, start=first):
        require_fields(entry, kinds, f"{noun} {number} of {where}")
    for name, kind in kinds.items():
        if kind is ID and len({type(entry[name]) for entry in entries}) > 1:
            raise InfoflowError(
                f"some {name!r} of {where} are numbers and some are texts; valid: one of the two."
            )


def require_once(names: Iterable[int | str], what: str, where: str) -> None:
    """Raise if a name stands twice."""
    seen: set[int | str] = set()
    for name in names:
        if name in seen:
            raise InfoflowError(f"{where} holds {what} {name!r} twice.")
        seen.add(name)


def _listed(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    return ", ".join(shown[:_SHOWN]) + (", ..." if len(shown) > _SHOWN else "")
