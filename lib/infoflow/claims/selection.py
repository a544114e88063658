"""What the best of many cuts owes to the choice, on each task of a model."""

from infoflow.claims.findings import Evidence
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.stats.selection import SelectionBias, selection_bias


def biases_of(evidence: Evidence, seed: int = 0) -> dict[str, SelectionBias | None]:
    """The bias of every task from its cliff on; None where that is cut L, or with one item."""
    return {task: bias_of(evidence, task, seed) for task in evidence.cuts}


def bias_of(evidence: Evidence, task: str, seed: int = 0) -> SelectionBias | None:
    """The bias of one task, as :func:`biases_of`."""
    scores, first = scores_by_cut(evidence.cuts[task]), evidence.cliffs[task].cut
    possible = first < evidence.n_layers and len(scores) > 1
    return selection_bias(scores, first, seed) if possible else None
