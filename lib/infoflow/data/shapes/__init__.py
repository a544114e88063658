"""Shapes: a synthetic world with ground truth, and four tasks named after real benchmarks.

A sample is drawn from its split's name, its task's name and its number alone. Splits are disjoint
because a layout belongs to one of them (:attr:`infoflow.data.shapes.world.Scene.split`).
"""

import zlib
from collections.abc import Callable
from copy import deepcopy
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
from PIL import Image

from infoflow.data.sample import LazySamples, Sample
from infoflow.data.shapes import questions as ask
from infoflow.data.shapes.render import instance_masks, render
from infoflow.data.shapes.world import SPLITS, WORLDS, Scene, World, sample_scene
from infoflow.errors import require_name

ITEMS_PER_SPLIT = 500
_ID = "{}-{}-{:04d}"
_READING_KINDS = ("one", "one-unseen", "one", "one-unseen", "one", "two", "one", "two-unseen")
_Plan = tuple[ask.Asker, dict[str, Any]]
"""What asks the question, and what kind of scene is drawn for it."""
Change = Callable[[Scene, ask.Question], tuple[Scene, ask.Question]]


def _scienceqa(split: str, index: int, world: World) -> _Plan:
    """Kinds, letters and numbers take turns: no constant answer is right more often than others."""
    turn, kind = divmod(index, 3)
    number = (turn + turn // len(ask.LETTERS)) % len(ask.NUMBERS) + 1
    count = partial(ask.choose_count, number=number)
    choose: ask.Asker = (ask.choose_colour, count, ask.choose_relation)[kind]

    def asker(scene: Scene, rng: np.random.Generator) -> ask.Question | None:
        question = choose(scene, rng)
        return question and ask.answered_by(ask.LETTERS[turn % len(ask.LETTERS)], question)

    return asker, {}


def _pope(split: str, index: int, world: World) -> _Plan:
    kind = ask.POPE_KINDS[index // 2 % len(ask.POPE_KINDS)]
    return ask.ask_presence(index % 2 == 0, kind), {}


def _textvqa(split: str, index: int, world: World) -> _Plan:
    """Kinds take turns; where no scene has two signs there is only one to read."""
    kinds = [k for k in _READING_KINDS if world.most_signs > 1 or k.startswith("one")]
    kind = kinds[index % len(kinds)]
    unseen = kind.endswith("unseen") and split != "train"
    return ask.ask_reading, {"n_signs": 2 if kind.startswith("two") else 1, "unseen": unseen}


def _chair(split: str, index: int, world: World) -> _Plan:
    return ask.ask_caption, {}


_TASKS = {"scienceqa": _scienceqa, "pope": _pope, "textvqa": _textvqa, "chair": _chair}


class _Undrawn(Sample):
    """A sample whose image is drawn when it is first looked at: of most, only the words are."""

    draw: Callable[[], np.ndarray]

    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)

    @cached_property
    def image(self) -> Image.Image:
        return Image.fromarray(self.draw())


def sample(
    task: str, split: str, index: int, world: str = "shapes", change: Change | None = None
) -> Sample:
    """Draw a split's sample of a number, from 0, the same on every machine, if need be changed."""
    scene, question, kept = _kept_scene(task, split, index, world)
    if change is not None:
        scene, question = change(scene, question)
    _, options = _TASKS[task](split, index, WORLDS[world])
    return _Undrawn(
        draw=lambda: render(scene, deepcopy(kept)),
        id=_ID.format(task, split, index),
        question=question.text,
        answer=question.answer,
        kind=question.kind + ("-unseen" if options.get("unseen") else ""),
        choices=question.choices,
        answers=(question.answer,) * 10 if task == "textvqa" else (),
        objects=tuple(thing.name for thing in scene.objects),
        regions=instance_masks(scene),
        targets=question.targets,
    )


def scene_of(task: str, split: str, index: int, world: str = "shapes") -> Scene:
    """What the image of a sample shows (see :func:`sample`)."""
    return _kept_scene(task, split, index, world)[0]


@lru_cache(maxsize=8 * ITEMS_PER_SPLIT)  # without their pictures they are small, and slow to find
def _kept_scene(
    task: str, split: str, index: int, world: str
) -> tuple[Scene, ask.Question, np.random.Generator]:
    """A sample's scene and question, and what its picture is drawn with, by a copy of it."""
    require_name(task, "task", _TASKS)
    require_name(split, "split", SPLITS)
    require_name(world, "world", WORLDS)
    rng = np.random.default_rng([zlib.crc32(f"{task}/{split}".encode()), index])
    asker, options = _TASKS[task](split, index, WORLDS[world])
    state = rng.bit_generator.seed_seq.spawn(1)[0]  # type: ignore[attr-defined]
    while True:  # about the same trait of every new scene
        scene = sample_scene(rng, split, world=WORLDS[world], **options)
        if question := asker(scene, np.random.default_rng(state)):
            return scene, question, rng


# a page goes over the same samples measure after measure: as many as a split has are kept
_kept_sample = lru_cache(maxsize=ITEMS_PER_SPLIT)(sample)


def samples(task: str, split: str, limit: int | None = None, world: str = "shapes") -> LazySamples:
    """The first ``limit`` of the 500 samples of a task and split (see :func:`sample`)."""
    length = min(limit or ITEMS_PER_SPLIT, ITEMS_PER_SPLIT)
    ids = [_ID.format(task, split, place) for place in range(length)]
    return LazySamples(length, lambda place: _kept_sample(task, split, place, world), lambda: ids)
