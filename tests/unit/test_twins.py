"""Exact minimal pairs of Shapes: one thing differs, and so does the answer, and nothing else."""

import numpy as np
import pytest
from image_tokens_pairs import twins

from infoflow.data.load import load_task
from infoflow.data.shapes import scene_of
from infoflow.data.shapes.questions import LETTERS
from infoflow.data.shapes.render import box_mask
from infoflow.data.shapes.world import COLOURS
from infoflow.errors import UnknownNameError

N = 18
PAIRED = {"scienceqa": 6, "pope": 9, "textvqa": N, "chair": N}


def pairs_of(name, source="shapes"):
    task = load_task(name, source, limit=N)
    pairs = [*zip(task, twins(task), strict=True)]
    return [(own, twin) for own, twin in pairs if twin.answer != own.answer], pairs


@pytest.mark.parametrize(
    ("name", "source"), [*((name, "shapes") for name in PAIRED), ("chair", "shapes-large")]
)
def test_twins_differ_in_one_thing_and_in_their_answer(name, source):
    pairs, every = pairs_of(name, source)
    assert len(pairs) == PAIRED[name]
    for place, (own, twin) in enumerate(every):
        assert (twin.id, twin.question, twin.kind) == (own.id, own.question, own.kind)
        differ = (np.asarray(own.image) != np.asarray(twin.image)).any(-1)
        if twin.answer == own.answer:
            assert not differ.any()
            continue
        scene = scene_of(name, "test", place, source)
        things = (*scene.objects, *scene.signs)
        box = next(thing.box for thing in things if thing.name == own.targets[0])
        assert not differ[~box_mask(box)].any()
        assert differ.sum() > 40
        first, second = (sample.answer[0] for sample in (own, twin))
        assert first != second or own.answer.split()[0] != twin.answer.split()[0]


def test_the_answers_are_true_of_their_pictures():
    for own, twin in pairs_of("scienceqa")[0]:
        (thing,) = twin.targets
        assert thing in twin.objects
        assert twin.choices[LETTERS.index(twin.answer)] == thing.split()[0]
        assert twin.choices == own.choices
    for own, twin in pairs_of("pope")[0]:
        assert (own.answer, twin.answer, twin.targets) == ("yes", "no", ())
        assert own.targets[0] in own.objects
        assert own.targets[0] not in twin.objects
    for own, twin in pairs_of("textvqa")[0]:
        assert twin.answers == (twin.answer,) * 10
        assert twin.objects == own.objects
    for own, twin in pairs_of("chair")[0]:
        assert twin.answer == ", ".join(twin.objects)
        assert twin.objects[1:] == own.objects[1:]
        assert len(set(twin.objects)) == len(twin.objects)
    colours = {twin.answer.split()[0] for _, twin in pairs_of("chair")[0]}
    assert colours == set(COLOURS)  # drawn, not the first that is free


def test_twins_are_the_same_every_time_and_named_by_their_source():
    task = load_task("chair", limit=2)
    first, again = twins(task), twins(task)
    assert first[1].answer == again[1].answer
    assert np.array_equal(np.asarray(first[1].image), np.asarray(again[1].image))
    assert (first.ids, first.source) == (task.ids, "shapes, one thing changed")
    with pytest.raises(UnknownNameError, match="unknown world 'shapes, one thing changed'"):
        twins(first)[0]
