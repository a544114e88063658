"""Controls: the same questions, asked about other pictures and scored by the old answers.

What a measure owes to the picture must vanish when the picture is exchanged. The tasks made here
are measured and stored like any other; their ``source`` says what was done to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from infoflow.data.load import Task
from infoflow.data.sample import LazySamples, Sample
from infoflow.errors import InfoflowError

GREY = (128, 128, 128)


def blank_pictures(task: Task) -> Task:
    """Replace every picture by a plain grey one of its size.

    Args:
        task: The task.

    Returns:
        The task with the same items, questions and references; no regions.
    """
    return replace(task, samples=_Blank(task.samples), source=f"{task.source}, grey pictures")


def swap_pictures(task: Task, donor: Task) -> Task:
    """Give every item the picture of another task's item of the same number.

    Args:
        task: Where questions and references come from.
        donor: Where pictures come from, such as the calibration split of the same task; the result
            of an item then does not depend on how many items are measured.

    Returns:
        The task with the same items, questions and references; no regions.

    Raises:
        InfoflowError: The donor has fewer items, or is the very same split.
    """
    if len(donor) < len(task):
        raise InfoflowError(
            f"{len(task)} items cannot get the pictures of {len(donor)}; "
            "the donor must have as many."
        )
    if (donor.name, donor.source, donor.split) == (task.name, task.source, task.split):
        raise InfoflowError("a task cannot swap pictures with itself; use another split.")
    source = f"{task.source}, pictures of {donor.name} {donor.split}"
    return replace(task, samples=_Swapped(task.samples, donor.samples), source=source)


@dataclass(frozen=True)
class _Blank(LazySamples):
    samples: Sequence[Sample]

    def __len__(self) -> int:
        return len(self.samples)

    def at(self, place: int) -> Sample:
        sample = self.samples[place]
        return _with_picture(sample, Image.new("RGB", sample.image.size, GREY))


@dataclass(frozen=True)
class _Swapped(LazySamples):
    samples: Sequence[Sample]
    donors: Sequence[Sample]

    def __len__(self) -> int:
        return len(self.samples)

    def at(self, place: int) -> Sample:
        return _with_picture(self.samples[place], self.donors[place].image)


def _with_picture(sample: Sample, image: Image.Image) -> Sample:
    """The item with another picture; regions of the old one would be wrong."""
    return replace(sample, image=image, regions={}, targets=())
