"""Pickled checkpoints: read as tensors alone, whole or one clear error, converted once."""

import json
import os
import pickle
import shutil

import pytest
import tiny_internvl
import torch
from tiny_models import QUESTION, picture

from infoflow.errors import InfoflowError
from infoflow.models.lvlm import load_lvlm


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return tiny_internvl.save(tmp_path_factory.mktemp("published"))["checkpoint"]


@pytest.fixture
def folder(published, tmp_path):
    return shutil.copytree(published, tmp_path / "checkpoint")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INFOFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def load(folder):
    return load_lvlm("internvl-7b", checkpoint=folder, device="cpu")


def shard(folder):
    return sorted(folder.glob("pytorch_model-*.bin"))[1]


def edit_index(folder, edit):
    path = folder / "pytorch_model.bin.index.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def edit_shard(folder, edit):
    content = torch.load(shard(folder))
    edit(content)
    torch.save(content, shard(folder))
    n_bytes = sum(
        v.numel() * v.element_size()
        for f in folder.glob("pytorch_model-*.bin")
        for v in torch.load(f).values()
    )
    edit_index(folder, lambda index: index["metadata"].update(total_size=n_bytes))


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil-was-here",)


def shard_with_code(folder):
    content = torch.load(shard(folder))
    torch.save(content | {"evil": Evil()}, shard(folder))


def shard_of_pickled_code(folder):
    shard(folder).write_bytes(pickle.dumps(Evil()))


def shard_with_numbers(folder):
    torch.save(torch.load(shard(folder)) | {"step": 3}, shard(folder))


def shard_cut(folder):
    shard(folder).write_bytes(shard(folder).read_bytes()[:-100])


def index_of_more_bytes(folder):
    edit_index(folder, lambda index: index["metadata"].update(total_size=123456))


def index_of_more_tensors(folder):
    name = shard(folder).name
    edit_index(folder, lambda index: index["weight_map"].update({"model.more.weight": name}))


def tensor_of_another_model(folder):
    edit_shard(folder, lambda tensors: tensors.update({"model.wpe.weight": torch.ones(2)}))


def tensor_gone(folder):
    def edit(tensors):
        del tensors[(name := next(k for k in tensors if "mlp.up_proj" in k))]
        edit_index(folder, lambda index: index["weight_map"].pop(name))

    edit_shard(folder, edit)


def weights_gone(folder):
    for path in folder.glob("pytorch_model*"):
        path.unlink()


def tokenizer_cut(folder):
    content = (folder / "tokenizer.model").read_bytes()
    (folder / "tokenizer.model").write_bytes(content[:1001])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "is not a folder"),
        (lambda f: (f / "config.json").unlink(), "missing: config.json"),
        (lambda f: (f / "tokenizer.model").unlink(), "missing: tokenizer.model"),
        (tokenizer_cut, "tokenizer.model cannot be read"),
        (lambda f: shard(f).unlink(), "missing: pytorch_model-00002-of-00003.bin"),
        (weights_gone, "holds no weights"),
        (shard_with_code, "cannot be read as tensors alone"),
        (shard_of_pickled_code, "cannot be read as tensors alone"),
        (shard_with_numbers, "holds more than named tensors"),
        (shard_cut, "cannot be read as tensors alone"),
        (index_of_more_bytes, "take .* bytes, its index says 123456"),
        (index_of_more_tensors, "1 tensors of its index are missing .*model.more.weight"),
        (tensor_of_another_model, r"1 unexpected \(model.wpe.weight\)"),
        (tensor_gone, r"1 missing \(.*mlp.up_proj.weight"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_error(
    folder, cache, tmp_path, monkeypatch, damage, message
):
    monkeypatch.chdir(tmp_path)
    damage(folder)
    with pytest.raises(InfoflowError, match=message) as caught:
        load(folder)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "evil-was-here").exists()
    assert not list(cache.glob(".*"))  # nothing half done is left


def test_a_checkpoint_is_converted_once_and_again_when_it_changes(folder, cache):
    first = load(folder)
    assert first.folder.parent == cache
    written = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    second = load(folder)
    assert {path: path.stat().st_mtime_ns for path in second.folder.iterdir()} == written
    assert second.digest == first.digest
    edit_shard(folder, lambda tensors: tensors.update({k: v + 1 for k, v in tensors.items()}))
    third = load(folder)
    assert third.folder != first.folder
    assert third.digest != first.digest


def test_the_converted_folder_is_a_checkpoint_of_its_own(folder, cache, tmp_path):
    lvlm = load(folder)
    copy = shutil.copytree(lvlm.folder, tmp_path / "copy")
    shutil.rmtree(folder)
    shutil.rmtree(cache)
    again = load(copy)
    assert again.folder == copy
    first, second = (model.prompt(picture(), QUESTION) for model in (lvlm, again))
    assert torch.equal(first.input_ids, second.input_ids)
    assert torch.equal(lvlm.logits(first.inputs_embeds), again.logits(second.inputs_embeds))
    assert not list(copy.glob("*.bin"))


def test_a_full_disk_is_one_clear_error(folder, cache, monkeypatch):
    usage = shutil._ntuple_diskusage(10, 9, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InfoflowError, match=r"takes .* GB; .* has 0.0 GB left. INFOFLOW_CACHE"):
        load(folder)
