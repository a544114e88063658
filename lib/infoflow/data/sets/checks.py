"""What a field of a benchmark's data may hold: one check for parquet rows and for JSON."""

import re
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from infoflow.errors import InfoflowError

_SURROGATE = re.compile("[\ud800-\udfff]")  # half of a pair, which no tokenizer takes


class Kind(NamedTuple):
    """A kind of value: in words, and whether a value is of it."""

    valid: str
    holds: Callable[[Any], bool]


def _all(kind: Kind) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(kind.holds, value))


STRING = Kind("a text", lambda value: isinstance(value, str) and not _SURROGATE.search(value))
STRINGS = Kind("a list of texts", _all(STRING))
TEXT = Kind("a text that is not blank", lambda value: STRING.holds(value) and bool(value.strip()))
TEXTS = Kind("a list of texts that are not blank", _all(TEXT))
TEXT_OR_NONE = Kind("a text, or null for none", lambda value: value is None or STRING.holds(value))
# True is an int
WHOLE = Kind("a whole number of at least 0", lambda value: type(value) is int and value >= 0)
ID = Kind(
    "a whole number of at least 0, or a text without blanks around it",
    lambda value: WHOLE.holds(value) or (TEXT.holds(value) and value == value.strip()),
)
IMAGE = Kind("an image", lambda value: value is not None)
IMAGE_OR_NONE = Kind("an image, or null for none", lambda value: True)


def one_of(*texts: str) -> Kind:
    """The kind of some fixed texts."""
    return Kind(", ".join(sorted(texts)), lambda value: isinstance(value, str) and value in texts)


def require_entries(rows: Sequence[Any], kinds: Mapping[str, Kind], where: str) -> None:
    """Raise unless every row has these fields, each of its kind; others do not matter."""
    for number, row in enumerate(rows):
        for name, kind in kinds.items():
            if name not in row:
                raise InfoflowError(f"row {number} of {where} lacks {name!r}.")
            if not kind.holds(row[name]):
                found, place = reprlib.repr(row[name]), f"{name!r} of row {number} of {where}"
                raise InfoflowError(f"{place} is {found}; valid: {kind.valid}.")


def require_once(names: Iterable[int | str], what: str, where: str) -> None:
    """Raise if a name stands twice."""
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InfoflowError(f"{where} holds {what} {twice[0]!r} twice.")


def require_known(
    noun: str, names: Iterable[Any], where: str, known: Iterable[Any], source: str
) -> None:
    """Raise if something has the name of what another lacks."""
    if unknown := sorted(set(names) - set(known)):
        first, count = f"the {noun} {unknown[0]!r}", f"({len(unknown)} in all)"
        raise InfoflowError(f"{where} has {first}, which {source} lacks {count}.")
