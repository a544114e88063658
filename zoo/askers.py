"""Questions that only training asks, and how they are put together."""

from dataclasses import replace

import numpy as np

from infoflow.data.shapes.questions import (
    BY_LETTER,
    DIRECTIONS,
    LETTERS,
    NUMBERS,
    Asker,
    Question,
    alone_beyond,
    ask_relation,
    between,
    multiple_choice,
)
from infoflow.data.shapes.world import COLOURS, SHAPES, Scene

_IN_DETAIL = "Answer with the option's letter in detail."


def ask_any_relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for a relation in a direction in which there is something to ask for.

    More scenes can be asked so, but not all directions equally often.
    """
    return ask_relation(scene, rng, [way for way in DIRECTIONS if alone_beyond(scene, way)])


def choose_shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Relation as multiple choice; shapes that are not there fill up what the scene lacks."""
    return between(scene, rng, ask_any_relation(scene, rng), SHAPES)


def in_detail(asker: Asker) -> Asker:
    """A multiple-choice asker whose answers name the option before its letter."""

    def ask(scene: Scene, rng: np.random.Generator) -> Question | None:
        question = asker(scene, rng)
        if question is None:
            return None
        option = question.choices[LETTERS.index(question.answer)]
        return replace(
            question,
            text=question.text.replace(BY_LETTER, _IN_DETAIL),
            answer=f"{option} {question.answer}",
        )

    return ask


def list_options(_scene: Scene, rng: np.random.Generator) -> Question:
    """Give the letter of each of four options, in another order; the image does not matter.

    How letters are looked up is learned from this: the words to look up stand in the text.
    """
    pools = (COLOURS, SHAPES, NUMBERS, DIRECTIONS)
    words = [str(w) for w in rng.permutation(pools[rng.integers(len(pools))])[:4]]
    asked = Question(" ".join(words), words[0], "list", ())
    listed = multiple_choice(rng, asked, [str(w) for w in rng.permutation(words[1:])])
    answer = " ".join(f"{w} {LETTERS[listed.choices.index(w)]}" for w in words)
    return replace(listed, text=listed.text.replace(BY_LETTER, _IN_DETAIL), answer=answer)


def one_of(*askers: Asker) -> Asker:
    """An asker that leaves the question to one of several."""

    def ask(scene: Scene, rng: np.random.Generator) -> Question | None:
        return askers[int(rng.integers(len(askers)))](scene, rng)

    return ask
