"""What the pages on truncation share: controls, metrics by cut, curves with their cliffs."""

import pandas as pd

from infoflow import report
from infoflow.report import COLOURS, TASK_TITLES, Line
from infoflow.stats.intervals import mean_interval


def control_table(rows, swapped, ordinary, guesses):
    """Scores with another image, with none, and answers that differ from the untouched model's."""
    lines = {}
    for task, frame in rows.items():
        by_cut = frame.groupby("cut")["score"].mean()
        intact = frame[frame["cut"] == by_cut.index[-1]].set_index("item")["text"]
        plain = ordinary[task].set_index("item")["text"]
        lines[TASK_TITLES[task]] = {
            "own picture %": f"{100 * by_cut.iloc[-1]:.1f}",
            "another's picture %": f"{100 * swapped[task]['score'].mean():.1f}",
            "no picture (cut 0) %": f"{100 * by_cut.iloc[0]:.1f}",
            "best blind guess %": f"{100 * guesses[task]:.1f}",
            "cut L unlike untouched model": (
                f"{(intact[plain.index] != plain).sum()} of {len(plain)}"
            ),
        }
    return report.table(lines, "Controls: what the score is without the right picture")


def metrics_table(metrics, columns, title):
    """Chosen metrics of one task by cut, in percent."""
    shown = (100 * metrics[columns]).map("{:.1f}".format)
    shown.insert(0, "paper's layer", [*map(str, metrics.index[:-1] + 1), "intact"])
    return report.Table(shown, title)
