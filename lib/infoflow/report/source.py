"""What a page says of where its samples come from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from infoflow.data.items import reported_split
from infoflow.report.display import Table, Words, literal, table
from infoflow.report.style import TASK_TITLES, listed


def source_words(source: str | Path, tasks: list[str]) -> Words | None:
    """Say whose items a page measures and what they do not allow; None for Shapes."""
    if source == "shapes":
        return None
    origin = "from the hub" if source == "hub" else f"from the folder {literal(str(source))}"
    titles = listed([TASK_TITLES[task] for task in tasks])
    apart = listed([TASK_TITLES[task] for task in tasks if reported_split(task) == "held-out"])
    others = f" Of {apart} the held-out pictures are reported; cliffs are chosen on others."
    return Words(
        f"This page asks about the benchmarks' own items ({titles}, {origin}), in place of Shapes."
        f"{others if apart else ''} Whatever is measured against the region that an "
        "answer can be read from (*on target*) needs Shapes' masks: not run on this source."
    )


def paper_table(
    lines: Mapping[Any, Mapping[str, Any]] | Sequence[Mapping[str, Any]],
    caption: str,
    source: str | Path,
    model: str,
    index: str = "task",
) -> Table:
    """Set the paper beside ours in a table whose columns begin with ``"paper"`` or ``"ours"``."""
    return on_source(table(lines, caption, index, comparison=True), source, model)


def on_source(compared: Table, source: str | Path, model: str) -> Table:
    """Name what a table of comparison sets beside the paper, where that is not Shapes.

    Columns ``"ours, MODEL on Shapes"`` are then of the benchmark. If the page's model is the
    paper's, they replace ``"ours, MODEL on the benchmark"``, the runs that the page has not made.
    """
    if source == "shapes":
        return compared
    made = {f"ours, {model} on the benchmark", f"ours, {model} on the benchmarks"}
    left = [name for name in compared.data if name not in {*made, "ours, on the benchmark"}]
    named = {name: str(name).replace(" on Shapes", " on the benchmark") for name in left}
    return replace(compared, data=compared.data[left].rename(columns=named))
