"""The four benchmarks of the paper: ScienceQA, POPE, TextVQA and CHAIR.

A task holds samples and scores answers; it never runs a model.
"""

from pathlib import Path
from typing import Any

from infoflow.data import shapes
from infoflow.data.captions import COCO_RULES
from infoflow.data.chair import Chair
from infoflow.data.pope import Pope
from infoflow.data.sample import Sample
from infoflow.data.scienceqa import ScienceQA
from infoflow.data.sets import real
from infoflow.data.shapes.world import SPLITS, WORLDS, object_names
from infoflow.data.task import Task, blind_guess
from infoflow.data.textvqa import TextVQA
from infoflow.errors import InfoflowError, unknown_name
from infoflow.options import require_whole

__all__ = ["Sample", "Task", "blind_guess", "list_tasks", "load_task"]

_TASKS: dict[str, type[Task]] = {task.name: task for task in (ScienceQA, Pope, TextVQA, Chair)}


def list_tasks() -> list[str]:
    """Names that :func:`load_task` knows, in the paper's order."""
    return list(_TASKS)


def load_task(
    name: str,
    source: str | Path = "shapes",
    split: str = "test",
    limit: int | None = None,
    rule: str | None = None,
    *,
    max_new_tokens: int | None = None,
    wording: str | None = None,
    organisation: str | None = None,
    revision: str | None = None,
    ocr: bool | None = None,
    synonyms: str | Path | None = None,
    pictures: str | Path | None = None,
) -> Task:
    """Load a benchmark's samples together with its way of scoring.

    Questions of a benchmark's own data are bare: :func:`infoflow.data.asking.worded` words them for
    a model. Which files a folder must hold is said on the book's page about the benchmarks.

    Args:
        name: ``"scienceqa"``, ``"pope"``, ``"textvqa"`` or ``"chair"``.
        source: ``"shapes"``, the synthetic world, or ``"shapes-large"``, the same with larger
            things (:data:`infoflow.data.shapes.world.WORLDS`); ``"hub"``, the benchmark's own data
            through ``datasets``; or a folder with them, as the hub's parquet files or as the
            originals, here or in a subfolder with the benchmark's name.
        split: ``"test"`` is what is reported and ``"calibration"`` what choices are made on.
            Shapes has also ``"train"``. ScienceQA: test and validation. TextVQA: validation and
            train, for the answers of its test are not public. POPE: all of it and, as it has no
            more, one half of its pictures, with ``"held-out"`` the other half, to report what was
            chosen. CHAIR: of COCO's files 500 pictures drawn with a seed, and the next 500; of the
            hub's set all pictures, and halves of them as of POPE. ``"held-out"`` is for either what
            to report beside ``"calibration"``.
        limit: Use only the first so many items; all where ``None`` or more than there are.
        rule: Name of the scoring rule, one of ``Task.rules``; ``None`` takes the first, and for
            captions of Shapes ``"corrected"``.
        max_new_tokens: How many tokens an answer gets at most; ``None`` for what the published
            scripts give.
        wording: Name of a paper's wording to ask in, one of
            :data:`infoflow.data.templates.NAMED_WORDINGS`; ``None`` for the one of the family
            that is asked. For the benchmark's own data.
        organisation: Who keeps the set on the hub; ``None``: :data:`infoflow.data.sets.hub.HUB`'s.
        revision: Commit, branch or tag on the hub; ``None``: :data:`infoflow.data.sets.hub.HUB`'s.
        ocr: TextVQA: whether the words that a program read in the picture are told to the model.
            ``None`` for ``True``, as in the published scores of LLaVA-1.5 and InternVL-Chat.
        synonyms: CHAIR: a file with the list of synonyms; ``None`` for the folder's
            ``synonyms.txt`` or, without one, the published list, which is fetched once
            (:func:`infoflow.data.sets.synonyms.published_synonyms`).
        pictures: CHAIR: a file with the pictures to take in place of the draw, a name or number of
            COCO a line.

    Returns:
        The task; pictures are drawn or opened when their sample is asked for.

    Raises:
        UnknownNameError: There is no such task, source, split, rule or wording.
        InfoflowError: The limit leaves no item, an argument does not fit the task or its source,
            or data are missing, incomplete or damaged.
    """
    if not isinstance(name, str) or name not in _TASKS:
        raise unknown_name("task", name, _TASKS)
    if not isinstance(split, str):
        raise InfoflowError(f"split is {split!r}; valid: a name, such as 'test'.")
    if ocr is not None and not isinstance(ocr, bool):
        raise InfoflowError(f"ocr is {ocr!r}; valid: True, False.")
    if limit is not None:
        limit = require_whole(limit, "limit", least=1)
    if max_new_tokens is not None:
        max_new_tokens = require_whole(max_new_tokens, "max_new_tokens", least=1)
    on_hub, own = source == "hub", not (isinstance(source, str) and source in WORLDS)
    _refuse_unfit(name, source, own, wording=wording)
    _refuse_unfit(name, source, on_hub, organisation=organisation, revision=revision)
    _refuse_unfit(name, source, own and name == "textvqa", ocr=ocr)
    _refuse_unfit(name, source, own and name == "chair", synonyms=synonyms, pictures=pictures)
    length = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
    task = _TASKS[name]
    if rule is not None:
        _require_rule(task, rule)
    if not own:
        return _shapes_task(name, str(source), split, limit, rule, length)
    rule = rule or task.rules[0]
    if wording is not None:
        _require_wording(name, wording)
    loaded = real.load(
        name,
        source,
        split,
        limit,
        rule,
        organisation=organisation,
        revision=revision,
        ocr=ocr is not False,
        synonyms=synonyms,
        pictures=pictures,
    )
    settings: dict[str, Any] = {
        "max_new_tokens": real.BENCHMARKS[name].max_new_tokens,
        "n_whole": loaded.n_whole,
        "wording": wording,
        **length,
    }
    if name == "chair":
        settings["synonyms"] = loaded.synonyms
    return task(loaded.samples, loaded.source, loaded.split, rule, bare=True, **settings)


def _require_rule(task: type[Task], rule: str) -> None:
    """Check the rule before gigabytes are fetched for it."""
    if not isinstance(rule, str) or rule not in task.rules:
        raise unknown_name(f"{task.name} scoring rule", rule, task.rules)


def _require_wording(name: str, wording: str) -> None:
    """Check the wording likewise."""
    from infoflow.data.templates import WORDINGS, find_wording  # the families load torch

    find_wording(next(iter(WORDINGS)), name, wording)


def _refuse_unfit(name: str, source: str | Path, fit: bool, **arguments: object) -> None:
    """Raise where an argument is given that says nothing about this task and source."""
    for argument, value in arguments.items():
        if value is not None and not fit:
            raise InfoflowError(f"{argument}= does not apply to {name!r} from {str(source)!r}.")


def _shapes_task(
    name: str,
    world: str,
    split: str,
    limit: int | None,
    rule: str | None,
    length: dict[str, int],
) -> Task:
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    samples = shapes.samples(name, split, limit, world)
    settings: dict[str, Any] = {"n_whole": len(shapes.samples(name, split, world=world)), **length}
    if name == "chair":
        rule = rule or "corrected"
        if rule in COCO_RULES:
            raise InfoflowError(
                f"CHAIR's rule {rule!r} joins only the double words of COCO, and every object of "
                "Shapes is a double word; valid: corrected."
            )
        settings["synonyms"] = tuple((name,) for name in object_names())
    task = _TASKS[name]
    return task(samples, world, split, rule or task.rules[0], **settings)
