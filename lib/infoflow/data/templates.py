"""Prompt templates: each benchmark's questions as each family gets them (``templates.yml``).

The files of a benchmark hold bare questions; what surrounds them differs between models and is part
of every published score. A template words the question; the family's conversation is put around it
(see ``prompts``). Shapes needs none: its questions are the zoo's.
"""

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

from infoflow.data.sample import LazySamples, Sample
from infoflow.data.scienceqa import LETTERS
from infoflow.data.task import Task
from infoflow.errors import InfoflowError, require_name, unknown_name

_PUBLISHED: Any = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text(encoding="utf-8"))
WORDINGS: dict[str, dict[str, str]] = _PUBLISHED["families"]
"""The templates by family and benchmark."""
ANY = "llava"
"""Whose words other models are asked in: the short form that lmms-eval puts to most of them."""
NAMED_WORDINGS: dict[str, dict[str, str]] = _PUBLISHED["papers"]
"""Templates of a paper, by name and benchmark, to put to any family in place of its own:
``"paper"`` as *From Redundancy to Relevance* asks, ``"simignore"`` as Simignore does. The
conversation around them stays the family's."""


def phrase(template: str, sample: Sample) -> str:
    """Word the question of a sample; its own lines stay as they are."""
    given = {name: getattr(sample, name) for name in ("question", "context", "choices", "ocr")}
    return _compiled(template).render(letters=LETTERS, **given)


@cache
def _compiled(template: str) -> jinja2.Template:
    return jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(template)


def worded(task: Task, model: str, wording: str | None = None) -> Task:
    """Word a task's questions for a model (``lvlm.name``, or its family in :data:`WORDINGS`).

    The task then fits every measure. Its ``source`` says for which family it is worded, with a
    digest of the template. ``wording`` names templates to take in place of the family's own
    (:data:`NAMED_WORDINGS`); None for the task's. A task that is worded already stays as it is.
    """
    named = wording or task.wording
    if not task.bare:
        if named != task.wording:
            raise InfoflowError(f"the questions of {task.name} ({task.source}) are worded already.")
        return task
    family = wording_family(model)
    template, samples = find_wording(family, task.name, named), task.samples
    digest = hashlib.sha256(template.encode()).hexdigest()[:6]

    def worded_sample(place: int) -> Sample:
        sample = samples[place]
        return sample.with_question(phrase(template, sample))

    return replace(
        task,
        samples=LazySamples(len(samples), worded_sample),
        source=f"{task.source}, worded {f'as {named} ' if named else ''}for {family} {digest}",
        bare=False,
        wording=named,
    )


def wording_family(model: str) -> str:
    """Name the family in ``WORDINGS`` that the name of a model holds."""
    if named := [family for family in WORDINGS if family in str(model)]:
        return named[0]
    if "/" in str(model):  # of any architecture, on the hub or in a folder
        return ANY
    raise unknown_name("family in the model's name", model, WORDINGS)


def find_wording(family: str, benchmark: str, wording: str | None = None) -> str:
    """Find a family's template for a benchmark, or the one of a name in ``NAMED_WORDINGS``."""
    require_name(family, "family", WORDINGS)
    require_name(benchmark, "benchmark", WORDINGS[family])
    if wording is None:
        return WORDINGS[family][benchmark]
    fitting = {name: of[benchmark] for name, of in NAMED_WORDINGS.items() if benchmark in of}
    require_name(wording, f"wording of {benchmark}", fitting)
    return fitting[wording]
