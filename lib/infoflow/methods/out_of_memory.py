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

logger = logging.getLogger(__name__)

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

    What has been run is kept. The size that fitted is remembered for the model, so that only the
    first batch is tried in vain, and the halving is said once as a warning.
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
            result = run(batch)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise InfoflowError(
                    f"the GPU's memory ran out with one of the {what} at a time; a smaller type, "
                    "quantised weights or a larger GPU would help."
                ) from error
        else:
            del waiting[:n]
            yield result
            continue
        # only now that the error is gone does nothing hold the tensors of the failed batch
        torch.cuda.empty_cache()
        fitting[what] = len(batch) // 2
        logger.warning(
            "the GPU's memory ran out with %d %s at once; going on with %d",
            *(len(batch), what, fitting[what]),
        )
