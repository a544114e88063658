"""Loading takes little more memory than the weights do once they are loaded, converted or not."""

import json
import subprocess
import sys
from pathlib import Path

import checkpoints
import pytest
import tiny_internvl
from transformers import LlamaConfig

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

MEASURE = """
import gc, json, sys, threading, time
import torch
from infoflow.models.lvlm import load_lvlm

torch.set_num_threads(1)

def resident():
    # without pages of mapped files, which the system takes back when it needs them
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))

def watch():
    global peak
    while not done:
        peak = max(peak, resident())
        time.sleep(0.002)

load_lvlm("tiny-llava-1.5", device="cpu")  # what a first model leaves behind
found = []
for name, folder, dtype in json.loads(sys.argv[1]):
    gc.collect()
    before, peak, done = resident(), 0, False
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        lvlm = load_lvlm(name, checkpoint=folder, device="cpu", dtype=dtype)
    finally:
        done = True
        watcher.join()
    size = sum(p.numel() * p.element_size() for p in lvlm.model.parameters())
    found.append({"grown": max(peak, resident()) - before, "size": size})
    del lvlm
print(json.dumps(found))
"""


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
    tiny_internvl.save(folder)
    tiny_internvl.save_bin(tiny_internvl.tensors(), folder)
    return folder


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone tells it")
def test_loading_takes_little_more_than_the_weights(sharded, pickled):
    loads = [
        (name, str(folder), dtype)
        for name, folder in (("llava-1.5-7b", sharded), ("internvl-7b", pickled))
        for dtype in ("bfloat16", "float32")
    ]
    output = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(loads)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for load, found in zip(loads, json.loads(output.splitlines()[-1]), strict=True):
        assert found["size"] > 8e7
        assert found["grown"] <= LIMIT * found["size"], (load, found)
