"""The four benchmarks of the paper: ScienceQA, POPE, TextVQA and CHAIR."""

from inspect import signature
from pathlib import Path
from typing import Any

from infoflow.data import shapes
from infoflow.data.chair import Chair
from infoflow.data.pope import Pope
from infoflow.data.sample import Sample
from infoflow.data.scienceqa import ScienceQA
from infoflow.data.sets.own import ON_HUB, require_images
from infoflow.data.shapes.world import SPLITS, WORLDS, object_names
from infoflow.data.task import Task, blind_guess
from infoflow.data.templates import WORDINGS, find_wording
from infoflow.data.textvqa import TextVQA
from infoflow.errors import InfoflowError, one_line, require_name, unknown_name
from infoflow.files import require_path
from infoflow.options import kind_of, require_whole

__all__ = ["Sample", "Task", "blind_guess", "list_tasks", "load_task"]
BENCHMARKS: dict[str, type[Task]] = {task.name: task for task in (ScienceQA, Pope, TextVQA, Chair)}
"""The benchmarks by name, in the paper's order."""


def list_tasks() -> list[str]:
    """Names that :func:`load_task` knows, in the paper's order."""
    return list(BENCHMARKS)


def load_task(
    name: str,
    source: str | Path = "shapes",
    split: str = "test",
    limit: int | None = None,
    rule: str | None = None,
    *,
    max_new_tokens: int | None = None,
    wording: str | None = None,
    **options: Any,
) -> Task:
    """Load a benchmark's samples, drawn or opened when they are used, with its way of scoring.

    Questions of a benchmark's own data are bare: :func:`infoflow.data.templates.worded` words them
    for a model. Which files a folder must hold is said on the book's page about the benchmarks.

    Args:
        name: ``"scienceqa"``, ``"pope"``, ``"textvqa"`` or ``"chair"``.
        source: ``"shapes"``, the synthetic world, or ``"shapes-large"``, the same with larger
            things; ``"hub"``, the benchmark's own data through ``datasets``; or a folder with
            them, or with a subfolder of the benchmark's name: parquet files or the originals.
        split: ``"test"`` is what is reported and ``"calibration"`` what choices are made on;
            Shapes has also ``"train"``, POPE and CHAIR ``"held-out"``, to report beside
            ``"calibration"`` (see classes such as :class:`infoflow.data.pope.PopeData`).
        limit: Use only the first so many samples; all where ``None`` or more than there are.
        rule: Name of the scoring rule, one of ``Task.rules``; ``None`` takes the first, and for
            captions of Shapes ``"corrected"``.
        max_new_tokens: How many tokens an answer gets at most; ``None`` as in published scripts.
        wording: Name of a paper's prompt templates for the benchmark's own data
            (:data:`infoflow.data.templates.NAMED_WORDINGS`); ``None`` for the model's family's.
        **options: Of a benchmark's own data. On the hub, ``organisation`` (who keeps the set) and
            ``revision`` (commit, branch or tag). TextVQA: ``ocr``, whether the prompt gives the
            words that a program read in the image; ``True``, as in the published scores of
            LLaVA-1.5 and InternVL-Chat. CHAIR: ``synonyms``, a file with the list of synonyms, and
            ``pictures``, one with the images to take, a name or number of COCO a line.

    Raises:
        UnknownNameError: There is no such task, source, split, rule or wording.
        InfoflowError: The limit leaves no sample, an argument does not fit the task or its source,
            or data are missing, incomplete or damaged.
    """
    require_name(name, "task", list_tasks())
    task = BENCHMARKS[name]
    if rule is not None:
        require_name(rule, f"{name} scoring rule", task.rules)
    if limit is not None:
        limit = require_whole(limit, "limit", least=1)
    settings: dict[str, Any] = {}
    if max_new_tokens is not None:
        settings["max_new_tokens"] = require_whole(max_new_tokens, "max_new_tokens", least=1)
    is_drawn = source in tuple(WORLDS)
    given = {key: value for key, value in options.items() if value is not None}
    fitting = set() if is_drawn else {"wording", *_kinds(task.data)}
    fitting -= set() if source == "hub" else ON_HUB
    for option in given if wording is None else ("wording", *given):
        if option not in fitting:
            valid = ", ".join(sorted(fitting)) or "none"
            raise InfoflowError(
                f"{option}= does not apply to {name!r} from {str(source)!r}; valid: {valid}."
            )
    splits = {split: split for split in SPLITS} if is_drawn else task.data.splits
    require_name(split, f"split of {name}", tuple(splits))
    if is_drawn:
        drawn = shapes.samples(name, split, limit, str(source))
        settings["n_whole"] = shapes.ITEMS_PER_SPLIT
        if task is Chair:
            if rule not in (None, "corrected"):
                raise InfoflowError(f"CHAIR's rule {rule!r} joins words of COCO; valid: corrected.")
            rule, settings["synonyms"] = "corrected", tuple((each,) for each in object_names())
        return task(drawn, str(source), split, rule or "", **settings)
    if wording is not None:  # before gigabytes are fetched for it
        find_wording(next(iter(WORDINGS)), name, wording)
    folder, rule = None if source == "hub" else _folder(name, source), rule or task.rules[0]
    data = task.data(folder, rule, **given)
    whole, origin = data.load(splits[split])
    require_images(whole[:limit])
    settings = {"max_new_tokens": data.max_new_tokens, **data.settings, **settings}
    settings |= {"bare": True, "wording": wording, "n_whole": len(whole)}
    return task(whole[:limit], origin, splits[split], rule, **settings)


def option_kinds() -> dict[str, str]:
    """Kind of every keyword argument of :func:`load_task`, the benchmarks' own options included."""
    calls = (load_task, *(task.data for task in BENCHMARKS.values()))
    return {name: kind for call in calls for name, kind in _kinds(call).items()}


def _kinds(call: Any) -> dict[str, str]:
    parameters = signature(call).parameters.values()
    return {p.name: kind_of(p.annotation) for p in parameters if p.kind == p.KEYWORD_ONLY}


def _folder(name: str, source: str | Path) -> Path:
    folder = require_path(source, "source")
    with one_line(f"the source {folder} cannot be read", OSError):
        if (folder / name).is_dir():
            return folder / name
        others = [other for other in BENCHMARKS if (folder / other).is_dir()]
        if others or not folder.is_dir():
            valid = ("shapes", "hub", f"a folder with the data of {name}, or with one named {name}")
            raise unknown_name("source", str(source), valid)
    return folder
