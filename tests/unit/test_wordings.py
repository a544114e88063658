"""The wordings of the benchmarks are data: frozen, so that none changes unseen."""

import json
from pathlib import Path

import pytest

from infoflow.errors import UnknownNameError
from infoflow.families.wordings import WORDINGS, phrase

SNAPSHOT = Path(__file__).with_name("wordings.json")
ITEM = {
    "question": "Which is red?",
    "context": "A shelf.",
    "choices": ("the cup", "the book"),
    "ocr": ("EXIT", "12"),
}


def everything():
    return {
        f"{family} / {benchmark} / {kind}": phrase(family, benchmark, **item)
        for family, benchmarks in WORDINGS.items()
        for benchmark in benchmarks
        for kind, item in (("full", ITEM), ("bare", ITEM | {"context": "", "ocr": ()}))
    }


def test_every_wording_is_as_it_was():
    assert everything() == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_family_has_every_benchmark_and_its_source():
    for benchmarks in WORDINGS.values():
        assert set(benchmarks) == {"pope", "scienceqa", "textvqa", "chair"}
        assert all(len(wording.source) > 3 for wording in benchmarks.values())


def test_braces_in_a_question_are_text():
    assert phrase("shikra", "pope", "What is {this}?") == "What is {this}?"


@pytest.mark.parametrize(
    ("family", "benchmark", "message"),
    [("llava-15", "pope", "Did you mean 'llava-1.5'"), ("shikra", "vqa", "Valid: chair, pope")],
)
def test_an_unknown_name_is_one_clear_error(family, benchmark, message):
    with pytest.raises(UnknownNameError, match=message):
        phrase(family, benchmark)
