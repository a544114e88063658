import functools

import checkpoints
import pytest
import torch
from tiny_models import LLAVA, PUBLISHED, QUESTION, load_random, never_ending, picture
from transformers import LlamaConfig

from infoflow.models.lvlm import load_lvlm

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def zoo_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "zoo"
    return checkpoints.save_zoo_layout(checkpoints.random_model(), folder)


@pytest.fixture(scope="session")
def published_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "published"
    return checkpoints.save_published_layout(checkpoints.random_model(), folder)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep converted checkpoints out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INFOFLOW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_generate_tests(metafunc):
    """Run tests on every family, or on their module's MODELS if they lack the mark for it."""
    if "tiny_name" in metafunc.fixturenames:
        models = (*LLAVA, *PUBLISHED)
        if not metafunc.definition.get_closest_marker("every_family"):
            models = getattr(metafunc.module, "MODELS", models)
        metafunc.parametrize("tiny_name", models, indirect=True, scope="module")


@pytest.fixture(scope="module")
def tiny_name(request):
    return request.param


@pytest.fixture(scope="session")
def load_tiny(tmp_path_factory):
    """Load a tiny random model: of every family, and of LLaVA-1.5 also one with grouped heads."""

    @functools.cache  # for all modules of a session
    def load(name):
        folder = tmp_path_factory.mktemp(name)
        if name in PUBLISHED:
            return never_ending(load_lvlm(name, **PUBLISHED[name](folder), device="cpu"))
        groups = {"heads": 4, "grouped": 2}[name]
        config = LlamaConfig(**{**checkpoints.TEXT, "num_key_value_heads": groups})
        return load_random(folder, config)

    return load


@pytest.fixture(scope="module")
def lvlm(tiny_name, load_tiny):
    return load_tiny(tiny_name)


@pytest.fixture(scope="module")
def prompt(lvlm):
    return lvlm.prompt(picture(), QUESTION)
