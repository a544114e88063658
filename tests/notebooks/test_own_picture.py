"""The page of one's own picture, with pictures and questions as people have them."""

import numpy as np
import pytest
from cells import run_cells
from PIL import Image

from infoflow.errors import InfoflowError

PICTURES = {
    "none": None,
    "thin": Image.new("L", (30, 400), 120),
    "<b>clear</b>": Image.new("RGBA", (48, 32), (0, 200, 0, 90)),
    "deep": Image.fromarray(np.full((40, 40), 40000, np.uint16)),
    "dot": Image.new("1", (1, 1)),
}


QUESTIONS = ("What is this?", "", "Is there a <b>cat</b> for $5? `no` |")


@pytest.mark.parametrize(("name", "question"), zip(PICTURES, QUESTIONS * 2, strict=False))
def test_the_page_comes_to_its_end(name, question, tmp_path):
    picture = PICTURES[name]
    place = None if picture is None else str(tmp_path / f"{name.replace('/', '')}.png")
    if picture is not None:
        picture.save(place)
    _, said, *_, cam, answers, _ = run_cells(
        "own_picture", picture=place, question=question, n_samples=1, max_new_tokens=2
    )
    empty = "is **empty**" in said
    assert empty == ("**No map**" in cam)
    assert empty == answers.splitlines()[-1].split("intact")[1].strip().startswith("(nothing)")


def test_an_empty_answer_is_said_to_be_empty():
    shown = run_cells("own_picture", question="What is this?", n_samples=1)
    assert "is **empty**" in shown[1]
    assert any("**No map**: the answer is empty" in cell for cell in shown)
    assert "(nothing)" in shown[0]


@pytest.mark.parametrize("question", [None, "half of \ud800", "what is <image> ?", "yes " * 600])
def test_a_question_that_cannot_be_asked_is_one_line(question):
    with pytest.raises(InfoflowError) as caught:
        run_cells("own_picture", question=question)
    assert "\n" not in str(caught.value)
