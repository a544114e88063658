"""How a cliff is born: a model in training, measured on a few items as ``zoo.resembles`` does."""

import json
from pathlib import Path
from typing import Any

from infoflow.data.load import list_tasks, load_task
from infoflow.files import atomic_write, read_json
from infoflow.models.lvlm import load_lvlm
from infoflow.results.store import Store
from zoo.resembles import measure, summarise, verdicts

GROWTH = "growth.json"
ITEMS = 16
"""Of each task's calibration items."""


def watch_growth(name: str, folder: Path, world: str, step: int, file: Path) -> None:
    """Measure a snapshot, whose weights are not kept, and add what was found to a file.

    Args:
        name: The model's.
        folder: Its checkpoint, in which the measured rows are put, too.
        world: The world's name.
        step: How many steps it has learned to answer.
        file: Holds a list, an entry a step: the verdicts, and by task the ``shares`` of attention
            by layer, the ``cliff`` and the mean ``score``.
    """
    lvlm, store = load_lvlm(name, checkpoint=folder, device="cpu"), Store(folder / "rows")
    tasks = {}
    for task_name in list_tasks():
        task = load_task(task_name, world, split="calibration", limit=ITEMS)
        tasks[task_name] = summarise(task, measure(lvlm, task, store))
    held = {name: verdict["holds"] for name, verdict in verdicts(tasks).items()}
    known = read_json(file) if file.is_file() else []
    entry = {"step": step, "holds": held, "tasks": {n: _short(of) for n, of in tasks.items()}}
    entries = [*(each for each in known if each["step"] != step), entry]
    atomic_write(file, (json.dumps(entries) + "\n").encode())


def _short(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        "shares": {group: shares["mean"] for group, shares in summary["shares"].items()},
        "cliff": summary["cliff"]["cut"],
        "score": summary["scores"]["intact"]["mean"],
    }
