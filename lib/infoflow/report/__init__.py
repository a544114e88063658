"""Figures and tables: each with its picture, alt text, caption and the numbers behind it.

Nothing here runs a model: what is shown was measured by :mod:`infoflow.evaluate` or by the caller.
"""

from infoflow.report.cam import cam_profile, cam_profiles, cam_table
from infoflow.report.cam_claims import cam_paper_table
from infoflow.report.cam_control import cam_control_plot, cam_control_table
from infoflow.report.cam_maps import cam_numbers, cam_scrubber, map_rows
from infoflow.report.charts import (
    Line,
    heat_maps,
    image_panels,
    interval_rows,
    layer_curves,
    map_sheet,
    outline_targets,
    sample_sheet,
)
from infoflow.report.comparison import cliff_paper_table
from infoflow.report.display import NOT_RUN, Plot, ProvenanceBox, Table, Words, literal, table
from infoflow.report.findings import finding_table, finding_words, verdict_counts
from infoflow.report.flow import attention_maps, map_table
from infoflow.report.interventions import compare_arms, paired_table
from infoflow.report.localisation import (
    SITE_NAMES,
    place_name,
    rival_curves,
    site_grid,
    source_name,
)
from infoflow.report.localisation_tables import (
    ALL_TASKS,
    choice_table,
    choice_words,
    free_layer_table,
    site_paper_table,
)
from infoflow.report.own import cut_answers, own_provenance, own_sheet
from infoflow.report.perturbation import perturbation_plot, sanity_table
from infoflow.report.provenance import provenance_box
from infoflow.report.scrubber import Frame, Scrubber
from infoflow.report.source import on_source, paper_table, source_words
from infoflow.report.style import (
    COLOURS,
    LINES,
    SCORE_NAMES,
    TASK_TITLES,
    asked,
    by_task,
    chosen_layers,
    count_layers,
    counted,
    figure,
    label_ends,
    layer_name,
    listed,
    listed_tasks,
    name_layers,
    panels,
    percent,
)

__all__ = [
    "ALL_TASKS",
    "COLOURS",
    "LINES",
    "NOT_RUN",
    "SCORE_NAMES",
    "SITE_NAMES",
    "TASK_TITLES",
    "Frame",
    "Line",
    "Plot",
    "ProvenanceBox",
    "Scrubber",
    "Table",
    "Words",
    "asked",
    "attention_maps",
    "by_task",
    "cam_control_plot",
    "cam_control_table",
    "cam_numbers",
    "cam_paper_table",
    "cam_profile",
    "cam_profiles",
    "cam_scrubber",
    "cam_table",
    "choice_table",
    "choice_words",
    "chosen_layers",
    "cliff_paper_table",
    "compare_arms",
    "count_layers",
    "counted",
    "cut_answers",
    "figure",
    "finding_table",
    "finding_words",
    "free_layer_table",
    "heat_maps",
    "image_panels",
    "interval_rows",
    "label_ends",
    "layer_curves",
    "layer_name",
    "listed",
    "listed_tasks",
    "literal",
    "map_rows",
    "map_sheet",
    "map_table",
    "name_layers",
    "on_source",
    "outline_targets",
    "own_provenance",
    "own_sheet",
    "paired_table",
    "panels",
    "paper_table",
    "percent",
    "perturbation_plot",
    "place_name",
    "provenance_box",
    "rival_curves",
    "sample_sheet",
    "sanity_table",
    "site_grid",
    "site_paper_table",
    "source_name",
    "source_words",
    "table",
    "verdict_counts",
]
