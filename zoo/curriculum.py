"""What training asks of which pictures, in which order."""

import numpy as np

from infoflow.data.shapes import questions as ask
from infoflow.data.shapes.world import COLOURS, DEFAULT_WORLD, SHAPES, Scene, World, sample_scene
from zoo import askers

_choose = askers.one_of(ask.choose_colour, ask.choose_count, askers.choose_shape)
_LOOKING: tuple[ask.Asker, ...] = (
    ask.ask_presence(True, "matched"),
    ask.ask_presence(False, "matched"),
    ask.ask_colour,
    ask.ask_reading,
    askers.ask_any_relation,
    ask.ask_count,
    askers.in_detail(_choose),
    askers.list_options,
    ask.ask_caption,
    ask.ask_reading,
    ask.ask_colour,
    ask.ask_count,
    _choose,
    askers.in_detail(_choose),
    askers.ask_any_relation,
    ask.ask_colour,
)
_CHOOSING: tuple[ask.Asker, ...] = (
    ask.ask_presence(True, "matched"),
    ask.ask_presence(False, "adversarial"),
    ask.ask_colour,
    ask.ask_reading,
    ask.ask_count,
    askers.choose_shape,
    ask.choose_count,
    ask.ask_caption,
    ask.choose_colour,
    askers.in_detail(_choose),
    ask.ask_count,
    ask.ask_colour,
    askers.ask_any_relation,
    ask.choose_count,
    _choose,
    ask.ask_reading,
    ask.ask_count,
)
_COUNTING: tuple[ask.Asker, ...] = (
    ask.ask_presence(True, "matched"),
    ask.ask_presence(False, "matched"),
    ask.choose_count,
    ask.choose_colour,
    ask.ask_count,
    askers.choose_shape,
    ask.ask_reading,
    ask.ask_caption,
    askers.in_detail(ask.choose_count),
    ask.choose_count,
    ask.ask_count,
    askers.ask_any_relation,
    ask.ask_colour,
    ask.choose_colour,
    ask.choose_count,
    ask.ask_reading,
)
Curriculum = tuple[tuple[int, tuple[ask.Asker, ...]], ...]

CURRICULUM: Curriculum = ((0, _LOOKING), (500, _CHOOSING), (1000, _COUNTING))
"""From which batch on what is asked of every picture; what stands first finds room first.

First all tasks, mostly as open questions, with options to look up; then choices; last mostly
numbers. Some questions are asked in training only.
"""
SAYING: Curriculum = ((0, (ask.ask_caption, ask.ask_reading)),)
"""What is asked while only the connector learns: what is to be seen, and what stands on signs."""

_LARGEST_GROUP = (0.05, 0.15, 0.35, 0.45)
"""Share of pictures by the size of the largest group sharing a trait.

The world shows three or four alike in a third of its scenes: too seldom to learn to count them.
"""
_SIGNS = {2: (0.1, 0.4, 0.5), 1: (0.15, 0.85)}
"""Share of pictures with no sign, one and so on, by the world's most: there is more to read than in
the world, and more often a sign that must not be mistaken for the other. Both are drawn anew where
a sign leaves no room for the group."""


def training_scene(rng: np.random.Generator, world: World = DEFAULT_WORLD) -> Scene:
    """Draw a training scene with a group as large, and as many signs, as training needs them."""
    shares = _SIGNS[world.most_signs]
    while True:
        alike = 1 + int(rng.choice(len(_LARGEST_GROUP), p=_LARGEST_GROUP))
        signs = int(rng.choice(len(shares), p=shares))
        if alike <= world.fitting(1 + len(world.n_objects), signs):
            break
    while True:
        scene = sample_scene(rng, "train", n_signs=signs, world=world)
        if max(scene.count(trait) for trait in (*COLOURS, *SHAPES)) == alike:
            return scene
