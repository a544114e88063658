"""What the page on Table 1 computes: scores intact and truncated, intervals, paired tests."""

from typing import NamedTuple

import numpy as np

from infoflow.claims.paper import is_twin, paper_values
from infoflow.errors import InfoflowError, require_name
from infoflow.stats.intervals import Estimate, draws, mean_estimate, percentiles, ratio
from infoflow.stats.paired import Equivalence, McNemar, equivalence, mcnemar

METRICS: dict[str, list[str]] = paper_values()["metrics"]
LOWER_IS_BETTER = ("CHAIRs", "CHAIRi")
# means over items, whose change is tested; a bootstrap of ratios may see too few items change
PER_ITEM = ("accuracy", "CHAIRs")
_RESAMPLES = 2000
_PARTS = {
    "accuracy": lambda rows: (rows["score"], 1.0),
    "f1": lambda rows: (
        2.0 * ((rows["prediction"] == "yes") & (rows["answer"] == "yes")),
        (rows["prediction"] == "yes").astype(float) + (rows["answer"] == "yes"),
    ),
    "CHAIRs": lambda rows: (rows["hallucinated"] > 0, 1.0),
    "CHAIRi": lambda rows: (rows["hallucinated"], rows["mentions"]),
    "recall": lambda rows: (rows["found"], rows["present"]),
}
"""What is summed above and below the line of a score, of rows of ``Task.details``."""


def table1_row(paper, name, model):
    """A row of Table 1 by its model, or without a name that of our model's twin, or the first."""
    rows = {row["model"]: row for row in paper["table1"]}
    if name is None:
        return next((row for own, row in rows.items() if is_twin(model, own)), paper["table1"][0])
    require_name(name, "model of Table 1", rows)
    return rows[name]


class PairedScore(NamedTuple):
    """One score of the intact model and of the truncated one, from 0 to 1, on the same items."""

    task: str
    metric: str
    intact: Estimate
    truncated: float
    change: Equivalence  # truncated less intact
    test: McNemar | None  # for scores that are right or wrong

    @property
    def gain(self):
        """The change, turned so that more is better."""
        return -1 * self.change if self.metric in LOWER_IS_BETTER else self.change


def resampled(metric, rows, counts):
    """A score when item i is there counts[..., i] times; a ratio of nothing is 0."""
    above, below = (x.astype(float) for x in np.broadcast_arrays(*_PARTS[metric](rows)))
    groups = rows["kind"] if metric == "f1" else np.zeros(len(rows))  # POPE's: a mean of its splits
    parts = [np.asarray(groups == group) for group in np.unique(groups)]
    return np.mean([ratio(above[x], below[x], counts[..., x]) for x in parts], axis=0)


def paired_scores(task, rows, cut, margin, seed=0):
    """Score a model intact and cut, metric by metric; a loss below ``margin`` is no harm."""
    last = rows["cut"].max()
    pair = [rows[rows["cut"] == at].sort_values("item") for at in (last, cut)]
    if pair[1].empty:
        raise InfoflowError(f"no rows of cut {cut}; there are 0 to {last}.")
    n_items, found = len(pair[0]), []
    for metric in METRICS[task]:
        intact, truncated = (float(resampled(metric, x, np.ones(n_items))) for x in pair)
        if metric in PER_ITEM:
            by_item = [np.asarray(_PARTS[metric](x)[0], dtype=float) for x in pair]
            interval = mean_estimate(by_item[0], seed).interval
            change = equivalence(*by_item, margin, seed)
            test = mcnemar(*by_item) if np.isin(by_item, (0, 1)).all() else None
        else:
            counts, test = draws(n_items, _RESAMPLES, seed), None
            drawn, others = (resampled(metric, x, counts) for x in pair)
            interval, ends = percentiles(drawn), percentiles(others - drawn)
            change = Equivalence(truncated - intact, *ends, n_items, margin)
        estimate = Estimate(intact, *interval, n_items)
        found.append(PairedScore(task, metric, estimate, truncated, change, test))
    return found


def scores_of(evidence, margin, seed=0):
    """:func:`paired_scores` at each task's cliff, which was chosen on other items."""
    return [
        score
        for task, rows in evidence.cuts.items()
        for score in paired_scores(task, rows, evidence.cliffs[task].cut, margin, seed)
    ]
