"""Shapes: a synthetic world with ground truth, and four tasks named after real benchmarks.

Every item is drawn from its split's name, its task's name and its number alone: there is no data
file. Splits are disjoint because every scene layout belongs to exactly one split
(:attr:`infoflow.shapes.world.Scene.split`).
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from PIL import Image

from infoflow.errors import unknown_name
from infoflow.sample import LazySamples, Sample
from infoflow.shapes import questions as ask
from infoflow.shapes.render import instance_masks, render
from infoflow.shapes.world import SPLITS, Scene, sample_scene

ITEMS_PER_SPLIT = 500
_READING_KINDS = ("one", "one-unseen", "one", "one-unseen", "one", "two", "one", "two-unseen")


def _draw(
    rng: np.random.Generator,
    split: str,
    asker: ask.Asker,
    *,
    n_signs: int | None = None,
    unseen: bool = False,
) -> tuple[Scene, ask.Question]:
    """Draw scenes until one allows the question; the same trait is asked of every new scene."""
    state = rng.bit_generator.seed_seq.spawn(1)[0]  # type: ignore[attr-defined]
    while True:
        scene = sample_scene(rng, split, n_signs=n_signs, unseen=unseen)
        question = asker(scene, np.random.default_rng(state))
        if question is not None:
            return scene, question


def _scienceqa(rng: np.random.Generator, split: str, index: int) -> tuple[Scene, ask.Question]:
    """Kinds, letters and numbers take turns: no constant answer is right more often than others."""
    turn, kind = divmod(index, 3)
    number = (turn + turn // len(ask.LETTERS)) % len(ask.NUMBERS) + 1
    choosers: tuple[ask.Asker, ...] = (
        ask.choose_colour,
        partial(ask.choose_count, number=number),
        ask.choose_relation,
    )
    scene, question = _draw(rng, split, choosers[kind])
    return scene, ask.answered_by(ask.LETTERS[turn % len(ask.LETTERS)], question)


def _pope(rng: np.random.Generator, split: str, index: int) -> tuple[Scene, ask.Question]:
    kind = ask.POPE_KINDS[index // 2 % len(ask.POPE_KINDS)]
    return _draw(rng, split, ask.ask_presence(index % 2 == 0, kind))


def _textvqa(rng: np.random.Generator, split: str, index: int) -> tuple[Scene, ask.Question]:
    kind = _READING_KINDS[index % len(_READING_KINDS)]
    signs = 2 if kind.startswith("two") else 1
    unseen = kind.endswith("unseen") and split != "train"
    return _draw(rng, split, ask.ask_reading, n_signs=signs, unseen=unseen)


def _chair(rng: np.random.Generator, split: str, index: int) -> tuple[Scene, ask.Question]:
    return _draw(rng, split, ask.ask_caption)


_TASKS: dict[str, Callable[[np.random.Generator, str, int], tuple[Scene, ask.Question]]] = {
    "scienceqa": _scienceqa,
    "pope": _pope,
    "textvqa": _textvqa,
    "chair": _chair,
}


def sample(task: str, split: str, index: int) -> Sample:
    """Draw one item.

    Args:
        task: ``"scienceqa"``, ``"pope"``, ``"textvqa"`` or ``"chair"``.
        split: ``"train"``, ``"calibration"`` or ``"test"``.
        index: Number of the item, from 0.

    Returns:
        The item; the same arguments give the same item on every machine.

    Raises:
        UnknownNameError: There is no such task or split.
    """
    if task not in _TASKS:
        raise unknown_name("task", task, _TASKS)
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    rng = np.random.default_rng([zlib.crc32(f"{task}/{split}".encode()), index])
    scene, question = _TASKS[task](rng, split, index)
    kind = question.kind
    if task == "textvqa" and _READING_KINDS[index % len(_READING_KINDS)].endswith("unseen"):
        kind += "-unseen" if split != "train" else ""
    return Sample(
        id=f"{task}-{split}-{index:04d}",
        image=Image.fromarray(render(scene, rng)),
        question=question.text,
        answer=question.answer,
        kind=kind,
        choices=question.choices,
        answers=(question.answer,) * 10 if task == "textvqa" else (),
        objects=tuple(thing.name for thing in scene.objects),
        regions=instance_masks(scene),
        targets=question.targets,
    )


# a page goes over the same items measure after measure: as many as a split has are kept
_kept_sample = lru_cache(maxsize=ITEMS_PER_SPLIT)(sample)


@dataclass(frozen=True)
class Samples(LazySamples):
    """The items of one task and split; each is drawn when it is asked for."""

    task: str
    split: str
    length: int

    def __len__(self) -> int:
        """Number of items."""
        return self.length

    def at(self, place: int) -> Sample:
        """Draw one item."""
        return _kept_sample(self.task, self.split, place)


def samples(task: str, split: str, limit: int | None = None) -> Samples:
    """The first ``limit`` of the 500 items of a task and split (see :func:`sample`)."""
    if task not in _TASKS:
        raise unknown_name("task", task, _TASKS)
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    return Samples(task, split, min(limit or ITEMS_PER_SPLIT, ITEMS_PER_SPLIT))
