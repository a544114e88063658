"""Loading takes little more memory than the weights do once they are loaded, converted or not."""

import ctypes
import gc
import multiprocessing
import threading
from functools import cache
from pathlib import Path

import checkpoints
import pytest
import tiny_internvl
import torch
from transformers import LlamaConfig

from infoflow.models.lvlm import load_lvlm

LIMIT = 1.2
TEXT = {
    **checkpoints.TEXT,
    "hidden_size": 512,
    "intermediate_size": 1536,
    # deep: what transformers' reading threads hold at once is a matter of their scheduling and does
    # not grow with the depth, so that a shallow model is judged by it and not by its weights
    "num_hidden_layers": 22,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
}


def resident() -> int:
    """Bytes without pages of mapped files, which the system takes back when it needs them."""
    with Path("/proc/self/status").open() as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))


def measured(loads):
    """What each load adds at most, and the size of its weights."""
    torch.set_num_threads(1)
    load_lvlm("tiny-llava-1.5", device="cpu")  # what a first model leaves behind
    found = []
    for name, folder, dtype in loads:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # else free room of the fork's parent is filled first
        before, peaks, done = resident(), [0], threading.Event()

        def watch(peaks=peaks, done=done):
            while not done.wait(0.002):
                peaks.append(resident())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            lvlm = load_lvlm(name, checkpoint=folder, device="cpu", dtype=dtype)
        finally:
            done.set()
            watcher.join()
        size = sum(p.numel() * p.element_size() for p in lvlm.model.parameters())
        found.append((max(*peaks, resident()) - before, size))
        del lvlm
    return found


@pytest.fixture
def sharded(tmp_path, monkeypatch):
    """A LLaVA-1.5 in the published layout, in float32, in three shards."""
    folder = tmp_path / "sharded"
    monkeypatch.setattr(checkpoints, "TEXT", TEXT)
    model = checkpoints.random_model(LlamaConfig(**TEXT))
    state = {checkpoints.old_name(k): v.clone() for k, v in model.state_dict().items()}
    checkpoints.save_published_layout(model, folder)
    checkpoints.save_shards(state, folder)
    return folder


@pytest.fixture
def pickled(tmp_path, monkeypatch):
    """An InternVL-Chat as published, in float32: pickled shards."""
    folder = tmp_path / "pickled"
    monkeypatch.setattr(tiny_internvl, "TEXT", TEXT)
    monkeypatch.setattr(tiny_internvl, "tensors", cache(tiny_internvl.tensors))
    tiny_internvl.save(folder)
    tiny_internvl.save_bin(tiny_internvl.tensors(), folder)
    return folder


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone tells it")
def test_loading_takes_little_more_than_the_weights(sharded, pickled):
    loads = [
        (name, folder, dtype)
        for name, folder in (("llava-1.5-7b", sharded), ("internvl-7b", pickled))
        for dtype in ("bfloat16", "float32")
    ]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.apply(measured, (loads,))
    for load, (grown, size) in zip(loads, found, strict=True):
        assert size > 8e7
        assert grown <= LIMIT * size, (load, grown, size)
