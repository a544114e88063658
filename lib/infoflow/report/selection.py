"""What the best of many cuts owes to being the best of many."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from infoflow.claims.findings import Evidence
from infoflow.report.display import Table
from infoflow.report.style import SCORE_NAMES, TASK_TITLES
from infoflow.stats.selection import SelectionBias


def selection_table(
    biases: Mapping[str, Mapping[str, SelectionBias | None]], evidence: Mapping[str, Evidence]
) -> Table:
    """What the best of many cuts gains by being the best of many, beside the held-out gain.

    Args:
        biases: By model and task, the bias; None where no truncated cut was left to choose from.
        evidence: By model, what was measured.
    """
    lines = []
    for model, of_tasks in biases.items():
        for task, bias in of_tasks.items():
            by_chance = (
                f"{_points(bias.chance)}, up to {_points(bias.chance_high)}" if bias else "-"
            )
            lines.append(
                {
                    "model": model,
                    "task": f"{TASK_TITLES[task]} ({SCORE_NAMES[task]})",
                    "cuts to choose from": bias.n_cuts if bias else 0,
                    "best of them": _points(bias.gain if bias else None),
                    "by chance: mean, 95 %": by_chance,
                    "best on one half": _points(bias.half_gain if bias else None),
                    "same cut, other half": _points(bias.other_half_gain if bias else None),
                    "cliff, held out": _points(evidence[model].cliffs[task].difference),
                }
            )
    data = pd.DataFrame(lines).set_index("model")
    known = [bias for of_tasks in biases.values() for bias in of_tasks.values() if bias]
    shown = sum(bias.gain > bias.chance_high for bias in known)
    lost = float(np.mean([b.half_gain - b.other_half_gain for b in known])) if known else 0.0
    caption = (
        "Gain over the intact model (points) of the best cut from the cliff on, chosen and scored "
        f"on the same test items. On {shown} of {len(known)} tasks it is more than chance gives in "
        "95 % of draws. On items it was not chosen on, the choice is worth "
        f"{100 * lost:.1f} points less, averaged over tasks."
    )
    return Table(data, caption)


def _points(share: float | None) -> str:
    return "-" if share is None else f"{round(100 * share, 1) + 0.0:+.1f}"
