"""What training asks of which pictures, in which order."""

import numpy as np

from infoflow.shapes import questions as ask
from infoflow.shapes.world import COLOURS, SHAPES, Scene, sample_scene

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


def countable_scene(rng: np.random.Generator) -> Scene:
    """Draw a training scene; how large its largest group is follows ``_LARGEST_GROUP``."""
    wanted = 1 + int(rng.choice(len(_LARGEST_GROUP), p=_LARGEST_GROUP))
    while True:
        scene = sample_scene(rng, "train")
        if max(scene.count(trait) for trait in (*COLOURS, *SHAPES)) == wanted:
            return scene
