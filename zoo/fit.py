"""One training loop for every stage: seeded, resumable at any step, with progress."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer
from torch.utils.data import Dataset
from tqdm import tqdm

from infoflow.data.shapes.world import DEFAULT_WORLD, World
from infoflow.errors import InfoflowError
from zoo.batches import Batch, stream

CHECKPOINT_EVERY = 100
_OTHER_RATE = 2e-3
_WARM_UP = 80
"""Steps of linear warm-up."""

_EMBEDDINGS = ("embed", "head", "attn_pool.query")
"""In the names of matrices that are tables of vectors, or read-outs, and not maps inside."""

_WHOLE: Mapping[str, float] = {}

_MUON = partial(Muon, momentum=0.95, weight_decay=0.01)
_ADAMW = partial(AdamW, betas=(0.9, 0.98), weight_decay=0.0)
OPTIMISERS: Mapping[str, tuple[Callable[..., Optimizer], float]] = {
    "muon": (_MUON, 0.02),
    "muon-0.005": (_MUON, 0.005),
    "muon-decay": (partial(_MUON, weight_decay=0.5), 0.02),
    "adamw": (partial(_ADAMW, weight_decay=0.1), 2e-3),
    "adamw-decay": (partial(_ADAMW, weight_decay=0.5), 2e-3),
}
"""What trains the matrices inside the network, and its learning rate.

The last one's decay: it furthers a sink on the first token in small language models (Gu et al.,
2025, "When attention sink emerges in language models", on optimisation).
"""

Watch = Callable[[int], None]
Loss = Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]
_Named = tuple[str, nn.Parameter]

Plans = list[tuple[int, int]]
"""From which step on a run was to be how many steps long, which its learning rate depends on."""


def make_optimisers(
    module: nn.Module, shares: Mapping[str, float] = _WHOLE, name: str = "muon"
) -> list[Optimizer]:
    """Muon for the matrices inside the network; AdamW for embeddings, heads, norms and biases.

    Args:
        module: Holds the parameters; frozen ones are left out.
        shares: Of the learning rate, for parameters in whose names a word stands; else all of it.
        name: One of ``OPTIMISERS`` in place of the first.
    """
    make, rate = OPTIMISERS[name]
    matrices: list[_Named] = []
    others: list[_Named] = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        inner = parameter.ndim == 2 and not any(k in name for k in _EMBEDDINGS)
        (matrices if inner else others).append((name, parameter))
    parts = ((make, matrices, rate), (_ADAMW, others, _OTHER_RATE))
    return [make(_groups(named, rate, shares)) for make, named, rate in parts if named]


def _groups(
    named: Iterable[_Named], rate: float, shares: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Put parameters of one learning rate together."""
    found: dict[float, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in named:
        share = next((share for word, share in shares.items() if word in name), 1.0)
        found[share].append(parameter)
    return [{"params": found[share], "lr": rate * share} for share in sorted(found)]


def rate_factor(step: int, steps: int, decay: float) -> float:
    """Learning rate at ``step`` of ``steps``, as a share of the highest; see :func:`fit`."""
    return min(1.0, (step + 1) / _WARM_UP, (steps - step) / (decay * steps))


def _save(path: Path, state: dict[str, object]) -> None:
    """Write a checkpoint that is whole or absent."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _resume(path: Path, module: nn.Module, optimisers: list[Optimizer]) -> tuple[int, Plans]:
    """Load a checkpoint, whatever device it was written on; the steps done, and their plans."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    try:
        module.load_state_dict(state["module"])
    except RuntimeError as error:
        raise InfoflowError(
            f"{path} is the checkpoint of another architecture; valid: one that a run of the same "
            "wrote."
        ) from error
    for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    return int(state["step"]), list(state["plans"])


def on_device(batch: Any, device: torch.device) -> Any:
    """Bring a batch to a device: a tensor, or a tuple or dataclass of batches."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if is_dataclass(batch):
        parts = {f.name: on_device(getattr(batch, f.name), device) for f in fields(batch)}
        return replace(batch, **parts)  # type: ignore[type-var]
    items = (on_device(item, device) for item in batch)
    return type(batch)(*items) if hasattr(batch, "_fields") else tuple(items)


def fit(
    module: nn.Module,
    loss: Loss[Batch],
    batches: Dataset[Batch],
    steps: int,
    decay: float,
    checkpoint: Path,
    loaders: int = 1,
    shares: Mapping[str, float] = _WHOLE,
    optimiser: str = "muon",
    watch: Watch | None = None,
) -> Plans:
    """Train ``module`` in place, on the device it is on.

    Args:
        module: Holds every parameter to train; frozen ones are left alone.
        loss: Loss of a batch, and figures to show beside the progress bar.
        batches: Numbered batches; step ``i`` uses batch ``i``.
        steps: Number of steps in all.
        decay: Share of the steps, at the end, over which the learning rate falls to 0.
        checkpoint: File to resume from, written every ``CHECKPOINT_EVERY`` steps and at the end.
        loaders: Processes that prepare batches; how many there are changes no batch.
        shares: See :func:`make_optimisers`.
        optimiser: Likewise, its name.
        watch: Called with the steps done whenever a checkpoint was written.

    Returns:
        ``[(0, steps)]``, and more where a checkpoint of a shorter plan was gone on from.

    Raises:
        InfoflowError: The checkpoint is of something else, or of more steps.
    """
    device = next(module.parameters()).device
    optimisers = make_optimisers(module, shares, optimiser)
    rates = [[group["lr"] for group in each.param_groups] for each in optimisers]
    first, plans = _resume(checkpoint, module, optimisers) if checkpoint.exists() else (0, [])
    if first > steps:
        raise InfoflowError(f"{checkpoint} has {first} steps behind it; valid: at least so many.")
    if not plans or plans[-1][1] != steps:
        plans.append((first, steps))
    clipped = [
        parameter
        for each in optimisers
        if isinstance(each, AdamW)  # Muon's steps are of one size whatever the gradient's
        for group in each.param_groups
        for parameter in group["params"]
    ]
    bar = tqdm(
        stream(batches, first, steps, loaders),
        desc=checkpoint.stem,
        initial=first,
        total=steps,
        unit="step",
        mininterval=10,
        smoothing=0.05,
    )
    for step, batch in enumerate(bar, start=first):
        for each, highest in zip(optimisers, rates, strict=True):
            for group, rate in zip(each.param_groups, highest, strict=True):
                group["lr"] = rate * rate_factor(step, steps, decay)
            each.zero_grad(set_to_none=True)
        value, figures = loss(on_device(batch, device))
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(clipped, 1.0)
        for each in optimisers:
            each.step()
        if step % 20 == 0:
            bar.set_postfix({k: f"{float(v):.3f}" for k, v in figures.items()}, refresh=False)
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            _save(
                checkpoint,
                {
                    "module": module.state_dict(),
                    "optimisers": [each.state_dict() for each in optimisers],
                    "step": step + 1,
                    "plans": plans,
                },
            )
            if watch:
                watch(step + 1)
    return plans


@dataclass(frozen=True)
class Stage:
    """What a stage draws its data from, how long it is, and the checkpoint it goes on from."""

    seed: int
    steps: int
    checkpoint: Path
    loaders: int = 1
    world: World = DEFAULT_WORLD


@contextmanager
def resting(*parts: nn.Module) -> Iterator[None]:
    """Keep parts of a model as they are for a while."""
    weights = [p for part in parts for p in part.parameters() if p.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
