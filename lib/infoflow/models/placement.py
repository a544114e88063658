"""Where a model's weights go, and whether they fit: one device, several GPUs, or main memory too.

Only decoder layers are ever spread. All else stays on one device, on which a measure's tensors
meet, whichever layers they come from.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import infer_auto_device_map
from accelerate.utils import get_max_memory
from torch import nn

from infoflow.errors import InfoflowError
from infoflow.models.quantisation import BYTES

MAIN = "cpu"
ALLOWANCE = 0.2
"""What activations may take, as a share of the weights beside them."""

_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory")

Memory = Mapping[int | str, int]
"""Free bytes, of GPUs by number and of main memory."""


@dataclass(frozen=True)
class Placement:
    """Where a model is to be loaded.

    Attributes:
        device: Where it goes, or at least all but its decoder layers.
        may_spread: Whether it may go to another GPU and, if no GPU holds it all, its layers to
            several ones and to main memory, from which they are lent to the GPU one at a time.
        quantise: How its weights are quantised, one of ``quantisation.BYTES``; None for not.
    """

    device: torch.device
    may_spread: bool = False
    quantise: str | None = None

    @property
    def key(self) -> int | str:
        """The device, as free memory is listed."""
        return MAIN if self.device.type == "cpu" else self.device.index or 0


@dataclass(frozen=True)
class Weights:
    """What is to be placed.

    Attributes:
        folder: The checkpoint.
        n_numbers: How many numbers it holds.
        dtype: What they are converted to.
    """

    folder: Path
    n_numbers: int
    dtype: torch.dtype

    def needs(self, dtype: torch.dtype | str | None = None) -> int:
        """Bytes for the weights, in another type if one is given, and the activations."""
        dtype = dtype or self.dtype
        each = dtype.itemsize if isinstance(dtype, torch.dtype) else BYTES[dtype]
        return round(self.n_numbers * each * (1 + ALLOWANCE))


def free_memory() -> dict[int | str, int]:
    """Measure how many bytes are free on each GPU, by its number, and in main memory."""
    free = get_max_memory()
    # a machine that shares its memory with the GPU lists it once, under the GPU's name
    main = free.get(MAIN, max(free.values()))
    return {**{key: n for key, n in free.items() if isinstance(key, int)}, MAIN: main}


def map_devices(
    placement: Placement, weights: Weights, build: Callable[[], nn.Module]
) -> dict[str, Any]:
    """Decide which module goes where, before anything is loaded.

    Args:
        placement: What was asked for.
        weights: What is to be placed.
        build: Builds the model without weights; asked only if its layers are to be spread.

    Returns:
        A device map: by module, a device, the number of a GPU, or ``"cpu"``.

    Raises:
        InfoflowError: It does not fit; the error says what would.
    """
    free = free_memory()
    needed = weights.needs(placement.quantise)
    gpus = [key for key in free if key != MAIN]
    for key in gpus if placement.may_spread else [placement.key]:
        if needed <= free[key]:
            return {"": placement.device if key == placement.key else key}
    if placement.may_spread and not placement.quantise:
        spread = spread_layers(build(), free, weights.dtype)
        if spread is not None:
            return spread
    raise does_not_fit(placement, weights, free)


def spread_layers(model: nn.Module, free: Memory, dtype: torch.dtype) -> dict[str, Any] | None:
    """Spread a model's decoder layers: GPUs are filled one after the other, then main memory.

    Args:
        model: The model; its weights need not be there.
        free: Free bytes; there is a GPU among them.
        dtype: What the weights will be converted to.

    Returns:
        A device map in which all but the layers is on the first GPU; None if it does not fit.
    """
    # twice: a model within the model may have a decoder of its own
    layers = model.get_decoder().get_decoder().layers  # type: ignore[operator]
    place = next(name for name, module in model.named_modules() if module is layers)
    rest = list(_apart_from(model, place))
    size = sum(p.numel() for name, p in model.named_parameters() if not _is_in(name, place))
    room = {key: int(n / (1 + ALLOWANCE)) for key, n in free.items()}
    first = min(key for key in room if isinstance(key, int))
    room[first] -= size * dtype.itemsize
    if room[first] <= 0:
        return None
    block = type(layers[0]).__name__
    found = infer_auto_device_map(
        layers, room, no_split_module_classes=[block], dtype=dtype, clean_result=False
    )
    if "disk" in found.values():
        return None
    return dict.fromkeys(rest, first) | {f"{place}.{layer}": key for layer, key in found.items()}


def does_not_fit(placement: Placement, weights: Weights, free: Memory) -> InfoflowError:
    """Build the error for a model that does not fit: what it needs, what is free, what would fit.

    Args:
        placement: What was asked for.
        weights: What was to be placed.
        free: Free bytes.

    Returns:
        The error, to be raised by the caller.
    """
    kind = placement.quantise or _name(weights.dtype)
    places = list(free) if placement.may_spread and not placement.quantise else [placement.key]
    has = ", ".join(f"{_gigabytes(free[key])} GB free {_where(key)}" for key in places)
    ways = list(_ways(placement, weights, free))
    least = [_gigabytes(weights.needs(each)) for each in (torch.bfloat16, "4bit")]
    advice = (
        f"What would fit: {'; '.join(ways)}."
        if ways
        else f"Nothing would on this machine: in bfloat16 it takes {least[0]} GB, on a GPU with "
        f"quantise='4bit' {least[1]} GB."
    )
    return InfoflowError(
        f"the model in {weights.folder} takes {_gigabytes(weights.needs(placement.quantise))} GB "
        f"in {kind}, {ALLOWANCE:.0%} of its weights for activations included; there are {has}. "
        f"{advice}"
    )


@contextmanager
def naming_exhaustion(placement: Placement, weights: Weights) -> Iterator[None]:
    """Turn running out of memory into the error of a model that does not fit.

    Raises:
        InfoflowError: Memory ran out inside.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        exhausted = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not exhausted and not any(sign in str(error) for sign in _OUT_OF_MEMORY):
            raise
        told = does_not_fit(placement, weights, free_memory())
        raise InfoflowError(f"memory ran out while loading: {told}") from error


def _ways(placement: Placement, weights: Weights, free: Memory) -> Iterator[str]:
    """List what would fit in place of what was asked for."""
    gpus = {key: n for key, n in free.items() if key != MAIN}
    best = max(gpus, key=lambda key: gpus[key], default=None)
    here = sum(free.values()) if placement.may_spread else free[placement.key]
    narrow = torch.bfloat16
    if weights.dtype.itemsize > narrow.itemsize and weights.needs(narrow) <= here:
        yield f"dtype='bfloat16' ({_gigabytes(weights.needs(narrow))} GB)"
    for kind in BYTES:
        smaller = placement.quantise is None or BYTES[kind] < BYTES[placement.quantise]
        if best is not None and smaller and weights.needs(kind) <= gpus[best]:
            where = "" if best == placement.key else f", device='cuda:{best}'"
            yield f"quantise={kind!r}{where} ({_gigabytes(weights.needs(kind))} GB)"
    if gpus and not placement.may_spread and weights.needs() <= sum(free.values()):
        yield "device='auto', which spreads layers over GPUs and main memory"


def _apart_from(module: nn.Module, place: str, path: str = "") -> Iterator[str]:
    """List the modules and tensors that together are all of a model but one module."""
    own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    yield from (f"{path}{name}" for name, _ in own)
    for name, child in module.named_children():
        full = f"{path}{name}"
        if _is_in(place, full):
            if full != place:
                yield from _apart_from(child, place, f"{full}.")
        else:
            yield full


def _is_in(name: str, place: str) -> bool:
    return f"{name}.".startswith(f"{place}.")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _where(key: int | str) -> str:
    return "in main memory" if key == MAIN else f"on cuda:{key}"


def _gigabytes(n_bytes: int) -> str:
    """A size that tells even tiny models apart: two digits at least."""
    return f"{n_bytes / 1e9:.1f}" if n_bytes >= 1e9 else f"{n_bytes / 1e9:.2g}"
