"""Shapes: a synthetic world with ground truth, and four tasks named after real benchmarks.

Every item is drawn from its split's name, its task's name and its number alone: there is no data
file. Splits are disjoint because every scene layout belongs to exactly one split
(:attr:`infoflow.data.shapes.world.Scene.split`).
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from PIL import Image

from infoflow.data.sample import LazySamples, Sample
from infoflow.data.shapes import questions as ask
from infoflow.data.shapes.render import instance_masks, render
from infoflow.data.shapes.world import SPLITS, WORLDS, Scene, World, sample_scene
from infoflow.errors import unknown_name

ITEMS_PER_SPLIT = 500
_READING_KINDS = ("one", "one-unseen", "one", "one-unseen", "one", "two", "one", "two-unseen")


def _draw(
    rng: np.random.Generator,
    split: str,
    asker: ask.Asker,
    world: World,
    *,
    n_signs: int | None = None,
    unseen: bool = False,
) -> tuple[Scene, ask.Question]:
    """Draw scenes until one allows the question; the same trait is asked of every new scene."""
    state = rng.bit_generator.seed_seq.spawn(1)[0]  # type: ignore[attr-defined]
    while True:
        scene = sample_scene(rng, split, n_signs=n_signs, unseen=unseen, world=world)
        question = asker(scene, np.random.default_rng(state))
        if question is not None:
            return scene, question


def _scienceqa(
    rng: np.random.Generator, split: str, index: int, world: World
) -> tuple[Scene, ask.Question]:
    """Kinds, letters and numbers take turns: no constant answer is right more often than others."""
    turn, kind = divmod(index, 3)
    number = (turn + turn // len(ask.LETTERS)) % len(ask.NUMBERS) + 1
    choosers: tuple[ask.Asker, ...] = (
        ask.choose_colour,
        partial(ask.choose_count, number=number),
        ask.choose_relation,
    )
    scene, question = _draw(rng, split, choosers[kind], world)
    return scene, ask.answered_by(ask.LETTERS[turn % len(ask.LETTERS)], question)


def _pope(
    rng: np.random.Generator, split: str, index: int, world: World
) -> tuple[Scene, ask.Question]:
    kind = ask.POPE_KINDS[index // 2 % len(ask.POPE_KINDS)]
    return _draw(rng, split, ask.ask_presence(index % 2 == 0, kind), world)


def _reading_kind(world: World, index: int) -> str:
    """Kinds take turns; where no scene has two signs there is only one to read."""
    kinds = [k for k in _READING_KINDS if world.most_signs > 1 or k.startswith("one")]
    return kinds[index % len(kinds)]


def _textvqa(
    rng: np.random.Generator, split: str, index: int, world: World
) -> tuple[Scene, ask.Question]:
    kind = _reading_kind(world, index)
    signs = 2 if kind.startswith("two") else 1
    unseen = kind.endswith("unseen") and split != "train"
    return _draw(rng, split, ask.ask_reading, world, n_signs=signs, unseen=unseen)


def _chair(
    rng: np.random.Generator, split: str, index: int, world: World
) -> tuple[Scene, ask.Question]:
    return _draw(rng, split, ask.ask_caption, world)


_Drawing = Callable[[np.random.Generator, str, int, World], tuple[Scene, ask.Question]]
_TASKS: dict[str, _Drawing] = {
    "scienceqa": _scienceqa,
    "pope": _pope,
    "textvqa": _textvqa,
    "chair": _chair,
}


def sample(task: str, split: str, index: int, world: str = "shapes") -> Sample:
    """Draw one item.

    Args:
        task: ``"scienceqa"``, ``"pope"``, ``"textvqa"`` or ``"chair"``.
        split: ``"train"``, ``"calibration"`` or ``"test"``.
        index: Number of the item, from 0.
        world: One of :data:`infoflow.data.shapes.world.WORLDS`.

    Returns:
        The item; the same arguments give the same item on every machine.

    Raises:
        UnknownNameError: There is no such task, split or world.
    """
    _require_known(task, split, world)
    rng = np.random.default_rng([zlib.crc32(f"{task}/{split}".encode()), index])
    scene, question = _TASKS[task](rng, split, index, WORLDS[world])
    kind = question.kind
    if task == "textvqa" and _reading_kind(WORLDS[world], index).endswith("unseen"):
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
    world: str

    def __len__(self) -> int:
        """Number of items."""
        return self.length

    def at(self, place: int) -> Sample:
        """Draw one item."""
        return _kept_sample(self.task, self.split, place, self.world)


def samples(task: str, split: str, limit: int | None = None, world: str = "shapes") -> Samples:
    """The first ``limit`` of the 500 items of a task and split (see :func:`sample`)."""
    _require_known(task, split, world)
    return Samples(task, split, min(limit or ITEMS_PER_SPLIT, ITEMS_PER_SPLIT), world)


def _require_known(task: str, split: str, world: str) -> None:
    for kind, name, valid in (
        ("task", task, _TASKS),
        ("split", split, SPLITS),
        ("world", world, WORLDS),
    ):
        if name not in valid:
            raise unknown_name(kind, name, valid)
