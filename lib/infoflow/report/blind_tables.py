"""Tables of answers without the picture: against guessing, habits, ways, items, and the paper."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from infoflow.data.sample import Sample
from infoflow.report.display import NOT_RUN, Table, Words, literal
from infoflow.report.style import TASK_TITLES, asked, listed, percent

Scores = Mapping[str, pd.DataFrame]
Rows = Mapping[str, pd.DataFrame]

_MISSING = "-"


def blind_table(blind: Scores) -> Table:
    """Scores without the picture against guessing, by task and kind.

    Args:
        blind: By task, of :func:`infoflow.evaluate.blind.blind_scores`.
    """
    lines = [
        {
            "task": TASK_TITLES[task],
            "kind": kind,
            "items": f"{line['items']:.0f}",
            "no image %": f"{100 * line['score']:.1f} [{100 * line['low']:.1f}, "
            f"{100 * line['high']:.1f}]",
            "best blind guess %": f"{100 * line['guess']:.1f}",
            "p": f"{line['p_value']:.3f}" if line["p_value"] == line["p_value"] else _MISSING,
        }
        for task, frame in blind.items()
        for kind, line in frame.to_dict("index").items()
    ]
    return Table(
        pd.DataFrame(lines).set_index("task"),
        "No image against guessing, with 95 % intervals; p: exact binomial test, one-sided, where "
        "scores are right or wrong",
    )


def habit_table(habits: Mapping[str, pd.DataFrame]) -> Table:
    """What blind answers have in common, by task and kind.

    Args:
        habits: By name of the task (and of what was counted), of
            :func:`infoflow.evaluate.blind.blind_habits`.
    """
    lines = [
        {
            "answers to": name,
            "kind": kind,
            "different answers": line["distinct"],
            "says most": f"{line['favourite']} ({percent(line['favourite_share'])})",
            "is right most": f"{line['modal']} ({percent(line['modal_share'])})",
            "says what is right most": percent(line["agreement"]),
            "right answers that are the one said most": _share(line["right_by_habit"]),
        }
        for name, frame in habits.items()
        for kind, line in frame.to_dict("index").items()
    ]
    return Table(pd.DataFrame(lines).set_index("answers to"), "Habits of answers without the image")


def _share(value: float) -> str:
    return percent(value) if value == value else _MISSING


def habit_words(blind: Scores, habits: Mapping[str, pd.DataFrame]) -> Words:
    """Say, task by task, whether blind answers are a habit, and whether they beat guessing.

    Args:
        blind: By task, of :func:`infoflow.evaluate.blind.blind_scores`.
        habits: By task, of :func:`infoflow.evaluate.blind.blind_habits`.
    """
    told = []
    for task, frame in blind.items():
        score, habit = frame.to_dict("index")["all"], habits[task].to_dict("index")["all"]
        same = "answer" if habit["distinct"] == 1 else "different answers"
        told.append(
            f"- **{TASK_TITLES[task]}.** Without the image the model gives {habit['distinct']} "
            f"{same} to {score['items']:.0f} items, “{literal(habit['favourite'])}” to "
            f"{percent(habit['favourite_share'])} of them. It scores {percent(score['score'])}, "
            f"{_lead(100 * (score['score'] - score['guess']))} the best blind guess."
        )
    return Words("\n".join(told))


def _lead(points: float) -> str:
    if round(points, 1) == 0:
        return "the same as"
    return f"{abs(points):.1f} points {'above' if points > 0 else 'below'}"


def ways_table(ways: Mapping[str, Rows], reference: str) -> Table:
    """How much alike the answers are that several ways to take the picture away give.

    Args:
        ways: By name of the way, then by task, one answer an item.
        reference: The way to compare with.
    """
    lines = []
    for task, own in ways[reference].items():
        said = own.set_index("item")["prediction"].fillna("")
        for way, rows in ways.items():
            other = rows[task].set_index("item").loc[said.index]
            lines.append(
                {
                    "task": TASK_TITLES[task],
                    "way": way,
                    "score %": f"{100 * other['score'].mean():.1f}",
                    f"same answer as {reference}": _of(other["prediction"].fillna("") == said),
                    "right": _of(other["score"] == 1),
                }
            )
    data = pd.DataFrame(lines).set_index("task")
    return Table(data, "Ways to take the picture away: scores, and how often answers agree")


def _of(marks: pd.Series) -> str:
    return f"{int(marks.sum())} of {len(marks)}"


def fate_table(ways: Mapping[str, Rows], blind: Sequence[str]) -> Table:
    """How many items are right in all blind ways, in some, or in none.

    Args:
        ways: By name of the way, then by task, one answer an item.
        blind: The ways that take the picture away.
    """
    lines = {}
    for task in ways[blind[0]]:
        right = pd.DataFrame({w: ways[w][task].set_index("item")["score"] == 1 for w in blind})
        n_right = right.sum(axis=1)
        lines[TASK_TITLES[task]] = {
            "in every blind way": _of(n_right == len(blind)),
            "in some": _of((n_right > 0) & (n_right < len(blind))),
            "in none": _of(n_right == 0),
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("wholly right")
    return Table(data, "Items answered wholly right without the picture")


def way_answers_table(samples: Sequence[Sample], ways: Mapping[str, pd.DataFrame]) -> Table:
    """Some items with what the model says to them with and without the picture.

    Args:
        samples: The items.
        ways: By name of the way, one answer an item, these items among them.
    """
    said = {way: rows.set_index("item")["text"] for way, rows in ways.items()}
    lines = {
        sample.id: {
            "kind": sample.kind,
            "question": asked(sample.question),
            "options": ", ".join(sample.choices) or _MISSING,
            "right": sample.answer,
            **{way: texts[sample.id] for way, texts in said.items()},
        }
        for sample in samples
    }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("item")
    return Table(data, "Answers to some items, with the picture and without")


def no_image_paper_table(
    published: Sequence[Mapping[str, Any]], blind: pd.DataFrame, paper_model: str, model: str
) -> Table:
    """Published ScienceQA scores without an image, and of guessing, beside ours.

    Args:
        published: What was printed: ``what``, ``accuracy`` in percent, ``place``, and ``ours``:
            ``"score"`` or ``"guess"``, the column of ``blind`` it goes with, or nothing.
        blind: Of :func:`infoflow.evaluate.blind.blind_scores` on ScienceQA.
        paper_model: The model the published scores are of.
        model: Name of the model.
    """
    whole = blind.to_dict("index")["all"]
    interval = f" [{100 * whole['low']:.1f}, {100 * whole['high']:.1f}]"
    lines = [
        {
            "ScienceQA without an image": entry["what"],
            f"paper, {paper_model} %": f"{entry['accuracy']:.2f}",
            "paper: place": entry["place"],
            f"ours, {paper_model} on the benchmark": NOT_RUN if entry["ours"] else _MISSING,
            f"ours, {model} on Shapes %": f"{100 * whole[entry['ours']]:.1f}"
            + (interval if entry["ours"] == "score" else "")
            if entry["ours"]
            else _MISSING,
        }
        for entry in published
    ]
    data = pd.DataFrame(lines).set_index("ScienceQA without an image")
    return Table(
        data, "ScienceQA without an image: what was published beside ours", comparison=True
    )


def no_image_words(published: Sequence[Mapping[str, Any]], n_items: int) -> Words:
    """Say how far two published scores without an image are apart, beside their sampling error.

    Args:
        published: As for :func:`no_image_paper_table`; those that are scores of a model count.
        n_items: How many items they were scored on.
    """
    scores = [entry["accuracy"] for entry in published if entry["ours"] == "score"]
    apart = max(scores) - min(scores)
    mean = sum(scores) / len(scores) / 100
    error = 100 * (2 * mean * (1 - mean) / n_items) ** 0.5
    return Words(
        f"The published scores without an image, {listed([f'{score:.2f} %' for score in scores])}, "
        f"are {apart:.2f} points apart. The standard error of such a difference, were the two sets "
        f"of {n_items} items drawn afresh, is {error:.2f} points; on the same items it is smaller. "
        f"{'Chance alone does not explain it' if apart > 3 * error else 'Chance could explain it'}."
    )
