"""Attention knockout over a task."""

import pandas as pd

from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.methods.heatmaps import explained_answer
from infoflow.methods.knockout import attention_knockout, token_groups
from infoflow.methods.localisation import target_mask
from infoflow.stats.intervals import Floats

EDGES = (
    *(("image", target) for target in ("user", "question", "last")),
    *((source, "last") for source in ("question", "system")),
    *((part, target) for target in ("question", "last") for part in ("object", "background")),
)
"""Sources and targets: of the image tokens those on the answer's target regions, and the others."""


@measure
def knockout_by_layer(
    lvlm: LVLM, task: Task, sample: Sample, window: int | None = None
) -> list[Row]:
    """Block every edge of ``EDGES`` around every layer, the model's own answer being read in.

    Settings:
        window: An odd number of layers; None for the source's share of them.

    Returns:
        Columns ``edge`` (as ``"image to last"``; none from an empty group), ``n_sources`` (tokens),
        ``layer`` (the window's middle in the paper's count, 1 to L), the change of the first answer
        token's probability, ``percent``, and of the mean log-probability, ``nats``; the answer's
        ``text`` and ``score``.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
    details = task.details(sample, lvlm.decode(answer))
    said = {"text": details["text"], "score": details["score"]}
    groups = token_groups(prompt, target_mask(sample) if sample.targets else None)
    rows: list[Row] = []
    for source, target in EDGES:
        if n_sources := int(groups[source].sum()) if source in groups else 0:
            blocked = attention_knockout(lvlm, prompt, answer, groups[source], target, window)
            changes = (blocked.log_probs - blocked.intact).double()
            about = {"edge": f"{source} to {target}", "n_sources": n_sources}
            both = zip(100 * changes[:, 0].expm1(), changes.mean(-1), strict=True)
            for layer, (percent, nats) in enumerate(both, start=1):
                change = {"percent": float(percent), "nats": float(nats)}
                rows.append({**about, "layer": layer, **change, **said})
    return rows


def changes_by_layer(rows: pd.DataFrame, edge: str, column: str = "nats") -> Floats:
    """Arrange changes by one edge, of rows of :func:`knockout_by_layer`: shape (N, L)."""
    of_edge = rows[rows["edge"] == edge]
    return of_edge.pivot(index="item", columns="layer", values=column).to_numpy(float)
