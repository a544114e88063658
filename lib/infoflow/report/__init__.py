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
from infoflow.report.depth_tables import (
    depth_control_table,
    depth_paper_table,
    depth_table,
    depth_words,
)
from infoflow.report.display import NOT_RUN, Plot, ProvenanceBox, Table, Words, literal, table
from infoflow.report.eah import eah_effects_table, eah_settings_table, eah_sweeps
from infoflow.report.findings import finding_table, finding_words, verdict_counts
from infoflow.report.flow import (
    attention_maps,
    chosen_layers,
    flow_shares,
    image_share_control,
    map_table,
)
from infoflow.report.flow_claims import flow_paper_table, flow_verdicts, reduction_table
from infoflow.report.heads import head_maps, head_reductions, head_table
from infoflow.report.interventions import arm_metrics_table, hidden_maps, paired_table
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
from infoflow.report.overview import item_arcs, mean_arcs
from infoflow.report.own import cut_answers, own_provenance, own_sheet
from infoflow.report.perturbation import perturbation_plot, sanity_table
from infoflow.report.provenance import provenance_box
from infoflow.report.samples import frequency_maps, region_sheet
from infoflow.report.scrubber import Frame, Scrubber
from infoflow.report.selection import selection_table
from infoflow.report.simignore import (
    entries_table,
    ignored_curve,
    simignore_paper_table,
    stored_predictions_table,
    which_ignored_table,
)
from infoflow.report.sinks import sink_heatmap, sink_maps, sink_thresholds
from infoflow.report.source import on_source, paper_table, source_words
from infoflow.report.style import (
    COLOURS,
    LINES,
    SCORE_NAMES,
    TASK_TITLES,
    asked,
    by_task,
    count_layers,
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
    flow_control_table,
    metrics_table,
    share_table,
    span_table,
    truncation_control_table,
)
from infoflow.report.topk import (
    fewest_table,
    fewest_words,
    kept_answers_table,
    rivals_table,
    topk_heat,
    topk_paper_table,
    topk_rivals,
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
    "arm_metrics_table",
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
    "count_layers",
    "curves_by_model",
    "cut_answers",
    "depth_control_table",
    "depth_paper_table",
    "depth_table",
    "depth_words",
    "drift_table",
    "eah_effects_table",
    "eah_settings_table",
    "eah_sweeps",
    "entries_table",
    "fate_table",
    "fewest_table",
    "fewest_words",
    "figure",
    "finding_table",
    "finding_words",
    "flow_control_table",
    "flow_paper_table",
    "flow_shares",
    "flow_verdicts",
    "free_layer_table",
    "frequency_maps",
    "habit_table",
    "habit_words",
    "head_maps",
    "head_reductions",
    "head_table",
    "heat_maps",
    "hidden_maps",
    "ignored_curve",
    "image_panels",
    "image_share_control",
    "item_arcs",
    "kept_answers_table",
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
    "mean_arcs",
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
    "reduction_table",
    "region_sheet",
    "rival_curves",
    "rivals_table",
    "sample_sheet",
    "sampling_table",
    "sanity_table",
    "score_paper_table",
    "seed_plot",
    "seed_table",
    "selection_table",
    "share_table",
    "simignore_paper_table",
    "sink_heatmap",
    "sink_maps",
    "sink_thresholds",
    "site_grid",
    "site_paper_table",
    "source_name",
    "source_words",
    "span_table",
    "stored_predictions_table",
    "table",
    "table1_gains",
    "table1_rules",
    "table1_table",
    "table1_tests",
    "topk_heat",
    "topk_paper_table",
    "topk_rivals",
    "truncation_control_table",
    "truncation_curves",
    "vanishing_shares",
    "vanishing_table",
    "verdict_counts",
    "way_answers_table",
    "ways_plot",
    "ways_table",
    "which_ignored_table",
]
