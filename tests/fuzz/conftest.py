import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny():
    from infoflow import load_lvlm

    return load_lvlm("tiny-llava-1.5", device="cpu")


@pytest.fixture(scope="session")
def other():
    from infoflow import load_lvlm

    return load_lvlm("tiny-shikra", device="cpu")


@pytest.fixture(scope="session")
def pope():
    from infoflow import load_task

    return load_task("pope", limit=3)


@pytest.fixture(scope="session")
def prompt(tiny, pope):
    return tiny.prompt(pope[0].image, pope[0].question)
