"""Wording a benchmark's questions as a family of models is asked them.

The files of a benchmark hold bare questions; what surrounds them differs between models and is part
of every published score. Shapes needs none of this: its questions are what the zoo is asked.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from infoflow.families.wordings import phrase, wording_family
from infoflow.sample import LazySamples, Sample
from infoflow.tasks import Task


def worded(task: Task, model: str) -> Task:
    """Word a task's questions for a model.

    The task then fits every measure: they put ``sample.question`` to the model as it stands. Its
    ``source`` says for which family it is worded, with a digest of the wording, and so does the key
    of every result.

    Args:
        task: The task.
        model: Name of the model (``lvlm.name``), or of its family in
            :data:`infoflow.families.wordings.WORDINGS`.

    Returns:
        The task with the questions of :func:`infoflow.families.wordings.phrase`; the task itself
        where its questions are worded already.

    Raises:
        UnknownNameError: No wording is known for the model.
    """
    if not task.bare:
        return task
    family = wording_family(model)
    return replace(
        task,
        samples=_Worded(task.samples, task.name, family),
        source=f"{task.source}, worded for {family} {_digest(task.name, family)}",
        bare=False,
    )


def question_for(sample: Sample, benchmark: str, family: str) -> str:
    """Word one question.

    Args:
        sample: An item of a task that is ``bare``.
        benchmark: Name of its task.
        family: One of :data:`infoflow.families.wordings.WORDINGS`.

    Returns:
        The full text put to a model of the family.

    Raises:
        UnknownNameError: There is no such benchmark or family.
    """
    return phrase(family, benchmark, sample.question, sample.context, sample.choices, sample.ocr)


def _digest(benchmark: str, family: str) -> str:
    """Digest how questions are worded: results under another wording are other results."""
    full = phrase(family, benchmark, "question", "context", ("first", "second"), ("word",))
    least = phrase(family, benchmark, "question", "", ("first", "second"))
    return hashlib.sha256(f"{full}\n\n{least}".encode()).hexdigest()[:6]


@dataclass(frozen=True)
class _Worded(LazySamples):
    samples: Sequence[Sample]
    benchmark: str
    family: str

    def __len__(self) -> int:
        return len(self.samples)

    def at(self, place: int) -> Sample:
        sample = self.samples[place]
        return sample.asking(question_for(sample, self.benchmark, self.family))
