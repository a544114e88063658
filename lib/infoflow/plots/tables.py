"""Tables of the result pages, rounded for reading; the paper's values beside ours."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from infoflow.cliff import Cliff
from infoflow.intervals import mean_interval
from infoflow.plots.display import NOT_RUN, Table
from infoflow.plots.style import TASK_TITLES

Rows = Mapping[str, pd.DataFrame]


def share_table(rows: Rows, model: str) -> Table:
    """Mean image share by layer and task, in percent.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.flow_by_layer`.
        model: Name of the model.
    """
    shares = {
        TASK_TITLES[task]: (100 * frame.groupby("layer")["image"].mean()).map("{:.1f}".format)
        for task, frame in rows.items()
    }
    data = pd.DataFrame(shares).rename_axis("paper's layer")
    data.insert(0, "hidden from cut", data.index - 1)
    return Table(data, f"The image's share of the answer's attention, {model}, mean over items (%)")


def flow_control_table(rows: Rows, blank: Rows, seed: int) -> Table:
    """The image's share averaged over layers: own pictures, grey ones, even attention.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.flow_by_layer` on the task's own pictures.
        blank: The same on grey pictures.
        seed: Seed of the bootstrap of the interval.
    """
    lines = {}
    for task, frame in rows.items():
        own = _per_item(frame)
        grey = _per_item(blank[task])[own.index]
        difference = own - grey
        low, high = mean_interval(difference.to_numpy(), seed)
        lines[TASK_TITLES[task]] = {
            "own picture %": f"{own.mean():.1f}",
            "grey picture %": f"{grey.mean():.1f}",
            "even attention %": f"{100 * frame['uniform_image'].mean():.1f}",
            "own - grey, points": f"{difference.mean():+.1f} [{low:+.1f}, {high:+.1f}]",
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
    return Table(data, "The image's share averaged over all layers, with 95 % intervals over items")


def _per_item(frame: pd.DataFrame) -> pd.Series:
    return 100 * frame.groupby("item", sort=False)["image"].mean()


def flow_paper_table(rows: Rows, claims: Sequence[Mapping[str, Any]], model: str) -> Table:
    """What the paper says of its Figure 2 beside what these rows show.

    Layers near the paper's last one are counted from the end, so that its last layer stands for
    this model's last.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.flow_by_layer`.
        claims: ``attention_claims`` of the paper's values.
        model: Name of the model.
    """
    paper_last = max(claim["layers"][1] for claim in claims)
    lines = {}
    for claim in claims:
        line = {"paper, LLaVA-1.5-7B": claim["claim"]}
        for task, frame in rows.items():
            means = 100 * frame.groupby("layer")[["system", "image", "user"]].mean()
            first, last = (_own_layer(x, paper_last, len(means)) for x in claim["layers"])
            line[TASK_TITLES[task]] = _CHECKS[claim["id"]](means, first, last, claim)
        lines[f"layers {claim['layers'][0]} to {claim['layers'][1]}"] = line
    data = pd.DataFrame(
        list(lines.values()), index=pd.Index(list(lines), name="paper's layers")
    )
    data.insert(1, "ours, LLaVA-1.5-7B", NOT_RUN)
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
    step = means.loc[last] - means.loc[last - 1]
    holds = step["image"] > 0 and step["user"] > 0
    return f"{_yes(holds)}: image {step['image']:+.1f}, user {step['user']:+.1f} points"


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


def answers_table(rows: pd.DataFrame) -> Table:
    """The answers of one item, cut by cut.

    Args:
        rows: Rows of :func:`infoflow.evaluate.truncation_by_cut` of one item.
    """
    data = pd.DataFrame(
        {
            "paper's layer": rows["cut"].to_numpy() + 1,
            "answer": rows["text"].to_numpy(),
            "score": rows["score"].map("{:.2f}".format).to_numpy(),
            "margin": rows["margin"].map("{:.1f}".format).to_numpy(),
        },
        index=pd.Index(rows["cut"], name="cut"),
    )
    data.iloc[-1, 0] = "intact"
    told = f"right answer: {rows['answer'].iloc[0]}"
    return Table(data, f"Answers to {rows['item'].iloc[0]} by cut ({told})")


def cliff_table(cliffs: Mapping[str, Cliff]) -> Table:
    """The cliff of each task and what truncating there costs, with the paper's reading.

    Args:
        cliffs: By task, the cliff.
    """
    lines = {}
    for task, c in cliffs.items():
        low, high = (100 * end for end in c.difference_interval)
        lines[TASK_TITLES[task]] = {
            "cliff: cut": f"{c.cut} [{c.interval[0]}, {c.interval[1]}]",
            "as paper's layer": c.layer,
            "margin": f"{100 * c.margin:.1f}",
            "intact %": f"{100 * c.baseline:.1f}",
            "at cliff %": f"{100 * c.score:.1f}",
            "difference": f"{100 * c.difference:+.1f} [{low:+.1f}, {high:+.1f}]",
            "paper's reading: best cut": c.best,
            "at best %": f"{100 * c.best_score:.1f}",
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
    return Table(data, "Cliffs, chosen on calibration items and scored on test items (points of 100)")


def truncation_control_table(
    rows: Rows, swapped: Rows, ordinary: Rows, guesses: Mapping[str, float]
) -> Table:
    """Scores with another picture, without a picture, and of the untouched model.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.truncation_by_cut`.
        swapped: The same with another item's picture.
        ordinary: By task, rows of :func:`infoflow.evaluate.answers` for the first of the items.
        guesses: By task, the best blind guess.
    """
    lines = {}
    for task, frame in rows.items():
        of_cut = frame.groupby("cut")["score"].mean()
        intact = frame[frame["cut"] == of_cut.index[-1]].set_index("item")["text"]
        other = swapped[task]
        plain = ordinary[task].set_index("item")["text"]
        different = int((intact[plain.index] != plain).sum())
        lines[TASK_TITLES[task]] = {
            "own picture %": f"{100 * of_cut.iloc[-1]:.1f}",
            "another's picture %": f"{100 * _intact(other)['score'].mean():.1f}",
            "no picture (cut 0) %": f"{100 * of_cut.iloc[0]:.1f}",
            "best blind guess %": f"{100 * guesses[task]:.1f}",
            "cut L unlike untouched model": f"{different} of {len(plain)}",
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
    return Table(data, "Controls: what the score is without the right picture")


def _intact(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["cut"] == rows["cut"].max()]


def metrics_table(metrics: pd.DataFrame, columns: Sequence[str], title: str) -> Table:
    """Chosen metrics of one task by cut, in percent.

    Args:
        metrics: Of :func:`infoflow.evaluate.metrics_by_cut`.
        columns: The metrics to show.
        title: Caption of the table.
    """
    data = (100 * metrics[list(columns)]).map("{:.1f}".format)
    data.insert(0, "paper's layer", [*map(str, metrics.index[:-1] + 1), "intact"])
    return Table(data, title)


def cliff_paper_table(
    cliffs: Mapping[str, Cliff], published: Sequence[Mapping[str, Any]], paper_model: str, model: str
) -> Table:
    """The paper's cliff layers beside ours, in both counts.

    Args:
        cliffs: By task, our cliff.
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
                "ours: as paper's layer": str(ours.layer),
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
        printed = row["scores"].get(task, {}).get(metric)
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

