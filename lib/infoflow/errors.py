"""Errors a user can act on: each names what was wrong and what would be valid."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

_LONGEST = 1200


class InfoflowError(ValueError):
    """Base of every error that bad input can cause: one line of at most 1200 characters."""

    def __init__(self, message: str) -> None:
        line = " ".join(message.splitlines())
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST - 205]} ... {line[-200:]}"
        super().__init__(line)


class UnknownNameError(InfoflowError):
    """A model, task, layer or parameter name that does not exist."""


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> UnknownNameError:
    """Build the error for an unknown name of a kind (``"model"``); it proposes the closest one."""
    names = sorted(valid)
    close = get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return UnknownNameError(f"unknown {kind} {name!r}.{hint} Valid: {', '.join(names) or 'none'}.")


def require_name(name: str, kind: str, valid: Collection[str]) -> None:
    """Raise unless a name of a kind is one of those that exist."""
    if name not in valid:
        raise unknown_name(kind, name, valid)


@contextmanager
def one_line(failed: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of these kinds into one line of ours: what failed, and why."""
    try:
        yield
    except kinds as error:
        why = str(getattr(error, "strerror", None) or error)
        raise InfoflowError(f"{failed}: {why.rstrip('.')}.") from error
