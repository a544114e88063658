"""Qwen-VL and Qwen-VL-Chat: pickled shards, a tiktoken file, a resampler on a raster, ChatML."""

import json
import shutil

import numpy as np
import pytest
import restated
import restated_qwen
import tiny_qwen_vl
import tiny_tiktoken
import torch
from checkpoints import CLIP_MEAN, CLIP_STD
from PIL import Image
from tiny_models import QUESTION, SIZES, picture
from tiny_qwen_vl import HEADS, PATCH, QUERIES, SIDE

from infoflow.errors import InfoflowError
from infoflow.models.convert.qwen_vl import native_config
from infoflow.models.families.base import ImageFeatures
from infoflow.models.families.qwen_model import QwenVLConfig, QwenVLForConditionalGeneration
from infoflow.models.lvlm import load_lvlm
from zoo.architectures.qwen_vl import sine_cosine_positions

NAMES = ("qwen-vl-7b", "qwen-vl-chat-7b")
N_SIDE = SIDE // PATCH
PAD = tiny_tiktoken.special_id("<imgpad>")
AROUND = {
    "qwen-vl-7b": ("<img>", "</img>{}"),
    "qwen-vl-chat-7b": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nPicture 1:<img>",
        "</img>\n{}<|im_end|>\n<|im_start|>assistant\n",
    ),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The checkpoints by name; they differ in what they were trained on alone."""
    return {
        name: tiny_qwen_vl.save(tmp_path_factory.mktemp(name), chat_format)["checkpoint"]
        for name, chat_format in zip(NAMES, ("raw", "chatml"), strict=True)
    }


@pytest.fixture
def folder(published, tmp_path):
    return shutil.copytree(published["qwen-vl-7b"], tmp_path / "checkpoint")


@pytest.fixture(scope="module", params=NAMES)
def lvlm(request, published):
    return load_lvlm(request.param, checkpoint=published[request.param], device="cpu")


@pytest.fixture(scope="module")
def weights():
    return {k: v.bfloat16().float() for k, v in tiny_qwen_vl.tensors().items()}


@pytest.mark.parametrize("size", SIZES)
def test_it_equals_the_restatement(lvlm, weights, size):
    prompt = lvlm.prompt(picture(size=size), QUESTION)
    tokens, _ = tiny_qwen_vl.image_tokens(weights, prompt.pixel_values[0])
    embeds = restated.joined(prompt, tokens, weights["transformer.wte.weight"])
    restated.assert_close(prompt.inputs_embeds[0], embeds)
    expected = restated_qwen.decoder(weights, embeds, HEADS)
    found = lvlm.logits(lvlm.embed(prompt.input_ids, prompt.pixel_values))[0]
    restated.assert_close(found, expected)


@pytest.mark.parametrize("question", ["how ?", QUESTION, f"{QUESTION} {QUESTION}", "\n naïve 42's"])
def test_the_prompt_is_a_raw_text_or_one_message_of_chatml(lvlm, question):
    prompt = lvlm.prompt(picture(), question)
    before, after = (tiny_tiktoken.encode(text.format(question)) for text in AROUND[lvlm.name])
    assert prompt.input_ids.tolist() == [*before, *[PAD] * QUERIES, *after]
    assert [s.stop - s.start for s in prompt.spans] == [len(before), QUERIES, len(after)]
    assert prompt.grid.n_tokens == QUERIES
    assert lvlm.family.image_token_id == PAD


def test_answers_end_where_each_was_trained_to_end_them(published):
    ends = {name: load_lvlm(name, checkpoint=published[name]).eos_token_ids for name in NAMES}
    text, start, end = map(
        tiny_tiktoken.special_id, ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    )
    assert ends == {"qwen-vl-7b": (text,), "qwen-vl-chat-7b": (end, start, text)}


def test_the_context_ends_where_other_positions_would_begin(lvlm):
    assert lvlm.context_length == tiny_qwen_vl.config()["seq_length"]


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_squashed(lvlm, size):
    image = picture(size=size)
    resized = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    expected = ((resized / 255 - CLIP_MEAN) / CLIP_STD).transpose(2, 0, 1)[None]
    prompt = lvlm.prompt(image, QUESTION)
    np.testing.assert_allclose(prompt.pixel_values.numpy(), expected, atol=1e-5)
    assert prompt.grid.box == (0, 0, 1, 1)


def test_a_querys_value_lies_where_it_looked(lvlm, weights):
    prompt = lvlm.prompt(picture(), QUESTION)
    _, looks = tiny_qwen_vl.image_tokens(weights, prompt.pixel_values[0])
    cells = prompt.grid.cells(torch.eye(QUERIES))
    assert cells.shape == (QUERIES, N_SIDE, N_SIDE)
    np.testing.assert_allclose(cells.reshape(QUERIES, -1), looks, atol=1e-5)
    assert looks.std() > 1e-3  # not all alike
    scores = torch.rand(QUERIES)
    np.testing.assert_allclose(prompt.grid.cells(scores).sum(), scores.sum(), rtol=1e-5)


@pytest.mark.parametrize("size", [(50, 80), (80, 50), (56, 56), (30, 200)])
def test_a_marked_block_draws_the_map_to_where_it_is(lvlm, size):
    """Queries that look at a block's patches alone light up the block of the squashed picture."""
    height, width = size
    before = np.zeros((height, width, 3), dtype=np.uint8)
    after = before.copy()
    rows = slice(height // 5, 2 * height // 5)
    columns = slice(3 * width // 5, 4 * width // 5)
    after[rows, columns] = 255
    plain, marked = (lvlm.prompt(Image.fromarray(x), QUESTION) for x in (before, after))
    change = (marked.pixel_values - plain.pixel_values)[0].mean(0)
    patches = change.unfold(0, PATCH, PATCH).unfold(1, PATCH, PATCH).mean((-1, -2)).flatten()
    looks = patches.clamp(min=0)[None].expand(QUERIES, -1) / patches.clamp(min=0).sum()
    grid = lvlm.family.grid((width, height), ImageFeatures(torch.zeros(QUERIES, 1), looks))
    heat = grid.to_picture(np.ones(QUERIES), (width, height))
    block = np.zeros(size, dtype=bool)
    block[rows, columns] = True
    assert block[np.unravel_index(heat.argmax(), heat.shape)]
    for axis in (0, 1):
        centre = np.average(np.arange(size[axis]), weights=heat.sum(1 - axis))
        expected = np.flatnonzero(block.any(1 - axis)).mean()
        np.testing.assert_allclose(centre, expected, atol=0.03 * size[axis])


def test_the_fixed_positions_are_those_of_the_paper():
    found = sine_cosine_positions(tiny_qwen_vl.RASTER, tiny_qwen_vl.HIDDEN)
    torch.testing.assert_close(found, tiny_qwen_vl.positions(), rtol=0, atol=1e-6)


def test_the_published_sizes_are_those_of_the_published_model(folder):
    published = {
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "seq_length": 2048,
        "vocab_size": 151936,
    }
    visual = {
        "heads": 16,
        "image_size": 448,
        "image_start_id": 151857,
        "layers": 48,
        "mlp_ratio": 4.9231,
        "output_dim": 4096,
        "patch_size": 14,
        "width": 1664,
    }
    config = tiny_qwen_vl.config() | published | {"visual": visual}
    (folder / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        model = QwenVLForConditionalGeneration(QwenVLConfig(**native_config(folder)))
    sizes = {"model": 0, "lm_head": 0, "visual": 0}
    for name, tensor in model.named_parameters():
        sizes[name.split(".")[0]] += tensor.numel()
    assert model.visual.shape.n_queries == 256
    assert round((sizes["model"] + sizes["lm_head"]) / 1e9, 3) == 7.721
    pool = sum(
        p.numel()
        for name, p in model.visual.named_parameters()
        if name.startswith(("attn_pool", "ln_post", "proj"))
    )
    assert round((sizes["visual"] - pool) / 1e9, 3) == 1.843
    assert round(pool / 1e9, 3) == 0.093


@pytest.mark.parametrize("mark", ["<image>", "<img>", "</img>", "<imgpad>"])
def test_a_question_with_a_pictures_mark_is_one_clear_error(lvlm, mark):
    with pytest.raises(InfoflowError, match=f"image placeholder '{mark}'"):
        lvlm.prompt(picture(), f"what is {mark} ?")


def test_bad_input_is_one_clear_error(lvlm):
    prompt = lvlm.prompt(picture(), QUESTION)
    with pytest.raises(InfoflowError, match=r"\(1, 3, 64, 64\)"):
        lvlm.embed(prompt.input_ids, prompt.pixel_values[..., :42])
    ids = prompt.input_ids.tolist()
    ids.remove(PAD)
    with pytest.raises(InfoflowError, match="63 image token ids for 64 image features"):
        lvlm.embed(torch.tensor(ids), prompt.pixel_values)


def test_the_other_types_are_whole(published):
    half = load_lvlm(
        "qwen-vl-7b", checkpoint=published["qwen-vl-7b"], device="cpu", dtype="bfloat16"
    )
    assert half.dtype == torch.bfloat16
    prompt = half.prompt(picture(), QUESTION)
    assert prompt.inputs_embeds.dtype == torch.bfloat16
    np.testing.assert_allclose(prompt.grid.cells(torch.ones(QUERIES)).sum(), QUERIES, rtol=1e-2)


def edit_config(folder, edit):
    content = json.loads((folder / "config.json").read_text())
    edit(content)
    (folder / "config.json").write_text(json.dumps(content))


def edit_lines(folder, edit):
    path = folder / "qwen.tiktoken"
    path.write_bytes(b"\n".join(edit(path.read_bytes().splitlines())) + b"\n")


def edit_weights(folder, edit):
    path = next(
        f for f in folder.glob("pytorch_model-*.bin") if "transformer.visual.proj" in torch.load(f)
    )
    content = torch.load(path)
    edit(content)
    torch.save(content, path)
    index = json.loads((folder / "pytorch_model.bin.index.json").read_text())
    index["weight_map"] = {
        k: file for k, file in index["weight_map"].items() if file != path.name
    } | dict.fromkeys(content, path.name)
    del index["metadata"]["total_size"]
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: (f / "qwen.tiktoken").unlink(),
            "tiktoken cannot be read: FileNot",
        ),
        (
            lambda f: edit_lines(f, lambda x: [*x[:9], b"no&base 9", *x[10:]]),
            "tiktoken cannot be read",
        ),
        (
            lambda f: edit_lines(f, lambda x: [*x[:9], b"YWI=", *x[10:]]),
            "tiktoken cannot be read",
        ),
        (lambda f: edit_lines(f, lambda x: [*x[:9], b"YWI= one"]), "tiktoken cannot be read"),
        (lambda f: edit_lines(f, lambda x: x[1:]), "id of <img> .* is 665; valid: 666"),
        (lambda f: edit_lines(f, lambda x: x[:-5]), "id of <img> .* is 661; valid: 666"),
        (
            lambda f: edit_config(f, lambda c: c.update(model_type="llama")),
            r"type .* is 'llama'; valid: 'qwen'",
        ),
        (
            lambda f: edit_config(f, lambda c: c.pop("visual")),
            "converted: KeyError: 'visual'",
        ),
        (lambda f: edit_config(f, lambda c: c.pop("seq_length")), "KeyError: 'seq_length'"),
        (
            lambda f: edit_weights(f, lambda w: w.update({"transformer.visual.x": torch.ones(2)})),
            r"1 unexpected \(visual.x\)",
        ),
        (
            lambda f: edit_weights(f, lambda w: w.update({"transformer.h.0.x": torch.ones(2)})),
            r"1 unexpected \(transformer.h.0.x\)",
        ),
        (
            lambda f: edit_weights(f, lambda w: w.pop("transformer.visual.proj")),
            r"1 missing \(visual.proj\)",
        ),
        (
            lambda f: edit_weights(
                f, lambda w: w.update({"transformer.visual.proj": torch.ones(2, 3)})
            ),
            r"1 of another shape \(visual.proj\)",
        ),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_error(folder, damage, message):
    damage(folder)
    with pytest.raises(InfoflowError, match=message) as caught:
        load_lvlm("qwen-vl-7b", checkpoint=folder, device="cpu")
    assert len(str(caught.value).splitlines()) == 1


def test_another_familys_folder_is_one_clear_error(published_checkpoint):
    with pytest.raises(
        InfoflowError, match=r"model_type in \S+config\.json is 'llava'; valid: 'qwen_vl'"
    ):
        load_lvlm("qwen-vl-7b", checkpoint=published_checkpoint, device="cpu")


def test_transformers_has_nothing_to_warn_of(published, capfd):
    load_lvlm("qwen-vl-7b", checkpoint=published["qwen-vl-7b"], device="cpu")
    assert capfd.readouterr() == ("", "")


def test_each_is_refused_under_the_others_name(lvlm, published):
    other = next(name for name in NAMES if name != lvlm.name)
    with pytest.raises(InfoflowError, match=rf"chat_format.*{lvlm.family.chat_format}"):
        load_lvlm(other, checkpoint=published[lvlm.name], device="cpu")
