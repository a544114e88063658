"""Questions about a scene: those of the four tasks, and the open ones that they are made of.

Each asker returns ``None`` when the scene does not allow its question.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from infoflow.data.shapes.world import (
    COLOURS,
    SHAPES,
    Object,
    Scene,
    co_occurrence,
    object_names,
    popularity,
)

LETTERS = "ABCD"
NUMBERS = ("one", "two", "three", "four")
DIRECTIONS = ("left", "right", "above", "below")
CONTEXT = "a board with coloured shapes and signs."
CAPTION_PROMPT = "Please describe this image in detail."
BY_LETTER = "Answer with the option's letter."
POPE_KINDS = ("random", "popular", "adversarial")
_N_POPULAR, _N_ADVERSARIAL = 12, 6
_LEVEL = 7
"""Pixels by which two centres must differ for one object to lie left of or above another."""


@dataclass(frozen=True)
class Question:
    """A question, its answer, and the names of the regions the answer can be read from."""

    text: str
    answer: str
    kind: str
    targets: tuple[str, ...]
    choices: tuple[str, ...] = ()


Asker = Callable[[Scene, np.random.Generator], Question | None]


def multiple_choice(
    rng: np.random.Generator, question: Question, fillers: Sequence[str]
) -> Question:
    """Turn an open question into one with the options (A) to (D) in random order."""
    options = [question.answer, *fillers]
    choices = tuple(options[i] for i in rng.permutation(len(options)))
    start = f"Context: {CONTEXT}\nQuestion: {question.text}"
    text = f"{start}\nOptions: {_listed(choices)}\n{BY_LETTER}"
    letter = LETTERS[choices.index(question.answer)]
    return Question(text, letter, question.kind, question.targets, choices)


def _listed(choices: Sequence[str]) -> str:
    return " ".join(f"({letter}) {c}" for letter, c in zip(LETTERS, choices, strict=True))


def answered_by(letter: str, question: Question) -> Question:
    """The same multiple-choice question, its right option having changed places."""
    order = list(question.choices)
    old, new = LETTERS.index(question.answer), LETTERS.index(letter)
    order[old], order[new] = order[new], order[old]
    text = question.text.replace(_listed(question.choices), _listed(order))
    return replace(question, text=text, answer=letter, choices=tuple(order))


def ask_colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask the colour of a shape that occurs once."""
    if not (single := [o for o in scene.objects if scene.count(o.shape) == 1]):
        return None
    thing = single[rng.integers(len(single))]
    return Question(f"What colour is the {thing.shape}?", thing.colour, "colour", (thing.name,))


def choose_colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    return between(scene, rng, ask_colour(scene, rng), COLOURS)


def ask_count(scene: Scene, rng: np.random.Generator, number: int | None = None) -> Question | None:
    """Ask how many objects share a trait: ``number``, 1 to 4, or one drawn."""
    wanted = number or int(rng.integers(1, len(NUMBERS) + 1))
    if not (traits := [t for t in (*COLOURS, *SHAPES) if scene.count(t) == wanted]):
        return None
    trait = traits[rng.integers(len(traits))]
    noun = f"{trait} objects" if trait in COLOURS else plural(trait)
    targets = tuple(o.name for o in scene.objects if trait in (o.colour, o.shape))
    return Question(f"How many {noun} are there?", NUMBERS[wanted - 1], "count", targets)


def plural(shape: str) -> str:
    return shape + ("es" if shape.endswith("s") else "s")


def choose_count(
    scene: Scene, rng: np.random.Generator, number: int | None = None
) -> Question | None:
    """Count as multiple choice between one, two, three and four; see :func:`ask_count`."""
    question = ask_count(scene, rng, number)
    others = [n for n in NUMBERS if question and n != question.answer]
    return question and multiple_choice(rng, question, others)


def lies(thing: Object, wanted: str, anchor: Object) -> bool | None:
    """Whether ``thing`` lies in a direction from ``anchor``; ``None`` where they are level."""
    axis, sign = {"left": (0, -1), "right": (0, 1), "above": (1, -1), "below": (1, 1)}[wanted]
    along = sign * (thing.centre[axis] - anchor.centre[axis])
    return None if abs(along) <= _LEVEL else along > 0


def alone_beyond(scene: Scene, wanted: str) -> list[tuple[Object, Object]]:
    """Pairs (thing, anchor) where nothing but the thing lies in a direction from the anchor."""
    pairs = []
    for anchor in scene.objects:
        others = [(o, lies(o, wanted, anchor)) for o in scene.objects if o is not anchor]
        there = [o for o, side in others if side]
        if len(there) == 1 and all(side is not None for _, side in others):
            pairs.append((there[0], anchor))
    return pairs


def ask_relation(
    scene: Scene, rng: np.random.Generator, ways: Sequence[str] = DIRECTIONS
) -> Question | None:
    """Ask for the shape of the only object that lies in a direction, one of some, from another."""
    if not ways:
        return None
    wanted = ways[int(rng.integers(len(ways)))]
    if not (pairs := alone_beyond(scene, wanted)):
        return None
    thing, anchor = pairs[rng.integers(len(pairs))]
    text = f"What is {wanted}, seen from the {anchor.name}?"
    return Question(text, thing.shape, "relation", (thing.name, anchor.name))


def choose_relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Relation as multiple choice between four shapes that are all in the scene."""
    question = between(scene, rng, ask_relation(scene, rng), SHAPES)
    return question if question and all(map(scene.count, question.choices)) else None


def between(
    scene: Scene, rng: np.random.Generator, question: Question | None, names: Sequence[str]
) -> Question | None:
    """Multiple choice between the answer and three other names; those of the scene come first."""
    if question is None:
        return None
    order = [str(n) for n in rng.permutation([n for n in names if n != question.answer])]
    return multiple_choice(rng, question, sorted(order, key=lambda n: not scene.count(n))[:3])


def negative(scene: Scene, rng: np.random.Generator, kind: str) -> str:
    """Name an object that is not in the scene, chosen as POPE does (Li et al., 2023, section 4).

    ``"random"`` is any, ``"popular"`` one of those most frequent in the world, ``"adversarial"`` of
    those most often seen with the scene's; ``"matched"``, for training, as often as in the world.
    """
    names = object_names()
    present = [names.index(o.name) for o in scene.objects]
    absent = np.setdiff1d(np.arange(len(names)), present)
    if kind == "matched":
        weights = popularity()[absent]
        return names[int(rng.choice(absent, p=weights / weights.sum()))]
    if kind == "popular":
        absent = absent[np.argsort(-popularity()[absent], kind="stable")][:_N_POPULAR]
    elif kind == "adversarial":
        together = co_occurrence()[present].sum(axis=0)
        absent = absent[np.argsort(-together[absent], kind="stable")][:_N_ADVERSARIAL]
    return names[int(rng.choice(absent))]


def ask_presence(present: bool, kind: str) -> Asker:
    """An asker for an object of the scene, or an absent one of a kind (:func:`negative`)."""

    def ask(scene: Scene, rng: np.random.Generator) -> Question | None:
        there = scene.objects
        name = there[rng.integers(len(there))].name if present else negative(scene, rng, kind)
        article = "an" if name[0] in "aeiou" else "a"
        text = f"Is there {article} {name} in the image?"
        return Question(text, "yes" if present else "no", kind, (name,) if present else ())

    return ask


def ask_reading(scene: Scene, rng: np.random.Generator) -> Question | None:
    if not scene.signs:
        return None
    sign = scene.signs[rng.integers(len(scene.signs))]
    kind = "one" if len(scene.signs) == 1 else "two"
    return Question(f"What does the {sign.name} say?", sign.text, kind, (sign.name,))


def ask_caption(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for a caption: all objects, from left to right."""
    names = tuple(o.name for o in scene.objects)
    return Question(CAPTION_PROMPT, ", ".join(names), "caption", names)
