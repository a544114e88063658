"""Whether a change of the code leaves every measured number as it was, to the last bit.

A script, no test: `python tests/same_rows.py before.parquet` measures a few items of every task
with every measure of the command line, for two families, and writes the rows. Run it again after
the change with another name; `python tests/same_rows.py before.parquet after.parquet` names the
measures whose rows differ, and ends with 1 if there are any.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import pandas as pd

os.environ.update(OMP_NUM_THREADS="1", INFOFLOW_QUIET="1")

MODELS = ("tiny-llava-1.5", "tiny-instructblip")
TASKS = ("scienceqa", "pope", "textvqa", "chair")
MEASURES = {
    "answers": (),
    "text_answers": (),
    "flow_by_layer": (),
    "sink_density_by_head": ("betas=[0.002, 0.02]",),
    "truncation_by_cut": (),
    "log_probs_by_cut": (),
    "frozen_by_cut": (),
    "similarity_by_layer": (),
    "topk_by_cut": ("keeps=[1, 4]", "cuts=[2, 8, 12]"),
    "cam_by_layer": ("n_samples=4",),
    "localisation_by_layer": ("n_samples=4",),
    "last_layer_gradients": (),
}
LIMIT = 5


def measured(model: str, task: str, measure: str, options: tuple[str, ...]) -> list[str]:
    """Measure through the command line; each row as JSON, which writes floats to the last bit."""
    from typer.testing import CliRunner

    from infoflow.cli import app

    with tempfile.TemporaryDirectory() as results:
        call = ["evaluate", model, task, measure, "--limit", str(LIMIT), "--results", results]
        told = CliRunner().invoke(app, [*call, *(f"-p{option}" for option in options)])
        if told.exception:
            raise told.exception
        parts = sorted(Path(results).rglob("*.parquet"))
        rows = pd.concat([pd.read_parquet(part) for part in parts])
    return [json.dumps(row, default=str) for row in rows.to_dict("records")]


def main(before: Path, after: Path | None = None) -> None:
    """Measure, or compare what was measured."""
    if after is None:
        kept = []
        for model in MODELS:
            for task in TASKS:
                for measure, options in MEASURES.items():
                    rows = measured(model, task, measure, options)
                    print(model, task, measure, len(rows))
                    kept += [(f"{model} {task} {measure}", row) for row in rows]
        pd.DataFrame(kept, columns=["of", "row"]).to_parquet(before)
        return
    old, new = (pd.read_parquet(path).groupby("of")["row"].apply(list) for path in (before, after))
    names = sorted({*old.index, *new.index})
    other = [name for name in names if old.get(name) != new.get(name)]
    print("\n".join(other) or f"{len(names)} results, all the same.")
    sys.exit(bool(other))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
