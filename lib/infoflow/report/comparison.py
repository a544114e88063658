"""The paper beside ours: what was printed, what this page measured, and what nobody ran."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from infoflow.report.display import NOT_RUN, Table
from infoflow.report.style import TASK_TITLES, layer_name
from infoflow.stats.cliff import Cliff

Rows = Mapping[str, pd.DataFrame]


def cliff_paper_table(
    cliffs: Mapping[str, Cliff],
    n_layers: int,
    published: Sequence[Mapping[str, Any]],
    paper_model: str,
    model: str,
) -> Table:
    """The paper's cliff layers beside ours, in both counts.

    Args:
        cliffs: By task, our cliff.
        n_layers: L of our model.
        published: ``cliffs`` of the paper's values.
        paper_model: Whose published cliffs to show.
        model: The model our cliffs are of.
    """
    lines = []
    for entry in published:
        if entry["model"] != paper_model or entry["task"] not in cliffs:
            continue
        ours = cliffs[entry["task"]]
        about = "about " if entry.get("approximate") else ""
        lines.append(
            {
                "task": TASK_TITLES[entry["task"]],
                f"paper, {paper_model}: layer": f"{about}{entry['layer']}",
                "paper: as cut": f"{about}{entry['layer'] - 1}",
                "paper: place": entry["place"],
                f"ours, {paper_model} on the benchmark": NOT_RUN,
                f"ours, {model} on Shapes: cut": f"{ours.cut} [{ours.interval[0]}, "
                f"{ours.interval[1]}]",
                "ours: as paper's layer": layer_name(ours.cut, n_layers),
            }
        )
    data = pd.DataFrame(lines).set_index("task")
    return Table(data, "Cliffs: the paper's beside ours", comparison=True)
