"""Image controls: the same questions about other images, scored by the old answers.

What a measure owes to the image must vanish when it is exchanged; ``Task.source`` says so.
"""

from collections.abc import Callable
from dataclasses import replace

from PIL import Image

from infoflow.data.sample import LazySamples, Sample
from infoflow.data.task import Task
from infoflow.errors import InfoflowError

GREY = (128, 128, 128)


def blank_pictures(task: Task) -> Task:
    """Replace every image of a task by a plain grey one of its size; no regions remain."""

    def grey(place: int) -> Image.Image:
        return Image.new("RGB", task.samples[place].image.size, GREY)

    return _exchanged(task, grey, "grey pictures")


def swap_pictures(task: Task, donor: Task) -> Task:
    """Give every sample the image of a donor's sample of the same number; no regions remain."""
    if len(donor) < len(task):
        n = f"{len(task)} items cannot get the images of {len(donor)}"
        raise InfoflowError(f"{n}; the donor must have as many.")
    if (donor.name, donor.source, donor.split) == (task.name, task.source, task.split):
        raise InfoflowError("a task cannot swap images with itself; use another split.")
    label = f"pictures of {donor.name} {donor.split}"
    return _exchanged(task, lambda place: donor.samples[place].image, label)


def _exchanged(task: Task, image: Callable[[int], Image.Image], label: str) -> Task:
    def exchanged(place: int) -> Sample:
        return replace(task.samples[place], image=image(place), regions={}, targets=())

    samples = LazySamples(len(task), exchanged, lambda: task.ids)
    return replace(task, samples=samples, source=f"{task.source}, {label}")
