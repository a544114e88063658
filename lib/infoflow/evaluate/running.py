"""Running a measure over a task, or over one shard of it, and saying beforehand what it will take.

It is what the command line and the workflow run; from Python the measures themselves are called.
"""

import os
from collections.abc import Mapping, Sequence
from inspect import Parameter as Argument
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from infoflow.data.asking import worded
from infoflow.data.load import Task, load_task
from infoflow.errors import InfoflowError
from infoflow.evaluate.costs.measures import Cost, assumptions, expected_cost, span
from infoflow.evaluate.costs.shape import model_shape
from infoflow.evaluate.measures import find_measure, read_settings
from infoflow.files import require_path
from infoflow.models.families import find_model
from infoflow.models.loading import locate, split_revision
from infoflow.models.lvlm import LVLM
from infoflow.options import as_options, kind_of, read_options
from infoflow.results.shards import Shard, sign
from infoflow.results.store import Store

TOKENS_PER_WORD = 1.4
N_TEMPLATE = 8
"""Tokens of a prompt after its question: the turn of the one who answers."""
N_ASKED = 20
"""Questions whose length is counted."""


def load_items(
    task: str,
    source: str,
    split: str,
    limit: int | None,
    rule: str | None,
    options: Sequence[str],
) -> Task:
    """Load a task as it is asked for on the command line.

    Args:
        task: Its name.
        source: Where the items come from.
        split: Which part of the source.
        limit: Only the first so many items; None for all.
        rule: The scoring rule; None for the first.
        options: The other arguments of :func:`infoflow.data.load.load_task`, ``NAME=VALUE`` each.

    Raises:
        UnknownNameError: There is no such task, source, split, rule or argument.
        InfoflowError: A value is not of the argument's type; or what loading raises.
    """
    arguments = signature(load_task).parameters.values()
    others = {a.name: kind_of(a.annotation) for a in arguments if a.kind == Argument.KEYWORD_ONLY}
    values = read_options(others, options, f"task {task}")
    return load_task(task, source, split, limit, rule, **values)


def check_evaluation(asked: Mapping[str, Any], place: str) -> None:
    """Check an entry of ``evaluations.yml`` before anything is measured, loaded or fetched.

    Items of the hub are not looked at; a job that lacks them says so.

    Args:
        asked: The entry, as its schema says.
        place: Where it stands, to begin errors with.

    Raises:
        InfoflowError: There is no such model, measure, task, source, rule, split or folder, a value
            is of another kind, or there are more shards than items.
    """
    parameters, task_options = (
        list(as_options(asked.get(part, {}))) for part in ("parameters", "task_options")
    )
    try:
        find_model(split_revision(asked["model"], asked.get("revision"))[0])
        read_settings(asked["measure"], parameters)
        checkpoint = asked.get("checkpoint")
        if checkpoint is not None:
            if not require_path(checkpoint, "checkpoint").is_dir():
                raise InfoflowError(f"checkpoint {checkpoint!r}: there is no such folder.")
            if "revision" in asked:
                raise InfoflowError("checkpoint and revision name two versions; drop one of them.")
        count, source = asked["shards"], asked.get("source", "shapes")
        limit = asked.get("limit")
        if limit is not None and count > limit:
            raise InfoflowError(f"{limit} items cannot be split into {count} shards.")
        if source != "hub":
            chosen = asked.get("split", "test"), limit, asked.get("rule")
            items = load_items(asked["task"], source, *chosen, task_options)
            Shard(count, 1).of(items)
    except InfoflowError as error:
        raise InfoflowError(f"{place}: {error}") from error


def own_device(device: str) -> str:
    """Choose the GPU of one of several processes that a launcher started on a machine.

    Args:
        device: As asked for; ``"auto"`` becomes the GPU with the process's ``LOCAL_RANK``.
    """
    rank = os.environ.get("LOCAL_RANK")
    if device != "auto" or rank is None or not torch.cuda.is_available():
        return device
    return f"cuda:{rank}"


def expectation(
    model: str,
    checkpoint: Path | None,
    task: Task,
    measure: str,
    settings: Mapping[str, Any],
    shard: Shard | None = None,
) -> str:
    """Say what a run should take on one card of 80 GB, before the model is fetched or loaded.

    Args:
        model: Its name, with or without its version.
        checkpoint: Its folder, if it is not the hub's or the zoo's.
        task: The items.
        measure: Name of the measure.
        settings: Its parameters, all of them.
        shard: The share that will be measured; None for all.

    Raises:
        InfoflowError: There are more shards than items, or the model's shape is not known.
    """
    name, _ = split_revision(model, None)
    spec = find_model(name)
    share = shard.of(task) if shard else task
    n_user = _tokens_after_image(worded(share, name))
    in_zoo = spec.hub_id is None
    shape = model_shape(name, locate(spec, checkpoint, None)[0] if in_zoo else checkpoint)
    cost = expected_cost(measure, shape, len(share), n_user, task.max_new_tokens, settings)
    return (
        f"{name}, {measure}, {_items_told(task, share)}: on one card of 80 GB {_told(cost)} are "
        f"to be expected. {assumptions(n_user, task.max_new_tokens)}"
    )


def evaluate(
    lvlm: LVLM,
    task: Task,
    measure: str,
    settings: Mapping[str, Any],
    store: Store,
    shard: Shard | None = None,
) -> tuple[Path, pd.DataFrame]:
    """Measure what is missing of a task, or of one shard of it.

    Args:
        lvlm: The model.
        task: All items, as they were loaded; they are worded for the model here.
        measure: Name of the measure.
        settings: Its parameters.
        store: Where whole results lie; a shard's own store lies within.
        shard: The share to measure; None for all.

    Returns:
        The result's folder, and its rows.

    Raises:
        InfoflowError: There are more shards than items; or what the measure raises.
    """
    asked = worded(task, lvlm.name)
    if shard is not None:
        asked, store = shard.of(asked), shard.store(store)
    rows = find_measure(measure)(lvlm, asked, store, **settings)
    key = rows.attrs["record"]["key"]
    if shard is not None:
        sign(shard, store, key, [sample.id for sample in asked])
    return store.folder(key), rows


def _tokens_after_image(task: Task) -> int:
    lengths = [len(sample.question.split()) for sample in islice(task, N_ASKED)]
    return round(TOKENS_PER_WORD * sum(lengths) / len(lengths)) + N_TEMPLATE


def _items_told(task: Task, share: Task) -> str:
    """Say how many items there are, and if they are not all of the set."""
    told = f"{len(task)} items"
    if task.n_whole is not None and len(task) < task.n_whole:
        told = f"only the first {len(task)} of {task.n_whole} items"
    shard = f"{len(share)} in this shard of " if len(share) < len(task) else ""
    return f"{shard}{told} of {task.name} {task.split} ({task.source})"


def _told(cost: Cost) -> str:
    times = ", ".join(f"{span(seconds)} ({name})" for name, seconds in cost.seconds.items())
    size = cost.bytes / 1e9
    return f"{times} and {size:.1f} GB" if size >= 1 else f"{times} and {size:.2g} GB"
