"""Checkpoint folders as people bring them: loaded right, or refused in one line."""

import json
import random
import re
import shutil
import struct
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import QUESTION, picture
from transformers import InstructBlipProcessor, LlavaNextProcessor, LlavaProcessor

import infoflow
from infoflow.errors import InfoflowError
from infoflow.methods.flow import attention_flow
from infoflow.models.lvlm import load_lvlm

LIBRARY = Path(infoflow.__file__).parent
ZOO = LIBRARY / "zoo"
NAMES = sorted(folder.name for folder in ZOO.iterdir())


@pytest.fixture
def folder(tmp_path):
    return copy_of("tiny-llava-1.5", tmp_path)


def copy_of(name, tmp_path):
    return shutil.copytree(ZOO / name, tmp_path / name)


def edit(folder, file="config.json", within=None, **values):
    path = folder / file
    content = json.loads(path.read_text()) if path.is_file() else {}
    (content[within] if within else content).update(values)
    path.write_text(json.dumps(content))


def edit_tensors(folder, edit):
    path = folder / "model.safetensors"
    save_file(edit(load_file(path)), path, metadata={"format": "pt"})


def refused(folder, match, name="tiny-llava-1.5"):
    with pytest.raises(InfoflowError, match=match) as caught:
        load_lvlm(name, checkpoint=folder, device="cpu")
    assert len(str(caught.value).splitlines()) == 1


def head(tensors, change):
    name = next(name for name in tensors if name.endswith("lm_head.weight"))
    return tensors | {name: change(tensors[name].float())}


def with_nan(tensor):
    tensor[3, 5] = torch.nan
    return tensor


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.to(torch.int8), "lm_head.weight .* torch.int8"),
        (lambda t: t > 0, "lm_head.weight .* torch.bool"),
        (lambda t: t.to(torch.complex64), "lm_head.weight .* torch.complex64"),
        (lambda t: t.to(torch.float8_e4m3fn), "lm_head.weight .* torch.float8_e4m3fn"),
        (with_nan, "lm_head.weight in .* is not finite"),
        (lambda t: t * torch.inf, "lm_head.weight in .* is not finite"),
        (lambda t: t[:0], r"of another shape \(lm_head.weight|cannot be loaded"),
    ],
)
def test_weights_are_finite_numbers_of_a_floating_type(folder, change, message):
    edit_tensors(folder, lambda tensors: head(tensors, change))
    refused(folder, message)


def test_a_float64_checkpoint_is_cast(folder):
    edit_tensors(folder, lambda tensors: {k: v.double() for k, v in tensors.items()})
    wide, zoo = load_lvlm("tiny-llava-1.5", checkpoint=folder), load_lvlm("tiny-llava-1.5")
    assert torch.equal(*(x.prompt(picture(), QUESTION).inputs_embeds for x in (wide, zoo)))


def test_a_number_too_large_for_the_type_is_refused(folder):
    edit_tensors(folder, lambda tensors: head(tensors, lambda t: t.float() * 1e30))
    with pytest.raises(InfoflowError, match=r"not finite in .*float16"):
        load_lvlm("tiny-llava-1.5", checkpoint=folder, device="cpu", dtype="float16")


@pytest.mark.parametrize("size", [1 << 40, 1 << 62, 0])
def test_a_header_that_promises_more_than_the_file_is_refused(folder, size):
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", size) + path.read_bytes()[8:])
    refused(folder, "cannot be read as tensors alone")


@pytest.mark.parametrize(
    ("within", "values", "message"),
    [
        ("text_config", {"num_hidden_layers": 0}, "108 unexpected"),
        ("text_config", {"num_hidden_layers": True}, "num_hidden_layers.* got bool"),
        ("text_config", {"num_hidden_layers": 11}, "12|unexpected"),
        ("text_config", {"hidden_size": 10**7}, "does not fit"),
        ("text_config", {"vocab_size": 10**9}, "does not fit"),
        ("text_config", {"hidden_size": -128}, "negative dimension -128"),
        ("text_config", {"hidden_size": "128"}, "hidden_size.* got str"),
        ("text_config", {"rms_norm_eps": float("nan")}, "NaN is no number of JSON"),
        ("text_config", {"hidden_act": "nonsense"}, "cannot be loaded"),
        ("text_config", {"rope_parameters": {"rope_type": "odd"}}, "cannot be loaded"),
        ("text_config", {"model_type": "mistral"}, "text_config .* 'mistral'; valid: 'llama'"),
        ("vision_config", {"image_size": 10**9}, "does not fit"),
        (None, {"vision_feature_layer": 9}, "vision_feature_layer .* is 9"),
        (None, {"vision_feature_layer": [-2, -3]}, "vision_feature_layer|of another shape"),
        (None, {"vision_feature_select_strategy": "full"}, "strategy .* 'full'; valid: 'default'"),
        (None, {"image_token_index": 2}, "image token's id 2 .* '</s>'"),
        (None, {"image_token_index": 50}, "image token's id 50"),
        (None, {"image_token_index": -1}, "image token's id .* is -1"),
        (None, {"text_config": []}, "text_config"),
        (None, {"model_type": ["llava"]}, "unhashable"),
    ],
)
def test_a_configuration_that_no_model_has_is_refused(folder, within, values, message):
    edit(folder, within=within, **values)
    refused(folder, message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_std": [0, 1, 1]}, "image_std .* is 0"),
        ({"image_std": [-1, 1, 1]}, "image_std .* is -1"),
        ({"image_std": [float("nan"), 1, 1]}, "NaN is no number of JSON"),
        ({"image_mean": [0.5, 0.5]}, "takes no image"),
        ({"image_mean": "grey"}, "image_mean"),
        ({"size": {"shortest_edge": 100}}, "does not give the tower"),
        ({"crop_size": {"height": 96, "width": 48}}, r"shape .* \(3, 96, 48\); valid: \(3, 96, 96"),
        ({"do_normalize": False}, "does not give the tower"),
        ({"do_rescale": False}, "does not give the tower"),
        ({"rescale_factor": 1}, "does not give the tower"),
        ({"resample": 77}, "resample|takes no image|cannot be made"),
    ],
)
def test_an_image_processor_that_does_not_fit_the_tower_is_refused(folder, values, message):
    edit(folder, "preprocessor_config.json", **values)
    refused(folder, message)


@pytest.mark.parametrize("ids", [-1, 126, True, "2", [2, 126], 2.0, {}])
def test_the_token_that_ends_answers_is_one_of_the_vocabulary(folder, ids):
    edit(folder, "generation_config.json", eos_token_id=ids)
    refused(folder, "eos_token_id|cannot be loaded")


def test_a_damaged_generation_config_is_refused(folder):
    (folder / "generation_config.json").write_text("{")
    refused(folder, "generation_config.json cannot be read")


def test_answers_are_greedy_whatever_the_generation_config_asks_for(folder):
    plain = load_lvlm("tiny-llava-1.5")
    edit(
        folder,
        "generation_config.json",
        repetition_penalty=3.0,
        no_repeat_ngram_size=1,
        suppress_tokens=list(range(5, 60)),
        do_sample=True,
        temperature=9.0,
    )
    other = load_lvlm("tiny-llava-1.5", checkpoint=folder)
    for question in ("Describe the picture.", "Is there a red circle?"):
        expected, found = (x.answer(x.prompt(picture(), question)) for x in (plain, other))
        assert found == expected


OTHER_CONVERSATIONS = [
    ("chat_template.jinja", "{% for m in messages %}[INST] {{ m['content'] }} [/INST]{% endfor %}"),
    ("chat_template.jinja", "<|im_start|>{{ m['role'] }}\n<|im_end|>"),
    ("chat_template.json", {"chat_template": "<|start_header_id|>user<|end_header_id|>"}),
    ("processor_config.json", {"chat_template": "### Human: ### Assistant:"}),
    ("tokenizer_config.json", {"chat_template": [{"name": "default", "template": "[INST]"}]}),
]
PUBLISHED_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': '}}...{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


@pytest.mark.parametrize("name", ["tiny-llava-1.5", "tiny-llava-1.6", "tiny-shikra"])
@pytest.mark.parametrize(("file", "content"), OTHER_CONVERSATIONS)
def test_a_checkpoint_of_another_conversation_is_refused(tmp_path, name, file, content):
    folder = copy_of(name, tmp_path)
    if isinstance(content, str):
        (folder / file).write_text(content)
    else:
        edit(folder, file, **content)
    refused(folder, "another conversation", name)


@pytest.mark.parametrize("template", [PUBLISHED_TEMPLATE, "USER: {{ x }} ASSISTANT:"])
def test_the_published_chat_templates_are_the_familys_own(folder, template):
    edit(folder, "chat_template.json", chat_template=template)
    assert load_lvlm("tiny-llava-1.5", checkpoint=folder).n_layers == 12


def test_a_vocabulary_of_another_conversation_is_refused(folder):
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"red"', '"[INST]"'))
    refused(folder, r"another conversation .* \[INST\]")


def test_an_instructblip_with_a_t5_is_refused(tmp_path):
    folder = copy_of("tiny-instructblip", tmp_path)
    edit(folder, within="text_config", model_type="t5")
    refused(folder, "text_config .* 't5'; valid: 'llama'", "tiny-instructblip")


ORIGINAL = {"model_type": "llava", "architectures": ["LlavaLlamaForCausalLM"]}
TEXT_MODEL = {"model_type": "mistral", "hidden_size": 8, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config.json": ORIGINAL}, "holds no weights"),
        ({"config.json": TEXT_MODEL}, "holds no weights"),
        ({"adapter_config.json": {}}, "a LoRA adapter"),
        ({"config.json": ORIGINAL, "adapter_config.json": {}}, "a LoRA adapter"),
        ({"readme.txt": {}}, "config.json cannot be read"),
    ],
)
@pytest.mark.parametrize("name", ["tiny-llava-1.5", "tiny-instructblip"])
def test_other_folders_are_refused(tmp_path, name, files, message):
    for file, content in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(json.dumps(content))
    refused(tmp_path, message, name)


def test_pickled_weights_are_read_as_tensors_alone(folder):
    whole = load_lvlm("tiny-llava-1.5", checkpoint=folder, device="cpu")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    pickled = load_lvlm("tiny-llava-1.5", checkpoint=folder, device="cpu")
    prompts = [x.prompt(picture(), QUESTION) for x in (whole, pickled)]
    assert torch.equal(whole.logits(prompts[0]), pickled.logits(prompts[1]))


@pytest.mark.parametrize("given", ["", 3, b"folder", "a\0b", ["x"], "~nobody-at-all/x", "config"])
def test_a_checkpoint_that_is_no_folder_is_refused(given):
    with pytest.raises(InfoflowError, match=r"checkpoint|config.json"):
        load_lvlm("tiny-llava-1.5", checkpoint=given)


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": 3},
        {"name": ["tiny-llava-1.5"]},
        {"device": 0},
        {"device": "cuda:-1"},
        {"device": "mps"},
        {"device": None},
        {"dtype": None},
        {"dtype": ["float32"]},
        {"quantise": True},
        {"quantise": ["4bit"]},
        {"name": "llava-1.5-7b", "revision": ""},
        {"name": "llava-1.5-7b", "revision": 3},
        {"name": "llava-1.5-7b", "revision": "../../x"},
        {"name": "shikra-7b", "checkpoint": "x", "base": 3},
        {"base": "x"},
    ],
)
def test_odd_arguments_are_one_clear_error(arguments):
    with pytest.raises(InfoflowError):
        load_lvlm(**{"name": "tiny-llava-1.5"} | arguments)


PROCESSORS = {
    "tiny-llava-1.5": LlavaProcessor,
    "tiny-llava-1.6": LlavaNextProcessor,
    "tiny-shikra": LlavaProcessor,
    "tiny-internvl": LlavaProcessor,
    "tiny-instructblip": InstructBlipProcessor,
}


@pytest.mark.parametrize("shard_size", ["50GB", "2MB"])
@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_as_transformers_saves_it_gives_the_same(tmp_path, name, shard_size):
    lvlm = load_lvlm(name, device="cpu")
    family = lvlm.family
    lvlm.model.save_pretrained(tmp_path, max_shard_size=shard_size)
    if name in PROCESSORS:
        more = [family.qformer_tokenizer] if name == "tiny-instructblip" else []
        processor = PROCESSORS[name](family.image_processor, lvlm.tokenizer, *more)
        processor.save_pretrained(tmp_path)
        assert not (tmp_path / "preprocessor_config.json").exists()
    else:
        family.image_processor.save_pretrained(tmp_path)
        lvlm.tokenizer.save_pretrained(tmp_path)
    saved = load_lvlm(name, checkpoint=tmp_path, device="cpu")
    logits = [x.logits(x.prompt(picture(), "Is it red?").inputs_embeds) for x in (lvlm, saved)]
    assert torch.equal(*logits)
    assert saved.eos_token_ids == lvlm.eos_token_ids


def test_every_from_pretrained_refuses_remote_code():
    calls = [
        call
        for path in LIBRARY.rglob("*.py")
        for call in re.findall(r"from_pretrained\(((?:[^()]|\([^()]*\))*)\)", path.read_text())
    ]
    assert len(calls) >= 2
    assert all("trust_remote_code=False" in call for call in calls), calls


def test_no_code_of_a_checkpoint_runs_and_nothing_is_asked(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    classes = ("Config", "Model", "Tokenizer", "Processor", "ImageProcessor")
    code = f"open({str(ran)!r}, 'w')\n" + "".join(f"class My{c}: pass\n" for c in classes)
    auto_map = {f"Auto{c}": f"evil.My{c}" for c in classes} | {
        "AutoTokenizer": ["evil.MyTokenizer", "evil.MyTokenizer"]
    }
    monkeypatch.setattr("builtins.input", lambda *said: pytest.fail(f"asked: {said}"))
    for name in ("tiny-llava-1.5", "tiny-instructblip"):
        folder = copy_of(name, tmp_path)
        (folder / "evil.py").write_text(code)
        (folder / "custom_generate").mkdir()
        (folder / "custom_generate" / "generate.py").write_text(code)
        for file in ("config", "tokenizer_config", "preprocessor_config", "generation_config"):
            edit(folder, f"{file}.json", auto_map=auto_map, custom_generate="evil")
        edit(folder, "tokenizer_config.json", tokenizer_class="MyTokenizer")
        with suppress(InfoflowError):
            load_lvlm(name, checkpoint=folder, device="cpu")
    assert not ran.exists()


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_header_is_an_error_of_one_line_or_changes_no_shape(folder, seed):
    rng = random.Random(seed)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    for _ in range(3):
        content[rng.randrange(3000)] = rng.randrange(256)
    path.write_bytes(content)
    try:
        lvlm = load_lvlm("tiny-llava-1.5", checkpoint=folder, device="cpu")
        prompt = lvlm.prompt(picture(), "Is there a red circle?")
        assert lvlm.logits(prompt.inputs_embeds).isfinite().all()
    except InfoflowError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017


def test_a_prompt_is_of_the_model_that_encoded_it(folder):
    one, two = load_lvlm("tiny-llava-1.5"), load_lvlm("tiny-llava-1.5", checkpoint=folder)
    prompt = one.prompt(picture(), "Is it red?")
    for measure in (attention_flow, type(two).answer):
        with pytest.raises(InfoflowError, match="encoded for another model"):
            measure(two, prompt)
    moved = one.model.to(torch.float64)
    with pytest.raises(InfoflowError, match=r"float32.*float64"):
        attention_flow(one, prompt)
    moved.to(torch.float32)
    attention_flow(one, prompt)
