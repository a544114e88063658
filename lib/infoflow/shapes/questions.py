"""Questions about a scene: the four tasks, and short open questions that only training asks.

Each asker returns ``None`` when the scene does not allow its question.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from infoflow.shapes.world import (
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
POPE_KINDS = ("random", "popular", "adversarial")
_N_POPULAR = 12
_N_ADVERSARIAL = 6


@dataclass(frozen=True)
class Question:
    """A question, its answer, and the names of the regions the answer can be read from."""

    text: str
    answer: str
    kind: str
    targets: tuple[str, ...]
    choices: tuple[str, ...] = ()


Asker = Callable[[Scene, np.random.Generator], Question | None]


def _pick(rng: np.random.Generator, items: Sequence[str]) -> str:
    return items[int(rng.integers(len(items)))]


def _multiple_choice(
    rng: np.random.Generator, question: Question, fillers: Sequence[str]
) -> Question:
    """Turn an open question into one with the options (A) to (D) in random order."""
    options = [question.answer, *fillers]
    choices = tuple(options[i] for i in rng.permutation(len(options)))
    listed = " ".join(f"({letter}) {c}" for letter, c in zip(LETTERS, choices, strict=True))
    text = (
        f"Context: {CONTEXT}\nQuestion: {question.text}\nOptions: {listed}\n"
        "Answer with the option's letter."
    )
    letter = LETTERS[choices.index(question.answer)]
    return Question(text, letter, question.kind, question.targets, choices)


def ask_colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask the colour of a shape that occurs once."""
    single = [o for o in scene.objects if scene.count(o.shape) == 1]
    if not single:
        return None
    thing = single[rng.integers(len(single))]
    return Question(f"What colour is the {thing.shape}?", thing.colour, "colour", (thing.name,))


def ask_count(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask how many objects share a trait; every answer from one to four is asked equally often."""
    wanted = int(rng.integers(1, len(NUMBERS) + 1))
    traits = [t for t in (*COLOURS, *SHAPES) if scene.count(t) == wanted]
    if not traits:
        return None
    trait = _pick(rng, traits)
    noun = f"{trait} objects" if trait in COLOURS else plural(trait)
    targets = tuple(o.name for o in scene.objects if trait in (o.colour, o.shape))
    return Question(f"How many {noun} are there?", NUMBERS[wanted - 1], "count", targets)


def plural(shape: str) -> str:
    """Plural of a shape's name."""
    return shape + ("es" if shape.endswith("s") else "s")


def direction(thing: Object, anchor: Object) -> str | None:
    """Where ``thing`` lies seen from ``anchor``, or ``None`` where no direction dominates."""
    dx, dy = (a - b for a, b in zip(thing.centre, anchor.centre, strict=True))
    if abs(dx) >= 1.5 * abs(dy) + 6:
        return "left" if dx < 0 else "right"
    if abs(dy) >= 1.5 * abs(dx) + 6:
        return "above" if dy < 0 else "below"
    return None


def ask_relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask where one object lies seen from another; the four directions are equally frequent."""
    wanted = _pick(rng, DIRECTIONS)
    pairs = [
        (a, b)
        for a in scene.objects
        for b in scene.objects
        if a is not b and direction(a, b) == wanted
    ]
    if not pairs:
        return None
    thing, anchor = pairs[rng.integers(len(pairs))]
    text = f"Where is the {thing.name} seen from the {anchor.name}?"
    return Question(text, wanted, "relation", (thing.name, anchor.name))


def choose_colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Colour as multiple choice; colours seen in the scene come first among the wrong options."""
    question = ask_colour(scene, rng)
    if question is None:
        return None
    seen = {o.colour for o in scene.objects} - {question.answer}
    order = [str(c) for c in rng.permutation([c for c in COLOURS if c != question.answer])]
    return _multiple_choice(rng, question, sorted(order, key=lambda c: c not in seen)[:3])


def choose_count(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Count as multiple choice between one, two, three and four."""
    question = ask_count(scene, rng)
    if question is None:
        return None
    return _multiple_choice(rng, question, [n for n in NUMBERS if n != question.answer])


def choose_relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Direction as multiple choice between left, right, above and below."""
    question = ask_relation(scene, rng)
    if question is None:
        return None
    return _multiple_choice(rng, question, [d for d in DIRECTIONS if d != question.answer])


def negative(scene: Scene, rng: np.random.Generator, kind: str) -> str:
    """An object that is not in the scene, chosen as POPE chooses it (Li et al., 2023, section 4).

    Args:
        scene: The scene.
        rng: Source of randomness.
        kind: ``"random"`` draws any absent object, ``"popular"`` one of the absent objects that
            are most frequent in the world, ``"adversarial"`` one of those most often seen together
            with the objects of the scene. ``"matched"``, for training, draws absent objects as
            often as the world shows them, so that a name alone does not give the answer away.

    Returns:
        The object's name.
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
    """An asker of "Is there a ... in the image?" whose answer is known beforehand.

    Args:
        present: Ask for an object of the scene (answer yes) or for an absent one (no).
        kind: How absent objects are chosen, see :func:`negative`.
    """

    def ask(scene: Scene, rng: np.random.Generator) -> Question | None:
        name = (
            scene.objects[rng.integers(len(scene.objects))].name
            if present
            else negative(scene, rng, kind)
        )
        article = "an" if name[0] in "aeiou" else "a"
        text = f"Is there {article} {name} in the image?"
        return Question(text, "yes" if present else "no", kind, (name,) if present else ())

    return ask


def ask_reading(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask what a sign says."""
    if not scene.signs:
        return None
    sign = scene.signs[rng.integers(len(scene.signs))]
    kind = "one" if len(scene.signs) == 1 else "two"
    return Question(f"What does the {sign.name} say?", sign.text, kind, (sign.name,))


def ask_caption(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for a caption: all objects, from left to right."""
    names = tuple(o.name for o in scene.objects)
    return Question(CAPTION_PROMPT, ", ".join(names), "caption", names)
