"""Questions about a scene: the four tasks, and short open questions that only training asks.

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
_BY_LETTER = "Answer with the option's letter."
_IN_DETAIL = "Answer with the option's letter in detail."
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


def _pick(rng: np.random.Generator, items: Sequence[str]) -> str:
    return items[int(rng.integers(len(items)))]


def _multiple_choice(
    rng: np.random.Generator, question: Question, fillers: Sequence[str]
) -> Question:
    """Turn an open question into one with the options (A) to (D) in random order."""
    options = [question.answer, *fillers]
    choices = tuple(options[i] for i in rng.permutation(len(options)))
    text = (
        f"Context: {CONTEXT}\nQuestion: {question.text}\nOptions: {_listed(choices)}\n{_BY_LETTER}"
    )
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
    single = [o for o in scene.objects if scene.count(o.shape) == 1]
    if not single:
        return None
    thing = single[rng.integers(len(single))]
    return Question(f"What colour is the {thing.shape}?", thing.colour, "colour", (thing.name,))


def ask_count(scene: Scene, rng: np.random.Generator, number: int | None = None) -> Question | None:
    """Ask how many objects share a trait.

    Args:
        scene: The scene.
        rng: Source of randomness.
        number: The right answer, 1 to 4; drawn by default, each as often as the others.

    Returns:
        The question, or ``None`` where no trait is shared by so many.
    """
    wanted = number or int(rng.integers(1, len(NUMBERS) + 1))
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


def lies(thing: Object, wanted: str, anchor: Object) -> bool | None:
    """Whether ``thing`` lies in a direction from ``anchor``; ``None`` where they are level."""
    axis, sign = {"left": (0, -1), "right": (0, 1), "above": (1, -1), "below": (1, 1)}[wanted]
    along = sign * (thing.centre[axis] - anchor.centre[axis])
    return None if abs(along) <= _LEVEL else along > 0


def _alone_beyond(scene: Scene, wanted: str) -> list[tuple[Object, Object]]:
    """Pairs (thing, anchor) where nothing but the thing lies in a direction from the anchor."""
    pairs = []
    for anchor in scene.objects:
        others = [(o, lies(o, wanted, anchor)) for o in scene.objects if o is not anchor]
        there = [o for o, side in others if side]
        if len(there) == 1 and all(side is not None for _, side in others):
            pairs.append((there[0], anchor))
    return pairs


def ask_relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask for the shape of the only object that lies in a direction from another.

    The four directions are equally frequent.
    """
    return _relation(scene, rng, _pick(rng, DIRECTIONS))


def ask_any_relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Ask as :func:`ask_relation` does, in a direction in which there is something to ask for.

    More scenes can be asked so, but not all directions equally often.
    """
    fit = [way for way in DIRECTIONS if _alone_beyond(scene, way)]
    return _relation(scene, rng, _pick(rng, fit)) if fit else None


def _relation(scene: Scene, rng: np.random.Generator, wanted: str) -> Question | None:
    pairs = _alone_beyond(scene, wanted)
    if not pairs:
        return None
    thing, anchor = pairs[rng.integers(len(pairs))]
    text = f"What is {wanted}, seen from the {anchor.name}?"
    return Question(text, thing.shape, "relation", (thing.name, anchor.name))


def choose_colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Colour as multiple choice; colours seen in the scene come first among the wrong options."""
    question = ask_colour(scene, rng)
    if question is None:
        return None
    seen = {o.colour for o in scene.objects} - {question.answer}
    order = [str(c) for c in rng.permutation([c for c in COLOURS if c != question.answer])]
    return _multiple_choice(rng, question, sorted(order, key=lambda c: c not in seen)[:3])


def choose_count(
    scene: Scene, rng: np.random.Generator, number: int | None = None
) -> Question | None:
    """Count as multiple choice between one, two, three and four; see :func:`ask_count`."""
    question = ask_count(scene, rng, number)
    if question is None:
        return None
    return _multiple_choice(rng, question, [n for n in NUMBERS if n != question.answer])


def choose_relation(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Relation as multiple choice between four shapes of the scene.

    All four are there to be seen: knowing what the picture shows does not give the answer away.
    """
    question = _between_shapes(scene, rng, ask_relation(scene, rng))
    return question if question and all(map(scene.count, question.choices)) else None


def choose_shape(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Relation as multiple choice; shapes that are not there fill up what the scene lacks."""
    return _between_shapes(scene, rng, ask_any_relation(scene, rng))


def _between_shapes(
    scene: Scene, rng: np.random.Generator, question: Question | None
) -> Question | None:
    if question is None:
        return None
    order = [str(s) for s in rng.permutation([s for s in SHAPES if s != question.answer])]
    return _multiple_choice(rng, question, sorted(order, key=lambda s: not scene.count(s))[:3])


def in_detail(asker: Asker) -> Asker:
    """A multiple-choice asker whose answers name the option before its letter."""

    def ask(scene: Scene, rng: np.random.Generator) -> Question | None:
        question = asker(scene, rng)
        if question is None:
            return None
        option = question.choices[LETTERS.index(question.answer)]
        return replace(
            question,
            text=question.text.replace(_BY_LETTER, _IN_DETAIL),
            answer=f"{option} {question.answer}",
        )

    return ask


def list_options(_scene: Scene, rng: np.random.Generator) -> Question:
    """Give the letter of each of four options, in another order; the picture does not matter.

    How letters are looked up is learned from this: the words to look up stand in the text.
    """
    pools = (COLOURS, SHAPES, NUMBERS, DIRECTIONS)
    words = [str(w) for w in rng.permutation(pools[rng.integers(len(pools))])[:4]]
    asked = Question(" ".join(words), words[0], "list", ())
    listed = _multiple_choice(rng, asked, [str(w) for w in rng.permutation(words[1:])])
    answer = " ".join(f"{w} {LETTERS[listed.choices.index(w)]}" for w in words)
    return replace(listed, text=listed.text.replace(_BY_LETTER, _IN_DETAIL), answer=answer)


def one_of(*askers: Asker) -> Asker:
    """An asker that leaves the question to one of several."""

    def ask(scene: Scene, rng: np.random.Generator) -> Question | None:
        return askers[int(rng.integers(len(askers)))](scene, rng)

    return ask


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
