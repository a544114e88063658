"""Rows that come with the package: what the zoo's models do on all items of Shapes.

A file is named by a result's key less the digest of the code. If one item, measured anew, differs,
the store takes none. ``INFOFLOW_SHIPPED=no`` leaves all aside; ``make rows`` makes them.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from infoflow.results.parts import canonical, digest, join, make_table
from infoflow.results.sources import ROOT

FOLDER = ROOT / "rows"
_TOLERANCE = 1e-3  # of logits and shares, which another processor rounds otherwise


def shipped_file(key: Mapping[str, Any]) -> Path:
    """Where the rows of a result lie, if they come with the package."""
    named = digest(canonical({name: value for name, value in key.items() if name != "code"}))
    return FOLDER / str(key["measure"]) / f"{named}.parquet"


def shipped_rows(key: Mapping[str, Any]) -> pa.Table:
    """Read the rows of a result that come with the package: none for most results."""
    path, aside = shipped_file(key), os.environ.get("INFOFLOW_SHIPPED") == "no"
    return make_table({}) if aside or not path.is_file() else pq.read_table(path)


def agree(one: pa.Table, other: pa.Table) -> bool:
    """Whether rows are the same: texts to the letter, numbers to the rounding of a processor."""
    both: pd.DataFrame = join([one, other]).to_pandas()  # in one table, they have the same types
    first, second = both[: len(one)], both[len(one) :].reset_index(drop=True)
    return len(one) == len(other) and all(
        np.allclose(first[name], second[name], _TOLERANCE, _TOLERANCE, equal_nan=True)
        if pd.api.types.is_numeric_dtype(first[name])
        else first[name].equals(second[name])
        for name in both
    )
