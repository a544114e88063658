"""Tables of our own results, rounded for reading."""

from collections.abc import Mapping, Sequence

import pandas as pd

from infoflow.report.display import Table
from infoflow.report.interventions import compare_arms
from infoflow.report.style import TASK_TITLES, layer_name, listed
from infoflow.stats.cliff import Cliff

Rows = Mapping[str, pd.DataFrame]


def answers_table(rows: pd.DataFrame) -> Table:
    """The answers of one item, cut by cut.

    Args:
        rows: Rows of :func:`infoflow.evaluate.truncation.truncation_by_cut` of one item.
    """
    data = pd.DataFrame(
        {
            "paper's layer": [*(rows["cut"].iloc[:-1] + 1), "intact"],
            "answer": rows["text"].to_numpy(),
            "score": rows["score"].map("{:.2f}".format).to_numpy(),
            "margin": rows["margin"].map("{:.1f}".format).to_numpy(),
        },
        index=pd.Index(rows["cut"], name="cut"),
    )
    told = f"right answer: {rows['answer'].iloc[0]}"
    return Table(data, f"Answers to {rows['item'].iloc[0]} by cut ({told})")


def cliff_table(cliffs: Mapping[str, Cliff], n_layers: int) -> Table:
    """The cliff of each task and what truncating there costs, with the paper's reading.

    Args:
        cliffs: By task, the cliff.
        n_layers: L of the model.
    """
    lines = {}
    for task, c in cliffs.items():
        low, high = (100 * end for end in c.difference_interval)
        lines[TASK_TITLES[task]] = {
            "cliff: cut": f"{c.cut} [{c.interval[0]}, {c.interval[1]}]",
            "as paper's layer": layer_name(c.cut, n_layers),
            "margin": f"{100 * c.margin:.1f}",
            "intact %": f"{100 * c.baseline:.1f}",
            "at cliff %": f"{100 * c.score:.1f}",
            "difference": f"{100 * c.difference:+.1f} [{low:+.1f}, {high:+.1f}]",
            "paper's reading: best cut": c.best,
            "at best %": f"{100 * c.best_score:.1f}",
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
    return Table(data, "Cliffs, chosen on calibration items and scored on test items (%)")


def cliff_test_table(rows: Rows, cliffs: Mapping[str, Cliff], margin: float, seed: int) -> Table:
    """Truncation at the cliff against the intact model, item by item on the test items.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.truncation.truncation_by_cut`.
        cliffs: By task, the cliff.
        margin: The difference of mean scores, from 0 to 1, that is taken not to matter.
        seed: Seed of the bootstrap, for scores that are not 0 or 1.
    """
    found = {
        TASK_TITLES[task]: compare_arms(
            frame[frame["cut"] == frame["cut"].max()],
            frame[frame["cut"] == cliffs[task].cut],
            margin,
            seed,
        )
        for task, frame in rows.items()
    }
    points = f"{100 * margin:g} points"
    lines = {
        title: {
            "cut": str(cliffs[task].cut),
            "worse": str(c.worse),
            "better": str(c.better),
            "McNemar p": f"{c.mcnemar.p_value:.2g}" if c.mcnemar else _NOT_BINARY,
            "difference, points": c.points,
            f"within {points}": "yes" if c.equivalence.equivalent else "not shown",
            "would be within": f"{100 * c.equivalence.least_margin:.1f} points",
        }
        for task, (title, c) in zip(rows, found.items(), strict=True)
    }
    differ = listed([title for title, c in found.items() if c.differs]) or "no task"
    same = listed([title for title, c in found.items() if c.equivalence.equivalent]) or "no task"
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
    return Table(
        data,
        "Truncated at the cliff against the intact model on the same test items. Told apart in "
        f"{differ}; shown to be within {points} (90 % interval inside them) in {same}",
    )


_NOT_BINARY = "not defined for scores between 0 and 1"


def span_table(exact: Rows, authors: Rows, cuts: Mapping[str, int], margin: float) -> Table:
    """The released code's image span, one token further on, beside the exact one.

    Args:
        exact: By task, rows of :func:`infoflow.evaluate.truncation.truncation_by_cut`.
        authors: By task, rows of :func:`infoflow.evaluate.interventions.answers_under`, truncated
            at that cut with the authors' span; first items only.
        cuts: By task, the cut.
        margin: The difference of mean scores, from 0 to 1, that is taken not to matter.
    """
    lines, changed = {}, {}
    for task, shifted in authors.items():
        frame = exact[task]
        own = frame[(frame["cut"] == cuts[task]) & frame["item"].isin(shifted["item"])]
        texts = own.set_index("item")["text"]
        differ = int((shifted.set_index("item")["text"] != texts[shifted["item"]]).sum())
        compared = compare_arms(own, shifted, margin)
        changed[TASK_TITLES[task]] = differ
        lines[TASK_TITLES[task]] = {
            "cut": str(cuts[task]),
            "exact span %": f"{100 * own['score'].mean():.1f}",
            "authors' span %": f"{100 * compared.score:.1f}",
            "worse": str(compared.worse),
            "better": str(compared.better),
            "answers that differ": f"{differ} of {len(shifted)}",
        }
    where = listed([title for title, count in changed.items() if count]) or "no task"
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
    return Table(data, f"The authors' span beside the exact one. It changes answers in {where}")


def truncation_control_table(
    rows: Rows, swapped: Rows, ordinary: Rows, guesses: Mapping[str, float]
) -> Table:
    """Scores with another picture, without a picture, and of the untouched model.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.truncation.truncation_by_cut`.
        swapped: By task, rows of :func:`infoflow.evaluate.answers.answers` about others' pictures.
        ordinary: By task, rows of :func:`infoflow.evaluate.answers.answers`, first items only.
        guesses: By task, the best blind guess.
    """
    lines = {}
    for task, frame in rows.items():
        of_cut = frame.groupby("cut")["score"].mean()
        intact = frame[frame["cut"] == of_cut.index[-1]].set_index("item")["text"]
        plain = ordinary[task].set_index("item")["text"]
        different = int((intact[plain.index] != plain).sum())
        lines[TASK_TITLES[task]] = {
            "own picture %": f"{100 * of_cut.iloc[-1]:.1f}",
            "another's picture %": f"{100 * swapped[task]['score'].mean():.1f}",
            "no picture (cut 0) %": f"{100 * of_cut.iloc[0]:.1f}",
            "best blind guess %": f"{100 * guesses[task]:.1f}",
            "cut L unlike untouched model": f"{different} of {len(plain)}",
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
    return Table(data, "Controls: what the score is without the right picture")


def metrics_table(metrics: pd.DataFrame, columns: Sequence[str], title: str) -> Table:
    """Chosen metrics of one task by cut, in percent.

    Args:
        metrics: Of :func:`infoflow.evaluate.truncation.metrics_by_cut`.
        columns: The metrics to show.
        title: Caption of the table.
    """
    data = (100 * metrics[list(columns)]).map("{:.1f}".format)
    data.insert(0, "paper's layer", [*map(str, metrics.index[:-1] + 1), "intact"])
    return Table(data, title)
