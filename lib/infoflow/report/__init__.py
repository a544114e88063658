"""Figures and tables: each with its picture, alt text, caption and the numbers behind it.

Nothing here runs a model: what is shown was measured by :mod:`infoflow.evaluate` or by the caller.
"""

from infoflow.report.blind import blind_plot, ways_plot
from infoflow.report.blind_tables import (
    blind_table,
    fate_table,
    habit_table,
    habit_words,
    no_image_paper_table,
    no_image_words,
    way_answers_table,
    ways_table,
)
from infoflow.report.cam import cam_profile, cam_profiles, cam_table
from infoflow.report.cam_claims import cam_paper_table
from infoflow.report.cam_control import cam_control_plot, cam_control_table
from infoflow.report.cam_maps import cam_numbers, cam_scrubber, map_rows
from infoflow.report.card import (
    bar_table,
    kind_plot,
    kind_scores,
    kind_table,
    seed_plot,
    seed_table,
)
from infoflow.report.charts import (
    Line,
    heat_maps,
    image_panels,
    layer_curves,
    map_sheet,
    outline_targets,
    sample_sheet,
)
from infoflow.report.comparison import cliff_paper_table, score_paper_table
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
from infoflow.report.matrix import (
    block_table,
    drift_table,
    matrix_pair,
    matrix_paper_table,
    vanishing_shares,
    vanishing_table,
)
from infoflow.report.models import curves_by_model
from infoflow.report.own import cut_answers, own_provenance, own_sheet
from infoflow.report.perturbation import perturbation_plot, sanity_table
from infoflow.report.provenance import provenance_box
from infoflow.report.samples import frequency_maps, region_sheet
from infoflow.report.scrubber import Frame, Scrubber
from infoflow.report.selection import selection_table
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
from infoflow.report.table1 import (
    sampling_table,
    table1_gains,
    table1_rules,
    table1_table,
    table1_tests,
)
from infoflow.report.tables import (
    answers_table,
    cliff_table,
    cliff_test_table,
    metrics_table,
    span_table,
    truncation_control_table,
)
from infoflow.report.truncation import log_prob_curves, log_prob_table, truncation_curves

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
    "answers_table",
    "asked",
    "attention_maps",
    "bar_table",
    "blind_plot",
    "blind_table",
    "block_table",
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
    "cliff_table",
    "cliff_test_table",
    "compare_arms",
    "count_layers",
    "counted",
    "curves_by_model",
    "cut_answers",
    "drift_table",
    "fate_table",
    "figure",
    "finding_table",
    "finding_words",
    "free_layer_table",
    "frequency_maps",
    "habit_table",
    "habit_words",
    "heat_maps",
    "image_panels",
    "kind_plot",
    "kind_scores",
    "kind_table",
    "label_ends",
    "layer_curves",
    "layer_name",
    "listed",
    "listed_tasks",
    "literal",
    "log_prob_curves",
    "log_prob_table",
    "map_rows",
    "map_sheet",
    "map_table",
    "matrix_pair",
    "matrix_paper_table",
    "metrics_table",
    "name_layers",
    "no_image_paper_table",
    "no_image_words",
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
    "region_sheet",
    "rival_curves",
    "sample_sheet",
    "sampling_table",
    "sanity_table",
    "score_paper_table",
    "seed_plot",
    "seed_table",
    "selection_table",
    "site_grid",
    "site_paper_table",
    "source_name",
    "source_words",
    "span_table",
    "table",
    "table1_gains",
    "table1_rules",
    "table1_table",
    "table1_tests",
    "truncation_control_table",
    "truncation_curves",
    "vanishing_shares",
    "vanishing_table",
    "verdict_counts",
    "way_answers_table",
    "ways_plot",
    "ways_table",
]
