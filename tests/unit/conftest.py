"""What the tests of measures over a task share: an untrained model, and a store of their own."""

import pytest

from infoflow.models.lvlm import load_lvlm
from infoflow.results.store import Store
from zoo.architectures import find_architecture
from zoo.train import export


@pytest.fixture(scope="module")
def lvlm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained")
    tiny_llava = find_architecture("tiny-llava-1.5")
    export(tiny_llava, tiny_llava.new_model(0), folder, {})
    return load_lvlm("tiny-llava-1.5", checkpoint=folder, device="cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("results"))
