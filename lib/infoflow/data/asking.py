"""Wording a benchmark's questions as a family of models is asked them.

The files of a benchmark hold bare questions; what surrounds them differs between models and is part
of every published score. Shapes needs none of this: its questions are what the zoo is asked.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from infoflow.data.load import Task
from infoflow.data.sample import LazySamples, Sample
from infoflow.data.templates import find_wording, phrase, wording_family
from infoflow.errors import InfoflowError


def worded(task: Task, model: str, wording: str | None = None) -> Task:
    """Word a task's questions for a model.

    The task then fits every measure: they put ``sample.question`` to the model as it stands. Its
    ``source`` says for which family it is worded, with a digest of the wording, and so does the key
    of every result.

    Args:
        task: The task.
        model: Name of the model (``lvlm.name``), or of its family in
            :data:`infoflow.data.templates.WORDINGS`.
        wording: Name of a wording to take in place of the family's own, one of
            :data:`infoflow.data.templates.NAMED_WORDINGS`; None for the task's.

    Returns:
        The task with the questions of :func:`infoflow.data.templates.phrase`; the task itself
        where its questions are worded already.

    Raises:
        UnknownNameError: No wording is known for the model, or there is none of that name.
        InfoflowError: A wording is named, but the questions are worded already.
    """
    named = wording or task.wording
    if not task.bare:
        if named != task.wording:
            raise InfoflowError(
                f"the questions of {task.name} ({task.source}) are worded already; wording= "
                "applies to a benchmark's own data as load_task gives them."
            )
        return task
    family = wording_family(model)
    digest = _digest(task.name, family, named)
    return replace(
        task,
        samples=_Worded(task.samples, task.name, family, named),
        source=f"{task.source}, worded {f'as {named} ' if named else ''}for {family} {digest}",
        bare=False,
        wording=named,
    )


def question_for(sample: Sample, benchmark: str, family: str, wording: str | None = None) -> str:
    """Word one question.

    Args:
        sample: An item of a task that is ``bare``.
        benchmark: Name of its task.
        family: One of :data:`infoflow.data.templates.WORDINGS`.
        wording: One of :data:`infoflow.data.templates.NAMED_WORDINGS`; None for the family's.

    Returns:
        The full text put to a model of the family.

    Raises:
        UnknownNameError: There is no such benchmark, family or wording.
        InfoflowError: The item has more options than the wording has letters.
    """
    item = (sample.question, sample.context, sample.choices, sample.ocr)
    return phrase(family, benchmark, *item, wording)


def _digest(benchmark: str, family: str, wording: str | None) -> str:
    """Digest how questions are worded: results under another wording are other results."""
    found = find_wording(family, benchmark, wording)
    asked = {**asdict(found), "source": None}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:6]


@dataclass(frozen=True)
class _Worded(LazySamples):
    samples: Sequence[Sample]
    benchmark: str
    family: str
    wording: str | None

    def __len__(self) -> int:
        return len(self.samples)

    def at(self, place: int) -> Sample:
        sample = self.samples[place]
        return sample.asking(question_for(sample, self.benchmark, self.family, self.wording))
