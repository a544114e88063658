"""The measures by name, as the command line and the workflow run them: settings, items, shards."""

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import Parameter
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pandas as pd
import torch

from infoflow import evaluate as measures
from infoflow.data.load import Task, load_task, option_kinds
from infoflow.data.templates import worded
from infoflow.errors import InfoflowError, one_line, require_name
from infoflow.evaluate import REGISTERED, Measure, own_settings
from infoflow.files import require_path
from infoflow.models.families import find_model
from infoflow.models.loading import split_revision
from infoflow.models.lvlm import LVLM
from infoflow.options import as_options, kind_of, read_options
from infoflow.results.shards import Shard, sign
from infoflow.results.store import Store

for _file in iter_modules(measures.__path__, f"{measures.__name__}."):
    import_module(_file.name)

MEASURES: Mapping[str, Measure] = {
    name: measure
    for name, measure in REGISTERED.items()
    if all("infoflow." not in kind_of(p.annotation) for p in own_settings(measure).values())
}
"""Those whose settings are plain values, by name, which is that of the result's folder, too."""


def read_settings(name: str, options: Sequence[str]) -> dict[str, Any]:
    """Read a measure's settings, ``NAME=VALUE`` each; what is not given has its default."""
    require_name(name, "measure", MEASURES)
    own = own_settings(MEASURES[name])
    given = read_options({n: kind_of(p.annotation) for n, p in own.items()}, options, name)
    values = {n: p.default for n, p in own.items()} | given
    if missing := [n for n, value in values.items() if value is Parameter.empty]:
        raise InfoflowError(f"{name} needs {', '.join(missing)}: -p {missing[0]}=VALUE.")
    return values


def load_items(
    task: str, source: str, split: str, limit: int | None, rule: str | None, options: Sequence[str]
) -> Task:
    """Load a task; options are other arguments of ``load_task``, ``NAME=VALUE`` each."""
    values = read_options(option_kinds(), options, f"task {task}")
    return load_task(task, source, split, limit, rule, **values)


def check_evaluation(entry: Mapping[str, Any], place: str) -> None:
    """Check an entry of ``evaluations.yml`` before a measure runs; ``place`` begins errors."""
    with one_line(place, InfoflowError):
        find_model(split_revision(entry["model"], entry.get("revision"))[0])
        read_settings(entry["measure"], list(as_options(entry.get("parameters", {}))))
        checkpoint = entry.get("checkpoint")
        if checkpoint is not None and not require_path(checkpoint, "checkpoint").is_dir():
            raise InfoflowError(f"checkpoint {checkpoint!r}: there is no such folder")
        source = entry.get("source", "shapes")
        if source != "hub":
            chosen = entry.get("split", "test"), entry.get("limit"), entry.get("rule")
            options = list(as_options(entry.get("task_options", {})))
            Shard(entry["shards"], 1).of(load_items(entry["task"], source, *chosen, options))


def own_device(device: str) -> str:
    """For ``"auto"`` the GPU with the process's ``LOCAL_RANK``, if a launcher started several."""
    rank = os.environ.get("LOCAL_RANK") if torch.cuda.is_available() else None
    return device if device != "auto" or rank is None else f"cuda:{rank}"


def counted(task: Task, shard: Shard | None) -> str:
    """How many samples there are, and if they are not all of the set."""
    count = f"{len(task)} items"
    if task.n_whole is not None and len(task) < task.n_whole:
        count = f"only the first {len(task)} of {task.n_whole} items"
    share = f"{len(shard.of(task))} in this shard of " if shard else ""
    return f"{share}{count} of {task.name} {task.split} ({task.source})"


def evaluate(
    lvlm: LVLM,
    task: Task,
    measure: str,
    settings: Mapping[str, Any],
    store: Store,
    shard: Shard | None = None,
) -> tuple[Path, pd.DataFrame]:
    """Word a task for the model, and measure what is missing of it, or of one shard of it."""
    share = worded(task, lvlm.name)
    if shard is not None:
        share, store = shard.of(share), shard.store(store)
    rows = MEASURES[measure](lvlm, share, store, **settings)
    key = rows.attrs["record"]["key"]
    if shard is not None:
        sign(shard, store, key, [sample.id for sample in share])
    return store.folder(key), rows
