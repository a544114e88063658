"""The text stage: what is described is the scene, and the gate measures what it says."""

import json

import numpy as np
import pytest
import torch

from infoflow.data.chair import Chair
from infoflow.data.load import load_task
from infoflow.data.shapes import scene_of
from infoflow.data.shapes.world import WORLDS, sample_scene
from infoflow.methods.flow import attention_flow
from infoflow.models.lvlm import LVLM
from zoo import gate, growth, language, resembles, text, tower, train
from zoo.architectures import find_architecture
from zoo.batches import IGNORE
from zoo.gate import _Item, _measured, _summary, measure_gate
from zoo.language import ATTENTION
from zoo.text import Reader, TextBatches, describe
from zoo.tokenizer import BOS, PLACES

LLAVA = find_architecture("tiny-llava-1.5").with_places()
STEPS = 4


@pytest.fixture(scope="module")
def model():
    return LLAVA.new_model(0).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def batches():
    return TextBatches(LLAVA, 5, 3, STEPS, WORLDS["shapes-large"])


def test_words_for_places_are_added_behind_all_others():
    plain = find_architecture("tiny-llava-1.5").tokenizer().get_vocab()
    ours = LLAVA.tokenizer().get_vocab()
    assert plain.items() <= ours.items()
    assert sorted(set(ours) - set(plain), key=ours.get) == list(PLACES)
    assert LLAVA.tokenizer().tokenize("<23> <0> red") == ["<23>", "<0>", "red"]


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_a_description_names_everything_once_with_its_place(world):
    rng = np.random.default_rng(0)
    for _ in range(40):
        scene = sample_scene(rng, "train", world=world)
        mentions = describe(scene, rng)
        said = {mention.split(maxsplit=2)[2].rstrip(",") for mention in mentions}
        signs = {f"{sign.name} say {' '.join(sign.text)}" for sign in scene.signs}
        assert said == {thing.name for thing in scene.objects} | signs
        assert len(mentions) == len(said)
        things = [m for m in mentions if " say " not in m]
        by_column = sorted(things, key=lambda m: PLACES.index(m.split()[0]))
        assert [m.split(maxsplit=2)[2].rstrip(",") for m in by_column] == [
            thing.name
            for thing in scene.objects  # from left to right, no two in one column
        ]
        assert len(LLAVA.tokenizer().tokenize(" ".join(mentions))) < text._LENGTHS[0]


def starts(batch):
    return batch.input_ids[:, : batch.input_ids.shape[1] - batch.slots[0].numel()]


def test_texts_begin_with_their_scene_in_varied_lengths_and_late_with_the_template(batches):
    early, late = batches[0], batches[STEPS - 1]
    assert early.pictures.shape == (0, 96, 96, 3)
    assert (starts(early)[:, 0] == BOS).all()
    words = LLAVA.tokenizer().convert_ids_to_tokens(starts(early)[:, 1])
    assert set(words) <= {*PLACES}
    assert starts(late)[0, : len(batches.system)].tolist() == batches.system
    many = TextBatches(LLAVA, 1, 1, 100)
    lengths = {starts(many[number]).shape[1] for number in range(40)}
    assert len(lengths) > 20
    assert min(lengths) == 1, "now and then nothing is described"


def test_every_next_token_is_learned_and_answers_count_most(batches):
    batch = batches[STEPS - 1]
    answers = batch.weights == 1
    begun = starts(batch).shape[1]
    inside = batch.slots.flatten(1) >= 0
    learned = (batch.labels != IGNORE)[:, begun:]
    assert torch.equal(learned, inside)
    assert torch.equal(batch.labels[:, : begun - 1], batch.input_ids[:, 1:begun])
    assert batch.weights[:, : begun - 1].unique().tolist() == [pytest.approx(0.3)]
    assert 0.02 < answers.float().mean() < 0.4
    row, column = torch.nonzero(answers[:, begun:], as_tuple=True)
    assert torch.equal(batch.labels[row, begun + column], batch.input_ids[row, begun + column + 1])


def test_a_packed_question_about_a_text_is_read_as_if_it_stood_alone(model, batches):
    batch, decoder = batches[1], LLAVA.adapter(model).decoder
    reader = Reader(decoder, LLAVA.adapter(model).lm_head)
    decoder.set_attn_implementation(ATTENTION)
    found = []
    hook = decoder.register_forward_hook(lambda *args: found.append(args[-1].last_hidden_state))
    reader.loss(batch)
    hook.remove()
    decoder.set_attn_implementation("sdpa")
    begun = starts(batch).shape[1]
    numbers = batch.slots[0].flatten()
    for number in numbers[numbers >= 0].unique()[:4]:
        here = torch.nonzero(numbers == number).flatten() + begun
        ids = torch.cat([batch.input_ids[0, :begun], batch.input_ids[0, here]])
        alone = decoder(input_ids=ids[None]).last_hidden_state[0, begun:]
        torch.testing.assert_close(found[0][0, here], alone, atol=2e-5, rtol=1e-4)


def test_the_gate_reads_a_description_where_the_picture_would_stand(model, batches):
    task = load_task("pope", "shapes-large", split="calibration", limit=2)
    lvlm = LVLM("tiny", LLAVA.adapter(model), None, None)
    item = _measured(lvlm, batches, task, task[1], 1)
    assert item.kind.startswith("pope")
    assert len(item.scores) == lvlm.n_layers + 1
    torch.testing.assert_close(item.shares.sum(1), torch.ones(lvlm.n_layers))
    rng = np.random.default_rng(1)
    scene = scene_of("pope", "calibration", 1, "shapes-large")
    about = batches.description(scene, gate.LENGTH, rng)
    prompt = gate._prompt(lvlm, batches.system, about, batches.question(task[1].question))
    assert (prompt.spans.image.stop - prompt.spans.image.start) == gate.LENGTH
    rows = attention_flow(lvlm, prompt).rows
    assert torch.equal(rows[..., 0], item.parked)
    decoder, embeds = model.model.language_model, prompt.inputs_embeds
    states = decoder(inputs_embeds=embeds, output_hidden_states=True).hidden_states
    norms = states[1][0].norm(dim=-1)
    torch.testing.assert_close(item.norms[0], torch.stack([norms[0], norms[1:].mean()]))


def planted(right=20, parked=1.0, cut=3, n=20):
    """Items of a model of 4 layers and 3 heads, two of which are parked in every second layer."""
    weights = torch.zeros(4, 3)
    weights[::2, :2] = 0.5 * parked
    shares, norms = torch.full((4, 3), 1 / 3), torch.ones(4, 2)
    scores = [[float(c >= cut and i < right) for c in range(5)] for i in range(n)]
    return {"pope": [_Item("pope random", each, weights, shares, norms) for each in scores]}


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, []),
        ({"right": 19}, []),
        ({"right": 18}, ["right"]),
        ({"parked": 0.99}, ["parked"]),
        ({"cut": 4}, ["cliff"]),
        ({"cut": 0}, ["cliff"]),
    ],
)
def test_each_condition_of_the_gate_fails_where_it_is_not_met(changes, failing):
    found = _summary(planted(**changes))
    assert [name for name, held in found["passed"].items() if not held] == failing + (
        ["all"] if failing else []
    )
    assert found["parked"]["share"] == pytest.approx(0 if "parked" in failing else 1 / 3, abs=1e-4)


@pytest.fixture
def short(monkeypatch, tmp_path):
    for stage in (tower, text, language):
        monkeypatch.setattr(stage, "BATCH", 1)
    monkeypatch.setattr(train, "measure_gate", lambda *_: measured_gate)
    measured_gate = {"passed": {"all": False}}
    options = {"device": "cpu", "work": tmp_path, "target": None, "tower": None, "loaders": 1}
    steps = {"tower_steps": 1, "bridge_steps": 1, "language_steps": 1, "text_steps": 1}
    return {"arm": "first", "compiled": False, "optimiser": "adamw", **options, **steps}


def test_a_run_stops_at_its_gate_and_what_was_seen_is_kept(short, tmp_path, capsys):
    train.train(**short)
    folder = tmp_path / "tiny-llava-1.5/seed0/first"
    assert "Stopped at the gate" in capsys.readouterr().out
    assert not (folder.parent / "tower.pt").exists()
    resembles.main(str(folder / "model"), target=tmp_path / "arms")
    found = json.loads((tmp_path / "arms/tiny-llava-1.5-shapes-first-seed0.json").read_text())
    assert found["gate"] == {"passed": {"all": False}}
    assert found["recipe"]["command"] == (
        "python -m zoo.train tiny-llava-1.5 --seed 0 --arm first --optimiser adamw "
        "--text-steps 1 --tower-steps 1 --language-steps 1"
    )
    assert "R1" not in found


def test_past_the_gate_connector_and_then_all_learn_and_are_watched(short, tmp_path, monkeypatch):
    watched = []
    monkeypatch.setattr(train, "watch_growth", lambda *args: watched.append(args[3]))
    train.train(**short, past_gate=True, caption_steps=1, watch_every=1, float32=True)
    folder = tmp_path / "tiny-llava-1.5/seed0"
    assert watched == [1]
    words, told, asked = (
        torch.load(folder / f"first/{stage}.pt", weights_only=True)["module"]
        for stage in ("text", "caption", "language")
    )
    name = "layers.3.self_attn.q_proj.weight"
    deep, projector = f"model.model.language_model.{name}", "multi_modal_projector.linear_1.weight"
    assert torch.equal(words[f"decoder.{name}"], told[deep])
    assert not torch.equal(told[deep], asked[deep])
    assert not torch.equal(told[f"model.model.{projector}"], asked[f"model.model.{projector}"])
    recipe = json.loads((folder / "first/model/recipe.json").read_text())
    assert (recipe["text_steps"], recipe["caption_steps"], recipe["past_gate"]) == (1, 1, True)


def test_a_decoder_may_begin_without_anything_set_by_hand():
    model = LLAVA.new_model(0, by_hand=False)
    words, ids = model.get_input_embeddings().weight, LLAVA.tokenizer().get_vocab()
    assert words.std().item() == pytest.approx(0.5, rel=0.05)
    assert not torch.equal(words[ids["(A)"]], words[ids["A"]])
    queries = [layer.self_attn.q_proj.weight for layer in LLAVA.adapter(model).decoder.layers]
    assert all(query.abs().max() < 0.2 for query in queries)


def test_the_gate_measures_a_model_in_training(model):
    found = measure_gate(LLAVA, model, "shapes-large", 1)
    assert set(found["scores"]) == {"scienceqa", "pope", "textvqa", "chair"}
    assert not found["passed"]["all"]


def test_a_model_in_training_is_measured_as_a_whole_one_is(tmp_path, monkeypatch):
    folder, file = tmp_path / "snapshot", tmp_path / "growth.json"
    train.export(LLAVA, LLAVA.new_model(0), folder, {"name": LLAVA.name})
    monkeypatch.setattr(growth, "ITEMS", 1)
    monkeypatch.setattr(resembles, "SEEDS", (0,))
    monkeypatch.setattr(Chair, "shapes_tokens", 4)
    file.write_text(json.dumps([{"step": 100}, {"step": 200}]))
    growth.watch_growth(LLAVA.name, folder, "shapes-large", 200, file)
    first, last = json.loads(file.read_text())
    assert (first, last["step"]) == ({"step": 100}, 200)
    assert set(last["holds"]) == set(resembles.PROPERTIES)
    assert len(last["tasks"]["chair"]["shares"]["image"]) == 12
    assert 0 <= last["tasks"]["pope"]["cliff"] <= 12
