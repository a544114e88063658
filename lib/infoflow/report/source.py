"""What a page says of where its items come from."""

from dataclasses import replace
from pathlib import Path

from infoflow.data.items import reported_split
from infoflow.report.display import Table, Words, literal
from infoflow.report.style import TASK_TITLES, listed


def source_words(source: str | Path, tasks: list[str]) -> Words | None:
    """Say whose items a page measures, and what of it they do not allow.

    Args:
        source: Where the items come from (:class:`infoflow.data.items.Items`).
        tasks: Names of the tasks.

    Returns:
        The words; None for Shapes, which the page is written about.
    """
    if source == "shapes":
        return None
    origin = "from the hub" if source == "hub" else f"from the folder {literal(str(source))}"
    apart = [TASK_TITLES[task] for task in tasks if reported_split(task) == "held-out"]
    others = (
        f" Of {listed(apart)} the held-out pictures are reported; cliffs are chosen on others."
        if apart
        else ""
    )
    return Words(
        f"This page asks about the benchmarks' own items ({listed([TASK_TITLES[t] for t in tasks])}"
        f", {origin}), in place of Shapes.{others} Whatever is measured against the region that an "
        "answer can be read from (*on target*) needs Shapes' masks: not run on this source."
    )


def on_source(table: Table, source: str | Path, model: str) -> Table:
    """Name what a table of comparison sets beside the paper, where that is not Shapes.

    Args:
        table: With columns ``"ours, MODEL on the benchmark"``, for runs of the paper's model that
            the page has not made, and ``"ours, MODEL on Shapes"``, or without ``on Shapes``.
        source: Where the page's items come from.
        model: The model it measured.

    Returns:
        The table itself for Shapes. Else one whose columns say that they are of the benchmark; if
        the page's model is the paper's, these are the runs that were missing.
    """
    if source == "shapes":
        return table
    made = {f"ours, {model} on the benchmark", f"ours, {model} on the benchmarks"}
    left = [name for name in table.data if name not in {*made, "ours, on the benchmark"}]
    named = {name: str(name).replace(" on Shapes", " on the benchmark") for name in left}
    return replace(table, data=table.data[left].rename(columns=named))
