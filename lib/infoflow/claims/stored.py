"""What the store already holds of a model on the paper's own benchmarks, run by whoever had it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from infoflow.claims.findings import Evidence
from infoflow.claims.gather import cliffs_of
from infoflow.data.items import reported_split
from infoflow.data.load import BENCHMARKS
from infoflow.results.parts import read_rows
from infoflow.results.store import Store, read_meta

CHOSEN_ON, REPORTED = "calibration", "reported"


def benchmark_evidence(store: Store, model: str, seed: int = 0) -> Evidence | None:
    """Find stored scores by cut of a model on the benchmarks themselves, not on Shapes.

    A task counts if both its calibration items and those to report on have been measured, with the
    same weights, code, wording and settings; of several such pairs the newest counts. Of POPE and
    CHAIR only the held-out images are reported on, and never beside a cliff that was chosen on
    some of them, as CHAIR's from the hub and from COCO's files would be. Blind guesses are not
    stored. None if nothing counts.
    """
    found: dict[str, dict[str, pd.DataFrame]] = {CHOSEN_ON: {}, REPORTED: {}}
    for rows in _newest_last(store.root / "truncation_by_cut"):
        record = rows.attrs["record"]
        key = record["key"]
        named = record.get("provenance", {}).get("model", {}).get("name")
        role = _role(key["task"], key["split"])
        if named == model and role and not key["source"].startswith("shapes") and len(rows):
            found[role].pop(_setting(key), None)  # so that the newest comes last
            found[role][_setting(key)] = rows
    calibration, cuts = {}, {}
    for setting, rows in found[REPORTED].items():
        chosen_on = found[CHOSEN_ON].get(setting)
        if chosen_on is not None and set(chosen_on["item"]).isdisjoint(rows["item"]):
            task = rows.attrs["record"]["key"]["task"]
            calibration[task], cuts[task] = chosen_on, rows
    if not cuts:
        return None
    n_layers = int(max(rows["cut"].max() for rows in cuts.values()))
    cliffs = cliffs_of(calibration, cuts, seed)
    return Evidence(model, n_layers, cliffs=cliffs, cuts=cuts, calibration=calibration)


def whole_sizes(evidence: Evidence) -> dict[str, int | None]:
    """By task, how many items the split has that was reported on; None where that is not known."""
    records = {task: rows.attrs["record"] for task, rows in evidence.cuts.items()}
    return {
        task: (record.get("provenance", {}).get("data") or {}).get("of")
        for task, record in records.items()
    }


def _role(task: str, split: str) -> str | None:
    """What a split is for, which a benchmark may name in its own way."""
    splits = BENCHMARKS[task].data.splits
    return {splits["calibration"]: CHOSEN_ON, splits[reported_split(task)]: REPORTED}.get(split)


def _setting(key: Mapping[str, Any]) -> str:
    """What two results must share: all but the items, and the prompt template."""
    template = {"source": key["source"].partition(", ")[2], "split": None}
    return json.dumps({**key, **template}, sort_keys=True)


def _newest_last(folder: Path) -> Iterator[pd.DataFrame]:
    """All results of a measure, with their records."""
    metas = sorted(folder.glob("*/meta.json"), key=lambda path: (path.stat().st_mtime, path))
    for path in metas:
        rows = read_rows(path.parent).to_pandas()
        rows.attrs["record"] = read_meta(path.parent)
        yield rows
