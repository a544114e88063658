"""What a family's adapter answers: everything in which architectures differ."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor, nn

from infoflow.grid import Grid


class Family(ABC):
    """A loaded model of one architecture, seen through the questions all rooms above may ask.

    Attributes:
        model: The transformers model, in evaluation mode, its parameters frozen.
        tokenizer: Its tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor

    @classmethod
    @abstractmethod
    def open(cls, folder: Path, device: torch.device, dtype: torch.dtype) -> Self:
        """Load a checkpoint folder.

        Raises:
            InfoflowError: The folder is not a whole checkpoint of this architecture.
        """

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
    def image_token_id(self) -> int:
        """The id that stands for an image token in the input ids."""

    @abstractmethod
    def input_ids(self, question: str) -> list[int]:
        """Encode the whole prompt around a question, one image token id an image token.

        Raises:
            InfoflowError: The question contains the image placeholder.
        """

    @abstractmethod
    def pixel_values(self, image: Image.Image) -> Tensor:
        """Preprocess an RGB picture: shape (1, 3, height, width), float32."""

    @property
    def pixel_std(self) -> Tensor:
        """What pixels of [0, 1] are divided by when they are normalised: shape (3, 1, 1)."""
        return torch.tensor(self.image_processor.image_std)[:, None, None]

    @abstractmethod
    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Compute the image tokens' embeddings: shape (N, D).

        Raises:
            InfoflowError: The pixels do not have the shape that the vision tower takes.
        """

    @abstractmethod
    def grid(self, image: Image.Image) -> Grid:
        """Say where the image tokens lie on a picture."""
