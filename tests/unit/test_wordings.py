"""The wordings of the benchmarks are data: frozen, so that none changes unseen."""

import json
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from infoflow.data import templates
from infoflow.data.sample import Sample
from infoflow.data.templates import WORDINGS, find_wording
from infoflow.errors import UnknownNameError

SNAPSHOT = Path(__file__).with_name("wordings.json")
ITEM = {
    "question": "Which is red?",
    "context": "A shelf.",
    "choices": ("the cup", "the book"),
    "ocr": ("EXIT", "12"),
}


def phrase(family, benchmark, question="", context="", choices=(), ocr=None, wording=None):
    sample = Sample("1", None, question, "", "", choices=choices, context=context, ocr=ocr)
    return templates.phrase(find_wording(family, benchmark, wording), sample)


def everything():
    return {
        f"{family} / {benchmark} / {kind}": phrase(family, benchmark, **item)
        for family, benchmarks in WORDINGS.items()
        for benchmark in benchmarks
        for kind, item in (
            ("full", ITEM),
            ("bare", ITEM | {"context": "", "ocr": None}),
            ("nothing read", ITEM | {"context": "", "ocr": ()}),
        )
    }


def test_every_wording_is_as_it_was():
    assert everything() == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_family_has_every_benchmark():
    for benchmarks in WORDINGS.values():
        assert set(benchmarks) == {"pope", "scienceqa", "textvqa", "chair"}


LETTER = "Answer with the option's letter from the given choices directly."
SHORT = "Answer the question using a single word or phrase."
HINT = "Read this.\n\nA pot is  warm.\nFigure: a pot."
CHOICES = ("one", "two", "three", "four", "five ")


@pytest.mark.parametrize("family", ["llava-1.5", "llava-1.6", "internvl", "shikra"])
def test_scienceqa_as_in_the_question_file_of_llava(family):
    # its conversion makes one space of two and strips the whole, but keeps empty lines
    assert phrase(family, "scienceqa", "Which one?", HINT, CHOICES) == (
        "Context: Read this.\n\nA pot is warm.\nFigure: a pot.\nWhich one?\n"
        f"A. one\nB. two\nC. three\nD. four\nE. five\n{LETTER}"
    )
    assert phrase(family, "scienceqa", " Which one?", "", ("yes", "no")) == (
        f"Which one?\nA. yes\nB. no\n{LETTER}"
    )


@pytest.mark.parametrize("wording", ["paper", "simignore"])
def test_scienceqa_as_in_the_question_file_of_simignore(wording):
    for family in WORDINGS:
        assert phrase(family, "scienceqa", "Which one?", HINT, CHOICES, wording=wording) == (
            "Context: Read this.\n\nA pot is warm.\nFigure: a pot.\nQuestion: Which one?\n"
            f"Options: (A) one (B) two (C) three (D) four (E) five\n{LETTER}"
        )
    assert phrase("shikra", "scienceqa", "Which?", "", ("yes", "no"), wording=wording) == (
        f"Context: N/A\nQuestion: Which?\nOptions: (A) yes (B) no\n{LETTER}"
    )


def test_scienceqa_as_qwen_vl_and_instructblip_are_asked():
    assert phrase("qwen-vl", "scienceqa", "Which one?", "Read.\n\nThis.", ("yes", "no")) == (
        "Context: Read.\n\nThis.\nQuestion: Which one?\nOptions: A. yes\nB. no\nAnswer:"
    )
    assert phrase("qwen-vl", "scienceqa", "Which one?", "", ("yes", "no")) == (
        "Context: N/A\nQuestion: Which one?\nOptions: A. yes\nB. no\nAnswer:"
    )
    assert phrase("instructblip", "scienceqa", "Which one?", "Read.\n\nThis.", ("yes", "no")) == (
        "Context: Read.\n\nThis. Question: Which one? Options: (a) yes (b) no. Answer:"
    )
    assert phrase("instructblip", "scienceqa", "Which one?", "", ("yes", "no")) == (
        "Question: Which one? Options: (a) yes (b) no. Answer:"
    )


@pytest.mark.parametrize("family", ["llava-1.5", "llava-1.6", "internvl"])
def test_textvqa_as_in_the_question_file_of_llava(family):
    asked = "what does the sign of NASA say?"
    told = phrase(family, "textvqa", asked, ocr=("EXIT", "12"))
    assert told == f"What does the sign of nasa say?\nReference OCR token: EXIT, 12\n{SHORT}"
    nothing_read = phrase(family, "textvqa", asked, ocr=())
    assert nothing_read == f"What does the sign of nasa say?\nReference OCR token: \n{SHORT}"
    assert phrase(family, "textvqa", asked) == f"What does the sign of nasa say?\n{SHORT}"


def test_textvqa_as_the_others_are_asked():
    assert phrase("qwen-vl", "textvqa", "what is it?", ocr=("A",)) == "what is it? Answer:"
    assert phrase("shikra", "textvqa", "what is it?", ocr=("A",)) == "what is it?"
    assert phrase("instructblip", "textvqa", "what is it?") == "Question: what is it? Short answer:"
    assert phrase("instructblip", "textvqa", "what is it?", ocr=("A",) * 31) == (
        f"OCR tokens: {', '.join('A' * 30)}. Question: what is it? Short answer:"
    )


def test_pope_and_captions_as_the_paper_asks_them():
    asked = "Is there a dog in the image?"
    assert phrase("llava-1.5", "pope", asked) == f"{asked}\n{SHORT}"
    assert phrase("qwen-vl", "pope", asked) == f"{asked} Answer:"
    for family in WORDINGS:
        assert phrase(family, "pope", asked, wording="paper") == asked
        described = phrase(family, "chair", wording="paper")
        assert described == "Please describe this image in detail."


def test_no_option_is_dropped():
    with pytest.raises(UndefinedError):
        phrase("llava-1.5", "scienceqa", "Which?", choices=("a",) * 6)


def test_an_unknown_wording_names_those_of_the_benchmark():
    with pytest.raises(UnknownNameError, match="wording of textvqa 'paper'"):
        phrase("llava-1.5", "textvqa", "Which?", wording="paper")
    with pytest.raises(UnknownNameError, match="Did you mean 'paper'"):
        phrase("llava-1.5", "pope", "Which?", wording="papre")


def test_braces_in_a_question_are_text():
    assert phrase("shikra", "pope", "What is {this}?") == "What is {this}?"


@pytest.mark.parametrize(
    ("family", "benchmark", "message"),
    [("llava-15", "pope", "Did you mean 'llava-1.5'"), ("shikra", "vqa", "Valid: chair, pope")],
)
def test_an_unknown_name_is_one_clear_error(family, benchmark, message):
    with pytest.raises(UnknownNameError, match=message):
        phrase(family, benchmark)
