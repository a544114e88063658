from functools import partial

import checkpoints
import numpy as np
import pytest
import tiny_instructblip
import tiny_internvl
import tiny_llava_next
import tiny_qwen_vl
import tiny_shikra
import torch
from PIL import Image
from transformers import LlamaConfig

from infoflow.models.lvlm import load_lvlm

torch.set_num_threads(1)

QUESTION = "how many red circle left of blue square ?"


def picture(seed=0, size=(50, 80)):
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def load_random(folder, text_config=None, seed=0):
    checkpoints.save_zoo_layout(checkpoints.random_model(text_config, seed), folder)
    return never_ending(load_lvlm("tiny-llava-1.5", checkpoint=folder, device="cpu"))


def never_ending(lvlm):
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


PUBLISHED = {
    "instructblip-7b": tiny_instructblip.save,
    "internvl-7b": tiny_internvl.save,
    "llava-1.6-7b": tiny_llava_next.save,
    "qwen-vl-7b": tiny_qwen_vl.save,
    "qwen-vl-chat-7b": partial(tiny_qwen_vl.save, chat_format="chatml"),
    "shikra-7b": tiny_shikra.save,
}
"""Writers of tiny random checkpoints as they are published: what to give ``load_lvlm``."""


LLAVA = ("heads", "grouped")
SIZES = ((50, 80), (80, 50), (56, 56), (9, 190), (190, 9))
"""Heights and widths of pictures: landscape, portrait, square, and extreme ones."""


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep converted checkpoints out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFOFLOW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_generate_tests(metafunc):
    """Run tests on every family, unless their module says MODELS = LLAVA."""
    if "tiny_name" in metafunc.fixturenames:
        models = getattr(metafunc.module, "MODELS", (*LLAVA, *PUBLISHED))
        metafunc.parametrize("tiny_name", models, indirect=True, scope="session")


@pytest.fixture(scope="session")
def tiny_name(request):
    return request.param


@pytest.fixture(scope="session")
def lvlm(tiny_name, tmp_path_factory):
    """A tiny random model: of every family, and of LLaVA-1.5 also one with grouped heads."""
    folder = tmp_path_factory.mktemp(tiny_name)
    if tiny_name in PUBLISHED:
        return never_ending(load_lvlm(tiny_name, **PUBLISHED[tiny_name](folder), device="cpu"))
    groups = {"heads": 4, "grouped": 2}[tiny_name]
    config = LlamaConfig(**{**checkpoints.TEXT, "num_key_value_heads": groups})
    return load_random(folder, config)


@pytest.fixture(scope="session")
def prompt(lvlm):
    return lvlm.prompt(picture(), QUESTION)
