"""The audit's arithmetic, against enumeration: every table of answers, every count of items."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from infoflow.claims.arithmetic import (
    counts_printed_as,
    errors_apart,
    feasible_f1,
    lowest_mean_f1,
    most_changes,
    most_positives,
    released_rows,
    span_words,
    standard_error,
)
from infoflow.errors import InfoflowError

quick = settings(max_examples=60, deadline=None)


def possible_f1s(n_yes, n_no, n_right):
    """F1 of every way to be right on so many items, by true and false positives."""
    found = []
    for true_positives in range(n_yes + 1):
        true_negatives = n_right - true_positives
        if 0 <= true_negatives <= n_no:
            says_yes = true_positives + n_no - true_negatives
            total = says_yes + n_yes
            found.append(2 * true_positives / total if total else 1.0)
    return found


@pytest.mark.parametrize(("n_yes", "n_no"), [(10, 10), (5, 15), (15, 5)])
def test_f1_bounds_are_those_of_all_possible_answers(n_yes, n_no):
    n_items = n_yes + n_no
    for n_right in range(n_items + 1):
        low, high = feasible_f1(n_right / n_items, n_yes / n_items)
        found = possible_f1s(n_yes, n_no, n_right)
        assert low == pytest.approx(min(found), abs=1e-9)
        assert high == pytest.approx(max(found), abs=1e-9)


def test_f1_bounds_of_the_disputed_row():
    # METHODS, section 1f: an accuracy of 94.01 on balanced items forces F1 into [0.936, 0.944]
    low, high = feasible_f1(0.9401)
    assert (low, high) == (pytest.approx(0.936, abs=5e-4), pytest.approx(0.944, abs=1e-3))
    assert lowest_mean_f1(0.9401, 3) > 0.8631


def test_mean_over_splits_is_lowest_where_errors_are_heaped_up():
    per_split, n_splits = 20, 3
    grid = np.arange(per_split + 1)
    for total in range(0, n_splits * per_split + 1, 4):
        lows = [
            np.mean([feasible_f1(right / per_split)[0] for right in rights])
            for rights in product(grid, repeat=n_splits)
            if sum(rights) == total
        ]
        accuracy = total / (n_splits * per_split)
        assert lowest_mean_f1(accuracy, n_splits) == pytest.approx(min(lows), abs=1e-9)


@quick
@given(st.floats(0.6, 0.99), st.floats(0.05, 0.95))
def test_the_share_of_yes_that_would_do_is_the_bound(accuracy, f1):
    positives = most_positives(accuracy, f1)
    # only where missing positives, not having too few of them, is what bounds F1
    assume(1 - accuracy < positives < 0.99)
    assert feasible_f1(accuracy, positives)[0] == pytest.approx(f1)
    assert feasible_f1(accuracy, min(positives * 1.005, 0.995))[0] > f1


@quick
@given(st.integers(1, 5000), st.data())
def test_every_count_is_found_from_what_is_printed_of_it(n_items, data):
    count = data.draw(st.integers(0, n_items))
    printed = round(100 * count / n_items, 2)
    found = counts_printed_as(printed, n_items)
    assert count in found
    assert found == sorted(found)
    for k in found:
        assert abs(100 * k / n_items - printed) <= 0.005 + 1e-9


def test_percentages_of_the_paper():
    # METHODS, section 1f: which of Table 1's values are k/2017
    assert counts_printed_as(65.00, 2017) == [1311]
    assert counts_printed_as(66.48, 2017) == [1341]
    assert counts_printed_as(65.00, 4241) == []
    for printed in (67.12, 60.50, 45.80, 66.20, 70.11):
        assert counts_printed_as(printed, 2017) == []


def test_errors_apart_is_a_difference_over_its_error():
    first, second, n_items = 0.5, 0.56, 400
    error = np.sqrt(2 * 0.53 * 0.47 / n_items)
    assert errors_apart(first, second, n_items) == pytest.approx(0.06 / error)
    assert errors_apart(0.3, 0.3, 10) == 0
    assert errors_apart(0.0, 0.0, 10) == 0
    # METHODS, section 5: the standard error of ScienceQA at about two thirds
    assert 100 * standard_error(0.65, 2017) == pytest.approx(1.06, abs=0.01)


@pytest.mark.parametrize("net", [6, 11, 30])
def test_a_gain_is_significant_up_to_so_many_changes(net):
    most = most_changes(net, 2017)

    def p_value(changed):
        return binomtest((changed + net) // 2, changed).pvalue

    assert (most - net) % 2 == 0
    assert p_value(most) < 0.05 <= p_value(most + 2)


def test_a_small_gain_is_never_significant():
    assert most_changes(0, 2017) is None
    assert most_changes(5, 2017) is None  # five gained, none lost: p = 0.06


def test_spans_are_written_by_first_and_last():
    assert (span_words(range(3, 4)), span_words(range(3, 6))) == ("3", "3 to 5")


@quick
@given(*(st.integers(1, 40) for _ in range(4)))
def test_released_rows_follow_the_layout_token_by_token(before, image, after, answer):
    ids = ["text"] * before + ["<image>"] + ["text"] * after + ["answer"] * answer
    expanded = [t for t in ids for _ in range(image if t == "<image>" else 1)]
    rows = released_rows(before, image, after, answer)
    assert rows.read[0] == ids.index("answer")
    assert rows.right[0] == expanded.index("answer") - 1
    assert len(rows.read) == len(rows.right) == answer
    inside = [i for i in rows.read if i < len(expanded) and expanded[i] == "<image>"]
    assert rows.inside_image == len(inside)


@pytest.mark.parametrize(
    "call",
    [
        lambda: feasible_f1(1.2),
        lambda: feasible_f1(0.5, 0.0),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(InfoflowError):
        call()
