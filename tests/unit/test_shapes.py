"""The synthetic world: deterministic, balanced, disjoint, and true to what it says of itself."""

from collections import Counter

import numpy as np
import pytest

from infoflow.data.shapes import ITEMS_PER_SPLIT, questions, sample, samples
from infoflow.data.shapes.render import instance_masks, render
from infoflow.data.shapes.world import (
    CELL,
    LETTERS,
    SIZE,
    SPLITS,
    UNSEEN_WORDS,
    WORLDS,
    Object,
    Scene,
    Sign,
    co_occurrence,
    object_names,
    popularity,
    sample_scene,
)
from infoflow.errors import UnknownNameError
from zoo import askers
from zoo.model import CONTEXT_LENGTH
from zoo.tokenizer import build_tokenizer

TASKS = ("scienceqa", "pope", "textvqa", "chair")


def scene_of(*placed: tuple[str, str, int, int]) -> Scene:
    return Scene(tuple(Object(c, s, left, top, 20) for c, s, left, top in placed), ())


@pytest.mark.parametrize("task", TASKS)
def test_items_are_the_same_every_time_and_differ_from_each_other(task):
    first, again, other = (sample(task, "test", i) for i in (3, 3, 4))
    assert first.question == again.question
    assert first.answer == again.answer
    assert np.array_equal(np.asarray(first.image), np.asarray(again.image))
    assert not np.array_equal(np.asarray(first.image), np.asarray(other.image))


def test_an_image_is_drawn_once_and_not_before_it_is_looked_at():
    item = sample("pope", "test", 5)
    asked = item.with_question("Why?")
    assert "image" not in vars(item)
    assert item.image is item.image
    assert np.array_equal(np.asarray(asked.image), np.asarray(item.image))


def test_a_known_item_does_not_drift():
    # the trained weights belong to exactly this world
    item = sample("chair", "test", 0)
    assert item.answer == "red heart, red triangle"
    assert np.asarray(item.image).astype(int).sum() == pytest.approx(5664685, rel=1e-4)


def test_splits_are_disjoint_because_layouts_are():
    scenes = {
        split: {sample_scene(np.random.default_rng([7, i]), split) for i in range(60)}
        for split in SPLITS
    }
    assert all(scene.split == split for split in SPLITS for scene in scenes[split])
    assert not scenes["train"] & scenes["test"]
    assert not scenes["calibration"] & scenes["test"]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_500_items_a_split(task, split):
    items = samples(task, split)
    assert len(items) == ITEMS_PER_SPLIT == 500
    assert items[499].id == f"{task}-{split}-0499"
    with pytest.raises(IndexError):
        items[500]


@pytest.mark.parametrize("world", WORLDS)
def test_objects_never_overlap_and_stay_inside(world):
    for i in range(100):
        scene = sample_scene(np.random.default_rng(i), "train", world=WORLDS[world])
        masks = [m for name, m in instance_masks(scene).items() if "letter" not in name]
        assert np.sum(masks, axis=0).max() == 1
        assert all(0 <= v <= SIZE for thing in (*scene.objects, *scene.signs) for v in thing.box)
        assert len({o.name for o in scene.objects}) == len(scene.objects)


def test_masks_lie_where_the_colour_is():
    scene = Scene((Object("red", "square", 10, 40, 24),), (Sign("black", "FOX", 46, 9),))
    picture = render(scene, np.random.default_rng(0)).astype(int)
    masks = instance_masks(scene)
    red, green, blue = (picture[masks["red square"]].mean(axis=0)).tolist()
    assert red > 180
    assert max(green, blue) < 80
    board = picture[masks["black sign"]].mean()
    assert board < picture[~masks["black sign"] & ~masks["red square"]].mean() - 60


@pytest.mark.parametrize("side", [CELL, 2 * CELL])
def test_letters_fill_whole_patches(side):
    sign = Sign("white", "CAT", CELL - 2, 3 * CELL - 3, side)
    for index in range(3):
        left, top, right, bottom = sign.letter_box(index)
        assert left % CELL == top % CELL == 0
        assert (right - left, bottom - top) == (side, side)


@pytest.mark.parametrize("side", [CELL, 2 * CELL])
def test_every_letter_can_be_told_from_every_other(side):
    drawn = {
        k: render(Scene((), (Sign("white", k * 3, 10, 9, side),)), np.random.default_rng(0))
        for k in LETTERS
    }
    end = 12 + side
    grey = {k: v[12:end, 12:end].astype(float).mean(axis=2) for k, v in drawn.items()}
    closest = min(np.abs(grey[a] - grey[b]).sum() for a in LETTERS for b in LETTERS if a < b)
    assert closest > 5 * CELL**2


def right_option(item):
    return item.choices["ABCD".index(item.answer)]


def test_scienceqa_options_hold_the_answer_once_and_no_letter_is_a_good_guess():
    items = samples("scienceqa", "test")[:240]
    for item in items:
        assert len(set(item.choices)) == 4
        listed = " ".join(f"({x}) {c}" for x, c in zip("ABCD", item.choices, strict=True))
        assert f"Options: {listed}\n" in item.question
    for kind in ("colour", "count", "relation"):
        letters = Counter(item.answer for item in items if item.kind == kind)
        assert letters == dict.fromkeys("ABCD", 20)


def test_scienceqa_answers_are_true_of_the_scene():
    for item in samples("scienceqa", "calibration")[:90]:
        right = right_option(item)
        if item.kind == "colour":
            (target,) = item.targets
            colour, shape = target.split()
            assert right == colour
            assert sum(shape in name for name in item.objects) == 1
        elif item.kind == "count":
            assert len(item.targets) == questions.NUMBERS.index(right) + 1
        else:
            wanted = item.question.split("What is ")[1].split(",")[0]
            target, anchor = item.targets
            assert right == target.split()[1]
            axis, sign = {"above": (0, -1), "below": (0, 1), "left": (1, -1), "right": (1, 1)}[
                wanted
            ]
            middle = {
                name: np.argwhere(item.regions[name])[:, axis].mean() for name in item.objects
            }
            there = [n for n in item.objects if sign * (middle[n] - middle[anchor]) > 3]
            assert there == [target]


def test_every_number_stands_at_every_letter_equally_often():
    counts = samples("scienceqa", "test")[1:240:3]
    assert {item.kind for item in counts} == {"count"}
    pairs = Counter((right_option(item), item.answer) for item in counts)
    assert pairs == {(number, letter): 5 for number in questions.NUMBERS for letter in "ABCD"}
    few = Counter(right_option(item) for item in counts[:4])
    assert few == dict.fromkeys(questions.NUMBERS, 1)


def test_directions_have_no_favourite():
    relations = samples("scienceqa", "test")[2:500:3]
    directions = Counter(
        word
        for item in relations
        for word in questions.DIRECTIONS
        if f"What is {word}," in item.question
    )
    assert directions.total() == len(relations)
    assert max(directions.values()) < 0.35 * len(relations)


def test_relation_options_are_all_to_be_seen():
    for item in samples("scienceqa", "test")[2:120:3]:
        assert item.kind == "relation"
        assert set(item.choices) <= {name.split()[1] for name in item.objects}


def test_training_draws_every_direction_that_fits_equally_often():
    # one beside the other: only left and right can be asked, and always are
    pair = scene_of(("red", "circle", 5, 40), ("blue", "star", 60, 42))
    asked = [askers.ask_any_relation(pair, np.random.default_rng(i)) for i in range(200)]
    found = Counter((question.text, question.answer) for question in asked)
    assert set(found) == {
        ("What is left, seen from the blue star?", "circle"),
        ("What is right, seen from the red circle?", "star"),
    }
    assert min(found.values()) > 75


def test_options_are_listed_each_with_its_own_letter():
    for seed in range(20):
        question = askers.list_options(scene_of(), np.random.default_rng(seed))
        asked = question.text.split("Question: ")[1].split("\n")[0].split()
        told = question.answer.split()
        assert told[::2] == asked
        assert sorted(told[1::2]) == list("ABCD")
        assert all(f"({x}) {w}" in question.text for w, x in zip(asked, told[1::2], strict=True))


def test_an_answer_in_detail_names_the_option_before_its_letter():
    scene = scene_of(("red", "circle", 5, 40), ("blue", "star", 60, 42))
    plain = questions.choose_colour(scene, np.random.default_rng(3))
    told = askers.in_detail(questions.choose_colour)(scene, np.random.default_rng(3))
    assert told.answer == f"{plain.choices['ABCD'.index(plain.answer)]} {plain.answer}"
    assert told.text == plain.text.removesuffix(".") + " in detail."
    assert askers.in_detail(questions.choose_colour)(scene_of(), None) is None


def test_colour_options_include_the_other_colours_of_the_scene():
    item = next(
        i for i in samples("scienceqa", "test") if i.kind == "colour" and len(i.objects) > 3
    )
    others = {name.split()[0] for name in item.objects} - {item.targets[0].split()[0]}
    assert len(others & set(item.choices)) == min(len(others), 3)


def test_pope_is_balanced_and_its_negatives_are_absent():
    items = samples("pope", "test")[:300]
    for kind in questions.POPE_KINDS:
        answers = Counter(item.answer for item in items if item.kind == kind)
        assert answers == {"yes": 50, "no": 50}
    for item in items:
        asked = next(name for name in object_names() if name in item.question)
        assert (asked in item.objects) == (item.answer == "yes")


def test_pope_negatives_are_chosen_as_pope_chooses_them():
    names = object_names()
    scene = scene_of(("red", "circle", 0, 0), ("blue", "square", 40, 40))
    drawn = {
        kind: {questions.negative(scene, np.random.default_rng(i), kind) for i in range(300)}
        for kind in questions.POPE_KINDS
    }
    ranked = [names[i] for i in np.argsort(-popularity(), kind="stable")]
    absent = [name for name in ranked if name not in ("red circle", "blue square")]
    assert drawn["popular"] == set(absent[:12])
    together = co_occurrence()[[names.index("red circle"), names.index("blue square")]].sum(0)
    by_company = sorted(absent, key=lambda name: -together[names.index(name)])
    assert drawn["adversarial"] == set(by_company[:6])
    assert len(drawn["random"]) > 40


def test_the_world_is_skewed_and_correlated():
    p = popularity()
    assert p.sum() == pytest.approx(1)
    assert p.max() > 5 * p.min()
    independent = np.outer(p, p)
    assert (co_occurrence() / independent).max() > 1.5


def test_unseen_words_stand_on_no_training_sign():
    for i in range(400):
        scene = sample_scene(np.random.default_rng(i), "train")
        assert not {sign.text for sign in scene.signs} & set(UNSEEN_WORDS)
    kinds = Counter(item.kind for item in samples("textvqa", "test")[:80])
    assert kinds == {"one": 40, "one-unseen": 20, "two": 10, "two-unseen": 10}
    for item in samples("textvqa", "test")[:40]:
        assert item.kind.endswith("unseen") == (item.answer in UNSEEN_WORDS)


def test_captions_name_all_objects_from_left_to_right():
    for item in samples("chair", "test")[:30]:
        assert item.answer == ", ".join(item.objects)
        spans = [np.argwhere(item.regions[name])[:, 1] for name in item.objects]
        middles = [(columns.min() + columns.max()) / 2 for columns in spans]
        assert middles == sorted(middles)


@pytest.mark.parametrize("task", TASKS)
def test_the_tokenizer_knows_every_word_and_gives_answers_back(task):
    tokenizer = build_tokenizer(CONTEXT_LENGTH)
    for item in samples(task, "test")[:40]:
        assert tokenizer.unk_token_id not in tokenizer.encode(item.question)
        ids = tokenizer.encode(item.answer, add_special_tokens=False)
        assert tokenizer.decode(ids) == item.answer


def test_the_large_world_asks_the_same_of_fewer_and_larger_things():
    world, default = WORLDS["shapes-large"], WORLDS["shapes"]
    assert min(world.object_sizes) > max(default.object_sizes)
    for i in range(100):
        scene = sample_scene(np.random.default_rng(i), "test", world=world)
        assert len(scene.signs) <= 1
        assert 2 <= len(scene.objects) <= world.fitting(4, len(scene.signs)) <= 4
    drawn = {task: samples(task, "test", 48, "shapes-large") for task in TASKS}
    counts = [item for item in drawn["scienceqa"][:12] if item.kind == "count"]
    assert {right_option(item) for item in counts} == set(questions.NUMBERS)
    for item in drawn["scienceqa"][:12]:
        shown = {name.split()[1] for name in item.objects}
        assert item.kind != "relation" or set(item.choices) <= shown
    asked = Counter((item.kind, item.answer) for item in drawn["pope"])
    assert asked == dict.fromkeys(asked, 8)
    assert len(asked) == 6
    assert Counter(item.kind for item in drawn["textvqa"]) == {"one": 32, "one-unseen": 16}
    for item in drawn["textvqa"]:
        assert item.kind.endswith("unseen") == (item.answer in UNSEEN_WORDS)
    default_item = sample("chair", "test", 0)
    assert np.asarray(default_item.image).sum() != np.asarray(drawn["chair"][0].image).sum()


def test_unknown_task_and_split_are_named():
    with pytest.raises(UnknownNameError, match=r"unknown task 'popes'.*pope"):
        sample("popes", "test", 0)
    with pytest.raises(UnknownNameError, match=r"unknown split 'dev'.*calibration"):
        sample("pope", "dev", 0)
    with pytest.raises(UnknownNameError, match=r"unknown world 'large'.*shapes-large"):
        sample("pope", "test", 0, world="large")
