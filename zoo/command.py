"""How the zoo's commands end where the user must mend something."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from infoflow.errors import InfoflowError


@contextmanager
def ending_in_one_line() -> Iterator[None]:
    """Print an error of ours in one line, and exit with code 2."""
    try:
        yield
    except InfoflowError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
