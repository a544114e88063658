"""Architectures of today, each on a tiny random checkpoint from a folder."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_auto
import torch
from PIL import Image
from test_geometry import assert_lit, marked
from tiny_models import QUESTION, never_ending, picture
from transformers import AutoConfig, CLIPVisionConfig, LlavaConfig
from transformers.models.smolvlm import processing_smolvlm
from typer.testing import CliRunner

from benchmarks import baselines
from infoflow import (
    FastV,
    Truncate,
    attention_flow,
    attention_knockout,
    check_model,
    intervene,
    llava_cam,
    load_lvlm,
    truncation_sweep,
)
from infoflow.cli import app
from infoflow.errors import InfoflowError
from infoflow.evaluate import check, costs
from infoflow.evaluate.answers import text_only
from infoflow.hooks import forward
from infoflow.methods.faithfulness import answer_probabilities
from infoflow.methods.maps import attention, integrated_gradients, relevancy
from infoflow.models.families.auto import AutoFamily
from infoflow.models.lvlm import LVLM
from infoflow.models.miniature import miniature
from infoflow.models.placement import Placement
from infoflow.models.tiles import image_grid

PAGES = Path(__file__).resolve().parents[2] / "notebooks"
SIZES = ((50, 80), (80, 50), (60, 60))


@pytest.fixture(scope="module", params=list(tiny_auto.KINDS))
def auto(request, tmp_path_factory):
    """A model of each kind, loaded as a user loads it; SmolVLM's processor asks for a package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processing_smolvlm, "num2words", str)
        folder = tiny_auto.save(request.param, tmp_path_factory.mktemp(request.param))
        yield never_ending(load_lvlm(str(folder), device="cpu"))


def naive(lvlm, prompt, answer, masks):
    """Read an answer in, each layer given its mask written out: logits (T, V)."""
    said = lvlm.decoder.embed_tokens(answer[:-1])[None]
    embeds = torch.cat([prompt.inputs_embeds, said], dim=1)
    given = prompt.decoder_arguments(0, embeds.shape[1])

    def mask(layer, args, kwargs):
        return args, kwargs | {"attention_mask": masks[layer][None, None]}

    with torch.no_grad(), baselines.edited(lvlm, mask):
        hidden = lvlm.decoder(inputs_embeds=embeds, use_cache=False, **given).last_hidden_state
    return lvlm.lm_head(hidden[0, -len(answer) :])


def seen(prompt, answer, blocked=()):
    """What tokens of prompt and answer see, but for edges (targets, sources) that are blocked."""
    n = len(prompt) + len(answer) - 1
    visible = torch.ones(n, n, dtype=torch.bool).tril()
    if prompt.mask is not None:
        visible[: len(prompt), : len(prompt)] = prompt.mask
    for targets, sources in blocked:
        visible[targets, sources] = False
    visible[range(n), range(n)] |= ~visible.any(1)
    return visible


def truncated(lvlm, prompt, answer, cut, kept=()):
    """The naive twin of truncation: logits (T, V) with the image hidden from a layer on."""
    hidden = [i for i in range(*prompt.spans.image.indices(len(prompt))) if i not in kept]
    everywhere, later = seen(prompt, answer), seen(prompt, answer, [(slice(None), hidden)])
    later[hidden, hidden] = True
    return naive(lvlm, prompt, answer, [everywhere] * cut + [later] * (lvlm.n_layers - cut))


def test_all_is_equal_to_its_naive_twin(auto, monkeypatch):
    monkeypatch.setattr(check, "N_TOKENS", 17)
    prompt = auto.prompt(picture(), QUESTION)
    found = check_model(auto, prompt)
    assert [each.name for each in found if not each.works] == []
    assert len(found) == 5
    # against the whole model once more, not by the check's own tolerance
    with torch.no_grad():
        whole = auto.family.whole_logits(prompt)
    torch.testing.assert_close(auto.logits(prompt), whole, rtol=0, atol=1e-5)


def test_interventions_are_masked_passes(auto):
    prompt, cut = auto.prompt(picture(), QUESTION), 3
    image = prompt.spans.image
    row = attention_flow(auto, prompt).rows[cut - 1].mean(0)[image]
    for hiding, n_kept in ((Truncate(cut), 0), (FastV(cut, 0.5), round(len(row) / 2))):
        with intervene(auto, hiding):
            first, tokens = auto.logits(prompt)[0, -1], auto.generate(prompt, 17)
        kept = (row.topk(n_kept).indices + image.start).tolist()
        logits = truncated(auto, prompt, tokens, cut, kept)
        torch.testing.assert_close(first, logits[0], rtol=0, atol=1e-4)
        assert torch.equal(tokens, logits.argmax(-1))


def test_image_tokens_that_stay_are_those_of_masked_passes(auto):
    prompt, keep = auto.prompt(picture(), QUESTION), 3
    if prompt.deepstack:
        with pytest.raises(InfoflowError, match=r"keep = 3 cannot be swept .*DeepStack"):
            truncation_sweep(auto, prompt, keep=keep)
        return
    ranking = torch.rand(prompt.grid.n_tokens)
    kept = (ranking.topk(keep).indices + prompt.spans.image.start).tolist()
    swept = truncation_sweep(auto, prompt, keep=keep, ranking=ranking, max_new_tokens=3)
    for cut in (0, 2, auto.n_layers):
        logits = truncated(auto, prompt, swept.tokens[cut], cut, kept)
        torch.testing.assert_close(swept.logits[cut], logits[0], rtol=0, atol=1e-4)
        assert torch.equal(swept.tokens[cut], logits.argmax(-1))


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl", "gemma3"])
def unlike(request):
    """A model whose decoder is given more than embeddings, a prompt, and an answer's ids."""
    return *miniature(AutoConfig.for_model(request.param)), torch.tensor([7, 9, 11])


def test_blocked_edges_are_those_of_masked_passes(unlike):
    lvlm, prompt, answer = unlike
    (_, image, user), last, window = prompt.spans, slice(len(prompt) - 1, None), 3
    targets = {"user": slice(user.start, None), "last": last, "image": image}
    for name, rows in targets.items():
        if prompt.deepstack and name == "image":
            with pytest.raises(InfoflowError, match=r"reach into the image.*DeepStack"):
                attention_knockout(lvlm, prompt, answer, "image", name, window)
            continue
        found = attention_knockout(lvlm, prompt, answer, "image", name, window)
        visible, cut = seen(prompt, answer), seen(prompt, answer, [(rows, image)])
        layers = range(lvlm.n_layers)
        for layer in layers:
            masks = [cut if abs(i - layer) <= window // 2 else visible for i in layers]
            logits = naive(lvlm, prompt, answer, masks)
            torch.testing.assert_close(found.logits[layer], logits[0], rtol=0, atol=5e-5)
            log_probs = logits.log_softmax(-1)[range(3), answer]
            torch.testing.assert_close(found.log_probs[layer], log_probs, rtol=0, atol=5e-5)


def test_maps_are_those_of_the_model_s_own_attention(unlike):
    """Attention and relevancy, by transformers' eager weights and their gradients."""
    lvlm, prompt, answer = unlike
    embeds = torch.cat([prompt.inputs_embeds, lvlm.decoder.embed_tokens(answer[:-1])[None]], 1)
    given = prompt.decoder_arguments(0, embeds.shape[1])
    if "attention_mask" in given:
        given["attention_mask"] = given["attention_mask"].float().log()  # what is added to scores
    with forward.attending(lvlm, "eager"):
        output = lvlm.decoder(
            inputs_embeds=embeds.requires_grad_(), use_cache=False, output_attentions=True, **given
        )
    logits = lvlm.lm_head(output.last_hidden_state)[0, -3:]
    gradients = torch.autograd.grad(logits[range(3), answer].sum(), output.attentions)
    product, image = torch.eye(embeds.shape[1]), prompt.spans.image
    for weights, gradient in zip(output.attentions, gradients, strict=True):
        product = product + (weights * gradient)[0].relu().mean(0) @ product
    rows = torch.stack([weights[0, :, -3:, : len(prompt)].mean(0) for weights in output.attentions])
    read = (rows / rows.sum(-1, keepdim=True)).mean(1)[:, image]  # over the prompt, and answer rows
    torch.testing.assert_close(attention(lvlm, prompt, answer), read, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        relevancy(lvlm, prompt, answer)[0], product[-3:, image].mean(0), rtol=1e-4, atol=1e-6
    )


def test_a_prompt_is_cut_and_batched_with_all_that_it_carries(unlike):
    lvlm, prompt, answer = unlike
    text = text_only(prompt)
    alone = lvlm.decoder(inputs_embeds=text.inputs_embeds, use_cache=False).last_hidden_state
    torch.testing.assert_close(lvlm.logits(text), lvlm.lm_head(alone), rtol=0, atol=1e-5)
    other = lvlm.with_pixels(prompt, 1 - prompt.pixel_values)
    both = answer_probabilities(lvlm, [prompt, other], answer)
    for each, probability in zip((prompt, other), both, strict=True):
        masks = [seen(prompt, answer)] * lvlm.n_layers
        log_probs = naive(lvlm, each, answer, masks).log_softmax(-1)
        expected = log_probs[range(3), answer].mean().exp()
        torch.testing.assert_close(probability, expected, rtol=1e-4, atol=0)
    if prompt.deepstack:
        with pytest.raises(InfoflowError, match="there is no path"):
            integrated_gradients(lvlm, prompt, answer)


@pytest.mark.parametrize("size", SIZES)
def test_a_marked_block_lights_up_where_it_is(auto, size):
    plain, white, block = marked(size, (0.0, 0.5), share=0.5)
    before, after = (auto.prompt(image, QUESTION) for image in (plain, white))
    image = before.spans.image
    change = (after.inputs_embeds - before.inputs_embeds)[0, image].norm(dim=-1)
    heat = before.grid.to_picture(change.numpy(), plain.size)
    assert_lit(heat - heat.min(), block, atol=0.1 * max(size))


def test_noisy_images_run_together_or_alone(unlike):
    lvlm, prompt, answer = unlike
    alone, together = (
        llava_cam(lvlm, prompt, answer, "output", n_samples=3, micro_batch=n) for n in (1, 3)
    )
    scale = alone.by_token[:-1].amax().clamp(min=1e-6)
    torch.testing.assert_close(
        together.by_token / scale, alone.by_token / scale, rtol=0, atol=1e-5, equal_nan=True
    )


@pytest.mark.parametrize(
    ("make", "n_a_tile", "cells"),
    [(tiny_auto.got_ocr, 256, (48, 64)), (tiny_auto.qwen(14), 0, (3, 4))],
)
def test_cells_are_found_though_they_are_a_few_grey_values_wide(make, n_a_tile, cells):
    """Of twelve tiles and the whole, 64 cells across share 256 values; or 28 pixels are a cell."""
    processor, size = make(448), (640, 480)
    if n_a_tile:
        processor.max_patches = 12

    def process(image):
        return processor(image, return_tensors="pt").pixel_values

    pixels, plain = process(Image.new("RGB", size)), SimpleNamespace()
    n_tokens = len(pixels) * n_a_tile or len(pixels) // 4
    model = SimpleNamespace(named_modules=list, config=plain, model=plain)
    grid = image_grid(process, model, size, {}, np.arange(n_tokens))
    assert (grid.rows, grid.cols) == cells
    np.testing.assert_allclose(grid.box, (0, 0, 1, 1), atol=0.002)


def test_embeddings_without_their_prompt_are_refused(auto):
    prompt = auto.prompt(picture(), QUESTION)
    with pytest.raises(InfoflowError, match="embeddings alone lack"):
        auto.logits(prompt.inputs_embeds)
    token = auto.tokenizer.convert_ids_to_tokens(auto.family.image_token_id)
    with pytest.raises(InfoflowError, match="image placeholder"):
        auto.prompt(picture(), f"what is {token} ?")


@pytest.mark.parametrize(
    ("kind", "without"),
    [
        ("qwen2_5_vl", {"position_ids": None}),
        ("qwen3_vl", {"position_ids": None}),
        ("qwen3_vl", {"deepstack": ()}),
        ("gemma3", {"mask": None}),
        ("paligemma", {"mask": None}),
    ],
)
def test_what_a_prompt_lacks_is_seen(kind, without):
    lvlm, prompt = miniature(AutoConfig.for_model(kind))
    with pytest.raises(InfoflowError, match=r"its output changes|is not causal"):
        forward.require_whole_model(lvlm, replace(prompt, **without))
    forward.require_whole_model(lvlm, prompt)


def test_a_wrong_twin_is_seen(monkeypatch):
    """The doctor is no rubber stamp: one position too far, and decoding and sweep differ."""
    lvlm, prompt = miniature(AutoConfig.for_model("qwen2_5_vl"))
    right = type(prompt).positions

    def one_too_far(self, start, stop):
        return right(self, start, stop) + (start >= len(self))

    monkeypatch.setattr(type(prompt), "positions", one_too_far)
    works = {each.name: each.works for each in check_model(lvlm, prompt)}
    assert not works["truncation sweep"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("qwen3_5", "layers of linear_attention"),
        ("lfm3_vl", "layers of conv"),
        ("mllama", "cross-attention"),
        ("llama4", "chunked_attention"),
        ("mistral4", "multi-head latent attention"),
        ("gemma3n", "shares keys and values"),
        ("minimax_m3_vl", "sparse attention"),
        ("florence2", "an encoder and a decoder"),
    ],
)
def test_what_hooks_do_not_follow_is_refused_in_one_line(kind, reason):
    (found,) = check_model(AutoConfig.for_model(kind))
    assert not found.works
    assert reason in found.word
    assert "\n" not in found.word


@pytest.mark.parametrize("text", ["gemma2", "gpt_oss", "deepseek_v3", "falcon", "mamba"])
def test_so_is_it_inside_another_model(text):
    config = LlavaConfig(vision_config=CLIPVisionConfig(), text_config=AutoConfig.for_model(text))
    (found,) = check_model(config)
    assert not found.works


def test_weights_are_not_needed(tmp_path):
    config = AutoConfig.for_model("internvl")
    config.save_pretrained(tmp_path)
    assert all(each.works for each in check_model(tmp_path / "config.json"))
    lines = CliRunner().invoke(app, ["check", str(tmp_path)]).output.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("works") for line in lines)
    with pytest.raises(InfoflowError, match="could not be fetched"):
        check_model(tmp_path / "nothing.json")


def test_without_a_chat_template_nothing_is_guessed(tmp_path):
    tiny_auto.save("internvl3", tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(InfoflowError, match="no chat template"):
        load_lvlm(str(tmp_path), device="cpu").prompt(picture(), QUESTION)
    # the page's example says in a subclass what is missing
    page = json.loads((PAGES / "any_model.ipynb").read_text("utf-8"))
    (cell,) = (c for c in page["cells"] if "class WithoutConversation" in "".join(c["source"]))
    named = {"AutoFamily": AutoFamily, "report": SimpleNamespace(Words=str)}
    exec("".join(cell["source"]), named)
    place = Placement(torch.device("cpu"))
    family = named["WithoutConversation"].open(tmp_path, place, torch.float32)
    lvlm = LVLM("mine", family, tmp_path, None)
    prompt = lvlm.prompt(picture(), QUESTION)
    assert prompt.spans.image.start == 1  # after the processor's mark, and no word
    forward.require_whole_model(lvlm, prompt)


def test_windows_shorter_than_a_prompt_are_refused():
    family = miniature(AutoConfig.for_model("gemma3"))[0].family
    family.decoder.config.sliding_window = 12
    with pytest.raises(InfoflowError, match="context of 12"):
        LVLM("tiny", family, Path(), None).prompt(picture(), QUESTION)


def test_where_tokens_lie_is_not_guessed():
    _, prompt = miniature(AutoConfig.for_model("qwen2_5_vl"))
    values = np.arange(prompt.grid.n_tokens)
    assert prompt.grid.cells(values).shape == (1, len(values))
    with pytest.raises(InfoflowError, match="is not known"):
        prompt.grid.to_picture(values, (8, 8))


def test_noise_is_that_of_one_image():
    """Qwen's rows hold a patch twice, as of a video that stands still."""
    lvlm, prompt = miniature(AutoConfig.for_model("qwen2_5_vl"))
    pixels = prompt.pixel_values
    noise = lvlm.family.pixel_noise(pixels, 0.1, torch.Generator().manual_seed(0))
    first, second = noise.view(len(pixels), 3, 2, -1).unbind(2)
    assert torch.equal(first, second)
    assert abs(float(noise.std()) - 0.1) < 0.01


@pytest.mark.parametrize("kind", ["qwen2.5-vl", "internvl3"])
def test_costs_are_told_from_configuration_and_processor(kind, tmp_path):
    folder = tiny_auto.save(kind, tmp_path)
    lvlm, shape = load_lvlm(str(folder), device="cpu"), costs.shape_of(str(folder))
    prompt = lvlm.prompt(Image.new("RGB", costs.IMAGE_SIZE), QUESTION)
    assert shape.image_tokens == int((prompt.input_ids == lvlm.family.image_token_id).sum())
    counted = sum(weight.numel() for weight in lvlm.model.parameters())
    assert shape.parameters == pytest.approx(counted, rel=0.01)
    assert (shape.layers, shape.keys) == (6, 2 * 2 * 16)
    (tmp_path / "model.safetensors").unlink()
    assert str(folder) in costs.costs_text([str(folder)])
