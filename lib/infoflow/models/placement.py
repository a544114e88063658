"""Where a model's weights go, in which type, and whether they fit.

A model goes to one device. If no GPU holds it, its decoder layers are spread over several and main
memory; all else stays on the first, on which a measure's tensors meet. Or its linear layers but the
head are quantised by bitsandbytes, an optional extra for GPUs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import torch
from accelerate import infer_auto_device_map
from accelerate.utils import get_max_memory
from torch import nn
from transformers import BitsAndBytesConfig

from infoflow.errors import InfoflowError, one_line, require_name

MAIN = "cpu"
ALLOWANCE = 0.2
"""What activations may take, as a share of the weights beside them."""
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "8bit": 1.1, "4bit": 0.6}
"""What a weight takes, if quantised on average: embeddings, norms and the head are not."""
_QUANTISED = ("8bit", "4bit")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Memory = Mapping[int | str, int]
"""Free bytes, of GPUs by number and of main memory."""


@dataclass(frozen=True)
class Placement:
    """Where a model is to be loaded: the device of all but its decoder layers.

    These may be spread if no GPU holds them all; those in main memory are lent to the GPU.
    """

    device: torch.device
    may_spread: bool = False
    quantise: str | None = None


def choose_placement(device: str | torch.device, quantise: str | None) -> Placement:
    """Choose where a model is loaded, and how its weights are quantised; see ``load_lvlm``."""
    place = choose_device(device)
    if quantise is not None:
        require_name(quantise, "quantisation", _QUANTISED)
        if place.type != "cuda":
            raise InfoflowError(f"quantise={quantise!r} needs a GPU; the model goes to {place}.")
        if find_spec("bitsandbytes") is None:
            install = "pip install 'infoflow[quantised]'"
            raise InfoflowError(f"quantise={quantise!r} needs the package bitsandbytes: {install}.")
    return Placement(place, device == "auto" and place.type == "cuda", quantise)


def choose_device(device: str | torch.device) -> torch.device:
    """Choose where a model is loaded; ``"auto"`` takes a GPU if there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    require_name(str(device).partition(":")[0], "device", ("auto", "cpu", "cuda"))
    with one_line(f"there is no device {str(device)!r}", RuntimeError):
        place = torch.device(device)
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        there = f"this machine has {torch.cuda.device_count()} usable GPUs; valid: device='cpu'"
        raise InfoflowError(f"device {str(device)!r} asked for, but {there}.")
    return place


def choose_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Choose the type of weights and activations; see ``load_lvlm``."""
    name = str(dtype).removeprefix("torch.")
    if name == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    require_name(name, "dtype", ("auto", *_DTYPES))
    return _DTYPES[name]


def quantisation_settings(kind: str | None, dtype: torch.dtype) -> Any:
    """Return transformers' settings for a kind of quantisation, computing in a type."""
    if kind == "4bit":
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    return None if kind is None else BitsAndBytesConfig(load_in_8bit=True)


def free_memory() -> dict[int | str, int]:
    """Measure how many bytes are free on each GPU, by its number, and in main memory."""
    free = get_max_memory()
    # a machine that shares its memory with the GPU lists it once, under the GPU's name
    main = free.get(MAIN, max(free.values()))
    return {**{key: n for key, n in free.items() if isinstance(key, int)}, MAIN: main}


def map_devices(
    placement: Placement, folder: Path, empty: nn.Module, dtype: torch.dtype
) -> dict[str, Any]:
    """Decide which module of a model, still empty, goes where, if it fits."""
    free, n_weights = free_memory(), sum(weight.numel() for weight in empty.parameters())
    needed = {kind: round(n_weights * each * (1 + ALLOWANCE)) for kind, each in BYTES.items()}
    kind = placement.quantise or str(dtype).removeprefix("torch.")
    own = MAIN if placement.device.type == "cpu" else placement.device.index or 0
    for key in [key for key in free if key != MAIN] if placement.may_spread else [own]:
        if needed[kind] <= free[key]:
            return {"": placement.device if key == own else key}
    may_spread = placement.may_spread and not placement.quantise
    if may_spread and (spread := spread_layers(empty, free, dtype)):
        return spread
    sizes = ", ".join(f"{gigabytes(size)} in {name}" for name, size in needed.items())
    places = {key: MAIN if key == MAIN else f"cuda:{key}" for key in free}
    has = ", ".join(f"{gigabytes(size)} on {places[key]}" for key, size in free.items())
    raise InfoflowError(
        f"the model in {folder} does not fit in {kind}. With {ALLOWANCE:.0%} for activations it "
        f"takes {sizes} (the last two by quantise=, on a GPU); free are {has}."
    )


def spread_layers(model: nn.Module, free: Memory, dtype: torch.dtype) -> dict[str, Any] | None:
    """Spread decoder layers over GPUs, then main memory, the rest on the first; None: too large."""
    # twice: a model within the model may have a decoder of its own
    layers = model.get_decoder().get_decoder().layers  # type: ignore[operator]
    place = next(name for name, module in model.named_modules() if module is layers)
    size = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in layers.parameters())
    left = {key: int(n / (1 + ALLOWANCE)) for key, n in free.items()}
    first = min(key for key in left if isinstance(key, int))
    left[first] -= size * dtype.itemsize
    if left[first] <= 0:
        return None
    block = [type(layers[0]).__name__]
    found = infer_auto_device_map(layers, left, block, dtype=dtype, clean_result=False)
    if "disk" in found.values():
        return None
    above = {"", *accumulate(place.split("."), "{}.{}".format)}  # the layers, and what holds them
    named = chain(model.named_modules(), model.named_parameters(), model.named_buffers())
    rest = {
        name: first
        for name, _ in named
        if name not in above and name.rpartition(".")[0] in above - {place}
    }
    return rest | {f"{place}.{layer}": key for layer, key in found.items()}


def gigabytes(n_bytes: int) -> str:
    """Two digits at least, so that even tiny models differ."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e9:.2g} GB"
