"""Figures and tables: each with its image, alt text, caption and the numbers behind it.

Nothing here runs a model: what is shown was measured by :mod:`infoflow.evaluate` or by the caller.
"""

from infoflow.report.charts import (
    Line,
    heat_maps,
    image_panels,
    interval_rows,
    layer_curves,
    map_sheet,
    sample_sheet,
)
from infoflow.report.display import (
    NOT_RUN,
    Plot,
    ProvenanceBox,
    Table,
    Words,
    finding_table,
    finding_words,
    found,
    literal,
    numbers,
    on_source,
    paper_table,
    source_words,
    table,
    verdict_counts,
)
from infoflow.report.provenance import provenance_box
from infoflow.report.slider import Frame, Slider, paint_image, undrawable
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
    panels,
    percent,
)
