"""Pickled checkpoints: read as tensors alone, whole or one clear error."""

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


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil-was-here",)


def shard_with_code(folder):
    content = torch.load(shard(folder))
    torch.save(content | {"evil": Evil()}, shard(folder))


def shard_of_pickled_code(folder):
    shard(folder).write_bytes(pickle.dumps(Evil()))


def shard_with_numbers(folder):
    torch.save(torch.load(shard(folder)) | {"step": torch.tensor(3)}, shard(folder))


def shard_cut(folder):
    shard(folder).write_bytes(shard(folder).read_bytes()[:-100])


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
        (shutil.rmtree, "config.json cannot be read"),
        (lambda f: (f / "config.json").unlink(), "config.json cannot be read"),
        (lambda f: (f / "tokenizer.model").unlink(), "tokenizer.model cannot be read"),
        (tokenizer_cut, "tokenizer.model cannot be read"),
        (lambda f: shard(f).unlink(), "pytorch_model-00002-of-00003.bin cannot be read"),
        (weights_gone, "holds no weights"),
        (shard_with_code, "cannot be read as tensors alone"),
        (shard_of_pickled_code, "cannot be read as tensors alone"),
        (shard_with_numbers, "the type of step in .* is torch.int64"),
        (shard_cut, "cannot be read as tensors alone"),
        (tensor_of_another_model, r"1 unexpected \(model.wpe.weight\)"),
        (tensor_gone, r"1 missing \(.*mlp.up_proj.weight"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_error(folder, tmp_path, monkeypatch, damage, message):
    monkeypatch.chdir(tmp_path)
    damage(folder)
    with pytest.raises(InfoflowError, match=message) as caught:
        load(folder)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "evil-was-here").exists()


def test_a_checkpoint_is_known_by_its_weights(published, folder):
    edit_shard(folder, lambda tensors: tensors.update({k: v + 1 for k, v in tensors.items()}))
    first, second, edited = load(published), load(published), load(folder)
    assert first.digest == second.digest != edited.digest


def test_a_checkpoint_as_transformers_saves_it_gives_the_same(published, tmp_path):
    lvlm = load(published)
    for part in (lvlm.model, lvlm.tokenizer, lvlm.family.image_processor):
        part.save_pretrained(tmp_path)
    again = load(tmp_path)
    first, second = (model.prompt(picture(), QUESTION) for model in (lvlm, again))
    assert torch.equal(first.input_ids, second.input_ids)
    assert torch.equal(lvlm.logits(first.inputs_embeds), again.logits(second.inputs_embeds))
