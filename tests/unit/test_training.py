"""The recipe: packing changes nothing but the speed, and an interrupted run loses nothing."""

from collections import Counter

import numpy as np
import pytest
import torch

from infoflow.families.llava import TEMPLATE
from infoflow.shapes import fit
from infoflow.shapes.batches import (
    CURRICULUM,
    IGNORE,
    PackedBatches,
    PatchBatches,
    countable_scene,
)
from infoflow.shapes.language import ATTENTION, Answerer
from infoflow.shapes.model import CONTEXT_LENGTH, new_llava, normalise
from infoflow.shapes.questions import NUMBERS, ask_count
from infoflow.shapes.tokenizer import BOS, EOS, IMAGE, build_tokenizer
from infoflow.shapes.tower import feature_statistics, rescale_tower
from infoflow.shapes.world import CELL, SHAPES, SIZE


@pytest.fixture(scope="module")
def model():
    return new_llava(0).eval().requires_grad_(False)


def test_a_packed_question_is_answered_as_if_it_stood_alone(model):
    batch = PackedBatches(seed=5, size=2)[0]
    model.set_attn_implementation({"text_config": ATTENTION})
    packed = Answerer(model)(batch)
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
    batch = PackedBatches(seed=5, size=4)[1]
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
    first, again = PackedBatches(3, 2)[7], PackedBatches(3, 2)[7]
    assert torch.equal(first.input_ids, again.input_ids)
    assert torch.equal(first.pictures, again.pictures)
    assert not torch.equal(first.pictures, PackedBatches(3, 2)[8].pictures)
    assert not torch.equal(first.pictures, PackedBatches(4, 2)[7].pictures)


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


def test_rescaling_the_tower_changes_its_scale_only():
    tower = new_llava(1).model.vision_tower.eval()
    with torch.no_grad():
        tower.pre_layrnorm.weight *= 20
        for layer in tower.encoder.layers:
            layer.mlp.fc2.weight *= 20
            layer.self_attn.out_proj.weight *= 20
    pictures, _ = PatchBatches(0, 2)[0]
    before = tower(normalise(pictures), output_hidden_states=True).hidden_states[-2]
    rescale_tower(tower, seed=0)
    after = tower(normalise(pictures), output_hidden_states=True).hidden_states[-2]
    _, std = feature_statistics(tower, 0)
    assert std.square().mean().sqrt().item() == pytest.approx(1, abs=1e-3)
    ratio = (before * after).sum() / after.square().sum()
    assert (before - ratio * after).abs().max() / before.abs().max() < 2e-3


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


def test_an_interrupted_run_ends_where_a_straight_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "CHECKPOINT_EVERY", 5)
    straight = Line()
    fit.fit(straight, straight.loss, Numbered(), 20, tmp_path / "straight.pt")

    class HaltError(Exception):
        pass

    halted = Line()
    calls = iter(range(100))

    def stop_at_twelve(batch):
        if next(calls) == 12:
            raise HaltError
        return halted.loss(batch)

    with pytest.raises(HaltError):
        fit.fit(halted, stop_at_twelve, Numbered(), 20, tmp_path / "halted.pt")
    resumed = Line()
    fit.fit(resumed, resumed.loss, Numbered(), 20, tmp_path / "halted.pt")
    assert torch.equal(straight.inner.weight, resumed.inner.weight)
    assert torch.equal(straight.inner.bias, resumed.inner.bias)


def test_the_rate_warms_up_holds_and_ends_at_zero():
    factors = [fit.rate_factor(step, 1000) for step in range(1001)]
    assert factors[0] == pytest.approx(1 / 80)
    assert factors[300] == 1
    assert factors[1000] == 0
    assert factors[549:] == sorted(factors[549:], reverse=True)


@pytest.mark.parametrize("number", [first for first, _ in CURRICULUM])
def test_little_room_in_the_slots_is_wasted(number):
    batch = PackedBatches(0, 24)[number]
    asked = [len(set(s.flatten().tolist()) - {-1}) for s in batch.slots]
    assert sum(asked) / len(asked) > 8
    assert (batch.slots >= 0).float().mean() > 0.75


def test_the_curriculum_turns_to_what_lies_beside_what():
    relations = []
    for first, _ in CURRICULUM:
        batch = PackedBatches(0, 8)[first]
        text = build_tokenizer(CONTEXT_LENGTH).decode(batch.input_ids.flatten())
        relations.append(text.count("seen from"))
    assert relations[0] < relations[1]
    assert relations[0] < relations[2]


def test_training_counts_to_four_not_much_less_often_than_to_one():
    rng = np.random.default_rng(0)
    asked = [ask_count(countable_scene(rng), rng) for _ in range(600)]
    numbers = Counter(question.answer for question in asked if question)
    assert set(numbers) == set(NUMBERS)
    assert max(numbers.values()) < 3 * min(numbers.values())


def test_the_last_run_is_about_numbers():
    text = build_tokenizer(CONTEXT_LENGTH).decode(
        PackedBatches(0, 8)[CURRICULUM[-1][0]].input_ids.flatten()
    )
    assert text.count("How many") > 2.5 * 8
