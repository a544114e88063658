"""What the store already holds of a model on the paper's own benchmarks, run by whoever had it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from infoflow.claims.findings import Evidence
from infoflow.data.items import reported_split
from infoflow.data.load import BENCHMARKS
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.results.parts import in_order, items_of, read_parts
from infoflow.results.store import Store, read_meta
from infoflow.stats.cliff import cliff_layer

MEASURE = "truncation_by_cut"
CHOSEN_ON, REPORTED = "calibration", "reported"
_ASIDE = ("measure", "source", "split")
"""Parts of a result's key in which items to choose on and items to report on may differ."""


def benchmark_evidence(store: Store, model: str, seed: int = 0) -> Evidence | None:
    """Find stored scores by cut of a model on the benchmarks themselves, not on Shapes.

    A task counts if both its calibration items and those to report on have been measured, with the
    same weights, code, wording and settings; of several such pairs the newest counts. Of POPE and
    CHAIR only the held-out pictures are reported on, and never beside a cliff that was chosen on
    some of them, as CHAIR's from the hub and from COCO's files would be.

    Args:
        store: Where to look; nothing is measured.
        model: The model's name.
        seed: Of the bootstrap behind the cliffs' intervals.

    Returns:
        The evidence, without blind guesses; None if there is none.
    """
    found: dict[str, dict[str, pd.DataFrame]] = {CHOSEN_ON: {}, REPORTED: {}}
    for rows in _newest_last(store.root / MEASURE):
        record = rows.attrs["record"]
        key = record["key"]
        named = record.get("provenance", {}).get("model", {}).get("name")
        role = _role(key["task"], key["split"])
        if named == model and role and not key["source"].startswith("shapes") and len(rows):
            found[role].pop(_setting(key), None)  # so that the newest comes last
            found[role][_setting(key)] = rows
    pairs = {
        rows.attrs["record"]["key"]["task"]: (found[CHOSEN_ON][setting], rows)
        for setting, rows in found[REPORTED].items()
        if setting in found[CHOSEN_ON] and _apart(found[CHOSEN_ON][setting], rows)
    }
    if not pairs:
        return None
    return Evidence(
        model=model,
        n_layers=int(max(rows["cut"].max() for _, rows in pairs.values())),
        cliffs={
            task: cliff_layer(scores_by_cut(chosen_on), scores_by_cut(rows), seed=seed)
            for task, (chosen_on, rows) in pairs.items()
        },
        cuts={task: rows for task, (_, rows) in pairs.items()},
        calibration={task: chosen_on for task, (chosen_on, _) in pairs.items()},
        guesses={},
    )


def whole_sizes(evidence: Evidence) -> dict[str, int | None]:
    """Tell how many items the split has whose items were reported on, by task.

    Returns:
        The number; None where the result does not tell.
    """
    records = {task: rows.attrs["record"] for task, rows in evidence.cuts.items()}
    return {
        task: (record.get("provenance", {}).get("data") or {}).get("of")
        for task, record in records.items()
    }


def _role(task: str, split: str) -> str | None:
    """Tell what a split is for, which a benchmark may name in its own way."""
    splits = BENCHMARKS[task].data.splits
    roles = {splits["calibration"]: CHOSEN_ON, splits[reported_split(task)]: REPORTED}
    return roles.get(split)


def _apart(chosen_on: pd.DataFrame, reported: pd.DataFrame) -> bool:
    return set(chosen_on["item"]).isdisjoint(reported["item"])


def _setting(key: Mapping[str, Any]) -> str:
    """Write down what two results must share: all but the items, and how these are asked."""
    _, _, asked = key["source"].partition(", ")
    shared = {name: value for name, value in key.items() if name not in _ASIDE}
    return json.dumps({**shared, "asked": asked}, sort_keys=True)


def _newest_last(folder: Path) -> Iterator[pd.DataFrame]:
    """All results of a measure, with their records."""
    metas = sorted(folder.glob("*/meta.json"), key=lambda path: (path.stat().st_mtime, path))
    for path in metas:
        record = read_meta(path.parent)
        parts = read_parts(path.parent)
        rows = in_order(parts, [name for part in parts for name in items_of(part)])
        rows.attrs["record"] = record
        yield rows
