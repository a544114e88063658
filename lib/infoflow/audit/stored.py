"""What the store already holds of a model on the paper's own benchmarks, run by whoever had it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from infoflow.audit.findings import Evidence
from infoflow.cliff import cliff_layer
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.parts import in_order, items_of, read_parts
from infoflow.store import Store

MEASURE = "truncation_by_cut"
CHOSEN_ON = "calibration"


def benchmark_evidence(store: Store, model: str, seed: int = 0) -> Evidence | None:
    """Find stored scores by cut of a model on the benchmarks themselves, not on Shapes.

    A task counts if both its calibration items and others have been measured.

    Args:
        store: Where to look; nothing is measured.
        model: The model's name.
        seed: Of the bootstrap behind the cliffs' intervals.

    Returns:
        The evidence, without blind guesses; None if there is none.
    """
    found: dict[str, dict[str, pd.DataFrame]] = {CHOSEN_ON: {}, "test": {}}
    for rows in _newest_last(store.root / MEASURE):
        key = rows.attrs["record"]["key"]
        named = rows.attrs["record"].get("provenance", {}).get("model", {}).get("name")
        if named == model and not key["source"].startswith("shapes") and len(rows):
            found[CHOSEN_ON if key["split"] == CHOSEN_ON else "test"][key["task"]] = rows
    calibration, cuts = found[CHOSEN_ON], found["test"]
    tasks = [task for task in cuts if task in calibration]
    if not tasks:
        return None
    return Evidence(
        model=model,
        n_layers=int(max(cuts[task]["cut"].max() for task in tasks)),
        cliffs={
            task: cliff_layer(
                scores_by_cut(calibration[task]), scores_by_cut(cuts[task]), seed=seed
            )
            for task in tasks
        },
        cuts={task: cuts[task] for task in tasks},
        calibration={task: calibration[task] for task in tasks},
        guesses={},
    )


def _newest_last(folder: Path) -> Iterator[pd.DataFrame]:
    """All results of a measure, with their records."""
    metas = sorted(folder.glob("*/meta.json"), key=lambda path: (path.stat().st_mtime, path))
    for path in metas:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        parts = read_parts(path.parent)
        rows = in_order(parts, [name for part in parts for name in items_of(part)])
        rows.attrs["record"] = record
        yield rows
