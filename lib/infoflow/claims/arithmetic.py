"""What printed numbers can and cannot mean, found by arithmetic alone."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, sqrt

from infoflow.errors import InfoflowError
from infoflow.stats.paired import mcnemar_of_counts

Interval = tuple[float, float]


def counts_printed_as(percent: float, n_items: int, decimals: int = 2) -> list[int]:
    """Find the counts of right items that a printed percentage can stand for.

    Args:
        percent: The percentage as printed.
        n_items: How many items there are.
        decimals: How many decimals were printed; a value half-way between two may go either way.

    Returns:
        Every k with 100 k / n rounded to the percentage, ascending; none if it is no such share.

    Raises:
        InfoflowError: There are no items, or the percentage is not from 0 to 100.
    """
    if n_items < 1 or not 0 <= percent <= 100:
        raise InfoflowError(f"{percent} % of {n_items} items is no share of a set of items.")
    printed, half = Fraction(str(percent)), Fraction(1, 2 * 10**decimals)
    first = ceil((printed - half) * n_items / 100)
    last = floor((printed + half) * n_items / 100)
    return list(range(max(first, 0), min(last, n_items) + 1))


def share_that_fits(n_items: int, decimals: int = 2) -> float:
    """Compute which part of all percentages with so many decimals is a share of n items.

    It is how often a number that has nothing to do with the items would fit them by chance.

    Args:
        n_items: How many items there are.
        decimals: How many decimals are printed.
    """
    return min(1.0, n_items / (100 * 10**decimals))


def feasible_f1(accuracy: float, positives: float = 0.5) -> Interval:
    """Bound the F1 that a yes/no classifier of known accuracy can have.

    With all items as the unit, e = 1 - accuracy errors and p positives, a false negative costs F1
    more than a false positive: F1 = 2 (p - fn) / (2 (p - fn) + e), where fn is at least e less all
    negatives and at most e or all positives.

    Args:
        accuracy: From 0 to 1.
        positives: The share of items whose right answer is yes, above 0 and below 1.

    Returns:
        The lowest and the highest F1.

    Raises:
        InfoflowError: A share is out of range.
    """
    if not (0 <= accuracy <= 1 and 0 < positives < 1):
        raise InfoflowError(
            f"accuracy {accuracy} with a share of {positives} positives is out of range; "
            "valid: 0 to 1, and between 0 and 1."
        )
    errors = 1 - accuracy
    most_missed = min(errors, positives)
    fewest_missed = max(0.0, errors - (1 - positives))
    low, high = (_f1(positives - missed, errors) for missed in (most_missed, fewest_missed))
    return low, high


def _f1(true_positives: float, errors: float) -> float:
    total = 2 * true_positives + errors
    return 2 * true_positives / total if total else 1.0


def lowest_mean_f1(accuracy: float, n_splits: int, positives: float = 0.5) -> float:
    """Bound from below the mean F1 over splits of equal size, of which the mean accuracy is known.

    A split's lowest F1 is concave in its errors, so the mean is lowest where the errors are heaped
    up: as many splits as possible with no positive found, one with the rest, the others faultless.

    Args:
        accuracy: Mean accuracy over the splits, from 0 to 1.
        n_splits: How many splits there are.
        positives: The share of yes items in each of them.
    """
    errors = (1 - accuracy) * n_splits
    heaped, rest = divmod(errors, positives)
    lows = [feasible_f1(1 - rest, positives)[0], *[1.0] * n_splits]
    return sum(lows[: max(n_splits - int(heaped), 0)]) / n_splits


def most_positives(accuracy: float, f1: float) -> float:
    """Compute the largest share of yes items at which a printed accuracy and F1 can both hold.

    Args:
        accuracy: From 0 to 1.
        f1: From 0 to 1; below what balanced items allow.
    """
    return 1.0 if f1 == 1 else (1 - accuracy) * (2 - f1) / (2 * (1 - f1))


def standard_error(share: float, n_items: int) -> float:
    """Compute the standard error of a share of independent items, from 0 to 1."""
    return sqrt(share * (1 - share) / n_items)


def errors_apart(first: float, second: float, n_items: int) -> float:
    """Compute how many standard errors two shares lie apart, each of its own n items.

    Args:
        first: A share, from 0 to 1.
        second: Another one.
        n_items: How many items each was found on.

    Returns:
        The distance in standard errors of a difference of independent shares; 0 for equal shares.
    """
    if first == second:
        return 0.0
    pooled = (first + second) / 2
    return abs(first - second) / (sqrt(2) * standard_error(pooled, n_items))


def most_changes(net: int, n_items: int, level: float = 0.05) -> int | None:
    """Find how many items may have changed at most for a net gain to be significant.

    The more answers changed to and fro, the less a given net gain says.

    Args:
        net: Items gained less items lost, not negative.
        n_items: All items.
        level: Level of McNemar's exact test, two-sided.

    Returns:
        The largest number of changed items; None if the gain is significant for none.
    """
    changed = max(net, 1)
    while changed <= n_items and _p_value(net, changed, n_items) >= level:
        changed += 2  # too few changes to tell anything, should the gain be tiny
    found = None
    while changed <= n_items and _p_value(net, changed, n_items) < level:
        found, changed = changed, changed + 2
    return found


def _p_value(net: int, changed: int, n_items: int) -> float:
    gained = (changed + net) // 2
    return mcnemar_of_counts(changed - gained, gained, n_items).p_value


@dataclass(frozen=True)
class SpanError:
    """What a hard-coded image span does to a prompt.

    Attributes:
        image_left: Image tokens that the span misses, which stay visible after truncation.
        text_hidden: Tokens of the text that the span takes for the image.
    """

    image_left: int
    text_hidden: int


def span_error(true: tuple[int, int], used: tuple[int, int]) -> SpanError:
    """Compare a hard-coded image span with the true one, both half open and counted from 0."""
    overlap = max(0, min(true[1], used[1]) - max(true[0], used[0]))
    return SpanError(true[1] - true[0] - overlap, used[1] - used[0] - overlap)


@dataclass(frozen=True)
class ReadRows:
    """Which rows of the logits the released CAM code reads, and which predict the answer.

    Attributes:
        read: The rows it reads, half open and counted from 0.
        right: The rows that predict the answer's tokens.
        inside_image: How many of the rows it reads belong to image tokens.
    """

    read: tuple[int, int]
    right: tuple[int, int]
    inside_image: int


def span_words(span: tuple[int, int]) -> str:
    """Write a half-open span as its first and last number."""
    first, last = span[0], span[1] - 1
    return str(first) if first == last else f"{first} to {last}"


def released_rows(before: int, image: int, after: int, answer: int) -> ReadRows:
    """Find the rows that code reads which counts the image as the one token of its placeholder.

    The sequence the decoder runs on has the image's tokens in the placeholder's place, and the row
    that predicts a token is the one before it; the released code allows for neither.

    Args:
        before: Tokens before the image.
        image: Image tokens.
        after: Tokens of the user's text after the image.
        answer: Tokens of the answer.
    """
    start = before + 1 + after
    first_right = before + image + after - 1
    inside = max(0, min(start + answer, before + image) - max(start, before))
    return ReadRows((start, start + answer), (first_right, first_right + answer), inside)
