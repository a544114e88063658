import json
import shutil

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import QUESTION, picture

from infoflow.errors import InfoflowError, UnknownNameError
from infoflow.models.lvlm import load_lvlm
from infoflow.results.provenance import provenance

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(published_checkpoint, tmp_path):
    return shutil.copytree(published_checkpoint, tmp_path / "checkpoint")


def edit_tensors(folder, edit):
    shard = sorted(folder.glob("*.safetensors"))[0]
    tensors = edit(load_file(shard))
    save_file(tensors, shard, metadata={"format": "pt"})
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    kept = {k: v for k, v in index["weight_map"].items() if v != shard.name}
    index["weight_map"] = kept | dict.fromkeys(tensors, shard.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def without_one(tensors):
    tensors.pop("language_model.model.norm.weight", None)
    return dict(list(tensors.items())[1:])


def with_one_more(tensors):
    return tensors | {"language_model.model.extra.weight": torch.zeros(2)}


def with_a_wrong_shape(tensors):
    name = next(name for name in tensors if name.endswith("layernorm.weight"))
    return tensors | {name: torch.zeros(7)}


def config_without(folder):
    (folder / "config.json").unlink()


def config_broken(folder):
    (folder / "config.json").write_text("{")


def config_of_another_type(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))


def shard_missing(folder):
    sorted(folder.glob("*.safetensors"))[1].unlink()


def shard_truncated(folder):
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])


def index_empty(folder):
    (folder / "model.safetensors.index.json").write_text("{}")


def weights_missing(folder):
    for path in folder.glob("model*"):
        path.unlink()


def tokenizer_missing(folder):
    (folder / "tokenizer.json").unlink()


def tokenizer_broken(folder):
    (folder / "tokenizer.json").write_text("{}")


def processor_missing(folder):
    (folder / "preprocessor_config.json").unlink()


def processor_broken(folder):
    (folder / "preprocessor_config.json").write_text("]")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "config.json cannot be read: No such file"),
        (config_without, "config.json cannot be read: No such file"),
        (config_broken, "config.json cannot be read as JSON"),
        (config_of_another_type, r"the model_type in \S+config\.json is 'llama'; valid: 'llava'"),
        (weights_missing, "no weights: none of model.safetensors, model.safetensors.index.json"),
        (index_empty, "names no weights"),
        (shard_missing, "model-00002-of-00003.safetensors cannot be read as tensors"),
        (shard_truncated, "cannot be read as tensors alone"),
        (lambda f: edit_tensors(f, without_one), r"1 missing \("),
        (lambda f: edit_tensors(f, with_one_more), r"1 unexpected \(.*extra.weight"),
        (lambda f: edit_tensors(f, with_a_wrong_shape), "layernorm.weight|cannot be loaded"),
        (tokenizer_missing, "tokenizer.json cannot be read: No such file"),
        (tokenizer_broken, "the tokenizer in .* cannot be read"),
        (processor_missing, "preprocessor_config.json cannot be read: No such file"),
        (processor_broken, "preprocessor_config.json cannot be read as JSON"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_error(folder, damage, message, capfd):
    damage(folder)
    with pytest.raises(InfoflowError, match=message) as caught:
        load_lvlm("llava-1.5-7b", checkpoint=folder, device="cpu")
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")  # the error is all there is to read


def test_buffers_of_older_conversions_do_no_harm(folder, published_checkpoint):
    edit_tensors(
        folder,
        lambda tensors: (
            tensors
            | {"language_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8)}
        ),
    )
    whole = load_lvlm("llava-1.5-7b", checkpoint=published_checkpoint, device="cpu")
    prompt = whole.prompt(picture(), QUESTION)
    older = load_lvlm("llava-1.5-7b", checkpoint=folder, device="cpu")
    assert torch.equal(older.logits(prompt.inputs_embeds), whole.logits(prompt.inputs_embeds))


@pytest.fixture
def offline_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.mark.parametrize("revision", [None, "v2"])
def test_without_the_hub_the_error_says_how_to_give_a_folder(offline_cache, revision):
    with pytest.raises(InfoflowError, match=r"load_lvlm\('llava-1.5-7b', checkpoint=folder\)"):
        load_lvlm("llava-1.5-7b", revision=revision, device="cpu")


def test_a_model_of_the_hub_is_known_by_its_commit(offline_cache, published_checkpoint):
    repository = offline_cache / "models--llava-hf--llava-1.5-7b-hf"
    shutil.copytree(published_checkpoint, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for name in ("llava-1.5-7b", f"llava-1.5-7b@{COMMIT}"):
        lvlm = load_lvlm(name, device="cpu")
        assert lvlm.name == "llava-1.5-7b"
        assert lvlm.revision == lvlm.digest == COMMIT
        assert provenance(lvlm, None, {}, "")["model"]["revision"] == COMMIT
    assert lvlm.prompt(picture(), QUESTION).inputs_embeds.shape[-1] == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "llava-1.5-7B"}, "unknown model 'llava-1.5-7B'. Did you mean 'llava-1.5-7b'"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"device": "meta"}, "unknown device 'meta'"),
        ({"dtype": "int8"}, "unknown dtype 'int8'.*Valid: auto, bfloat16, float16, float32"),
        ({"dtype": torch.int8}, "unknown dtype 'int8'"),
    ],
)
def test_an_unknown_name_is_one_clear_error(zoo_checkpoint, arguments, message):
    with pytest.raises(UnknownNameError, match=message):
        load_lvlm(**{"name": "tiny-llava-1.5", "checkpoint": zoo_checkpoint} | arguments)


def test_a_gpu_that_is_not_there_is_one_clear_error(zoo_checkpoint, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InfoflowError, match=r"device 'cuda' .*0 usable GPUs.*device='cpu'"):
        load_lvlm("tiny-llava-1.5", checkpoint=zoo_checkpoint, device="cuda")


def test_a_pinned_version_that_is_not_there_is_one_clear_error(offline_cache):
    with pytest.raises(InfoflowError, match=f"at revision '{COMMIT}'"):
        load_lvlm(f"llava-1.5-7b@{COMMIT}", device="cpu")


@pytest.mark.parametrize("name", ["tiny-llava-1.5", "llava-1.5-7b"])
def test_a_revision_of_a_folder_is_one_clear_error(name, zoo_checkpoint):
    with pytest.raises(InfoflowError, match="revision='main'"):
        load_lvlm(name, checkpoint=zoo_checkpoint, revision="main", device="cpu")
