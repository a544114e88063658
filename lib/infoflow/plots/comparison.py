"""The paper beside ours: what was printed, what this page measured, and what nobody ran."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from infoflow.cliff import Cliff
from infoflow.plots.display import NOT_RUN, Table
from infoflow.plots.style import TASK_TITLES, layer_name

Rows = Mapping[str, pd.DataFrame]


def flow_paper_table(
    rows: Rows, claims: Sequence[Mapping[str, Any]], paper_model: str, model: str
) -> Table:
    """What the paper says of its Figure 2 beside what these rows show.

    Layers near the paper's last one are counted from the end, so that its last layer stands for
    this model's last.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.flow.flow_by_layer`.
        claims: ``attention_claims`` of the paper's values.
        paper_model: The model they are about.
        model: Name of the model.
    """
    paper_last = max(claim["layers"][1] for claim in claims)
    lines = {}
    for claim in claims:
        line = {f"paper, {paper_model}": claim["claim"]}
        for task, frame in rows.items():
            means = 100 * frame.groupby("layer")[["system", "image", "user"]].mean()
            first, last = (_own_layer(x, paper_last, len(means)) for x in claim["layers"])
            line[TASK_TITLES[task]] = _CHECKS[claim["id"]](means, first, last, claim)
        lines[" to ".join(str(layer) for layer in sorted(set(claim["layers"])))] = line
    data = pd.DataFrame(list(lines.values()), index=pd.Index(list(lines), name="paper's layers"))
    data.insert(1, f"ours, {paper_model} on the benchmarks", NOT_RUN)
    data = data.rename(columns={TASK_TITLES[t]: f"ours, {model}: {TASK_TITLES[t]}" for t in rows})
    return Table(data, "The paper's words on attention beside ours", comparison=True)


def _own_layer(layer: int, paper_last: int, last: int) -> int:
    from_start = layer <= paper_last / 2
    return min(layer, last) if from_start else max(1, last - (paper_last - layer))


def _falls(means: pd.DataFrame, first: int, last: int, claim: Mapping[str, Any]) -> str:
    start, end = means["image"][first], means["image"][last]
    return f"{_yes(end < start)}: {start:.1f} to {end:.1f} %"


def _flat(means: pd.DataFrame, first: int, last: int, claim: Mapping[str, Any]) -> str:
    part = means["image"].loc[first:last]
    return f"between {part.min():.1f} and {part.max():.1f} %"


def _rises(means: pd.DataFrame, first: int, last: int, claim: Mapping[str, Any]) -> str:
    image, user = (float(means[g][last] - means[g][last - 1]) for g in ("image", "user"))
    return f"{_yes(image > 0 and user > 0)}: image {image:+.1f}, user {user:+.1f} points"


def _below(means: pd.DataFrame, first: int, last: int, claim: Mapping[str, Any]) -> str:
    most = means["image"].loc[first:last].max()
    return f"{_yes(most < claim['bound_percent'])}: at most {most:.1f} %"


def _system_most(means: pd.DataFrame, first: int, last: int, claim: Mapping[str, Any]) -> str:
    part = means.loc[first:last]
    holds = (part.idxmax(axis=1) == "system") & (part.idxmin(axis=1) == "image")
    return f"{_yes(holds.all())}: in {holds.sum()} of {len(part)} layers"


_CHECKS = {
    "falls-early": _falls,
    "flat-middle": _flat,
    "rises-last": _rises,
    "below-two-percent": _below,
    "system-most": _system_most,
}


def _yes(holds: Any) -> str:
    return "yes" if holds else "no"


def cliff_paper_table(
    cliffs: Mapping[str, Cliff],
    n_layers: int,
    published: Sequence[Mapping[str, Any]],
    paper_model: str,
    model: str,
) -> Table:
    """The paper's cliff layers beside ours, in both counts.

    Args:
        cliffs: By task, our cliff.
        n_layers: L of our model.
        published: ``cliffs`` of the paper's values.
        paper_model: Whose published cliffs to show.
        model: The model our cliffs are of.
    """
    lines = []
    for entry in published:
        if entry["model"] != paper_model or entry["task"] not in cliffs:
            continue
        ours = cliffs[entry["task"]]
        about = "about " if entry.get("approximate") else ""
        lines.append(
            {
                "task": TASK_TITLES[entry["task"]],
                f"paper, {paper_model}: layer": f"{about}{entry['layer']}",
                "paper: as cut": f"{about}{entry['layer'] - 1}",
                "paper: place": entry["place"],
                f"ours, {paper_model} on the benchmark": NOT_RUN,
                f"ours, {model} on Shapes: cut": f"{ours.cut} [{ours.interval[0]}, "
                f"{ours.interval[1]}]",
                "ours: as paper's layer": layer_name(ours.cut, n_layers),
            }
        )
    data = pd.DataFrame(lines).set_index("task")
    return Table(data, "Cliffs: the paper's beside ours", comparison=True)


def score_paper_table(
    measured: Mapping[tuple[str, str], tuple[float, float]],
    table1: Sequence[Mapping[str, Any]],
    paper_model: str,
    model: str,
) -> Table:
    """A row of the paper's Table 1 beside ours: the intact model and truncation at the cliff.

    Args:
        measured: Our scores, intact and at the cliff, from 0 to 1, by task and metric.
        table1: ``table1`` of the paper's values.
        paper_model: Whose row to show.
        model: The model our scores are of.
    """
    row = next(entry for entry in table1 if entry["model"] == paper_model)
    lines = []
    for (task, metric), (intact, at_cliff) in measured.items():
        printed = _printed(row["scores"].get(task, {}), metric)
        pair = f"{printed['baseline']:.2f} to {printed['cliff']:.2f}" if printed else "not printed"
        lines.append(
            {
                "score": f"{TASK_TITLES[task]} {metric}",
                f"paper, {row['printed']}": pair,
                f"ours, {paper_model} on the benchmark": NOT_RUN,
                f"ours, {model} on Shapes": f"{100 * intact:.1f} to {100 * at_cliff:.1f}",
            }
        )
    data = pd.DataFrame(lines).set_index("score")
    caption = "Intact model to truncated at the cliff (%): the paper's Table 1 beside ours"
    return Table(data, caption, comparison=True)


def _printed(scores: Mapping[str, Any], metric: str) -> Mapping[str, float] | None:
    """The printed pair of a metric; captions are printed under one label, CHAIRs or CHAIRi."""
    if "printed_label" in scores:
        return scores["value"] if metric == f"CHAIR{scores['printed_label']}" else None
    return scores.get(metric)
