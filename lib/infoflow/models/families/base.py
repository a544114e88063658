"""What a family's adapter answers: everything in which architectures differ."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from PIL import Image
from scipy import sparse
from torch import Tensor, nn

from infoflow.errors import InfoflowError
from infoflow.models.grid import Grid
from infoflow.models.layouts import require_known_layout
from infoflow.models.placement import Placement
from infoflow.options import require_whole

Size = tuple[int, int]
"""A picture's width and height in pixels, as ``PIL.Image.size``."""


class Seen(NamedTuple):
    """What a model's vision side makes of a picture.

    Attributes:
        features: The image tokens' embeddings, shape (N, D).
        looks: Where each image token looked, if tokens are not places: weights over the vision
            tower's patches, shape (N, patches), each row summing to one.
    """

    features: Tensor
    looks: Tensor | None = None


class Family(ABC):
    """A loaded model of one architecture, seen through the questions all rooms above may ask.

    Attributes:
        model: The transformers model, in evaluation mode, its parameters frozen.
        tokenizer: Its tokenizer.
        image_processor: What turns a picture into pixel values.
    """

    connector: ClassVar[str]
    """What lies between vision tower and decoder, the projector in the papers' words."""
    files: ClassVar[tuple[str, ...]] = ("*.json", "*.safetensors")
    """Patterns of the files that are fetched from the hub."""
    parts: ClassVar[Mapping[str, str]] = {}
    """What a published checkpoint needs beside itself: the argument's name, and where the hub has
    it."""

    foreign_tokens: ClassVar[tuple[str, ...]] = ()
    """Tokens that only vocabularies of other conversations have."""

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor

    @classmethod
    def prepare(cls, folder: Path, find_part: Callable[[str], Path]) -> Path:
        """Find the folder to open for a checkpoint: itself, or what it is converted to.

        A published checkpoint that transformers does not read is converted once, into a cache.

        Args:
            folder: The checkpoint, as published or as converted.
            find_part: Finds the folder of what it lacks, by a name of ``parts``.

        Raises:
            InfoflowError: The folder is not a whole checkpoint of this architecture.
        """
        require_known_layout(folder)
        return folder

    @classmethod
    @abstractmethod
    def require_own(cls, folder: Path) -> None:
        """Raise unless a checkpoint was trained on what the family asks it in.

        Args:
            folder: The checkpoint, as published or in the layout that transformers reads.

        Raises:
            InfoflowError: It says of itself that it was trained on another conversation or has
                another decoder.
        """

    @classmethod
    @abstractmethod
    def open(cls, folder: Path, placement: Placement, dtype: torch.dtype) -> Self:
        """Load a checkpoint folder.

        Args:
            folder: The checkpoint, in the layout that transformers reads.
            placement: Where it goes.
            dtype: The type of its weights.

        Raises:
            InfoflowError: The folder is not a whole checkpoint of this architecture.
        """

    @property
    def language_model(self) -> Any:
        """The part that generates text from embeddings: here the whole model."""
        return self.model

    @property
    @abstractmethod
    def decoder(self) -> Any:
        """The text model: token embeddings to last hidden states, final norm included."""

    @property
    @abstractmethod
    def lm_head(self) -> nn.Module:
        """Last hidden states (..., D) to logits (..., V)."""

    @property
    @abstractmethod
    def pixels_a_side(self) -> int:
        """The side of the square that the vision tower takes, in pixels."""

    @property
    @abstractmethod
    def image_token_id(self) -> int:
        """The id that stands for an image token in the input ids, in the vocabulary or not."""

    @abstractmethod
    def input_ids(self, question: str, size: Size) -> list[int]:
        """Encode the whole prompt around a question, one image token id an image token.

        Args:
            question: The text put to the model.
            size: The picture's size, on which the number of image tokens may depend.

        Raises:
            InfoflowError: The question contains the image placeholder.
        """

    @abstractmethod
    def pixel_values(self, image: Image.Image) -> Tensor:
        """Preprocess an RGB picture: shape (1, 3, height, width), or one more for tiles."""

    @property
    def pixel_std(self) -> Tensor:
        """What pixels of [0, 1] are divided by when they are normalised: shape (3, 1, 1)."""
        return torch.tensor(self.image_processor.image_std)[:, None, None]

    @abstractmethod
    def see(self, pixel_values: Tensor, input_ids: Tensor, size: Size | None) -> Seen:
        """Compute the image tokens' embeddings.

        Args:
            pixel_values: The preprocessed picture.
            input_ids: The prompt it belongs to, shape (S,): its text may steer what is seen.
            size: The picture's size; None to tell it from the number of image tokens.

        Raises:
            InfoflowError: The pixels do not have the shape that the vision tower takes, or the
                size is needed and was not given.
        """

    @abstractmethod
    def grid(self, size: Size, seen: Seen) -> Grid:
        """Say where the image tokens lie on a picture."""

    def tokenise(self, text: str) -> list[int]:
        """Encode a piece of a prompt: no token is added at its beginning or end."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids


def require_size(size: Size) -> None:
    """Raise unless a picture's size is a width and a height in pixels.

    Raises:
        InfoflowError: It is not.
    """
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise InfoflowError(f"size is {size!r}; valid: (width, height) in pixels.")
    for side in size:
        require_whole(side, "a side of size", 1)


def require_shape(pixel_values: Tensor, *valid: int) -> None:
    """Raise unless pixels have the shape that a vision tower takes.

    Raises:
        InfoflowError: They have not.
    """
    if tuple(pixel_values.shape) != valid:
        raise InfoflowError(
            f"pixel values of shape {tuple(pixel_values.shape)} do not fit the vision tower; "
            f"valid: {valid}."
        )


def square_box(size: Size) -> tuple[float, float, float, float]:
    """Place a picture in the square it is padded to, to the pixel as image processors do."""
    width, height = size
    side = max(width, height)
    left, top = (side - width) // 2, (side - height) // 2
    return (left / side, top / side, (left + width) / side, (top + height) / side)


def grid_of_looks(side: int, seen: Seen) -> Grid:
    """Place image tokens that are no places: each gives its value to the patches it looked at.

    Args:
        side: Patches along one side of the picture, which fills the frame.
        seen: What was seen; a token's value is shared out as its looks are.

    Raises:
        InfoflowError: The looks were not recorded.
    """
    if seen.looks is None:
        raise InfoflowError("the queries' looks were not recorded.")
    spread = sparse.csr_array(seen.looks.detach().double().cpu().numpy().T)
    return Grid(side, side, spread=spread)
