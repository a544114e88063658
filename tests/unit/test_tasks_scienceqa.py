import pandas as pd
import pytest
from PIL import Image

from infoflow.data.sample import Sample
from infoflow.data.scienceqa import ScienceQA, parse_choice
from infoflow.data.task import blind_guess
from infoflow.errors import InfoflowError, UnknownNameError

PICTURE = Image.new("RGB", (2, 2))


def ask(answer: str, choices: str, kind: str = "colour") -> Sample:
    return Sample(answer, PICTURE, "?", answer, kind, choices=tuple(choices.split()))


@pytest.mark.parametrize(
    ("text", "llava", "simignore"),
    [
        ("B", 1, 1),
        (" B", None, None),
        ("B\n", None, None),
        ("B. a red one", 1, 1),
        ("B.", None, None),
        ("B.red", None, None),
        ("B)", None, 1),
        ("B) red", None, 1),
        ("(B)", None, 1),
        ("(B) red", None, 1),
        ("It is (B), red", None, 1),
        ("It is (B), not (C)", None, None),
        ("The correct answer is (B", None, 1),
        ("Not (A). The correct answer is (B)", None, 1),
        ("The answer is B.", 1, 1),
        ("The answer is B, red", 1, 1),
        ("The answer is B", None, None),
        ("The answer is A. No: The answer is B.", None, None),
        ("The answer is (B).", None, 1),
        ("b", None, None),
        ("Because it is red", None, None),
        ("BA", None, None),
        ("red", None, None),
        ("", None, None),
    ],
)
def test_each_rule_reads_what_its_published_script_reads(text, llava, simignore):
    assert parse_choice(text, 4, "llava") == llava
    assert parse_choice(text, 4, "simignore") == simignore


@pytest.mark.parametrize("rule", ["llava", "simignore"])
def test_a_letter_beyond_the_options_is_no_choice(rule):
    assert parse_choice("C", 2, rule) is None
    assert parse_choice("C", 3, rule) == 2
    assert parse_choice("The answer is Z.", 5, rule) is None


def test_bad_arguments_have_one_clear_error():
    with pytest.raises(UnknownNameError, match=r"'lava'.*'llava'"):
        parse_choice("A", 4, "lava")
    with pytest.raises(InfoflowError, match="n_choices is 6"):
        parse_choice("A", 6)
    with pytest.raises(UnknownNameError, match="scienceqa scoring rule 'official'"):
        ScienceQA([ask("A", "red blue")], "test", "test", "official")


def test_summary_gives_accuracy_overall_and_by_kind():
    samples = [
        ask("A", "red blue"),
        ask("B", "red blue"),
        ask("B", "one two", "count"),
        ask("A", "one two", "count"),
    ]
    task = ScienceQA(samples, "test", "test")
    texts = ["A", "A", "B", "two"]
    rows = pd.DataFrame([task.details(s, t) for s, t in zip(samples, texts, strict=True)])
    assert task.summary(rows) == {
        "accuracy": 0.5,
        "accuracy/colour": 0.5,
        "accuracy/count": 0.5,
        "unparsed": 1.0,
    }
    assert [task.score(s, t) for s, t in zip(samples, texts, strict=True)] == [1, 0, 1, 0]


def test_summary_needs_rows_and_columns():
    task = ScienceQA([ask("A", "red blue")], "test", "test")
    with pytest.raises(InfoflowError, match="each with a value in the column"):
        task.summary(pd.DataFrame({"kind": ["colour"]}))
    columns = {"kind": ["colour"], "score": [float("nan")], "unparsed": [False]}
    with pytest.raises(InfoflowError, match=r"value in the column\(s\) score\."):
        task.summary(pd.DataFrame(columns))
    with pytest.raises(InfoflowError, match="0 rows cannot be summarised"):
        task.summary(pd.DataFrame(columns).iloc[:0])


def test_blind_guess_takes_the_best_letter_or_wording_of_each_kind():
    # colour: "A" is right twice of three, no wording more often; count: "two" is right every time
    samples = [
        ask("A", "red blue"),
        ask("A", "green blue"),
        ask("B", "red blue"),
        ask("A", "two one", "count"),
        ask("B", "one two", "count"),
    ]
    assert blind_guess(ScienceQA(samples, "test", "test")) == pytest.approx((2 + 2) / 5)
