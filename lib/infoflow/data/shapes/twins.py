"""Exact minimal pairs: a picture and its twin, in which one thing and so the answer is another."""

import zlib
from dataclasses import replace

import numpy as np

from infoflow.data import shapes
from infoflow.data.sample import LazySamples, Sample
from infoflow.data.shapes.questions import LETTERS, Question
from infoflow.data.shapes.world import COLOURS, WORDS, Scene
from infoflow.data.task import Task


def twins(task: Task) -> Task:
    """Draw a task of Shapes again, the first thing that each answer rests on changed.

    An object gets another colour, a sign another word: pixels differ in its box alone, answers in
    their first token. Items that count, compare places or ask for what is absent stay as they are.
    """

    def twin(place: int) -> Sample:
        return shapes.sample(task.name, task.split, place, task.source, _change)

    samples = LazySamples(len(task), twin, lambda: task.ids)
    return replace(task, samples=samples, source=f"{task.source}, one thing changed")


def _change(scene: Scene, question: Question) -> tuple[Scene, Question]:
    if question.kind in ("count", "relation") or not question.targets:
        return scene, question
    rng = np.random.default_rng(zlib.crc32(repr((scene, question)).encode()))
    name, *others = question.targets
    if sign := next((each for each in scene.signs if each.name == name), None):
        text = str(rng.choice([word for word in WORDS if word[0] != sign.text[0]]))
        signs = tuple(replace(s, text=text) if s is sign else s for s in scene.signs)
        return replace(scene, signs=signs), replace(question, answer=text)
    shape, there = name.split()[1], [thing.name for thing in scene.objects]
    free = [c for c in question.choices or COLOURS if f"{c} {shape}" not in there]
    colour = str(rng.choice(free))
    objects = tuple(replace(o, colour=colour) if o.name == name else o for o in scene.objects)
    targets: tuple[str, ...] = (f"{colour} {shape}", *others)
    if question.choices:
        answer = LETTERS[question.choices.index(colour)]
    elif question.kind == "caption":
        answer = ", ".join(targets)
    else:  # POPE's thing is no longer there
        answer, targets = "no", ()
    return replace(scene, objects=objects), replace(question, answer=answer, targets=targets)
