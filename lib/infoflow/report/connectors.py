"""Cliffs of several models beside each other, by what lies between tower and decoder."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes

from infoflow.claims.findings import Finding
from infoflow.claims.on_connectors import Depth
from infoflow.report.display import Plot
from infoflow.report.style import COLOURS, HOUSE_STYLE, TASK_TITLES, task_panels


def connector_plot(depths: Mapping[str, Sequence[Depth]], finding: Finding) -> Plot:
    """Every model's cliff with its interval, a panel a task, models of one kind together.

    Args:
        depths: By task, of :func:`infoflow.claims.on_connectors.cliff_depths`.
        finding: What was found about them.
    """
    n_models = max(len(of_task) for of_task in depths.values())
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(len(depths), panel_height=1.1 + 0.32 * n_models)
        for axes, (task, of_task) in zip(panels, depths.items(), strict=True):
            _draw(axes, of_task)
            axes.set_title(TASK_TITLES[task])
        for axes in panels[-2:]:
            axes.set_xlabel("cliff (cut / number of layers)")
    table = pd.DataFrame(
        [{"task": task, **d._asdict()} for task, of_task in depths.items() for d in of_task]
    ).set_index(["task", "model"])
    told = finding.measured
    words = told if isinstance(told, str) else _by_task(told)
    caption = (
        "The cliff with its 95 % interval (calibration items). Does it depend on the projector? "
        f"{words}. Verdict: {finding.verdict}."
    )
    return Plot(figure, f"{_alt(depths)} {caption}", caption, table)


def _draw(axes: Axes, depths: Sequence[Depth]) -> None:
    """Draw one row a model, the first on top."""
    rows = range(len(depths))
    axes.hlines(rows, [d.low for d in depths], [d.high for d in depths], color=COLOURS["cliff"])
    axes.plot([d.depth for d in depths], rows, "o", color=COLOURS["cliff"])
    axes.set_yticks(rows, [f"{d.model}\n{d.connector}" for d in depths], fontsize=8)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(len(depths) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)


def _by_task(told: Mapping[str, str]) -> str:
    return "; ".join(f"{TASK_TITLES[task]}: {words}" for task, words in told.items())


def _alt(depths: Mapping[str, Sequence[Depth]]) -> str:
    shown = (
        f"{TASK_TITLES[task]}: " + ", ".join(f"{d.model} {d.depth:.2f}" for d in of_task)
        for task, of_task in depths.items()
    )
    return f"Dots with bars, a row a model. {'; '.join(shown)}."
