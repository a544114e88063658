"""One sample of a task: an image, the question about it, what is true of it; and rows of them."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image


@dataclass(frozen=True, eq=False)
class Sample:
    """An image with one question and its ground truth; compare samples by ``id``.

    Attributes:
        id: Unique within its task and split, and stable between runs.
        image: The image, RGB.
        question: The full text put to the model; of a task that is ``bare``, the question alone.
        answer: The reference: a letter, ``"yes"`` or ``"no"``, the text to be read, or a caption.
        kind: The group whose scores are reported apart, such as ``"count"`` or ``"adversarial"``.
        choices: The options in order of their letters; empty unless multiple choice.
        answers: All annotators' answers (TextVQA: ten); empty elsewhere.
        objects: Names of the objects in the image, one entry each; empty where not annotated.
        regions: Boolean masks of shape (H, W) by name; empty where not annotated.
        targets: Names of the regions the answer can be read from; empty where not annotated.
        context: What the prompt says before the question (ScienceQA's hint); empty elsewhere.
        ocr: Words that a program read in the image (TextVQA); None where the prompt has none.
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

    def with_question(self, question: str) -> Self:
        other = copy(self)  # dataclasses.replace would open the image of a closed sample
        vars(other)["question"] = question
        return other


@dataclass(frozen=True)
class LazySamples(Sequence[Sample]):
    """A number of samples, each made when it is used: all their images would fill the memory."""

    length: int
    make: Callable[[int], Sample]
    names: Callable[[], Sequence[str]] | None = None  # where ids are known without a sample

    def ids(self) -> Sequence[str]:
        """The ids of all, for which none is made if they are known."""
        return self.names() if self.names else [sample.id for sample in self]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        places = range(self.length)[index]
        return [*map(self.make, places)] if isinstance(places, range) else self.make(places)
