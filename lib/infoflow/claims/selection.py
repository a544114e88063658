"""What the best of many cuts owes to the choice, on each task of a model."""

from infoflow.claims.findings import Evidence
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.stats.selection import SelectionBias, selection_bias


def biases_of(evidence: Evidence, seed: int = 0) -> dict[str, SelectionBias | None]:
    """Measure the selection bias of every task, from its held-out cliff on.

    Args:
        evidence: What was measured on a model.
        seed: Of the draws.

    Returns:
        By task; None where the cliff is cut L, or where there is but one item.
    """
    found: dict[str, SelectionBias | None] = {}
    for task, rows in evidence.cuts.items():
        scores, first = scores_by_cut(rows), evidence.cliffs[task].cut
        possible = first < evidence.n_layers and len(scores) > 1
        found[task] = selection_bias(scores, first, seed) if possible else None
    return found
