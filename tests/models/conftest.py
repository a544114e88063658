import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlamaConfig

sys.path.insert(0, str(Path(__file__).parents[2]))  # the naive twins live in benchmarks

import checkpoints

from infoflow.lvlm import load_lvlm

torch.set_num_threads(1)

QUESTION = "how many red circle left of blue square ?"


def picture(seed=0, size=(50, 80)):
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def load_random(folder, text_config=None, seed=0):
    checkpoints.save_zoo_layout(checkpoints.random_model(text_config, seed), folder)
    lvlm = load_lvlm("tiny-llava-1.5", checkpoint=folder, device="cpu")
    lvlm.eos_token_ids = (10**6,)  # random answers must not end early unless a test says so
    return lvlm


@pytest.fixture(scope="session")
def zoo_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "zoo"
    return checkpoints.save_zoo_layout(checkpoints.random_model(), folder)


@pytest.fixture(scope="session")
def published_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "published"
    return checkpoints.save_published_layout(checkpoints.random_model(), folder)


@pytest.fixture(scope="session", params=["heads", "grouped"])
def lvlm(request, tmp_path_factory):
    groups = {"heads": 4, "grouped": 2}[request.param]
    config = LlamaConfig(**{**checkpoints.TEXT, "num_key_value_heads": groups})
    return load_random(tmp_path_factory.mktemp(request.param), config)


@pytest.fixture(scope="session")
def prompt(lvlm):
    return lvlm.prompt(picture(), QUESTION)
