"""Running out of GPU memory: what is done at once is halved, and the work goes on."""

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

from infoflow.errors import InfoflowError

Item = TypeVar("Item")
Result = TypeVar("Result")
_fitting: WeakKeyDictionary[nn.Module, dict[str, int]] = WeakKeyDictionary()
"""How many of each kind of item fitted into memory at once, by model."""


def in_batches(
    items: Iterable[Item],
    run: Callable[[list[Item]], Result],
    size: int,
    model: nn.Module,
    what: str,
) -> Iterator[Result]:
    """Run batches of items, ``what`` in words, smaller ones once the GPU's memory has run out.

    What has been run is kept, and the size that fitted is remembered for the model.
    """
    fitting = _fitting.setdefault(model, {})
    source = iter(items)
    waiting: list[Item] = []
    while True:
        n = min(size, fitting.get(what, size))
        waiting += islice(source, max(0, n - len(waiting)))
        if not waiting:
            return
        batch = waiting[:n]
        try:
            yield run(batch)
            del waiting[:n]
            continue
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                mended = "a smaller type, quantised weights or a larger GPU would help"
                message = f"the GPU's memory ran out with one of the {what} at a time; {mended}."
                raise InfoflowError(message) from error
        # only now that the error is gone does nothing hold the tensors of the failed batch
        torch.cuda.empty_cache()
        fitting[what] = n = len(batch) // 2
        message = "the GPU's memory ran out with %d %s at once; going on with %d"
        logging.getLogger(__name__).warning(message, len(batch), what, n)
