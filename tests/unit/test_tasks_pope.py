import pandas as pd
import pytest
from PIL import Image

from infoflow.errors import UnknownNameError
from infoflow.sample import Sample
from infoflow.tasks.base import blind_guess
from infoflow.tasks.pope import Pope, parse_yes_no

PICTURE = Image.new("RGB", (2, 2))


def ask(answer: str, kind: str) -> Sample:
    return Sample(f"{kind}-{answer}", PICTURE, "Is there a red star in the image?", answer, kind)


@pytest.mark.parametrize(
    ("text", "official", "lmms_eval", "vlmevalkit"),
    [
        ("yes", True, True, True),
        ("No", False, False, False),
        (" Yes\n", True, True, True),
        ("no.", False, None, False),
        ("Yes, there is.", True, None, True),
        ("No, there is not.", False, None, False),
        ("NO", True, False, False),
        ("There is not.", False, None, None),
        ("There isn't.", True, None, None),
        ("Well. No.", True, None, False),
        ("Yes. There is no doubt.", True, None, None),
        ("yes,no", True, None, None),
        ("I cannot tell", True, None, None),
        ("nothing", True, None, None),
        ("(yes)", True, None, True),
        ("", True, None, None),
    ],
)
def test_the_three_rules_disagree_as_published(text, official, lmms_eval, vlmevalkit):
    assert parse_yes_no(text, "official") is official
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


def test_an_unread_answer_is_wrong_and_no_yes():
    items = [("yes", "random", "Yes, it is"), ("no", "random", "blue"), ("yes", "random", "yes")]
    got = summarise("lmms-eval", items)
    assert got["accuracy"] == pytest.approx(1 / 3)
    assert got["recall"] == 0.5
    assert got["precision"] == 1
    assert got["yes_ratio"] == pytest.approx(1 / 3)
    assert got["unparsed"] == 2


def test_answers_taken_for_yes_by_default_are_counted_as_unparsed():
    got = summarise("official", [("yes", "random", "blue"), ("yes", "random", "yes")])
    assert got["accuracy"] == 1
    assert got["unparsed"] == 1


def test_blind_guess_is_the_commoner_answer_over_all_splits():
    samples = [ask("yes", "random"), ask("no", "popular"), ask("no", "popular")]
    assert blind_guess(Pope(samples, "test", "test")) == pytest.approx(2 / 3)
