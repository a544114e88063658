"""A GPU whose memory runs out: batches are halved, and the results are those of whole batches."""

import logging

import pytest
import torch
from torch import nn

from infoflow.errors import InfoflowError
from infoflow.methods import cam, out_of_memory, truncation
from infoflow.methods.cam import llava_cam
from infoflow.methods.out_of_memory import in_batches
from infoflow.methods.truncation import truncated_log_probs, truncation_sweep

WITHIN = 5e-5


class SmallGPU:
    """Lets only so many items be run at once; notes how many were, and how many were too many."""

    def __init__(self, room):
        self.room, self.ran, self.refused = room, [], []

    def require(self, n):
        if n > self.room:
            self.refused.append(n)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.ran.append(n)


@pytest.fixture(autouse=True)
def nothing_remembered():
    out_of_memory._fitting.clear()
    yield
    out_of_memory._fitting.clear()


def test_batches_are_halved_until_they_fit_and_nothing_is_run_twice(caplog):
    gpu, model, done = SmallGPU(3), nn.Identity(), []

    def run(batch):
        gpu.require(len(batch))
        done.extend(batch)
        return sum(batch)

    with caplog.at_level(logging.WARNING):
        sums = list(in_batches(iter(range(20)), run, 8, model, "cuts"))
    assert done == list(range(20))
    assert sum(sums) == sum(range(20))
    assert gpu.refused == [8, 4]
    assert gpu.ran == [2] * 10
    assert caplog.messages == [
        "the GPU's memory ran out with 8 cuts at once; going on with 4",
        "the GPU's memory ran out with 4 cuts at once; going on with 2",
    ]
    # what fitted is remembered, of this model and of this kind of item
    list(in_batches(range(4), run, 8, model, "cuts"))
    assert gpu.refused == [8, 4]
    list(in_batches(range(4), run, 4, model, "pictures"))
    list(in_batches(range(4), run, 4, nn.Identity(), "cuts"))
    assert gpu.refused == [8, 4, 4, 4]


def test_memory_that_does_not_suffice_for_one_is_an_error():
    gpu = SmallGPU(0)
    with pytest.raises(InfoflowError, match="ran out with one of the cuts at a time"):
        list(in_batches(range(4), lambda batch: gpu.require(len(batch)), 4, nn.Identity(), "cuts"))
    assert gpu.refused == [4, 2, 1]


def test_other_errors_are_not_taken_for_it():
    def run(batch):
        raise RuntimeError("an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        list(in_batches(range(4), run, 4, nn.Identity(), "cuts"))


@pytest.mark.parametrize("keep", [0, 3])
def test_a_sweep_in_parts_gives_the_same_answers(lvlm, prompt, monkeypatch, keep):
    whole = truncation_sweep(lvlm, prompt, keep, max_new_tokens=4)
    gpu, real = SmallGPU(5), truncation._run

    def run(lvlm, prompt, branches, *rest, **room):
        found = real(lvlm, prompt, branches, *rest, **room)
        gpu.require(len(branches))  # late: half of the work has been done
        return found

    monkeypatch.setattr(truncation, "_run", run)
    parts = truncation_sweep(lvlm, prompt, keep, max_new_tokens=4)
    assert gpu.refused
    assert len(gpu.ran) > 1
    assert torch.equal(parts.cuts, whole.cuts)
    assert torch.equal(parts.tokens, whole.tokens)
    torch.testing.assert_close(parts.logits, whole.logits, rtol=0, atol=WITHIN)
    torch.testing.assert_close(parts.margins, whole.margins, rtol=0, atol=2 * WITHIN)


def test_a_ranking_and_asked_cuts_keep_their_places_in_parts(lvlm, prompt, monkeypatch):
    n_image = prompt.spans.image.stop - prompt.spans.image.start
    ranking = torch.rand(lvlm.n_layers, n_image, generator=torch.Generator().manual_seed(0))
    asked = [lvlm.n_layers, 1, lvlm.n_layers - 1, 1, 2]
    whole = truncation_sweep(lvlm, prompt, 4, asked, ranking=ranking)
    gpu, real = SmallGPU(1), truncation._run

    def run(lvlm, prompt, branches, *rest, **room):
        gpu.require(len(branches))
        return real(lvlm, prompt, branches, *rest, **room)

    monkeypatch.setattr(truncation, "_run", run)
    parts = truncation_sweep(lvlm, prompt, 4, asked, ranking=ranking)
    torch.testing.assert_close(parts.logits, whole.logits, rtol=0, atol=WITHIN)
    probs = truncated_log_probs(lvlm, prompt, "yes", 4, asked, ranking=ranking)
    monkeypatch.undo()
    expected = truncated_log_probs(lvlm, prompt, "yes", 4, asked, ranking=ranking)
    torch.testing.assert_close(probs, expected, rtol=0, atol=WITHIN)


def test_maps_of_fewer_pictures_at_once_are_the_same(lvlm, prompt, monkeypatch):
    settings = {"answer": "yes", "n_samples": 5, "micro_batch": 4}
    whole = llava_cam(lvlm, prompt, **settings)
    gpu, real = SmallGPU(2), cam.gradient_visitor

    def prepared(*arguments):
        visit = real(*arguments)

        def visiting(embeds, consumer):
            visit(embeds, consumer)  # its sums are thrown away if it is too large
            gpu.require(len(embeds))

        return visiting

    monkeypatch.setattr(cam, "gradient_visitor", prepared)
    maps = llava_cam(lvlm, prompt, **settings).maps
    assert gpu.refused == [4]
    assert gpu.ran == [2, 2, 1]
    scale = float(whole.maps[whole.defined].max())
    torch.testing.assert_close(maps, whole.maps, rtol=0, atol=1e-5 * scale, equal_nan=True)
