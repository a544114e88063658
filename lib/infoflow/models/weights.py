"""What a checkpoint's weights are made of, by their headers before and by their values after."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path

import torch
from accelerate.utils import align_module_device
from safetensors import safe_open
from torch import nn

from infoflow.errors import InfoflowError

_FLOATING = ("BF16", "F16", "F32", "F64")


def read_headers(paths: Iterable[Path], harmless: Sequence[str]) -> dict[str, torch.Size]:
    """Read the shapes of all tensors in safetensors files, by their headers alone.

    Args:
        paths: The files.
        harmless: Ends of names of tensors that are not used, and left out.

    Raises:
        InfoflowError: A tensor is empty, there twice, or not of a floating type.
        SafetensorError: A file is damaged.
    """
    shapes: dict[str, torch.Size] = {}
    for path in paths:
        with safe_open(path, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                if name.endswith(tuple(harmless)):
                    continue
                tensor = opened.get_slice(name)
                if name in shapes:
                    raise InfoflowError(f"{path} holds {name}, and so does another of the files.")
                if (kind := tensor.get_dtype()) not in _FLOATING:
                    raise InfoflowError(
                        f"{path} holds {name} in {kind}; valid: {', '.join(_FLOATING)}."
                    )
                shapes[name] = torch.Size(tensor.get_shape())
                if not shapes[name].numel():
                    raise InfoflowError(f"{path} holds {name} without a number in it.")
    return shapes


def require_room_for(model: nn.Module, shapes: Mapping[str, torch.Size], folder: Path) -> None:
    """Raise if a model is so much larger than its weights that memory might not hold it.

    Tensors are compared one by one as they are loaded; what is missing has memory by then.

    Args:
        model: The model, on no device.
        shapes: The shapes of the tensors that the checkpoint holds.
        folder: The checkpoint.

    Raises:
        InfoflowError: The model has more than twice the numbers.
    """
    asked = sum(parameter.numel() for parameter in model.parameters())
    held = sum(shape.numel() for shape in shapes.values())
    if asked > 2 * held:
        raise InfoflowError(
            f"the tensors in {folder} are not those its config.json asks for: they hold {held} "
            f"numbers in place of {asked}."
        )


def require_finite_weights(model: nn.Module, folder: Path) -> None:
    """Raise unless all weights are finite, those included that lie in main memory for a GPU.

    It reads each tensor once where it lies and copies none: about three seconds for 7B in float32
    on a CPU, a few milliseconds on a GPU.

    Raises:
        InfoflowError: A tensor holds an infinite number or one that is none (NaN).
    """
    for path, module in model.named_modules():
        with align_module_device(module):
            for name, tensor in module.named_parameters(recurse=False):
                if tensor.is_floating_point() and not all(
                    isfinite(end) for end in torch.stack(tensor.aminmax()).tolist()
                ):
                    raise InfoflowError(
                        f"{path}.{name} in {folder} is not finite in {tensor.dtype}: the "
                        "checkpoint is damaged or has numbers too large for that type."
                    )
