"""Where a model's weights go, in which type, and whether they fit.

A model goes to one device. If no GPU holds it, its decoder layers are spread over several and main
memory; all else stays on the first, on which a measure's tensors meet. Or its linear layers but the
head are quantised by bitsandbytes, an optional extra for GPUs: flow, truncation, decoding, CAM and
interventions work on such a model as on any other, but its weights cannot be drawn anew.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

from infoflow.errors import InfoflowError, unknown_name

MAIN = "cpu"
ALLOWANCE = 0.2
"""What activations may take, as a share of the weights beside them."""
BYTES = {"8bit": 1.1, "4bit": 0.6}
"""What a quantised weight takes on average: embeddings, norms and the head are not quantised."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory")

Memory = Mapping[int | str, int]
"""Free bytes, of GPUs by number and of main memory."""


@dataclass(frozen=True)
class Placement:
    """Where a model is to be loaded: the device of all but its decoder layers.

    If it may spread, it may go to another GPU; and if none holds it all, its layers to several and
    to main memory, from which they are lent to the GPU one at a time.
    """

    device: torch.device
    may_spread: bool = False
    quantise: str | None = None  # one of BYTES

    @property
    def key(self) -> int | str:
        """The device, as free memory is listed."""
        return MAIN if self.device.type == "cpu" else self.device.index or 0


@dataclass(frozen=True)
class Weights:
    """What is to be placed: how many numbers of a checkpoint, and the type they are cast to."""

    folder: Path
    n_numbers: int
    dtype: torch.dtype

    def needs(self, dtype: torch.dtype | str | None = None) -> int:
        """Bytes for the weights, in another type if one is given, and the activations."""
        dtype = dtype or self.dtype
        each = dtype.itemsize if isinstance(dtype, torch.dtype) else BYTES[dtype]
        return round(self.n_numbers * each * (1 + ALLOWANCE))


def choose_placement(device: str | torch.device, quantise: str | None) -> Placement:
    """Choose where a model is loaded, and how its weights are quantised; see ``load_lvlm``."""
    place = choose_device(device)
    if quantise is not None:
        if not isinstance(quantise, str) or quantise not in BYTES:
            raise unknown_name("quantisation", str(quantise), (*BYTES, "None"))
        if place.type != "cuda":
            raise InfoflowError(
                f"quantise={quantise!r} needs a GPU, but the model is to go to {str(place)!r}; "
                "dtype='bfloat16' halves what float32 takes on any device."
            )
        if find_spec("bitsandbytes") is None:
            raise InfoflowError(
                f"quantise={quantise!r} needs the package bitsandbytes: "
                "pip install 'infoflow[quantised]'."
            )
    return Placement(place, device == "auto" and place.type == "cuda", quantise)


def choose_device(device: str | torch.device) -> torch.device:
    """Choose where a model is loaded; ``"auto"`` takes a GPU if there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device) if isinstance(device, str | torch.device) else None
    except RuntimeError:
        place = None
    if place is None or place.type not in {"cpu", "cuda"}:
        raise unknown_name("device", str(device), ("auto", "cpu", "cuda", "cuda:0", "cuda:1"))
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise InfoflowError(
            f"device {str(device)!r} asked for, but this machine has {torch.cuda.device_count()} "
            "usable GPUs; device='cpu' always works."
        )
    return place


def choose_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Choose the type of weights and activations; see ``load_lvlm``."""
    name = _name(dtype) if isinstance(dtype, torch.dtype) else str(dtype)
    if name == "auto":
        if device.type == "cpu":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if name not in _DTYPES:
        raise unknown_name("dtype", name, ("auto", *_DTYPES))
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


def map_devices(placement: Placement, weights: Weights, empty: nn.Module) -> dict[str, Any]:
    """Decide which module of a model, still empty, goes where, or say what would fit."""
    free, needed = free_memory(), weights.needs(placement.quantise)
    gpus = [key for key in free if key != MAIN]
    for key in gpus if placement.may_spread else [placement.key]:
        if needed <= free[key]:
            return {"": placement.device if key == placement.key else key}
    may_spread = placement.may_spread and not placement.quantise
    if may_spread and (spread := spread_layers(empty, free, weights.dtype)):
        return spread
    raise _does_not_fit(placement, weights, free)


def spread_layers(model: nn.Module, free: Memory, dtype: torch.dtype) -> dict[str, Any] | None:
    """Spread a model's decoder layers: GPUs are filled one after the other, then main memory.

    All but the layers goes to the first GPU. None if it does not fit.
    """
    # twice: a model within the model may have a decoder of its own
    layers = model.get_decoder().get_decoder().layers  # type: ignore[operator]
    place = next(name for name, module in model.named_modules() if module is layers)
    size = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in layers.parameters())
    left = {key: int(n / (1 + ALLOWANCE)) for key, n in free.items()}
    first = min(key for key in left if isinstance(key, int))
    left[first] -= size * dtype.itemsize
    if left[first] <= 0:
        return None
    block = type(layers[0]).__name__
    found = infer_auto_device_map(
        layers, left, no_split_module_classes=[block], dtype=dtype, clean_result=False
    )
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


@contextmanager
def naming_out_of_memory(placement: Placement, weights: Weights) -> Iterator[None]:
    """Turn running out of memory inside into the error of a model that does not fit."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not known and not any(sign in str(error) for sign in _OUT_OF_MEMORY):
            raise
        reason = _does_not_fit(placement, weights, free_memory())
        raise InfoflowError(f"memory ran out while loading: {reason}") from error


def _does_not_fit(placement: Placement, weights: Weights, free: Memory) -> InfoflowError:
    """Say what a model needs that does not fit, what is free, and what would fit."""
    kind = placement.quantise or weights.dtype
    places = list(free) if placement.may_spread and not placement.quantise else [placement.key]
    where = {key: "in main memory" if key == MAIN else f"on cuda:{key}" for key in places}
    has = ", ".join(f"{_gigabytes(free[key])} free {where[key]}" for key in places)
    ways = "; ".join(_ways(placement, weights, free))
    least = [_gigabytes(weights.needs(each)) for each in (torch.bfloat16, "4bit")]
    nothing = (
        f"Nothing would on this machine: in bfloat16 it takes {least[0]}, on a GPU with "
        f"quantise='4bit' {least[1]}."
    )
    advice = f"What would fit: {ways}." if ways else nothing
    return InfoflowError(
        f"the model in {weights.folder} takes {_gigabytes(weights.needs(kind))} in {_name(kind)}, "
        f"{ALLOWANCE:.0%} of its weights for activations included; there are {has}. {advice}"
    )


def _ways(placement: Placement, weights: Weights, free: Memory) -> Iterator[str]:
    """List what would fit in place of what does not."""
    gpus = {key: n for key, n in free.items() if key != MAIN}
    best = max(gpus, key=lambda key: gpus[key], default=None)
    here = sum(free.values()) if placement.may_spread else free[placement.key]
    narrow = torch.bfloat16
    if weights.dtype.itemsize > narrow.itemsize and weights.needs(narrow) <= here:
        yield f"dtype='bfloat16' ({_gigabytes(weights.needs(narrow))})"
    for kind in BYTES:
        smaller = placement.quantise is None or BYTES[kind] < BYTES[placement.quantise]
        if best is not None and smaller and weights.needs(kind) <= gpus[best]:
            where = "" if best == placement.key else f", device='cuda:{best}'"
            yield f"quantise={kind!r}{where} ({_gigabytes(weights.needs(kind))})"
    if gpus and not placement.may_spread and weights.needs() <= sum(free.values()):
        yield "device='auto', which spreads layers over GPUs and main memory"


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")


def _gigabytes(n_bytes: int) -> str:
    """Two digits at least, so that even tiny models differ."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e9:.2g} GB"
