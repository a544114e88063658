"""One image and one question, encoded for one model."""

from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from infoflow.errors import InfoflowError
from infoflow.models.grid import Grid


class Spans(NamedTuple):
    """The three groups of prompt tokens (paper, Eq. 6), half open and adjoining."""

    system: slice
    image: slice
    user: slice


@dataclass(frozen=True, eq=False)
class Prompt:
    """One image and one question, encoded for one model.

    Attributes:
        input_ids: Shape (S,); every image token holds the image token id.
        inputs_embeds: Shape (1, S, D): token embeddings, image features in their places.
        pixel_values: The preprocessed image, shape (1, 3, height, width), or
            (1, tiles, 3, height, width) for a model that cuts images into tiles.
        spans: Where the system, image and user tokens lie.
        grid: Where the image tokens lie on the image.
        image: The image, RGB.
        question: The question as given.
        model_key: The ``key`` of the model it was encoded for; None for one put together by hand.
    """

    input_ids: Tensor
    inputs_embeds: Tensor
    pixel_values: Tensor
    spans: Spans
    grid: Grid
    image: Image.Image
    question: str
    model_key: str | None = None

    def __len__(self) -> int:
        """Return S, the number of prompt tokens."""
        return self.input_ids.shape[0]


def find_spans(input_ids: Tensor, image_token_id: int) -> Spans:
    """Find the token groups in a prompt's ids, shape (S,); the image tokens must be one run."""
    places = (input_ids == image_token_id).nonzero()[:, 0]
    if not len(places):
        raise InfoflowError(f"the prompt holds no image token (id {image_token_id}).")
    start, stop = int(places[0]), int(places[-1]) + 1
    if stop - start != len(places):
        raise InfoflowError(
            f"the {len(places)} image tokens lie scattered over {start}..{stop - 1}; "
            "they must be one run."
        )
    return Spans(slice(0, start), slice(start, stop), slice(stop, len(input_ids)))
