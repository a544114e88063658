"""Planted faults: what is true of each holds by construction, on a trained model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from infoflow import (
    InfoflowError,
    UnknownNameError,
    activation_patching,
    attention_flow,
    load_lvlm,
    load_task,
    truncation_sweep,
)
from infoflow import plant as plant_in
from infoflow.interventions import plants
from infoflow.interventions.plants import PLANTS
from infoflow.methods.knockout import token_groups
from infoflow.methods.localisation import coverage, target_mask

TASKS = ("scienceqa", "pope", "textvqa")
SAMPLES = [next(s for s in load_task(task, limit=4) if s.targets) for task in TASKS]


@pytest.fixture(scope="module")
def intact():
    return load_lvlm("tiny-llava-1.5", device="cpu")


@pytest.fixture(scope="module")
def planted(intact):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plants, "_N_EXAMPLES", 10)  # enough to look, and quick
        return {name: plant_in(intact, name, seed=2) for name in PLANTS}


def logits(lvlm, sample):
    return lvlm.logits(lvlm.prompt(sample.image, sample.question))


def flow(lvlm, sample):
    prompt = lvlm.prompt(sample.image, sample.question)
    return attention_flow(lvlm, prompt).rows[..., prompt.spans.image]


def test_the_given_model_is_left_alone(intact, planted):
    fresh = load_lvlm("tiny-llava-1.5", device="cpu").model.state_dict()
    assert all(torch.equal(own, fresh[name]) for name, own in intact.model.state_dict().items())
    assert intact.fault == {}
    keys = {each.digest for each in planted.values()} | {intact.digest}
    assert len(keys) == len(PLANTS) + 1
    with pytest.raises(InfoflowError, match="another model"):
        intact.logits(planted["cut"].prompt(SAMPLES[0].image, "What is this?"))


def test_a_seed_draws_the_same_again(intact, planted):
    again = plant_in(intact, "scaled", seed=2)
    assert again.fault == planted["scaled"].fault
    assert torch.equal(logits(again, SAMPLES[0]), logits(planted["scaled"], SAMPLES[0]))
    assert len({plant_in(intact, "scaled", seed).fault["layer"] for seed in range(6)}) > 1


@pytest.mark.parametrize("name", ["decoy", "sink"])
@pytest.mark.parametrize("sample", SAMPLES, ids=TASKS)
def test_where_a_cut_head_looks_changes_no_bit(planted, name, sample):
    """Which edges the head has, or has not, is of no effect: it gives zero."""
    assert planted[name].fault.items() >= {**planted["cut"].fault, "plant": name}.items()
    assert torch.equal(logits(planted[name], sample), logits(planted["cut"], sample))
    place = planted[name].fault["layer"], planted[name].fault["head"]
    apart = (flow(planted[name], sample) - flow(planted["cut"], sample)).abs().amax(-1)
    assert apart[place] > 0.1
    apart[place] = 0
    assert not apart.any()


@pytest.mark.parametrize("name", ["decoy", "sink"])
def test_patching_says_the_same_wherever_a_cut_head_looks(planted, name):
    sample, other = load_task("scienceqa", limit=2)
    found = []
    for lvlm in (planted[name], planted["cut"]):
        pair = [lvlm.prompt(image, sample.question) for image in (sample.image, other.image)]
        rows = token_groups(pair[0])["image"][None]
        found.append(activation_patching(lvlm, *pair, ("A", "B"), rows)[0])
    assert torch.equal(*found)
    assert (found[0].diff() != 0).any()


def test_the_decoy_looks_at_the_target(planted):
    decoy, shares, chances = planted["decoy"], [], []
    for sample in (s for task in TASKS for s in load_task(task, limit=5) if s.targets):
        prompt = decoy.prompt(sample.image, sample.question)
        on_target = coverage(target_mask(sample), prompt.grid).ravel() > 0.1
        row = flow(decoy, sample)[decoy.fault["layer"], decoy.fault["head"]].numpy()
        shares.append(row[on_target].sum())
        chances.append(on_target.mean())
    assert np.mean(shares) > 3 * np.mean(chances)


def test_the_sink_looks_at_its_token(planted):
    sink = planted["sink"]
    place = sink.fault["layer"], sink.fault["head"], ..., sink.fault["token"]
    assert np.mean([float(flow(sink, sample)[place]) for sample in SAMPLES]) > 0.3


@pytest.mark.parametrize("sample", SAMPLES, ids=TASKS)
def test_the_blind_read_nothing_from_their_layer_on(planted, sample):
    blind = planted["blind"]
    sweep = truncation_sweep(blind, blind.prompt(sample.image, sample.question))
    apart = (sweep.logits - sweep.logits[-1]).abs().amax(-1)
    first = blind.fault["layer"]
    assert apart[first:].max() < 5e-5
    assert apart[first - 1] > 1e-3


@pytest.mark.parametrize("name", PLANTS)
def test_every_plant_can_be_measured(planted, name):
    """Its observed pass is that of the whole model, with the fault in it."""
    assert flow(planted[name], SAMPLES[0]).isfinite().all()


def test_shuffled_tokens_are_those_of_the_intact_model_in_other_places(intact, planted):
    shuffled, sample = planted["shuffled"], SAMPLES[0]
    one, other = shuffled.fault["quarters"]
    prompts = [m.prompt(sample.image, sample.question) for m in (intact, shuffled)]
    tokens, moved = (p.inputs_embeds[0, p.spans.image].view(4, 16, -1) for p in prompts)
    order = list(range(4))
    order[one], order[other] = other, one
    assert one != other
    assert torch.equal(moved, tokens[order])


def test_swapped_words_are_the_intact_model_asked_in_exchanged_words(intact, planted):
    swapped, sample = planted["swapped"], SAMPLES[0]
    ids = torch.cat([intact.encode_answer(word) for word in swapped.fault["words"]])
    question = "Is there a {} circle, or a {} one?".format(*swapped.fault["words"])
    own = swapped.prompt(sample.image, question)
    exchanged = own.input_ids.clone()
    for one, other in (ids, ids.flip(0)):
        exchanged[own.input_ids == one] = other
    embeds = intact.embed(exchanged, own.pixel_values)
    order = torch.arange(intact.lm_head.out_features)
    order[ids] = ids.flip(0)
    assert torch.equal(swapped.logits(own), intact.logits(embeds)[..., order])


def test_a_scaled_layer_is_the_first_that_attends_otherwise(intact, planted):
    apart = (flow(planted["scaled"], SAMPLES[2]) - flow(intact, SAMPLES[2])).abs().amax((-1, -2))
    layer = planted["scaled"].fault["layer"]
    assert not apart[:layer].any()
    assert apart[layer] > 0


def test_what_cannot_be_planted_is_refused(intact):
    with pytest.raises(UnknownNameError, match="decoy"):
        plant_in(intact, "decoi")
    with pytest.raises(InfoflowError, match="seed"):
        plant_in(intact, "cut", seed=-1)


@pytest.mark.parametrize("name", ["grouped", "heads"])
def test_heads_that_share_keys_are_refused(load_tiny, name):
    lvlm = load_tiny(name)
    assert plant_in(lvlm, "cut").fault["plant"] == "cut"
    if name == "grouped":
        with pytest.raises(InfoflowError, match="share keys"):
            plant_in(lvlm, "sink")
    assert replace(lvlm).fault == {}
