"""What Table 1 should take on whole benchmarks, said before anything is read, fetched or loaded.

The shapes of the models and the sizes of the benchmarks are published, and written down.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from infoflow.data.load import BENCHMARKS
from infoflow.errors import unknown_name
from infoflow.evaluate.costs.measures import CARDS, Cost, card_assumptions, expected_cost, span
from infoflow.evaluate.costs.shape import PUBLISHED


class Asked(NamedTuple):
    """What a published benchmark asks.

    Attributes:
        n_items: Items that are reported on; the cliff is chosen on as many others.
        n_user: Tokens after the image, about as many as LLaVA-1.5's wording comes to.
    """

    n_items: int
    n_user: int


ASKED: Mapping[str, Asked] = {
    "scienceqa": Asked(2017, 120),
    "pope": Asked(4500, 25),  # half of the pictures; the other half is for the choice
    "textvqa": Asked(5000, 70),
    "chair": Asked(250, 15),  # half of the hub's pictures, likewise
}
"""By benchmark, from the hub; CHAIR from COCO's own files is twice that."""

HEADS = ("model", "benchmark", "items", *(card.name for card in CARDS), "memory")


def page_cost(model: str, task: str, answer_length: int) -> Cost:
    """Expect what Table 1's page costs for one model and one whole benchmark.

    That is the truncation sweep over the items reported on and over as many to choose the cliff on,
    and the control's answers about other pictures.

    Args:
        model: One of :data:`infoflow.evaluate.costs.shape.PUBLISHED`.
        task: The benchmark.
        answer_length: How many tokens every answer has.

    Raises:
        UnknownNameError: No shape is published for the model.
    """
    if model not in PUBLISHED:
        raise unknown_name("published model", model, PUBLISHED)
    shape, asked = PUBLISHED[model], ASKED[task]
    swept = expected_cost(
        "truncation_by_cut", shape, 2 * asked.n_items, asked.n_user, answer_length, {}
    )
    control = expected_cost("answers", shape, asked.n_items, asked.n_user, answer_length, {})
    seconds = {card: swept.seconds[card] + control.seconds[card] for card in swept.seconds}
    return Cost(seconds, max(swept.bytes, control.bytes))


def costs_table(models: Sequence[str]) -> list[tuple[str, ...]]:
    """Tell the costs of all benchmarks in cells of words.

    Args:
        models: Names of published models.

    Returns:
        A line for each model and benchmark, with a cell for each of ``HEADS``. Times go from
        answers of one token to answers as long as they may be; memory is that of the latter.

    Raises:
        UnknownNameError: No shape is published for a model.
    """
    return [_line(model, task) for model in models for task in ASKED]


def _line(model: str, task: str) -> tuple[str, ...]:
    least = page_cost(model, task, 1)
    most = page_cost(model, task, BENCHMARKS[task].data.max_new_tokens)
    times = (f"{span(least.seconds[c.name])} to {span(most.seconds[c.name])}" for c in CARDS)
    n_items = ASKED[task].n_items
    return (model, task, f"{n_items} + {n_items}", *times, f"{most.bytes / 1e9:.1f} GB")


def costs_assumptions() -> str:
    """Say what the table counts, and what it rests on."""
    lengths = ", ".join(f"{task} {BENCHMARKS[task].data.max_new_tokens}" for task in ASKED)
    users = ", ".join(f"{task} {asked.n_user}" for task, asked in ASKED.items())
    return (
        "Counted: the truncation sweep over the items reported on and over as many to choose the "
        "cliff on, and the control's answers. Times go from answers of one token to answers as "
        f"long as they may be ({lengths}). Items are those of the hub; COCO's own files have twice "
        f"as many for chair. {card_assumptions()}; tokens after the image about {users}. All this "
        "is arithmetic; nothing was measured for it."
    )


def costs_told(models: Sequence[str]) -> str:
    """Write the table for a terminal, with its assumptions below.

    Args:
        models: Names of published models.

    Raises:
        UnknownNameError: No shape is published for a model.
    """
    lines = [HEADS, *costs_table(models)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join(
        [
            "To be expected of Table 1 on whole benchmarks, on one card of 80 GB:",
            *padded,
            costs_assumptions(),
        ]
    )
