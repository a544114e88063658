import pandas as pd
import pytest
from PIL import Image

from infoflow.data.pope import Pope, parse_yes_no
from infoflow.data.sample import Sample
from infoflow.data.task import blind_guess
from infoflow.errors import UnknownNameError

PICTURE = Image.new("RGB", (2, 2))


def ask(answer: str, kind: str) -> Sample:
    return Sample(f"{kind}-{answer}", PICTURE, "Is there a red star in the image?", answer, kind)


@pytest.mark.parametrize(
    ("text", "official", "opera", "lmms_eval", "vlmevalkit"),
    [
        ("yes", True, True, True, True),
        ("No", False, False, False, False),
        (" Yes\n", True, True, True, True),
        (" No", False, False, False, False),
        ("No\n", True, True, False, False),
        ("no.", False, False, None, False),
        ("Yes, there is.", True, True, None, True),
        ("No, there is not.", False, False, None, False),
        ("NO", True, False, False, False),
        ("There is not.", False, False, None, None),
        ("There isn't.", True, False, None, None),
        ("There isn\N{RIGHT SINGLE QUOTATION MARK}t.", True, True, None, None),
        ("Well. No.", True, False, None, False),
        ("Yes. There is no doubt.", True, False, None, None),
        ("yes,no", True, True, None, None),
        ("I cannot tell", True, True, None, None),
        ("nothing", True, True, None, None),
        ("(yes)", True, True, None, True),
        ("", True, True, None, None),
        ("." * 31 + "no", True, False, None, False),
        ("." * 33 + "no", True, False, None, None),
    ],
)
def test_the_four_rules_disagree_as_published(text, official, opera, lmms_eval, vlmevalkit):
    assert parse_yes_no(text, "official") is official
    assert parse_yes_no(text, "opera") is opera
    assert parse_yes_no(text, "lmms-eval") is lmms_eval
    assert parse_yes_no(text, "vlmevalkit") is vlmevalkit


def test_unknown_rule():
    with pytest.raises(UnknownNameError, match=r"'oficial'.*'official'.*Valid: lmms-eval, off"):
        parse_yes_no("yes", "oficial")


def summarise(rule: str, items: list[tuple[str, str, str]]) -> dict[str, float]:
    samples = [ask(answer, kind) for answer, kind, _ in items]
    task = Pope(samples, "test", "test", rule)
    rows = [task.details(s, text) for s, (_, _, text) in zip(samples, items, strict=True)]
    return task.summary(pd.DataFrame(rows))


def test_metrics_of_a_split_worked_by_hand():
    # 3 true positives, 1 false positive, 2 true negatives, 2 false negatives
    texts = [("yes", t) for t in ("yes", "yes", "yes", "no", "no")]
    texts += [("no", t) for t in ("yes", "no", "no")]
    got = summarise("official", [(answer, "random", text) for answer, text in texts])
    want = {"accuracy": 5 / 8, "precision": 3 / 4, "recall": 3 / 5, "f1": 2 / 3, "yes_ratio": 1 / 2}
    assert {name: got[f"{name}/random"] for name in want} == pytest.approx(want)
    assert {name: got[name] for name in want} == pytest.approx(want)
    assert got["unparsed"] == 0


def test_the_mean_counts_each_split_once_and_yes_ratio_is_of_the_predictions():
    items = [("yes", "random", "yes"), ("no", "random", "no"), ("no", "random", "no")]
    items += [("no", "popular", "yes")]
    got = summarise("official", items)
    assert got["accuracy/random"] == 1
    assert got["accuracy/popular"] == 0
    assert got["accuracy"] == 0.5
    assert got["yes_ratio"] == pytest.approx((1 / 3 + 1) / 2)


def test_without_a_positive_precision_recall_and_f1_are_zero():
    got = summarise("lmms-eval", [("no", "random", "no"), ("no", "random", "no")])
    assert (got["precision"], got["recall"], got["f1"], got["accuracy"]) == (0, 0, 0, 1)


def test_lmms_eval_and_vlmevalkit_take_all_splits_together():
    items = [("yes", "random", "yes"), ("yes", "random", "yes"), ("no", "popular", "yes")]
    for rule in ("lmms-eval", "vlmevalkit"):
        got = summarise(rule, items)
        assert got["precision"] == pytest.approx(2 / 3)
        assert (got["precision/random"], got["precision/popular"]) == (1, 0)
    assert summarise("opera", items)["precision"] == 0.5


def test_nothing_read_at_all_gives_zeros():
    got = summarise("lmms-eval", [("yes", "random", "blue")])
    assert (got["precision"], got["recall"], got["f1"], got["unparsed"]) == (0, 0, 0, 1)


def test_an_unread_answer_is_wrong_and_no_yes():
    items = [("yes", "random", "Yes, it is"), ("no", "random", "blue"), ("yes", "random", "yes")]
    got = summarise("lmms-eval", items)
    assert got["accuracy"] == pytest.approx(1 / 3)
    assert got["recall"] == 1  # lmms-eval counts as missed only what was answered no
    assert got["precision"] == 1
    assert got["yes_ratio"] == pytest.approx(2 / 3)  # lmms-eval's is that of the labels
    assert got["unparsed"] == 2
    got = summarise("vlmevalkit", [("yes", "random", "blue"), ("yes", "random", "yes")])
    assert (got["recall"], got["yes_ratio"]) == (0.5, 0.5)


@pytest.mark.parametrize("rule", ["official", "opera"])
@pytest.mark.parametrize(
    ("text", "unclear"),
    [
        ("blue", True),
        ("", True),
        ("No!", True),
        ('"No"', True),
        ("no\tdog", True),
        ("No\nThe picture shows a cat.", True),
        ("Yes (no)", True),
        ("yes", False),
        ("Yes!", False),
        ("Yes, a dog. ", False),
        ("No", False),
        ("No, there is no dog.", False),
        ("There is not", False),
    ],
)
def test_an_answer_taken_for_yes_by_default_is_counted_as_unparsed(rule, text, unclear):
    got = summarise(rule, [("yes", "random", text)])
    assert got["unparsed"] == unclear
    assert got["accuracy"] == float(unclear or "yes" in text.lower())


@pytest.mark.parametrize(
    ("text", "official", "opera"), [("NO", 1, 0), ("NO.", 1, 0), ("A. No", 1, 0)]
)
def test_what_is_unclear_to_one_rule_can_be_clear_to_the_other(text, official, opera):
    assert summarise("official", [("no", "random", text)])["unparsed"] == official
    assert summarise("opera", [("no", "random", text)])["unparsed"] == opera


def test_blind_guess_is_the_commoner_answer_over_all_splits():
    samples = [ask("yes", "random"), ask("no", "popular"), ask("no", "popular")]
    assert blind_guess(Pope(samples, "test", "test")) == pytest.approx(2 / 3)
