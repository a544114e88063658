"""Numbers that users give: whole or finite, and within their limits, or one error that says so."""

import math
import operator
from typing import Any

from infoflow.errors import InfoflowError


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


def _within(number: float, least: float | None, most: float | None) -> bool:
    return (least is None or number >= least) and (most is None or number <= most)


def _limits(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f" of at least {least}"
    return "" if most is None else f" of at most {most}"
