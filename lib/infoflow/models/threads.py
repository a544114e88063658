"""A small model on a CPU runs on one thread: several wait for each other beside a busy program."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

import torch
from torch import nn

from infoflow.errors import one_line

_SMALL = 50_000_000  # parameters
_F = TypeVar("_F", bound=Callable[..., Any])


def n_threads(model: nn.Module) -> int:
    """One for a small model on a CPU, else PyTorch's; ``INFOFLOW_THREADS`` names another."""
    if given := os.environ.get("INFOFLOW_THREADS"):
        with one_line("INFOFLOW_THREADS", ValueError):
            return int(given)
    threads = torch.get_num_threads()
    small = threads > 1 and sum(p.numel() for p in model.parameters()) < _SMALL
    return 1 if small and next(model.parameters()).device.type == "cpu" else threads


@contextmanager
def own_threads(model: nn.Module) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads(model))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_own_threads(function: _F) -> _F:
    """Let a function of an ``LVLM``, its first argument, run as :func:`own_threads` says."""

    @wraps(function)
    def run(lvlm: Any, *args: Any, **kwargs: Any) -> Any:
        with own_threads(lvlm.model):
            return function(lvlm, *args, **kwargs)

    return cast(_F, run)
