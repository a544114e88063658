"""One item of a task: a picture, what is asked about it, what is true of it; and rows of them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self, overload

import numpy as np
import numpy.typing as npt
from PIL import Image


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture with one question and its ground truth.

    Two samples are equal only if they are the same object: pictures and masks have no cheap
    equality. Compare ``id`` instead.

    Attributes:
        id: Unique within its task and split, and stable between runs.
        image: The picture, RGB.
        question: The full text put to the model; of a task that is ``bare``, the question alone
            (:func:`infoflow.data.asking.worded` makes the one of the other).
        answer: The reference answer: an option's letter (ScienceQA), ``"yes"`` or ``"no"`` (POPE),
            the text to be read (TextVQA), a reference caption (CHAIR).
        kind: The group whose scores are reported apart, such as ``"count"`` or ``"adversarial"``.
        choices: The options in order of their letters; empty unless multiple choice.
        answers: All annotators' answers (TextVQA: ten); empty elsewhere.
        objects: Names of the objects in the picture, one entry each; empty where not annotated.
        regions: Boolean masks of shape (H, W) by name; empty where not annotated.
        targets: Names of the regions the answer can be read from; empty where not annotated.
        context: What is told before the question (ScienceQA's hint); empty elsewhere.
        ocr: Words that a program read in the picture, to be told to the model (TextVQA), empty
            where it read none; ``None`` where they are not to be told.
    """

    id: str
    image: Image.Image
    question: str
    answer: str
    kind: str
    choices: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    regions: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    context: str = ""
    ocr: tuple[str, ...] | None = None

    def asking(self, question: str) -> Self:
        """Return the same item with another question."""
        return replace(self, question=question)


class LazySamples(Sequence[Sample], ABC):
    """Samples that are made when they are asked for; all their pictures would fill the memory."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of items."""

    @abstractmethod
    def at(self, place: int) -> Sample:
        """Make the item at a place, 0 to the last."""

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        """Make one item, or a list of them."""
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self.at(place) for place in places]
        return self.at(places)
