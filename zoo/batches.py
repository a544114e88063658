"""Training batches: many questions about each picture, packed into one sequence.

Batches are numbered, and a batch depends on seed, stage and number alone. Training can stop at any
step and go on with the very same data, whatever the number of loader processes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from infoflow.data.shapes import questions as ask
from infoflow.data.shapes.render import box_mask, instance_masks, render
from infoflow.data.shapes.world import (
    CELL,
    COLOURS,
    DEFAULT_WORLD,
    LETTERS,
    SHAPES,
    SIGNS,
    SIZE,
    Scene,
    World,
    sample_scene,
)
from zoo.architectures import Architecture, Asked
from zoo.curriculum import CURRICULUM, Curriculum, training_scene
from zoo.model import N_PATCHES
from zoo.tokenizer import EOS, IMAGE, PAD

Batch = TypeVar("Batch")
IGNORE = -100
"""Label of positions that carry no loss."""

END_WEIGHT = 0.2
"""Weight of the end-of-answer token in the loss; it is easy, and there is one in every answer."""

SLOT_LENGTH = 112
"""Room in a slot, in tokens; a question lies whole in one of them."""


@dataclass(frozen=True)
class PatchLabels:
    """What each of the 64 image patches shows, for training the vision tower.

    A patch that a sign shares with an object counts as the sign's; it keeps the object's colour
    and centre.

    Attributes:
        shape: Shape or sign colour in the patch, or "nothing"; int64 (B, 64).
        colour: Colour of the object in the patch, or "none"; int64 (B, 64).
        letter: Letter in the patch; int64 (B, 64).
        place: Which letter of its sign it is, 0 to 2; int64 (B, 64).
        centre: Centre of the patch's object in [-1, 1], NaN without one; float32 (B, 64, 2).
        present: Which of the 48 objects the picture shows; float32 (B, 48).
    """

    shape: torch.Tensor
    colour: torch.Tensor
    letter: torch.Tensor
    place: torch.Tensor
    centre: torch.Tensor
    present: torch.Tensor


@dataclass(frozen=True)
class PackedBatch:
    """Pictures with packed questions: a shared start with the image, then slots of questions.

    Where the question steers what is seen nothing is shared, and each has its own image tokens.

    Attributes:
        pictures: uint8 (B, 96, 96, 3); none, (0, 96, 96, 3), where a text describes the scenes.
        input_ids: int64 (B, S), S = start + N * SLOT_LENGTH.
        position_ids: int64 (B, S): each question continues the shared start.
        labels: int64 (B, S): the next token of what is learned, ``IGNORE`` elsewhere.
        weights: float32 (B, S): the labels' weights in the loss.
        slots: int64 (B, N, SLOT_LENGTH): number of the question, -1 where a slot is empty.
        asked: What steers the image tokens.
    """

    pictures: torch.Tensor
    input_ids: torch.Tensor
    position_ids: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    slots: torch.Tensor
    asked: Asked


class _Packed(NamedTuple):
    """One picture's questions: arrays as in ``PackedBatch``, and each question's steering ids."""

    input_ids: np.ndarray
    position_ids: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    slots: np.ndarray
    asked: list[list[int]]


def _patch_cover(mask: np.ndarray) -> np.ndarray:
    """Share of each patch that a mask covers, (64,)."""
    n = SIZE // CELL
    return mask.reshape(n, CELL, n, CELL).mean(axis=(1, 3)).ravel()


def _label_patches(scene: Scene) -> dict[str, np.ndarray]:
    masks = instance_masks(scene)
    shape = np.full(N_PATCHES, len(SHAPES) + len(SIGNS))
    colour = np.full(N_PATCHES, len(COLOURS))
    letter, place = np.full(N_PATCHES, IGNORE), np.full(N_PATCHES, IGNORE)
    centre = np.full((N_PATCHES, 2), np.nan, np.float32)
    best = np.full(N_PATCHES, 0.08)  # less than a twelfth of a patch does not count
    for thing in scene.objects:
        cover = _patch_cover(masks[thing.name])
        here = cover > best
        best[here] = cover[here]
        shape[here], colour[here] = SHAPES.index(thing.shape), COLOURS.index(thing.colour)
        centre[here] = np.array(thing.centre) / SIZE * 2 - 1
    for sign in scene.signs:
        here = _patch_cover(masks[sign.name]) > best
        shape[here] = len(SHAPES) + SIGNS.index(sign.colour)
        for index, text in enumerate(sign.text):
            here = _patch_cover(box_mask(sign.letter_box(index))) == 1
            letter[here], place[here] = LETTERS.index(text), index
    present = np.zeros(len(COLOURS) * len(SHAPES), np.float32)
    for thing in scene.objects:
        present[COLOURS.index(thing.colour) * len(SHAPES) + SHAPES.index(thing.shape)] = 1
    return {
        "shape": shape,
        "colour": colour,
        "letter": letter,
        "place": place,
        "centre": centre,
        "present": present,
    }


class PatchBatches(Dataset[tuple[torch.Tensor, PatchLabels]]):
    """Numbered batches of pictures (B, 96, 96, 3) with labels for every patch."""

    def __init__(self, seed: int, size: int, world: World = DEFAULT_WORLD) -> None:
        """Batches of ``size`` pictures of a world."""
        self.seed, self.size, self.world = seed, size, world

    def __getitem__(self, number: int) -> tuple[torch.Tensor, PatchLabels]:
        """Draw one batch."""
        rng = np.random.default_rng([1, self.seed, number])
        scenes = [sample_scene(rng, "train", world=self.world) for _ in range(self.size)]
        pictures = np.stack([render(scene, rng) for scene in scenes])
        rows = [_label_patches(scene) for scene in scenes]
        stacked = {
            f.name: torch.from_numpy(np.stack([row[f.name] for row in rows]))
            for f in fields(PatchLabels)
        }
        return torch.from_numpy(pictures), PatchLabels(**stacked)


class PackedBatches(Dataset[PackedBatch]):
    """Numbered batches of pictures with many questions asked of each."""

    prompt_weight = 0.0
    """Weight, in the loss, of what is no answer."""

    def __init__(
        self,
        architecture: Architecture,
        seed: int,
        size: int,
        world: World = DEFAULT_WORLD,
        curriculum: Curriculum | None = None,
        slots: int | None = None,
    ) -> None:
        """Batches of ``size`` pictures of a world; slots are the architecture's if not said."""
        self.architecture, self.seed, self.size, self.world = architecture, seed, size, world
        self.curriculum, self.slots = curriculum or CURRICULUM, slots or architecture.slots
        self._family = architecture.prompts()
        self._start = [] if architecture.steered else up_to_image(self._prompt(""))

    def __getitem__(self, number: int) -> PackedBatch:
        """Draw one batch."""
        rng = np.random.default_rng([2, self.seed, number])
        scenes = [training_scene(rng, self.world) for _ in range(self.size)]
        pictures = np.stack([render(scene, rng) for scene in scenes])
        starts = [self._start] * self.size
        return self._batch(number, scenes, pictures, starts, len(self._start), rng)

    def _batch(
        self,
        number: int,
        scenes: Sequence[Scene],
        pictures: np.ndarray,
        starts: Sequence[list[int]],
        begun: int,
        rng: np.random.Generator,
    ) -> PackedBatch:
        """Ask the batch's questions behind ``starts``, which replace so many ids of a prompt."""
        askers = [askers for first, askers in self.curriculum if first <= number][-1]
        packed = [
            self._pack(scene, askers, start, begun, rng)
            for scene, start in zip(scenes, starts, strict=True)
        ]
        ids, positions, labels, weights, slots = (
            torch.from_numpy(np.stack(x)) for x in list(zip(*packed, strict=True))[:5]
        )
        asked = _padded([row.asked for row in packed])
        shown = torch.from_numpy(pictures)
        return PackedBatch(shown, ids, positions, labels, weights, slots, asked)

    def _prompt(self, question: str) -> list[int]:
        return self._family.input_ids(question, (SIZE, SIZE))

    def _pack(
        self,
        scene: Scene,
        askers: Sequence[ask.Asker],
        first_ids: list[int],
        begun: int,
        rng: np.random.Generator,
    ) -> _Packed:
        """Put the questions, one after the other, each into the first slot that has room."""
        start, slots = len(first_ids), self.slots
        ids = np.full(start + slots * SLOT_LENGTH, EOS)
        ids[:start] = first_ids
        positions = np.zeros_like(ids)
        positions[:start] = np.arange(start)
        labels, weights = np.full_like(ids, IGNORE), np.zeros(ids.shape, np.float32)
        if self.prompt_weight:
            labels[: start - 1], weights[: start - 1] = first_ids[1:], self.prompt_weight
        numbers = np.full((slots, SLOT_LENGTH), -1)
        used = np.zeros(slots, int)
        asked: dict[int, list[int]] = {}
        for number, asker in enumerate(askers):
            question = asker(scene, rng)
            if question is None:
                continue
            prompt = self._prompt(question.text)[begun:]
            answer = [*self._family.tokenise(question.answer), EOS]
            length = len(prompt) + len(answer) - 1
            free = np.flatnonzero(used + length <= SLOT_LENGTH)
            if len(free) == 0:  # a crowded picture: the last questions of the curriculum wait
                continue
            slot, first = free[0], used[free[0]]
            used[slot] += length
            numbers[slot, first : first + length] = number
            here = start + slot * SLOT_LENGTH + first
            ids[here : here + length] = (prompt + answer)[:length]
            positions[here : here + length] = start + np.arange(length)
            answered = here + len(prompt) - 1
            labels[answered : here + length] = answer
            weights[answered : here + length] = [1.0] * (len(answer) - 1) + [END_WEIGHT]
            if self.prompt_weight:
                labels[here:answered], weights[here:answered] = prompt[1:], self.prompt_weight
            asked[here] = self.architecture.steering_ids(self._family, question.text)
        in_order = [asked[here] for here in sorted(asked)]
        return _Packed(ids, positions, labels, weights, numbers, in_order)


def up_to_image(prompt: list[int]) -> list[int]:
    """Cut a prompt behind its image tokens."""
    return prompt[: len(prompt) - prompt[::-1].index(IMAGE)]


def _padded(asked: Sequence[list[list[int]]]) -> Asked:
    """Stack the questions' ids, row after row, without those that steer nothing."""
    rows = [(row, ids) for row, questions in enumerate(asked) for ids in questions if ids]
    longest = max((len(ids) for _, ids in rows), default=0)
    stacked = torch.tensor([ids + [PAD] * (longest - len(ids)) for _, ids in rows])
    return Asked(
        stacked.long().reshape(len(rows), longest),
        torch.tensor([row for row, _ in rows], dtype=torch.long),
    )


def stream(batches: Dataset[Batch], first: int, last: int, loaders: int) -> Iterator[Batch]:
    """Batches ``first`` to ``last - 1``, in order, prepared by processes beside the training."""
    return iter(
        DataLoader(
            batches,
            batch_size=None,
            sampler=range(first, last),
            num_workers=loaders,
            prefetch_factor=4,
        )
    )
