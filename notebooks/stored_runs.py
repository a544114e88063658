"""What the store holds of a model's runs on the benchmarks, for pages that set it beside ours."""

import json

import pandas as pd

from infoflow.claims.findings import Evidence
from infoflow.claims.gather import cliffs_of
from infoflow.data.items import reported_split
from infoflow.data.load import BENCHMARKS
from infoflow.results.parts import read_rows
from infoflow.results.store import Store, read_meta


def benchmark_evidence(store: Store, model: str, seed: int = 0) -> Evidence | None:
    """Find stored scores by cut of a model on the benchmarks themselves, not on Shapes.

    A task counts if both its calibration items and those to report on have been measured, with the
    same weights, code, wording and settings, and have no item in common, as CHAIR's from the hub
    and from COCO's files would. Of several such pairs the newest counts. None if nothing does.
    """
    metas = (store.root / "truncation_by_cut").glob("*/meta.json")
    runs: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}  # by split, the newest last
    for meta in sorted(metas, key=lambda path: (path.stat().st_mtime, path)):
        record, rows = read_meta(meta.parent), read_rows(meta.parent).to_pandas()
        key, named = record["key"], record.get("provenance", {}).get("model", {}).get("name")
        if named == model and not key["source"].startswith("shapes") and len(rows):
            rows.attrs["record"] = record
            # a pair shares all but the items; of the source, that is the prompt template
            shared = {**key, "source": key["source"].partition(", ")[2], "split": None}
            setting = key["task"], json.dumps(shared, sort_keys=True)
            runs[setting] = {**runs.pop(setting, {}), key["split"]: rows}
    calibration, cuts = {}, {}
    for (task, _), by_split in runs.items():
        own = BENCHMARKS[task].data.splits  # a benchmark's names for them
        chosen_on, rows = (by_split.get(own[x]) for x in ("calibration", reported_split(task)))
        if chosen_on is None or rows is None:
            continue
        if set(chosen_on["item"]).isdisjoint(rows["item"]):
            calibration[task], cuts[task] = chosen_on, rows
    if not cuts:
        return None
    n_layers = int(max(rows["cut"].max() for rows in cuts.values()))
    return Evidence(model, n_layers, cliffs_of(calibration, cuts, seed), cuts, calibration)
