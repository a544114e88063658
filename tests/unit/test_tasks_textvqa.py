from itertools import combinations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from infoflow.data.sample import Sample
from infoflow.data.task import blind_guess
from infoflow.data.textvqa import TextVQA, normalise_answer, vqa_accuracy
from infoflow.errors import InfoflowError

PICTURE = Image.new("RGB", (2, 2))


def ask(answer: str, kind: str = "one") -> Sample:
    return Sample(answer, PICTURE, "What does it say?", answer, kind, answers=(answer,) * 10)


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The FOX", "fox"),
        ("fox.", "fox"),
        ("a man, an owl and the cat?", "man owl and cat"),
        ("two", "2"),
        ("None", "0"),
        ("eleven", "eleven"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("don't", "don't"),
        ("somebody'd", "somebodyd"),
        ("Im", "im"),
        ("mom's", "mom 's"),
        ("3.5", "3.5"),
        ("v. 2", "v 2"),
        ("1,000 m", "1000 m"),
        ("coca-cola", "coca cola"),
        ("coca - cola", "coca cola"),
        ("well-known - yes", "wellknown yes"),
        ("stop!", "stop"),
        ("line\none\tday", "line 1 day"),
        ("", ""),
    ],
)
def test_normalisation_as_on_the_server(text, normalised):
    assert normalise_answer(text) == normalised


@pytest.mark.parametrize(
    ("n_matches", "accuracy"),
    [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)],
)
def test_soft_accuracy_of_ten_answers(n_matches, accuracy):
    answers = ["fox"] * n_matches + [f"other {i}" for i in range(10 - n_matches)]
    assert vqa_accuracy("The Fox.", answers) == pytest.approx(accuracy)


@given(st.lists(st.sampled_from("abc"), min_size=4, max_size=12), st.sampled_from("abcd"))
def test_soft_accuracy_equals_leaving_out_each_answer_in_turn(answers, prediction):
    words = [f"x{answer}" for answer in answers]
    naive = [
        min(1, sum(word == f"x{prediction}" for word in others) / 3)
        for others in combinations(words, len(words) - 1)
    ]
    assert vqa_accuracy(f"x{prediction}", words) == pytest.approx(sum(naive) / len(naive))


def test_too_few_answers():
    with pytest.raises(InfoflowError, match="a list of texts, at least 4"):
        vqa_accuracy("fox", ["fox"] * 3)


def test_summary_by_kind_and_blind_guess():
    samples = [ask("FOX"), ask("FOX"), ask("OWL"), ask("CAT", "two-unseen")]
    task = TextVQA(samples, "test", "test")
    texts = ["fox", "FO", "OWL.", "cat"]
    rows = pd.DataFrame([task.details(s, t) for s, t in zip(samples, texts, strict=True)])
    assert task.summary(rows) == pytest.approx(
        {"accuracy": 3 / 4, "accuracy/one": 2 / 3, "accuracy/two-unseen": 1}
    )
    assert blind_guess(task) == 0.5
