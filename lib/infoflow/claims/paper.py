"""What the paper printed: the values of ``paper_values.yml``, which pages set beside ours."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from infoflow.files import read_yaml


@cache
def paper_values() -> dict[str, Any]:
    """Read the published values, each with its source, and the claims; not to be changed."""
    content: dict[str, Any] = read_yaml(Path(__file__).with_name("paper_values.yml"))
    return content


def is_twin(model: str, published: str) -> bool:
    """Whether a model is the published one, or the zoo's of its architecture."""
    return model in (published, f"tiny-{published.removesuffix('-7b')}")


def printed_pair(row: Mapping[str, Any], task: str, metric: str) -> Mapping[str, float] | None:
    """What a row of Table 1 prints for a score, in percent: ``baseline`` and ``cliff``."""
    pair: Mapping[str, float] | None = row["scores"].get(task, {}).get(metric)
    return pair


def table1_pairs(
    paper: Mapping[str, Any], task: str, metric: str
) -> dict[str, Mapping[str, float]]:
    """The printed pairs of a score by model, as :func:`printed_pair`."""
    found = {row["printed"]: printed_pair(row, task, metric) for row in paper["table1"]}
    return {model: pair for model, pair in found.items() if pair}
