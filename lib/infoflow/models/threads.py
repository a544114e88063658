"""How many threads a model runs on.

A small model on a CPU has nothing to share out: on several threads each waits for the slowest, and
beside another program that keeps a core busy that takes up to a hundred times longer.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import nn

from infoflow.errors import one_line

_SMALL = 50_000_000  # parameters
_P = ParamSpec("_P")
_T = TypeVar("_T")
_L = TypeVar("_L")


def n_threads(model: nn.Module) -> int:
    """One for a small model on a CPU; ``INFOFLOW_THREADS`` names another number, for every model.

    For others it is what PyTorch is set to.
    """
    if given := os.environ.get("INFOFLOW_THREADS"):
        with one_line("INFOFLOW_THREADS", ValueError):
            return int(given)
    small = sum(p.numel() for p in model.parameters()) < _SMALL
    on_cpu = next(model.parameters()).device.type == "cpu"
    return 1 if small and on_cpu else torch.get_num_threads()


@contextmanager
def own_threads(model: nn.Module) -> Iterator[None]:
    """Run a model on its own number of threads; the program around it gets back what it had."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads(model))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_own_threads(
    function: Callable[Concatenate[_L, _P], _T],
) -> Callable[Concatenate[_L, _P], _T]:
    """Let a function of an ``LVLM``, its first argument, run as :func:`own_threads` says."""

    @wraps(function)
    def run(lvlm: _L, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with own_threads(lvlm.model):  # type: ignore[attr-defined]
            return function(lvlm, *args, **kwargs)

    return run
