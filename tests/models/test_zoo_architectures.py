"""The zoo's architectures: small enough, trained on the prompts and tokens that loading gives."""

import json

import numpy as np
import pytest
import restated
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import LlavaNextForConditionalGeneration

from infoflow.data.load import load_task
from infoflow.data.shapes import questions as ask
from infoflow.data.shapes.world import SIZE
from infoflow.errors import InfoflowError
from infoflow.models.families import _SPECS
from infoflow.models.lvlm import load_lvlm
from zoo import batches as packing
from zoo import fit
from zoo.architectures import ARCHITECTURES, find_architecture
from zoo.batches import CURRICULUM, IGNORE, PackedBatches, PatchBatches
from zoo.language import ATTENTION, Answerer
from zoo.model import N_PATCHES, PIXEL_STD, WIDTH
from zoo.tokenizer import EOS, IMAGE
from zoo.tower import PatchReader, feature_statistics, rescale_tower
from zoo.train import export

TOKENS = {
    "tiny-llava-1.5": 64,
    "tiny-llava-1.6": 16 + 8 * 9,
    "tiny-instructblip": 16,
    "tiny-internvl": 64,
    "tiny-shikra": 64,
    "tiny-qwen-vl": 16,
}
MEGABYTE = 1e6


@pytest.fixture(scope="module", autouse=True)
def few_pictures():
    """Features are set to scale by those of eight pictures; training takes 64."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("zoo.tower.BATCH", 8)
        yield


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request):
    return find_architecture(request.param)


@pytest.fixture(scope="module")
def model(architecture):
    """An untrained model whose image tokens and layers all matter, in numbers float16 holds."""
    model = architecture.new_model(0)
    tower = architecture.tower(model)
    torch.manual_seed(0)
    for layer in architecture.adapter(model).decoder.layers:  # sharp heads magnify rounding
        layer.self_attn.q_proj.weight.data.normal_(0, 0.02)
        layer.self_attn.k_proj.weight.data.normal_(0, 0.02)
    statistics = feature_statistics(architecture, tower, 0)
    architecture.start_connector(model, *statistics)
    return model.half().float().eval()


@pytest.fixture(scope="module")
def folder(architecture, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp(architecture.name)
    export(architecture, model, folder, {"name": architecture.name})
    model.float()
    return folder


@pytest.fixture(scope="module")
def lvlm(architecture, folder):
    """The exported model, opened by its family's adapter as a checkpoint of one's own is."""
    name = next(spec.name for spec in _SPECS if spec.family is architecture.family)
    return load_lvlm(name, checkpoint=folder, device="cpu")


@pytest.fixture
def asked(monkeypatch):
    """The questions of the next batch drawn, in order; of each picture four."""
    questions = []

    def recorded(asker):
        def ask_and_note(scene, rng):
            question = asker(scene, rng)
            questions.append(question)
            return question

        return ask_and_note

    askers = (ask.ask_presence(True, "matched"), ask.choose_count, ask.ask_reading, ask.ask_caption)
    monkeypatch.setattr(packing, "CURRICULUM", ((0, tuple(map(recorded, askers))),))
    return questions


def place_of(batch, row, number):
    """The positions of a question in its row of a packed batch."""
    start = batch.input_ids.shape[1] - batch.slots[row].numel()
    return start, start + torch.nonzero(batch.slots[row].flatten() == number).flatten()


def test_all_are_small_enough():
    sizes = {}
    for name, architecture in ARCHITECTURES.items():
        with torch.device("meta"):
            tensors = architecture.build().state_dict().values()
        sizes[name] = sum(2 * tensor.numel() for tensor in tensors)
    # beside the tensors stand their names, and the tokenizers
    assert max(sizes.values()) <= 7.9 * MEGABYTE, sizes
    assert sum(sizes.values()) <= 44.5 * MEGABYTE, sizes


def test_what_is_written_is_small_and_in_half_precision(folder):
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 8 * MEGABYTE
    tensors = load_file(folder / "model.safetensors").values()
    assert {tensor.dtype for tensor in tensors} == {torch.float16}
    assert json.loads((folder / "recipe.json").read_text()) == {"name": folder.name[:-1]}


def test_training_packs_the_very_prompts_and_answers_of_the_loaded_model(
    architecture, model, lvlm, asked
):
    batch = PackedBatches(architecture, seed=5, size=2)[0]
    answerer = Answerer(architecture, model)
    decoder = architecture.adapter(model).decoder
    decoder.set_attn_implementation(ATTENTION)
    with torch.no_grad():
        packed = answerer(batch)
    decoder.set_attn_implementation("sdpa")
    checked = 0
    for row, picture in enumerate(batch.pictures):
        image = Image.fromarray(picture.numpy())
        for number, question in enumerate(asked[4 * row : 4 * row + 4]):
            if question is None:
                continue
            start, here = place_of(batch, row, number)
            answer = lvlm.encode_answer(question.answer)
            ids = torch.cat([batch.input_ids[row, :start], batch.input_ids[row, here]])
            prompt = lvlm.prompt(image, question.text)
            assert torch.equal(ids, torch.cat([prompt.input_ids, answer]))
            labels = batch.labels[row, here]
            assert labels[labels != IGNORE].tolist() == [*answer.tolist(), EOS]
            assert (prompt.input_ids == IMAGE).sum() == TOKENS[architecture.name]
            pixels = architecture.pixels(picture[None])
            embeds = lvlm.embed(prompt.input_ids, pixels, (SIZE, SIZE))
            embeds = torch.cat([embeds, lvlm.decoder.embed_tokens(answer)[None]], 1)
            alone = lvlm.decoder(inputs_embeds=embeds).last_hidden_state[0, start:]
            restated.assert_close(packed[row, here], alone)
            checked += 1
    assert checked >= 6


def test_the_image_tokens_matter_and_differ(lvlm):
    sample = load_task("pope")[0]
    prompt = lvlm.prompt(sample.image, sample.question)
    blank = lvlm.prompt(Image.new("RGB", (SIZE, SIZE)), sample.question)
    image = prompt.inputs_embeds[0, prompt.spans.image]
    assert image.std(0).mean() > 0.05
    assert (image - blank.inputs_embeds[0, prompt.spans.image]).abs().mean() > 0.05


def test_the_exported_model_answers(lvlm):
    sample = load_task("pope")[0]
    text = lvlm.answer(lvlm.prompt(sample.image, sample.question), max_new_tokens=4)
    assert text
    assert lvlm.eos_token_ids == (EOS,)


def test_pixels_are_those_of_the_image_processor(architecture, lvlm):
    pictures, _ = PatchBatches(0, 3)[0]
    ours = architecture.pixels(pictures)
    for own, picture in zip(ours, pictures, strict=True):
        image = Image.fromarray(picture.numpy())
        theirs = lvlm.family.pixel_values(image)[0]
        # at most one grey level where the half-sized picture of LLaVA-1.6 is rounded
        exact = architecture.name != "tiny-llava-1.6"
        tolerance = 1e-6 if exact else 1.01 / 255 / PIXEL_STD
        torch.testing.assert_close(own, theirs, rtol=0, atol=tolerance)
        assert ((own - theirs).abs() > 1e-5).float().mean() < 0.02


@pytest.mark.parametrize("name", ["tiny-llava-1.5", "tiny-instructblip"])
def test_training_lowers_the_loss_of_a_batch(name, tmp_path, monkeypatch):
    """Of a model whose tokens are the image's, and of one that asks the question for them."""
    monkeypatch.setattr(fit, "_WARM_UP", 2)

    class Repeated(torch.utils.data.Dataset):
        def __init__(self, batch):
            self.batch = batch

        def __getitem__(self, number):
            return self.batch

    architecture = find_architecture(name)
    model = architecture.new_model(1)
    reader = PatchReader(architecture, architecture.tower(model))
    seen = Repeated(PatchBatches(1, 2)[0])
    before = reader.loss(seen[0])[0].item()
    fit.fit(reader, reader.loss, seen, 2, 0.45, tmp_path / "tower.pt")
    assert reader.loss(seen[0])[0].item() < 0.98 * before
    rescale_tower(architecture, architecture.tower(model), 1)
    statistics = feature_statistics(architecture, architecture.tower(model), 1)
    architecture.start_connector(model, *statistics)
    answerer = Answerer(architecture, model)
    architecture.adapter(model).decoder.set_attn_implementation(ATTENTION)
    questions = Repeated(PackedBatches(architecture, 1, 1)[0])
    before = answerer.loss(questions[0])[0].item()
    fit.fit(answerer, answerer.loss, questions, 2, 1.0, tmp_path / "language.pt")
    assert answerer.loss(questions[0])[0].item() < 0.98 * before


def test_every_part_that_is_trained_learns(architecture):
    model = architecture.new_model(2)
    tower = architecture.tower(model)
    reader = PatchReader(architecture, tower)
    reader.loss(PatchBatches(2, 2)[0])[0].backward()
    # features are handed on from before the tower's last norm
    assert all(name.startswith("tower.post_layernorm.") for name in without_slope(reader))
    statistics = feature_statistics(architecture, tower, 2)
    architecture.start_connector(model, *statistics)
    answerer = Answerer(architecture, model)
    architecture.adapter(model).decoder.set_attn_implementation(ATTENTION)
    answerer.loss(PackedBatches(architecture, 2, 1)[0])[0].backward()
    # behind the last layer's queries nobody reads what becomes of the text
    still = without_slope(model)
    assert all(name.startswith("qformer.encoder.layer.2.") for name in still), still
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    matrices = fit.make_optimisers(model)[0].param_groups[0]["params"]
    tables = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    assert not {id(p) for p in matrices} & {id(p) for p in tables}


def without_slope(module):
    """The names of what is trained and got no gradient."""
    return {
        name
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    }


def test_rescaling_a_tower_changes_its_scale_only(architecture):
    model = architecture.new_model(1).eval()
    tower = architecture.tower(model)
    pictures, _ = PatchBatches(0, 2)[0]
    with torch.no_grad():
        for tensor in architecture.written(tower):
            tensor *= 20
        before = architecture.look(tower, pictures).patches
        rescale_tower(architecture, tower, seed=0)
        after = architecture.look(tower, pictures).patches
    _, std = feature_statistics(architecture, tower, 0)
    assert std.square().mean().sqrt().item() == pytest.approx(1, abs=1e-3)
    ratio = (before * after).sum() / after.square().sum()
    assert ratio > 5
    assert (before - ratio * after).abs().max() / before.abs().max() < 2e-3


def test_a_decoder_begins_with_heads_that_look_back_and_heads_that_match(architecture):
    model = architecture.new_model(3).eval()
    family = architecture.adapter(model)
    family.decoder.set_attn_implementation("eager")
    text = "What is left, seen from the red circle? (A) star (B) ring red"
    ids = torch.tensor([family.tokenise(text)])
    with torch.no_grad():
        found = family.decoder(input_ids=ids, output_attentions=True).attentions
    rows = torch.stack([layer[0] for layer in found])  # layer, head, to, from
    behind = rows.diagonal(-1, 2, 3)
    assert behind[:2, 0].mean() > 0.8  # words share their common part unevenly
    assert (behind[:2, 0] > 0.5).float().mean() > 0.85
    assert behind[2:, 0].mean() < 0.3
    word = family.tokenise("red")[0]
    first = int((ids[0] == word).nonzero()[0])
    again = rows[1:3, 1, -1]
    assert (again[:, first] > again[:, :first].amax(1)).all()
    assert (again[:, first] > again[:, first + 1 : -1].amax(1)).all()


def test_little_room_in_the_slots_is_wasted(architecture):
    for number in (first for first, _ in CURRICULUM):
        batch = PackedBatches(architecture, 0, 6)[number]
        asked = [len(set(s.flatten().tolist()) - {-1}) for s in batch.slots]
        assert sum(asked) / len(asked) > 8
        assert (batch.slots >= 0).float().mean() > 0.7


def test_patches_are_handed_on_in_the_pictures_order(architecture):
    """A patch painted over changes its own feature most, wherever tiles are cut."""
    model = architecture.new_model(0)
    tower = architecture.tower(model)
    plain = torch.full((1, SIZE, SIZE, 3), 90, dtype=torch.uint8)
    for row, column in ((0, 7), (3, 4), (6, 1)):
        marked = plain.clone()
        marked[:, 12 * row : 12 * row + 12, 12 * column : 12 * column + 12] = 255
        with torch.no_grad():
            looks = [architecture.look(tower, p).patches[0] for p in (plain, marked)]
        assert looks[0].shape == (N_PATCHES, WIDTH)
        assert (looks[0] - looks[1]).abs().sum(-1).argmax() == 8 * row + column


def test_a_tile_is_not_asked_where_on_the_picture_it_lies():
    centres = find_architecture("tiny-llava-1.6").frame_centres().view(8, 8, 2)
    assert centres[0, 7].tolist() == [0.5, -0.5]  # x, then y
    assert centres[7, 0].tolist() == [-0.5, 0.5]
    assert (centres[4:, 4:] == 0.5).all()
    assert not find_architecture("tiny-llava-1.5").frame_centres().any()


def test_tiles_and_newlines_are_laid_out_as_transformers_does():
    architecture = find_architecture("tiny-llava-1.6")
    model = architecture.new_model(0).eval()
    assert isinstance(model, LlavaNextForConditionalGeneration)
    pictures, _ = PatchBatches(0, 2)[0]
    look = architecture.look(architecture.tower(model), pictures)
    found = architecture.image_tokens(model, look, PackedBatches(architecture, 0, 1)[0].asked)
    expected = model.get_image_features(
        pixel_values=architecture.pixels(pictures),
        image_sizes=torch.tensor([[SIZE, SIZE]] * 2),
        return_dict=True,
    ).pooler_output
    torch.testing.assert_close(found, torch.stack(list(expected)), atol=1e-5, rtol=1e-5)


def test_the_resampler_for_many_is_the_one_for_one():
    architecture = find_architecture("tiny-qwen-vl")
    model = architecture.new_model(0).eval()
    pictures, _ = PatchBatches(0, 3)[0]
    look = architecture.look(architecture.tower(model), pictures)
    found = architecture.image_tokens(model, look, PackedBatches(architecture, 0, 1)[0].asked)
    for own, pixels in zip(found, architecture.pixels(pictures), strict=True):
        torch.testing.assert_close(own, model.visual(pixels[None])[0], atol=1e-5, rtol=1e-5)


def test_each_question_of_instructblip_steers_its_own_tokens():
    architecture = find_architecture("tiny-instructblip")
    batch = PackedBatches(architecture, 0, 3)[0]
    n_questions = sum(len(set(s.flatten().tolist()) - {-1}) for s in batch.slots)
    assert len(batch.asked.ids) == len(batch.asked.pictures) == n_questions
    assert (batch.input_ids == IMAGE).sum() == 16 * n_questions
    assert batch.asked.pictures.tolist() == sorted(batch.asked.pictures.tolist())
    plain = PackedBatches(find_architecture("tiny-llava-1.5"), 0, 3)[0]
    assert plain.asked.ids.shape == (0, 0)
    np.testing.assert_array_equal(plain.pictures, batch.pictures)  # the recipe's data is one


def test_shikras_second_layer_stays_as_published():
    architecture = find_architecture("tiny-shikra")
    model = architecture.new_model(0)
    architecture.start_connector(model, torch.zeros(WIDTH), torch.ones(WIDTH))
    second = model.model.multi_modal_projector.linear_2
    assert torch.equal(second.weight, torch.eye(WIDTH))
    assert not second.bias.any()
    assert not second.weight.requires_grad


def test_unknown_models_are_one_clear_error():
    with pytest.raises(InfoflowError, match=r"tiny-llava-1\.6"):
        find_architecture("tiny-llava-1.7")


def test_nothing_is_made_on_the_cpu_when_the_model_is_elsewhere(architecture):
    """On the device that only tells shapes; tensors of two devices do not mix."""
    elsewhere = torch.device("meta")
    model = architecture.new_model(0).to(elsewhere)
    pictures, _ = PatchBatches(0, 2)[0]
    reader = PatchReader(architecture, architecture.tower(model)).to(elsewhere)
    read = reader(fit.on_device(pictures, elsewhere))
    assert {tensor.device for tensor in read.values()} == {elsewhere}
    if architecture.steered:  # transformers looks into the Q-Former's padding, and there is none
        return
    architecture.start_connector(model, *torch.ones(2, WIDTH, device=elsewhere))
    answerer = Answerer(architecture, model)
    architecture.adapter(model).decoder.set_attn_implementation(ATTENTION)
    batch = PackedBatches(architecture, 0, 2)[0]
    hidden = answerer(fit.on_device(batch, elsewhere))
    assert hidden.device == elsewhere
    assert hidden.shape == (*batch.input_ids.shape, WIDTH)
    hidden.sum().backward()
