"""What every bad input must come to: one error of ours, in one line, and soon."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from infoflow.errors import InfoflowError

SECONDS = 30
LONGEST = 1200
"""Characters of an error: it may list all valid names, but no file's content."""


@contextmanager
def soon(seconds: int = SECONDS) -> Iterator[None]:
    """Fail what hangs."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refuse(act: Callable[[], Any]) -> str:
    """Require that something is refused in one line; return the line."""
    with soon(), pytest.raises(InfoflowError) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text
    assert 10 < len(text) <= LONGEST
    return text


def attempt(act: Callable[[], Any]) -> Any:
    """Do what may be refused, but in no other way; return what it gives, or None if refused."""
    with soon():
        try:
            return act()
        except InfoflowError as error:
            text = str(error)
    assert "\n" not in text
    assert 10 < len(text) <= LONGEST
    return None


def put(*path_and_value: Any) -> Callable[[Any], None]:
    """Make a change of JSON that sets a value: the keys down to it, and the value."""
    *path, last, value = path_and_value

    def change(content: Any) -> None:
        for step in path:
            content = content[step]
        content[last] = value

    return change
