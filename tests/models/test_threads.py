"""A small model runs on one thread, and the program around it keeps its own."""

import pytest
import torch

from infoflow.data.load import load_task
from infoflow.errors import InfoflowError
from infoflow.methods.truncation import truncation_sweep
from infoflow.models import threads


@pytest.fixture
def seen(monkeypatch):
    """On how many threads a zoo model's decoder runs, in a program that has three."""
    from infoflow import load_lvlm

    lvlm, found = load_lvlm("tiny-llava-1.5", device="cpu"), []
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    hook = lvlm.layers[0].register_forward_hook(lambda *_: found.append(torch.get_num_threads()))
    sample = load_task("pope", limit=1)[0]

    def run():
        found.clear()
        prompt = lvlm.prompt(sample.image, sample.question)
        lvlm.logits(prompt)
        lvlm.answer(prompt, 2)
        truncation_sweep(lvlm, prompt, cuts=(0, 1))  # threads wait for each other by spinning
        assert torch.get_num_threads() == 3
        return set(found)

    yield run
    hook.remove()
    torch.set_num_threads(before)


def test_a_small_model_has_one_thread(seen):
    assert seen() == {1}


def test_a_large_one_has_the_programs(seen, monkeypatch):
    monkeypatch.setattr(threads, "_SMALL", 1000)
    assert seen() == {3}


def test_another_number_can_be_named(seen, monkeypatch):
    monkeypatch.setenv("INFOFLOW_THREADS", "2")
    assert seen() == {2}
    monkeypatch.setenv("INFOFLOW_THREADS", "many")
    with pytest.raises(InfoflowError, match="INFOFLOW_THREADS"):
        seen()
