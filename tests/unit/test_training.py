"""The recipe: packing changes nothing but the speed, and an interrupted run loses nothing."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from infoflow.data.shapes.questions import NUMBERS, ask_count
from infoflow.data.shapes.world import (
    CELL,
    COLOURS,
    LETTERS,
    SHAPES,
    SIGNS,
    SIZE,
    WORLDS,
    sample_scene,
)
from infoflow.errors import InfoflowError
from infoflow.models.families.llava import VICUNA_V1 as TEMPLATE
from infoflow.models.lvlm import load_lvlm
from zoo import bridge, fit, language, tower
from zoo.architectures import find_architecture
from zoo.batches import IGNORE, PackedBatches, PatchBatches, stream
from zoo.curriculum import CURRICULUM, training_scene
from zoo.language import ATTENTION, Answerer
from zoo.model import CONTEXT_LENGTH, normalise
from zoo.tokenizer import BOS, EOS, IMAGE, build_tokenizer
from zoo.tower import feature_statistics
from zoo.train import train

LLAVA = find_architecture("tiny-llava-1.5")


@pytest.fixture(scope="module")
def model():
    return LLAVA.new_model(0).eval().requires_grad_(False)


def test_a_packed_question_is_answered_as_if_it_stood_alone(model):
    batch = PackedBatches(LLAVA, seed=5, size=2)[0]
    model.set_attn_implementation({"text_config": ATTENTION})
    packed = Answerer(LLAVA, model)(batch)
    model.set_attn_implementation({"text_config": "sdpa"})
    start = batch.input_ids.shape[1] - batch.slots[0].numel()
    checked = 0
    for row in range(2):
        numbers = batch.slots[row].flatten()
        for number in numbers[numbers >= 0].unique():
            here = torch.nonzero(numbers == number).flatten() + start
            ids = torch.cat([batch.input_ids[row, :start], batch.input_ids[row, here]])
            alone = model(
                input_ids=ids[None],
                pixel_values=normalise(batch.pictures[row : row + 1]),
                output_hidden_states=True,
            ).hidden_states[-1][0, start:]
            torch.testing.assert_close(packed[row, here], alone, atol=2e-5, rtol=1e-4)
            checked += 1
    assert checked > 12


def test_packed_labels_spell_the_answers():
    batch = PackedBatches(LLAVA, seed=5, size=4)[1]
    tokenizer = build_tokenizer(CONTEXT_LENGTH)
    text = tokenizer.decode(batch.input_ids[0])
    before = TEMPLATE.split("<image>")[0]
    assert batch.input_ids[0, 0] == BOS
    assert text.startswith("<s> " + before.split(",")[0][:20])
    assert (batch.input_ids == IMAGE).sum(1).tolist() == [(SIZE // CELL) ** 2] * 4
    labels = batch.labels[batch.labels != IGNORE]
    assert (labels == EOS).sum() == sum(len(set(s.flatten().tolist()) - {-1}) for s in batch.slots)
    # a label is the token that follows it in the sequence, except at the end of an answer
    row, column = torch.nonzero((batch.labels != IGNORE) & (batch.labels != EOS), as_tuple=True)
    assert torch.equal(batch.labels[row, column], batch.input_ids[row, column + 1])


def test_batches_depend_on_their_number_alone():
    first, again = PackedBatches(LLAVA, 3, 2)[7], PackedBatches(LLAVA, 3, 2)[7]
    assert torch.equal(first.input_ids, again.input_ids)
    assert torch.equal(first.pictures, again.pictures)
    assert not torch.equal(first.pictures, PackedBatches(LLAVA, 3, 2)[8].pictures)
    assert not torch.equal(first.pictures, PackedBatches(LLAVA, 4, 2)[7].pictures)


def test_patch_labels_mark_letters_and_objects():
    _, labels = PatchBatches(0, 8)[0]
    assert labels.shape.shape == labels.letter.shape == (8, 64)
    assert ((labels.letter >= 0) == (labels.place >= 0)).all()
    objects = labels.shape < len(SHAPES)
    # a patch shared by a sign and an object is the sign's, and keeps the object's colour and centre
    coloured = labels.colour < 6
    assert (coloured == ~labels.centre.isnan().any(-1)).all()
    assert coloured[objects].all()
    assert (labels.shape[coloured & ~objects] < len(SHAPES) + 2).all()


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_every_patch_of_a_letter_is_labelled_with_it(world):
    _, labels = PatchBatches(0, 8, world)[0]
    rng = np.random.default_rng([1, 0, 0])
    for row in range(8):
        signs = sample_scene(rng, "train", world=world).signs
        expected = np.full((SIZE, SIZE), IGNORE)
        for sign in signs:
            for index, letter in enumerate(sign.text):
                left, top, right, bottom = sign.letter_box(index)
                expected[top:bottom, left:right] = LETTERS.index(letter)
        assert labels.letter[row].tolist() == expected[::CELL, ::CELL].ravel().tolist()
        patches = len(signs) * 3 * (world.letter // CELL) ** 2
        assert int((labels.letter[row] >= 0).sum()) == patches
        on_signs = labels.shape[row][labels.letter[row] >= 0] - len(SHAPES)
        assert set(on_signs.tolist()) == {SIGNS.index(sign.colour) for sign in signs}


def test_the_loss_of_llava_is_what_it_was_before_there_were_others(monkeypatch):
    """The recipe as it was written for LLaVA-1.5 alone, of which the shipped model comes."""
    monkeypatch.setattr(tower, "BATCH", 8)
    model = LLAVA.new_model(3)
    vision, project = model.model.vision_tower, model.model.multi_modal_projector
    torch.manual_seed(3)
    LLAVA.start_connector(model, *feature_statistics(LLAVA, vision, 3))
    torch.manual_seed(3)
    pictures, _ = PatchBatches(3, tower.BATCH)[0]
    with torch.no_grad():
        states = vision(normalise(pictures), output_hidden_states=True).hidden_states[-2][:, 1:]
        mean, std = states.flatten(0, 1).mean(0), states.flatten(0, 1).std(0)
        first = torch.empty(128, 128).normal_(0, 128**-0.5).div_(std)
        second = torch.empty(128, 128).normal_(0, 128**-0.5)
    assert torch.equal(project.linear_1.weight, first)
    assert torch.equal(project.linear_1.bias, -(first @ mean))
    assert torch.equal(project.linear_2.weight, second)
    batch = PackedBatches(LLAVA, 3, 3)[1]
    model.set_attn_implementation({"text_config": ATTENTION})
    found = Answerer(LLAVA, model).loss(batch)[0].item()
    inner, asked = model.model, batch.labels != IGNORE
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        seen = vision(normalise(batch.pictures), output_hidden_states=True)
        embeds = inner.get_input_embeddings()(batch.input_ids)
        image = (batch.input_ids == IMAGE)[..., None]
        features = project(seen.hidden_states[-2][:, 1:]).to(embeds.dtype)
        hidden = inner.language_model(
            inputs_embeds=embeds.masked_scatter(image, features),
            position_ids=batch.position_ids,
            slot_mask=language.slot_mask(batch.slots),
            use_cache=False,
        ).last_hidden_state
        logits = model.lm_head(hidden[asked])
    labels = batch.labels[asked]
    weight = torch.where(labels == EOS, 0.2, 1.0)
    losses = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
    assert found == pytest.approx(((losses * weight).sum() / weight.sum()).item(), abs=1e-6)


class Line(torch.nn.Module):
    """A small thing to fit: one matrix and one bias."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = torch.nn.Linear(4, 4)

    def loss(self, batch):
        value = (self.inner(batch) - batch.flip(-1)).square().mean()
        return value, {"loss": value.item()}


class Numbered(torch.utils.data.Dataset):
    def __getitem__(self, number):
        return torch.randn(8, 4, generator=torch.Generator().manual_seed(number))


@pytest.fixture
def drawn_here(monkeypatch):
    """Batches drawn in this very process, without forks of it."""
    monkeypatch.setattr(
        fit, "stream", lambda batches, i, n, _: map(batches.__getitem__, range(i, n))
    )


def test_an_interrupted_run_ends_where_a_straight_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "CHECKPOINT_EVERY", 5)
    straight = Line()
    fit.fit(straight, straight.loss, Numbered(), 20, 0.45, tmp_path / "straight.pt")

    class HaltError(Exception):
        pass

    halted = Line()
    calls = iter(range(100))

    def stop_at_twelve(batch):
        if next(calls) == 12:
            raise HaltError
        return halted.loss(batch)

    with pytest.raises(HaltError):
        fit.fit(halted, stop_at_twelve, Numbered(), 20, 0.45, tmp_path / "halted.pt")
    resumed = Line()
    fit.fit(resumed, resumed.loss, Numbered(), 20, 0.45, tmp_path / "halted.pt")
    assert torch.equal(straight.inner.weight, resumed.inner.weight)
    assert torch.equal(straight.inner.bias, resumed.inner.bias)


@pytest.mark.usefixtures("drawn_here")
def test_a_run_that_is_gone_on_from_says_so(tmp_path):
    def run(steps):
        line = Line()
        return fit.fit(line, line.loss, Numbered(), steps, 1.0, tmp_path / "line.pt")

    assert run(4) == run(4) == [(0, 4)]
    assert run(7) == run(7) == [(0, 4), (4, 7)]
    with pytest.raises(InfoflowError, match="has 7 steps behind it"):
        run(5)


@pytest.mark.usefixtures("drawn_here")
@pytest.mark.parametrize(
    ("word", "still"), [("inner.bias", {"bias"}), ("inner", {"bias", "weight"})]
)
def test_a_part_learns_at_its_share_of_the_rate(tmp_path, word, still):
    ordinary, line = Line(), Line()
    fit.fit(ordinary, ordinary.loss, Numbered(), 3, 1.0, tmp_path / "ordinary.pt")
    fit.fit(line, line.loss, Numbered(), 3, 1.0, tmp_path / "line.pt", shares={word: 0.0})
    begun = Line().inner.state_dict()
    found = {name for name, value in line.inner.state_dict().items() if value.equal(begun[name])}
    assert found == still
    assert not any(value.equal(begun[n]) for n, value in ordinary.inner.state_dict().items())
    groups = [g for o in fit.make_optimisers(line, {word: 0.25}) for g in o.param_groups]
    whole = [g for o in fit.make_optimisers(line) for g in o.param_groups]
    for group, usual in zip(groups, whole, strict=True):
        of_it = any(p is line.inner.bias for p in group["params"]) or word == "inner"
        assert group["lr"] == usual["lr"] * (0.25 if of_it else 1)


def test_the_rate_warms_up_holds_and_ends_at_zero():
    factors = [fit.rate_factor(step, 1000, 0.45) for step in range(1001)]
    assert factors[0] == pytest.approx(1 / 80)
    assert factors[300] == 1
    assert factors[1000] == 0
    assert factors[549:] == sorted(factors[549:], reverse=True)


@pytest.mark.parametrize("number", [first for first, _ in CURRICULUM])
def test_little_room_in_the_slots_is_wasted(number):
    batch = PackedBatches(LLAVA, 0, 24)[number]
    asked = [len(set(s.flatten().tolist()) - {-1}) for s in batch.slots]
    assert sum(asked) / len(asked) > 8
    assert (batch.slots >= 0).float().mean() > 0.75


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(0)
    return [training_scene(rng) for _ in range(250)]


def test_training_counts_to_four_not_much_less_often_than_to_one(scenes):
    rng = np.random.default_rng(0)
    asked = [ask_count(scene, rng) for scene in scenes for _ in range(2)]
    numbers = Counter(question.answer for question in asked if question)
    assert set(numbers) == set(NUMBERS)
    assert max(numbers.values()) < 4 * min(numbers.values())  # the world: one 8 times as often


def asked_at(first):
    """All that is asked of eight pictures at a turn of the curriculum."""
    batch = PackedBatches(LLAVA, 0, 8)[first]
    return build_tokenizer(CONTEXT_LENGTH).decode(batch.input_ids.flatten())


def test_training_pictures_of_the_large_world_hold_what_there_is_room_for():
    rng, world = np.random.default_rng(0), WORLDS["shapes-large"]
    scenes = [training_scene(rng, world) for _ in range(200)]
    assert {scene.split for scene in scenes} == {"train"}
    assert Counter(len(scene.signs) for scene in scenes)[1] > 0.4 * len(scenes)
    largest = Counter(max(map(scene.count, SHAPES + COLOURS)) for scene in scenes)
    assert set(largest) == {1, 2, 3, 4}
    assert largest[4] > 0.1 * len(scenes)


def test_the_curriculum_turns_from_looking_up_to_choosing_to_counting():
    looking, choosing, counting = (asked_at(first) for first, _ in CURRICULUM)
    assert looking.count("in detail") > choosing.count("in detail")
    letters_alone = [text.count("letter .") for text in (looking, choosing)]
    assert letters_alone[1] > 2 * letters_alone[0]
    assert counting.count("How many") > choosing.count("How many")


def test_nearly_every_training_picture_has_something_to_read(scenes):
    signs = Counter(len(scene.signs) for scene in scenes)
    assert signs[1] + signs[2] > 0.85 * len(scenes)
    assert signs[2] > signs[1]  # twice the chance to mistake one for the other


def test_an_options_mark_starts_as_the_letter_that_answers_with_it():
    words, ids = LLAVA.new_model(0).get_input_embeddings().weight, LLAVA.tokenizer().get_vocab()
    for letter in "ABCD":
        assert torch.equal(words[ids[f"({letter})"]], words[ids[letter]])
    assert not torch.equal(words[ids["(A)"]], words[ids["B"]])


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Arguments of a run that takes a second; it is one step a stage on one picture."""
    return short_run(tmp_path, monkeypatch)


def short_run(work, monkeypatch):
    for stage in (tower, bridge, language):
        monkeypatch.setattr(stage, "BATCH", 1)
    places = {"device": "cpu", "work": work, "target": None, "tower": None}
    steps = {"tower_steps": 1, "bridge_steps": 1, "language_steps": 1}
    return {**places, **steps, "compiled": False}


@pytest.fixture(scope="module")
def run_before(tmp_path_factory):
    """What a run of tiny-llava-1.5 leaves."""
    work = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as monkeypatch:
        train(model="tiny-llava-1.5", seed=0, loaders=1, **short_run(work, monkeypatch))
    return work


def test_a_run_is_told_by_model_and_seed_and_not_repeated(small, tmp_path, monkeypatch, capsys):
    run = {"model": "tiny-qwen-vl", "seed": 4, "loaders": 2}
    train(**run, **small)
    folder = tmp_path / "tiny-qwen-vl" / "seed4"
    names = ("tower.pt", "bridge.pt", "language.pt")
    assert all((folder / name).is_file() for name in names)
    recipe = json.loads((folder / "model" / "recipe.json").read_text())
    assert (recipe["name"], recipe["seed"], recipe["device"]) == ("tiny-qwen-vl", 4, "cpu")
    assert (recipe["image_tokens"], recipe["language_steps"]) == (16, 1)
    assert recipe["bridge_steps"] == 1
    assert "shares_of_rate" not in recipe, "every part of it learns at the whole rate"
    weights = (folder / "model" / "model.safetensors").read_bytes()
    written = [(folder / name).stat().st_mtime_ns for name in names]
    train(**run, **small)
    assert [(folder / name).stat().st_mtime_ns for name in names] == written
    assert (folder / "model" / "model.safetensors").read_bytes() == weights
    assert "tiny-qwen-vl (seed 4) written to" in capsys.readouterr().out


def test_a_run_in_another_world_stands_apart_and_says_so(run_before, small, tmp_path):
    train(model="tiny-llava-1.5", seed=0, loaders=1, **small, world="shapes-large")
    folders = [run_before / "tiny-llava-1.5/seed0", tmp_path / "tiny-llava-1.5-shapes-large/seed0"]
    recipes = [json.loads((folder / "model/recipe.json").read_text()) for folder in folders]
    assert [recipe.get("world") for recipe in recipes] == [None, "shapes-large"]
    assert (folders[0] / "tower.pt").read_bytes() != (folders[1] / "tower.pt").read_bytes()


def test_a_deeper_decoder_has_about_as_many_weights(small, tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.train.train_language", lambda *_: [])
    train(model="tiny-llava-1.5", seed=0, loaders=1, **small, arm="deep", deep=True)
    deep = load_lvlm("tiny-llava-1.5", checkpoint=tmp_path / "tiny-llava-1.5/seed0/deep/model")
    usual = LLAVA.adapter(LLAVA.build()).decoder
    assert deep.n_layers == 24
    weights = [sum(p.numel() for p in d.layers.parameters()) for d in (deep.decoder, usual)]
    assert 0.8 < weights[0] / weights[1] < 1.25


def test_a_model_learns_to_answer_for_as_long_as_it_needs(run_before, small, tmp_path, monkeypatch):
    shutil.copytree(run_before, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "tiny-llava-1.5/seed0/model/recipe.json"
    recipe = json.loads(file.read_text())
    assert recipe["language_steps"] == 1
    assert "language_plans" not in recipe
    monkeypatch.setattr(type(LLAVA), "language_steps", 2)
    train(model="tiny-llava-1.5", seed=0, loaders=1, **small | {"language_steps": None})
    recipe = json.loads(file.read_text())
    assert recipe["language_steps"] == 2
    assert recipe["language_plans"] == [[0, 1], [1, 2]]


def test_a_tower_is_shared_between_models_that_have_the_same(small, tmp_path):
    reader = tower.PatchReader(LLAVA, LLAVA.tower(LLAVA.new_model(7)))
    fit.fit(reader, reader.loss, PatchBatches(7, 1), 1, 1.0, tmp_path / "tower.pt")
    shared = small | {"tower": tmp_path / "tower.pt"}
    train(model="tiny-shikra", seed=0, loaders=1, **shared)
    assert not (tmp_path / "tiny-shikra/seed0/bridge.pt").exists(), "each patch is a token"
    saved = torch.load(tmp_path / "tiny-shikra/seed0/language.pt", weights_only=True)["module"]
    given = torch.load(tmp_path / "tower.pt", weights_only=True)["module"]
    ours = saved["model.model.vision_tower.encoder.layers.0.self_attn.q_proj.weight"]
    assert torch.equal(ours, given["tower.encoder.layers.0.self_attn.q_proj.weight"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "tiny-llava"}, "tiny-llava-1.5"),
        ({"device": "tpu"}, "cuda"),
        ({"world": "large"}, "shapes-large"),
        ({"tower": Path("nowhere.pt")}, "nowhere.pt"),
        ({"model": "tiny-shikra", "deep": True}, "--deep"),
    ],
)
def test_a_run_that_cannot_be_is_one_clear_error(small, changed, message, capsys):
    with pytest.raises(typer.Exit) as exit_:
        train(**({"model": "tiny-llava-1.5", "seed": 0, "loaders": 1} | small | changed))
    assert exit_.value.exit_code == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_of_another_architecture_is_one_clear_error(tmp_path):
    line = Line()
    fit.fit(line, line.loss, Numbered(), 1, 1.0, tmp_path / "line.pt")
    qwen = find_architecture("tiny-qwen-vl")
    reader = tower.PatchReader(qwen, qwen.tower(qwen.new_model(0)))
    with pytest.raises(InfoflowError, match=r"line\.pt is the checkpoint of another"):
        fit.fit(reader, reader.loss, PatchBatches(0, 2), 1, 1.0, tmp_path / "line.pt")


def test_batches_do_not_depend_on_how_many_processes_draw_them():
    drawn = [[b.input_ids for b in stream(PackedBatches(LLAVA, 1, 1), 3, 8, n)] for n in (1, 2)]
    assert len(drawn[0]) == 5
    assert all(torch.equal(one, two) for one, two in zip(*drawn, strict=True))
