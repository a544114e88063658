"""What printed numbers can and cannot mean, found by arithmetic alone."""

from fractions import Fraction
from itertools import takewhile
from math import ceil, floor, sqrt
from typing import NamedTuple

from infoflow.errors import InfoflowError
from infoflow.stats.paired import LEVEL, mcnemar_of_counts

_HALF = Fraction("0.005")  # a percentage of two decimals is rounded by so much at most


def counts_printed_as(percent: float, n_items: int) -> list[int]:
    """Every count k of n items, ascending, whose 100 k / n may be printed as a percentage."""
    first, last = (n_items * (Fraction(str(percent)) + off) / 100 for off in (-_HALF, _HALF))
    return list(range(max(ceil(first), 0), min(floor(last), n_items) + 1))


def feasible_f1(accuracy: float, positives: float = 0.5) -> tuple[float, float]:
    """The lowest and the highest F1 of a yes/no classifier of known accuracy.

    With e = 1 - accuracy errors and p positives, as shares of the items, F1 = 2 (p - fn) / (2 (p -
    fn) + e): a false negative costs more than a false positive.
    """
    if not (0 <= accuracy <= 1 and 0 < positives < 1):
        raise InfoflowError(f"accuracy {accuracy} and {positives} positives are no two shares.")
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


class ReadRows(NamedTuple):
    read: range  # rows of the logits that are read
    right: range  # those that predict the answer
    inside_image: int  # how many of those read lie in the image


def released_rows(before: int, image: int, after: int, answer: int) -> ReadRows:
    """Find the rows that code reads which counts the image as the one token of its placeholder.

    The sequence the decoder runs on has the image's tokens in the placeholder's place, and the row
    that predicts a token is the one before it; the released code allows for neither. Arguments
    count the tokens before the image, of it, of the user's text after it, and of the answer.
    """
    starts = before + 1 + after, before + image + after - 1
    read, right = (range(start, start + answer) for start in starts)
    return ReadRows(read, right, sum(before <= row < before + image for row in read))


def span_words(span: range) -> str:
    """Write a span as its first and last number."""
    return f"{span[0]} to {span[-1]}" if len(span) > 1 else str(span[0])
