"""Where a model goes, decided before it is loaded; and what is said if it fits nowhere."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infoflow.errors import InfoflowError, UnknownNameError
from infoflow.models import loading, placement
from infoflow.models.checkpoint import read_tensors, weight_files
from infoflow.models.loading import split_revision
from infoflow.models.lvlm import load_lvlm
from infoflow.models.placement import (
    Placement,
    Weights,
    choose_placement,
    map_devices,
    naming_out_of_memory,
)

ZOO = Path(loading.__file__).parents[1] / "zoo" / "tiny-llava-1.5"
GB = 10**9
SEVEN_B = Weights(Path("seven"), 7 * GB, torch.bfloat16)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


WHOLE = None  # the model fits whole; nobody need know what it is made of


def have(monkeypatch, **free):
    """Let a machine have so many gigabytes free: cpu=..., cuda0=..., cuda1=..."""
    memory = {int(k[4:]) if k != "cpu" else k: n * GB for k, n in free.items()}
    monkeypatch.setattr(placement, "free_memory", lambda: memory)
    return memory


def test_free_memory_lists_main_memory():
    free = placement.free_memory()
    assert free["cpu"] > 10**7
    assert all(isinstance(key, int) for key in free if key != "cpu")


def test_numbers_are_counted_before_they_are_read():
    lvlm = load_lvlm("tiny-llava-1.5", device="cpu")
    n_numbers = sum(p.numel() for p in lvlm.model.parameters())
    tensors = read_tensors(weight_files(ZOO))
    assert sum(tensor.numel() for tensor in tensors.values()) == n_numbers


def test_needs_are_weights_and_a_fifth():
    assert SEVEN_B.needs() == 1.2 * 14 * GB
    assert SEVEN_B.needs(torch.float32) == 1.2 * 28 * GB
    assert SEVEN_B.needs("4bit") < SEVEN_B.needs("8bit") < SEVEN_B.needs()


@pytest.mark.parametrize(
    ("free", "asked", "expected"),
    [
        ({"cpu": 17}, Placement(CPU), CPU),
        ({"cpu": 1, "cuda0": 17}, Placement(CUDA, may_spread=True), CUDA),
        ({"cpu": 1, "cuda0": 16, "cuda1": 17}, Placement(CUDA, may_spread=True), 1),
        ({"cpu": 1, "cuda0": 1, "cuda1": 17}, Placement(torch.device("cuda:1")), "cuda:1"),
        ({"cpu": 1, "cuda0": 6}, Placement(CUDA, may_spread=True, quantise="4bit"), CUDA),
    ],
)
def test_a_model_that_fits_goes_whole_to_one_device(monkeypatch, free, asked, expected):
    have(monkeypatch, **free)
    expected = torch.device(expected) if isinstance(expected, str) else expected
    assert map_devices(asked, SEVEN_B, WHOLE) == {"": expected}


@pytest.mark.parametrize(
    ("free", "asked", "dtype", "said"),
    [
        (
            *({"cpu": 20}, Placement(CPU), torch.float32),
            r"seven takes 33\.6 GB in float32.*20% of its weights for activations.*20\.0 GB free "
            r"in main memory\. What would fit: dtype='bfloat16' \(16\.8 GB\)\.$",
        ),
        (
            *({"cpu": 9}, Placement(CPU), torch.float32),
            r"Nothing would on this machine: in bfloat16 it takes 16\.8 GB, .*'4bit' 5\.0 GB",
        ),
        (
            *({"cpu": 9, "cuda0": 10}, Placement(CUDA), torch.bfloat16),
            r"10\.0 GB free on cuda:0\. What would fit: quantise='8bit' \(9\.2 GB\); "
            r"quantise='4bit' \(5\.0 GB\); device='auto'",
        ),
        (
            *({"cpu": 1, "cuda0": 2, "cuda1": 6}, Placement(CUDA), torch.bfloat16),
            r"quantise='4bit', device='cuda:1'",
        ),
        (
            *({"cpu": 1, "cuda0": 3}, Placement(CUDA, quantise="4bit"), torch.bfloat16),
            r"5\.0 GB in 4bit.*Nothing would",
        ),
    ],
)
def test_a_model_that_does_not_fit_says_what_would(monkeypatch, free, asked, dtype, said):
    have(monkeypatch, **free)
    with pytest.raises(InfoflowError, match=said) as caught:
        map_devices(asked, replace(SEVEN_B, dtype=dtype), WHOLE)
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_is_loaded_that_does_not_fit(monkeypatch):
    monkeypatch.setattr(placement, "free_memory", lambda: {"cpu": 1000})
    with pytest.raises(InfoflowError, match=r"tiny-llava-1\.5 takes 0\.01\d GB in float32"):
        load_lvlm("tiny-llava-1.5", device="cpu")


@pytest.mark.parametrize(
    "raised",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    ],
)
def test_running_out_of_memory_is_the_same_error(monkeypatch, raised):
    have(monkeypatch, cpu=20)
    wide = replace(SEVEN_B, dtype=torch.float32)
    said = r"memory ran out while loading: .*What would fit: dtype='bfloat16'"
    with pytest.raises(InfoflowError, match=said), naming_out_of_memory(Placement(CPU), wide):
        raise raised


def test_other_errors_of_torch_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), naming_out_of_memory(Placement(CPU), SEVEN_B):
        raise RuntimeError("shapes differ")


def test_auto_is_the_cpu_without_a_gpu_and_may_spread_with_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_placement("auto", None) == Placement(CPU)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_placement("auto", None) == Placement(CUDA, may_spread=True)
    assert choose_placement("cuda:1", None) == Placement(torch.device("cuda:1"))
    with pytest.raises(InfoflowError, match=r"'cuda:2' asked for.*2 usable GPUs"):
        choose_placement("cuda:2", None)


def test_quantisation_asks_for_what_it_needs(monkeypatch):
    with pytest.raises(UnknownNameError, match=r"unknown quantisation '3bit'.*4bit, 8bit, None"):
        choose_placement("cpu", "3bit")
    with pytest.raises(InfoflowError, match=r"quantise='4bit' needs a GPU.*'cpu'.*bfloat16"):
        choose_placement("cpu", "4bit")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    with pytest.raises(InfoflowError, match=r"bitsandbytes: pip install 'infoflow\[quantised\]'"):
        choose_placement("cuda", "8bit")


def test_a_name_may_say_the_version():
    assert split_revision("a", None) == ("a", None)
    assert split_revision("a", "v2") == ("a", "v2")
    assert split_revision("a@v2", None) == ("a", "v2")
    with pytest.raises(InfoflowError, match="'a@' names no version"):
        split_revision("a@", None)
    with pytest.raises(InfoflowError, match="'a@v2' names one version of two"):
        split_revision("a@v2", "v3")
