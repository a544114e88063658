"""The four benchmarks of the paper: ScienceQA, POPE, TextVQA and CHAIR.

A task holds samples and scores answers; it never runs a model.
"""

from infoflow import shapes
from infoflow.errors import InfoflowError, unknown_name
from infoflow.sample import Sample
from infoflow.shapes.world import SPLITS, object_names
from infoflow.tasks.base import Task, blind_guess
from infoflow.tasks.chair import Chair
from infoflow.tasks.pope import Pope
from infoflow.tasks.scienceqa import ScienceQA
from infoflow.tasks.textvqa import TextVQA

__all__ = ["Sample", "Task", "blind_guess", "list_tasks", "load_task"]

_TASKS: dict[str, type[Task]] = {task.name: task for task in (ScienceQA, Pope, TextVQA, Chair)}


def list_tasks() -> list[str]:
    """Names that :func:`load_task` knows, in the paper's order."""
    return list(_TASKS)


def load_task(
    name: str,
    source: str = "shapes",
    split: str = "test",
    limit: int | None = None,
    rule: str | None = None,
) -> Task:
    """Load a benchmark's samples together with its way of scoring.

    Args:
        name: ``"scienceqa"``, ``"pope"``, ``"textvqa"`` or ``"chair"``.
        source: ``"shapes"``, the synthetic world.
        split: ``"train"``, ``"calibration"`` or ``"test"``.
        limit: Use only the first so many items; all where ``None`` or more than there are.
        rule: Name of the scoring rule, one of ``Task.rules``; ``None`` takes the first, and for
            captions of Shapes ``"corrected"``.

    Returns:
        The task; pictures are drawn when their sample is asked for.

    Raises:
        UnknownNameError: There is no such task, source, split or rule.
        InfoflowError: The limit leaves no item, the source is not available yet, or the rule does
            not fit the source.
    """
    if name not in _TASKS:
        raise unknown_name("task", name, _TASKS)
    if source == "hub":
        raise InfoflowError("source 'hub' is not available yet; valid: shapes.")
    if source != "shapes":
        raise unknown_name("source", source, ["shapes"])
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    if limit is not None and limit < 1:
        raise InfoflowError(f"limit is {limit}, which leaves task {name!r} empty; use 1 or more.")
    samples = shapes.samples(name, split, limit)
    if name == "chair":
        return _captions_of_shapes(samples, split, rule or "corrected")
    task = _TASKS[name]
    return task(samples, source, split, rule or task.rules[0])


def _captions_of_shapes(samples: shapes.Samples, split: str, rule: str) -> Chair:
    if rule == "original":
        raise InfoflowError(
            "CHAIR's rule 'original' joins only the double words of COCO, and every object of "
            "Shapes is a double word; valid: corrected."
        )
    return Chair(samples, "shapes", split, rule, tuple((name,) for name in object_names()))
