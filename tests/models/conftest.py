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
