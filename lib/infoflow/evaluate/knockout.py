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

    Edges from a group that is empty have no rows, nor those from objects without target regions.

    Settings:
        window: An odd number of layers; None for the source's share of them.

    Returns:
        Columns ``edge`` (as ``"image to last"``), ``n_sources`` (tokens), ``layer`` (the window's
        middle in the paper's count, 1 to L), the change of the first answer token's probability,
        ``percent``, and of the mean log-probability, ``nats``; the answer's ``text`` and ``score``.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
    details = task.details(sample, lvlm.decode(answer))
    said = {name: details[name] for name in ("text", "score")}
    groups = token_groups(prompt, target_mask(sample) if sample.targets else None)
    rows: list[Row] = []
    for source, target in EDGES:
        if source not in groups or not groups[source].any():
            continue
        blocked = attention_knockout(lvlm, prompt, answer, groups[source], target, window)
        changes = (blocked.log_probs - blocked.intact).double()
        about = {"edge": f"{source} to {target}", "n_sources": int(groups[source].sum())}
        both = zip(100 * changes[:, 0].expm1(), changes.mean(-1), strict=True)
        rows += [
            {**about, "layer": layer, "percent": float(percent), "nats": float(nats), **said}
            for layer, (percent, nats) in enumerate(both, start=1)
        ]
    return rows


def changes_by_layer(rows: pd.DataFrame, edge: str, column: str = "nats") -> Floats:
    """Arrange changes by one edge, of rows of :func:`knockout_by_layer`: shape (N, L)."""
    of_edge = rows[rows["edge"] == edge]
    return of_edge.pivot(index="item", columns="layer", values=column).to_numpy(float)
