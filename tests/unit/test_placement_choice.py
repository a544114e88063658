"""Where a model goes, decided before it is loaded; and what is said if it fits nowhere."""

import re
from pathlib import Path

import pytest
import torch

from infoflow.errors import InfoflowError, UnknownNameError
from infoflow.models import placement
from infoflow.models.loading import split_revision
from infoflow.models.lvlm import load_lvlm
from infoflow.models.placement import Placement, choose_placement, map_devices

GB = 10**9
with torch.device("meta"):
    SEVEN_B = torch.nn.Linear(7 * GB, 1, bias=False)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def mapped(asked, dtype=torch.bfloat16):
    return map_devices(asked, Path("seven"), SEVEN_B, dtype)


def have(monkeypatch, **free):
    """Let a machine have so many gigabytes free: cpu=..., cuda0=..., cuda1=..."""
    memory = {int(k[4:]) if k != "cpu" else k: n * GB for k, n in free.items()}
    monkeypatch.setattr(placement, "free_memory", lambda: memory)
    return memory


def test_free_memory_lists_main_memory():
    free = placement.free_memory()
    assert free["cpu"] > 10**7
    assert all(isinstance(key, int) for key in free if key != "cpu")


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
    assert mapped(asked) == {"": expected}


SIZES = (
    r"20% for activations it takes 33\.6 GB in float32, 16\.8 GB in bfloat16, 16\.8 GB in float16, "
    r"9\.2 GB in 8bit, 5\.0 GB in 4bit \(the last two by quantise=, on a GPU\); free are "
)


@pytest.mark.parametrize(
    ("free", "asked", "dtype", "said"),
    [
        ({"cpu": 20}, Placement(CPU), torch.float32, r"in float32.*20\.0 GB on cpu\.$"),
        (
            *({"cpu": 9, "cuda0": 10}, Placement(CUDA), torch.bfloat16),
            r"seven does not fit in bfloat16.*9\.0 GB on cpu, 10\.0 GB on cuda:0\.$",
        ),
        (
            *({"cpu": 1, "cuda0": 3}, Placement(CUDA, quantise="4bit"), torch.bfloat16),
            "does not fit in 4bit",
        ),
    ],
)
def test_a_model_that_does_not_fit_says_what_it_takes_and_what_is_free(
    monkeypatch, free, asked, dtype, said
):
    have(monkeypatch, **free)
    with pytest.raises(InfoflowError, match=said) as caught:
        mapped(asked, dtype)
    assert re.search(SIZES, str(caught.value))
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_is_loaded_that_does_not_fit(monkeypatch):
    monkeypatch.setattr(placement, "free_memory", lambda: {"cpu": 1000})
    with pytest.raises(InfoflowError, match=r"llava-1\.5 does not fit.* 0\.01\d GB in float32"):
        load_lvlm("tiny-llava-1.5", device="cpu")


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
    with pytest.raises(UnknownNameError, match=r"unknown quantisation '3bit'.*4bit, 8bit"):
        choose_placement("cpu", "3bit")
    with pytest.raises(InfoflowError, match=r"quantise='4bit' needs a GPU.*cpu"):
        choose_placement("cpu", "4bit")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(placement, "find_spec", lambda name: None)
    with pytest.raises(InfoflowError, match=r"bitsandbytes: pip install 'infoflow\[quantised\]'"):
        choose_placement("cuda", "8bit")


def test_a_name_may_say_the_version():
    assert split_revision("a", None) == ("a", None)
    assert split_revision("a", "v2") == ("a", "v2")
    assert split_revision("a@v2", None) == ("a", "v2")
    with pytest.raises(InfoflowError, match="revision ''"):
        split_revision("a@", None)
    with pytest.raises(InfoflowError, match="name two versions"):
        split_revision("a@v2", "v3")
