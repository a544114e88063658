"""What printed numbers can and cannot mean, found by arithmetic alone."""

from fractions import Fraction
from itertools import takewhile
from math import ceil, floor, sqrt
from typing import NamedTuple

from infoflow.errors import InfoflowError
from infoflow.stats.paired import LEVEL, mcnemar_of_counts

Span = tuple[int, int]  # half open, counted from 0


def counts_printed_as(percent: float, n_items: int, decimals: int = 2) -> list[int]:
    """Every count k of n items that 100 k / n rounds to a printed percentage, ascending.

    A value half-way between two may go either way.
    """
    if n_items < 1 or not 0 <= percent <= 100:
        raise InfoflowError(f"{percent} % of {n_items} items is no share of a set of items.")
    printed, half = Fraction(str(percent)), Fraction(1, 2 * 10**decimals)
    first = ceil((printed - half) * n_items / 100)
    last = floor((printed + half) * n_items / 100)
    return list(range(max(first, 0), min(last, n_items) + 1))


def share_that_fits(n_items: int) -> float:
    """Which part of all percentages of two decimals would fit n items by chance."""
    return min(1.0, n_items / 10**4)


def feasible_f1(accuracy: float, positives: float = 0.5) -> tuple[float, float]:
    """The lowest and the highest F1 of a yes/no classifier of known accuracy.

    With e = 1 - accuracy errors and p positives, as shares of the items, F1 = 2 (p - fn) / (2 (p -
    fn) + e): a false negative costs more than a false positive.
    """
    if not (0 <= accuracy <= 1 and 0 < positives < 1):
        raise InfoflowError(
            f"accuracy {accuracy} with a share of {positives} positives is out of range; "
            "valid: 0 to 1, and between 0 and 1."
        )
    errors = 1 - accuracy

    def f1(missed: float) -> float:
        total = 2 * (positives - missed) + errors
        return 2 * (positives - missed) / total if total else 1.0

    return f1(min(errors, positives)), f1(max(0.0, errors - (1 - positives)))


def lowest_mean_f1(accuracy: float, n_splits: int, positives: float = 0.5) -> float:
    """The lowest mean F1 over splits of equal size, of which the mean accuracy is known.

    A split's lowest F1 is concave in its errors, so the mean is lowest where the errors are heaped
    up: as many splits as possible with no positive found, one with the rest, the others faultless.
    """
    errors = (1 - accuracy) * n_splits
    heaped, rest = divmod(errors, positives)
    lows = [feasible_f1(1 - rest, positives)[0], *[1.0] * n_splits]
    return sum(lows[: max(n_splits - int(heaped), 0)]) / n_splits


def most_positives(accuracy: float, f1: float) -> float:
    """The largest share of yes items at which accuracy and an F1 too low for halves both hold."""
    return 1.0 if f1 == 1 else (1 - accuracy) * (2 - f1) / (2 * (1 - f1))


def standard_error(share: float, n_items: int) -> float:
    """The standard error of a share of independent items, from 0 to 1."""
    return sqrt(share * (1 - share) / n_items)


def errors_apart(first: float, second: float, n_items: int) -> float:
    """How many standard errors of the difference two shares lie apart, each of its own items."""
    if first == second:
        return 0.0
    return abs(first - second) / (sqrt(2) * standard_error((first + second) / 2, n_items))


def most_changes(net: int, n_items: int) -> int | None:
    """How many items may have changed at most for a net gain to pass McNemar's two-sided test.

    The more answers changed to and fro, the less a given net gain says. None if the gain is
    significant for no number of changes.
    """

    def significant(changed: int) -> bool:
        gained = (changed + net) // 2
        return mcnemar_of_counts(changed - gained, gained, n_items).p_value < LEVEL

    return max(takewhile(significant, range(max(net, 1), n_items + 1, 2)), default=None)


class SpanError(NamedTuple):
    image_left: int  # image tokens that a fixed span misses
    text_hidden: int  # tokens of the text that it takes for the image


def span_error(true: Span, used: Span) -> SpanError:
    """Compare a fixed image span with the true one."""
    overlap = max(0, min(true[1], used[1]) - max(true[0], used[0]))
    return SpanError(true[1] - true[0] - overlap, used[1] - used[0] - overlap)


class ReadRows(NamedTuple):
    read: Span  # rows of the logits that are read
    right: Span  # those that predict the answer
    inside_image: int  # how many of those read lie in the image


def released_rows(before: int, image: int, after: int, answer: int) -> ReadRows:
    """Find the rows that code reads which counts the image as the one token of its placeholder.

    The sequence the decoder runs on has the image's tokens in the placeholder's place, and the row
    that predicts a token is the one before it; the released code allows for neither. Arguments
    count the tokens before the image, of it, of the user's text after it, and of the answer.
    """
    start = before + 1 + after
    first_right = before + image + after - 1
    inside = max(0, min(start + answer, before + image) - max(start, before))
    return ReadRows((start, start + answer), (first_right, first_right + answer), inside)


def span_words(span: Span) -> str:
    """Write a span as its first and last number."""
    first, last = span[0], span[1] - 1
    return str(first) if first == last else f"{first} to {last}"
