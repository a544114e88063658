"""Training batches: many questions about each picture, packed into one sequence.

Batches are numbered, and a batch depends on seed, stage and number alone. Training can stop at any
step and go on with the very same data, whatever the number of loader processes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from infoflow.families.prompts import VICUNA_V1 as TEMPLATE
from infoflow.shapes import questions as ask
from infoflow.shapes.model import CONTEXT_LENGTH, IMAGE_TOKENS
from infoflow.shapes.render import instance_masks, render
from infoflow.shapes.tokenizer import BOS, EOS, IMAGE, build_tokenizer
from infoflow.shapes.world import CELL, COLOURS, LETTERS, SHAPES, SIGNS, SIZE, Scene, sample_scene

Batch = TypeVar("Batch")
IGNORE = -100
"""Label of positions that carry no loss."""

_LOOKING: tuple[ask.Asker, ...] = (
    ask.ask_presence(True, "matched"),
    ask.ask_presence(False, "matched"),
    ask.ask_presence(True, "matched"),
    ask.ask_presence(False, "adversarial"),
    ask.choose_colour,
    ask.choose_count,
    ask.choose_direction,
    ask.ask_reading,
    ask.ask_reading,
    ask.ask_caption,
    ask.ask_colour,
    ask.ask_count,
    ask.ask_direction,
)
_PLACING: tuple[ask.Asker, ...] = (
    ask.ask_presence(True, "matched"),
    ask.ask_presence(False, "matched"),
    ask.one_of(ask.choose_colour, ask.choose_count, ask.choose_direction),
    ask.ask_reading,
    ask.ask_reading,
    ask.ask_caption,
    ask.ask_direction,
    ask.ask_direction,
    ask.ask_direction,
    ask.ask_count,
    ask.ask_count,
    ask.ask_position,
    ask.ask_position,
    ask.ask_count,
    ask.choose_direction,
    ask.ask_colour,
)
_RELATING: tuple[ask.Asker, ...] = (
    ask.ask_presence(True, "matched"),
    ask.ask_presence(False, "matched"),
    ask.choose_shape,
    ask.choose_count,
    ask.ask_caption,
    ask.ask_relation,
    ask.ask_relation,
    ask.ask_relation,
    ask.ask_relation,
    ask.ask_reading,
    ask.ask_count,
    ask.ask_count,
    ask.ask_relation,
    ask.choose_shape,
    ask.ask_relation,
    ask.choose_colour,
)
_CHOOSING: tuple[ask.Asker, ...] = (
    ask.ask_presence(True, "matched"),
    ask.ask_presence(False, "matched"),
    ask.choose_count,
    ask.choose_shape,
    ask.choose_count,
    ask.choose_shape,
    ask.ask_caption,
    ask.ask_reading,
    ask.ask_relation,
    ask.ask_relation,
    ask.ask_count,
    ask.ask_count,
    ask.choose_shape,
    ask.choose_colour,
)
_COUNTING: tuple[ask.Asker, ...] = (
    ask.ask_presence(True, "matched"),
    ask.ask_presence(False, "matched"),
    ask.choose_count,
    ask.choose_shape,
    ask.choose_count,
    ask.ask_caption,
    ask.ask_reading,
    ask.choose_count,
    ask.ask_count,
    ask.ask_count,
    ask.ask_relation,
    ask.choose_colour,
    ask.ask_count,
)
CURRICULUM = (
    (0, _LOOKING),
    (900, _PLACING),
    (1800, _RELATING),
    (2700, _CHOOSING),
    (COUNTING_FROM := 3300, _COUNTING),
)
"""From which batch on what is asked of every picture.

First the tasks as they are, each choice also as an open question; then mostly where things are;
then mostly what lies beside what; then mostly choices; last mostly numbers. Some questions are
asked in training only.
"""
_LARGEST_GROUP = (0.05, 0.15, 0.35, 0.45)
"""Share of pictures, where numbers are asked, by the size of the largest group sharing a trait.

The world shows three or four alike in a third of its scenes: too seldom to learn to count them.
"""
SLOTS, SLOT_LENGTH = 2, 112
"""Room for questions behind each picture: a question lies whole in one slot of so many tokens."""


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

    Attributes:
        pictures: uint8 (B, 96, 96, 3).
        input_ids: int64 (B, S), S = start + SLOTS * SLOT_LENGTH.
        position_ids: int64 (B, S): each question continues the shared start.
        labels: int64 (B, S): the next token of an answer, ``IGNORE`` elsewhere.
        slots: int64 (B, SLOTS, SLOT_LENGTH): number of the question, -1 where a slot is empty.
    """

    pictures: torch.Tensor
    input_ids: torch.Tensor
    position_ids: torch.Tensor
    labels: torch.Tensor
    slots: torch.Tensor


def _patch_cover(mask: np.ndarray) -> np.ndarray:
    """Share of each patch that a mask covers, (64,)."""
    n = SIZE // CELL
    return mask.reshape(n, CELL, n, CELL).mean(axis=(1, 3)).ravel()


def _label_patches(scene: Scene) -> dict[str, np.ndarray]:
    masks = instance_masks(scene)
    shape = np.full(IMAGE_TOKENS, len(SHAPES) + len(SIGNS))
    colour = np.full(IMAGE_TOKENS, len(COLOURS))
    letter, place = np.full(IMAGE_TOKENS, IGNORE), np.full(IMAGE_TOKENS, IGNORE)
    centre = np.full((IMAGE_TOKENS, 2), np.nan, np.float32)
    best = np.full(IMAGE_TOKENS, 0.08)  # less than a twelfth of a patch does not count
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
            left, top, _, _ = sign.letter_box(index)
            patch = top // CELL * (SIZE // CELL) + left // CELL
            letter[patch], place[patch] = LETTERS.index(text), index
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


def countable_scene(rng: np.random.Generator) -> Scene:
    """Draw a training scene; how large its largest group is follows ``_LARGEST_GROUP``."""
    wanted = 1 + int(rng.choice(len(_LARGEST_GROUP), p=_LARGEST_GROUP))
    while True:
        scene = sample_scene(rng, "train")
        if max(scene.count(trait) for trait in (*COLOURS, *SHAPES)) == wanted:
            return scene


class PatchBatches(Dataset[tuple[torch.Tensor, PatchLabels]]):
    """Numbered batches of pictures (B, 96, 96, 3) with labels for every patch."""

    def __init__(self, seed: int, size: int) -> None:
        """Batches of ``size`` pictures."""
        self.seed, self.size = seed, size

    def __getitem__(self, number: int) -> tuple[torch.Tensor, PatchLabels]:
        """Draw one batch."""
        rng = np.random.default_rng([1, self.seed, number])
        scenes = [sample_scene(rng, "train") for _ in range(self.size)]
        pictures = np.stack([render(scene, rng) for scene in scenes])
        rows = [_label_patches(scene) for scene in scenes]
        stacked = {
            f.name: torch.from_numpy(np.stack([row[f.name] for row in rows]))
            for f in fields(PatchLabels)
        }
        return torch.from_numpy(pictures), PatchLabels(**stacked)


class PackedBatches(Dataset[PackedBatch]):
    """Numbered batches of pictures with many questions asked of each."""

    def __init__(self, seed: int, size: int, first: int = 0) -> None:
        """Batches of ``size`` pictures, counted from batch ``first`` of the curriculum."""
        self.seed, self.size, self.first = seed, size, first
        self._tokenizer = build_tokenizer(CONTEXT_LENGTH).backend_tokenizer
        before, after = TEMPLATE.split("<image>")
        self._start = [BOS, *self._encode(before), *[IMAGE] * IMAGE_TOKENS]
        self._after = after

    def __getitem__(self, number: int) -> PackedBatch:
        """Draw one batch."""
        number += self.first
        rng = np.random.default_rng([2, self.seed, number])
        counting = number >= COUNTING_FROM
        scenes = [
            countable_scene(rng) if counting else sample_scene(rng, "train")
            for _ in range(self.size)
        ]
        pictures = np.stack([render(scene, rng) for scene in scenes])
        askers = [askers for first, askers in CURRICULUM if first <= number][-1]
        packed = [self._pack(scene, askers, rng) for scene in scenes]
        ids, positions, labels, slots = (
            torch.from_numpy(np.stack(x)) for x in zip(*packed, strict=True)
        )
        return PackedBatch(torch.from_numpy(pictures), ids, positions, labels, slots)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _pack(
        self, scene: Scene, askers: Sequence[ask.Asker], rng: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        """Token ids, positions and labels (S,), and question numbers (SLOTS, SLOT_LENGTH)."""
        start = len(self._start)
        ids = np.full(start + SLOTS * SLOT_LENGTH, EOS)
        ids[:start] = self._start
        positions = np.zeros_like(ids)
        positions[:start] = np.arange(start)
        labels = np.full_like(ids, IGNORE)
        numbers = np.full((SLOTS, SLOT_LENGTH), -1)
        used = np.zeros(SLOTS, int)
        for number, asker in enumerate(askers):
            question = asker(scene, rng)
            if question is None:
                continue
            prompt = self._encode(self._after.format(question=question.text))
            answer = [*self._encode(question.answer), EOS]
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
            labels[here + len(prompt) - 1 : here + length] = answer
        return ids, positions, labels, numbers


def stream(batches: Dataset[Batch], first: int, last: int) -> Iterator[Batch]:
    """Batches ``first`` to ``last - 1``, prepared by one process beside the training."""
    return iter(
        DataLoader(
            batches,
            batch_size=None,
            sampler=range(first, last),
            num_workers=1,
            prefetch_factor=4,
        )
    )
