"""Devices that are none: tensors on the CPU that claim to lie elsewhere and refuse to meet.

They compute on the CPU, bit for bit as any tensor there. But each says that it lies on ``cpu:1``,
``cpu:2`` and so on, goes to another device only when it is moved there, and is refused beside a
tensor of another device, as a GPU refuses it. So code that spreads a model over several GPUs can
be run, and caught out, where there is none.
"""

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
_MOVES = {aten._to_copy.default, aten.copy_.default}


class Pretended(torch.Tensor):
    """A tensor on the CPU that claims to lie on another device."""

    @staticmethod
    def __new__(cls, inner, device=None, requires_grad=False):
        device = inner.device if device is None else device
        if device.type == "meta":  # what accelerate puts in the place of offloaded weights
            return torch.nn.Parameter(inner, requires_grad)
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=device,
            requires_grad=requires_grad,
        )

    def __init__(self, inner, device=None, requires_grad=False):
        self.inner = inner.inner if isinstance(inner, Pretended) else inner

    def __repr__(self):
        return f"Pretended({self.inner!r}, {self.device})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


@contextmanager
def devices():
    """Within it, what is made on ``cpu:N`` lies there."""
    with _Calls(), _Made():
        yield


class _Made(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class _Calls(TorchFunctionMode):
    """What the mode above does not see: torch.tensor fills a tensor that lies on the CPU."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.tolist:
            return args[0].cpu().tolist()
        device = kwargs.pop("device", None) if function is torch.tensor else None
        made = function(*args, **kwargs)
        return made if device is None else made.to(device)


def _run(function, args, kwargs):
    with _Made():  # in inference mode calls arrive here that are made of others
        parts = function.decompose(*args, **kwargs)
    if parts is not NotImplemented:
        return parts
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    asked = kwargs.get("device")
    asked = None if asked is None else torch.device(asked)
    if function in _MOVES:
        device = asked or tensors[0].device
    else:
        # as on a GPU: single numbers of the CPU go with anything
        found = {t.device for t in tensors if t.ndim or t.device.index is not None}
        if len(found) > 1 and not _indexes_from_cpu(function, args, found):
            raise RuntimeError(f"{function} found tensors on several devices: {found}")
        device = asked or (_main(args, found) if found else torch.device("cpu"))
    inner = tree_map(lambda x: x.inner if isinstance(x, Pretended) else x, (args, kwargs))
    if asked is not None:
        inner[1]["device"] = torch.device("cpu") if asked.type == "cpu" else asked
    result = function(*inner[0], **inner[1])
    return _claimed(result, tensors, device)


def _indexes_from_cpu(function, args, found):
    """A GPU's tensor may be indexed by one on the CPU."""
    indexing = function in {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}
    return indexing and args[0].device.index is not None and found - {args[0].device} == {CPU}


CPU = torch.device("cpu")


def _main(args, found):
    first = args[0] if args and isinstance(args[0], torch.Tensor) else None
    if first is not None and first.device in found:
        return first.device
    return next(iter(found))


def _claimed(result, tensors, device):
    """Say of each new tensor that it lies there; what was changed in place stays what it was."""
    originals = [x for x in tensors if isinstance(x, Pretended)]

    def claim(x):
        if not isinstance(x, torch.Tensor) or isinstance(x, Pretended):
            return x
        for original in originals:
            if original.inner is x:
                return original
        if device.index is None or x.device.type != "cpu":
            return x
        with torch.inference_mode(False):  # views of it may be wanted elsewhere
            return Pretended(x, device)

    return claim(result) if isinstance(result, torch.Tensor) else tree_map(claim, result)
