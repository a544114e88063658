"""Exact minimal pairs of images, and patching over them, for the page on image tokens."""

import zlib
from dataclasses import replace

import numpy as np
import torch

from infoflow.data import shapes
from infoflow.data.sample import LazySamples
from infoflow.data.shapes.questions import LETTERS, Question
from infoflow.data.shapes.world import COLOURS, WORDS, Scene
from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.methods.knockout import token_groups
from infoflow.methods.patching import activation_patching

GROUPS = ("object", "background", "question", "last")


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


@measure
def patching_by_depth(lvlm: LVLM, task: Task, twin: Sample, sample: Sample) -> list[Row]:
    """Put states of an image into the run of its twin: which rows bring the answer along?

    Settings:
        twin: The task of the twins; there are no rows where both answers begin with one token.

    Returns:
        Columns ``group`` (one of ``GROUPS``), ``depth`` (layers passed, 0 to L), ``recovery``
        and ``right`` (both answers begin right).
    """
    answers = sample.answer, twin.answer
    first, second = (lvlm.encode_answer(answer)[:1] for answer in answers)
    if torch.equal(first, second):
        return []
    clean, other = (lvlm.prompt(each.image, each.question) for each in (sample, twin))
    said = torch.cat([lvlm.generate(clean, 1), lvlm.generate(other, 1)])
    right = torch.equal(said, torch.cat([first, second]))
    groups = row_groups(clean, sample, twin)
    found = activation_patching(lvlm, clean, other, answers, torch.stack([*groups.values()]))
    return [
        {"group": group, "depth": depth, "recovery": recovery, "right": right}
        for group, of_group in zip(groups, found.tolist(), strict=True)
        for depth, recovery in enumerate(of_group)
    ]


def row_groups(prompt, own, twin):
    """Mark the rows of each group, those of objects being where two images differ."""
    differ = (np.asarray(own.image) != np.asarray(twin.image)).any(-1)
    marked = token_groups(prompt, differ)
    return {name: marked[name].cpu() for name in GROUPS if marked[name].any()}
