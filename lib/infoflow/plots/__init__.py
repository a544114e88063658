"""Figures and tables: each with its picture, alt text, caption and the numbers behind it.

Nothing here runs a model: what is shown was measured by :mod:`infoflow.evaluate` or by the caller.
"""

from infoflow.plots.card import bar_table, kind_plot, kind_scores, kind_table, seed_table
from infoflow.plots.comparison import cliff_paper_table, flow_paper_table, score_paper_table
from infoflow.plots.display import NOT_RUN, Plot, ProvenanceBox, Table, Words, provenance_box
from infoflow.plots.flow import (
    attention_maps,
    chosen_layers,
    flow_shares,
    image_share_control,
    map_table,
)
from infoflow.plots.samples import frequency_maps, region_sheet, sample_sheet
from infoflow.plots.style import TASK_TITLES, percent
from infoflow.plots.tables import (
    answers_table,
    cliff_table,
    flow_control_table,
    metrics_table,
    share_table,
    truncation_control_table,
)
from infoflow.plots.truncation import truncation_curves

__all__ = [
    "NOT_RUN",
    "TASK_TITLES",
    "Plot",
    "ProvenanceBox",
    "Table",
    "Words",
    "answers_table",
    "attention_maps",
    "bar_table",
    "chosen_layers",
    "cliff_paper_table",
    "cliff_table",
    "flow_control_table",
    "flow_paper_table",
    "flow_shares",
    "frequency_maps",
    "image_share_control",
    "kind_plot",
    "kind_scores",
    "kind_table",
    "map_table",
    "metrics_table",
    "percent",
    "provenance_box",
    "region_sheet",
    "sample_sheet",
    "score_paper_table",
    "seed_table",
    "share_table",
    "truncation_control_table",
    "truncation_curves",
]
