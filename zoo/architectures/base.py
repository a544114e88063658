"""What the recipe asks of an architecture of the zoo: everything in which their training differs.

The recipe itself is one for all: what is asked of which pictures, in which order.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from infoflow.models.families import Family
from zoo.beginning import begin, draw_words
from zoo.model import (
    CONTEXT_LENGTH,
    N_PATCHES,
    PIXEL_MEAN,
    PIXEL_STD,
    normalise,
)
from zoo.tokenizer import PLACES, Specials, build_tokenizer, vocabulary

STATISTICS = {"image_mean": [PIXEL_MEAN] * 3, "image_std": [PIXEL_STD] * 3}


class Look(NamedTuple):
    """What a vision tower makes of pictures.

    Attributes:
        patches: The features handed on, one a patch of the picture, shape (B, 64, 128).
        picture: The feature of the whole picture, shape (B, W).
        others: Features handed on beside them, shape (B, n, 128); n may be 0.
    """

    patches: Tensor
    picture: Tensor
    others: Tensor


class Asked(NamedTuple):
    """The questions that steer what is seen, in the order of their places in the batch.

    Attributes:
        ids: Their tokens, padded with 0, int64 (Q, T); Q is 0 for models that are not steered.
        pictures: The row of the picture each is about, int64 (Q,).
    """

    ids: Tensor
    pictures: Tensor


class Architecture(ABC):
    """A small model of one family, untrained, and what its training has to know of it.

    Attributes:
        name: What the trained model is called.
        family: The adapter that opens it; prompts are this one's.
        specials: Its special tokens.
        slots: Room behind the shared start of a packed sequence, in slots of 112 tokens.
        steered: Whether the question steers the image tokens, so that each has its own.
        n_queries: How many queries read the patches; 0 if each patch becomes a token.
        language_steps: How many steps the last stage takes.
        shares: Of the last stage's learning rate, for weights in whose names a word stands.
    """

    name: ClassVar[str]
    family: ClassVar[type[Family]]
    specials: Specials = Specials()
    slots: ClassVar[int] = 2
    steered: ClassVar[bool] = False
    n_queries: ClassVar[int] = 0
    language_steps: ClassVar[int] = 2300
    shares: ClassVar[Mapping[str, float]] = {}

    @property
    def n_words(self) -> int:
        """The size of the vocabulary."""
        return len(vocabulary(self.specials))

    def with_places(self) -> Self:
        """The same with words for places, which texts about scenes need."""
        other = copy(self)
        other.specials = replace(self.specials, marks=(*self.specials.marks, *PLACES))
        return other

    @abstractmethod
    def build(self) -> Any:
        """Make the model, on transformers' own classes, with weights as these draw them."""

    def new_model(self, seed: int, by_hand: bool = True) -> Any:
        """Make a freshly initialised model, in float32 on the CPU.

        Args:
            seed: Seed of the initial weights.
            by_hand: Whether the decoder begins with what :func:`zoo.beginning.begin` gives it.
        """
        torch.manual_seed(seed)
        model = self.build()
        decoder = self.adapter(model).decoder
        if by_hand:
            begin(decoder, self.tokenizer().get_vocab())
        else:
            draw_words(decoder)
        return model

    def adapter(self, model: Any) -> Family:
        """Put the family's adapter around a model."""
        return self.family(model, self.tokenizer(), self.image_processor())

    def prompts(self) -> Family:
        """Return the adapter without weights, which encodes prompts as the loaded model's does."""
        with torch.device("meta"):
            return self.adapter(self.build())

    def steering_ids(self, prompts: Family, question: str) -> list[int]:
        """Encode a question for what it steers; it is empty if it steers nothing.

        Args:
            prompts: As returned by :meth:`prompts`.
            question: The text put to the model.
        """
        return []

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Build the decoder's tokenizer."""
        return build_tokenizer(CONTEXT_LENGTH, self.specials)

    @abstractmethod
    def image_processor(self) -> Any:
        """Build the image processor that is written beside the weights."""

    def save_companions(self, folder: Path) -> None:
        """Write tokenizer and image processor into a checkpoint folder."""
        self.tokenizer().save_pretrained(folder)
        self.image_processor().save_pretrained(folder)

    @abstractmethod
    def tower(self, model: Any) -> nn.Module:
        """Return the part that the first stage trains and the others leave alone."""

    def pixels(self, pictures: Tensor) -> Tensor:
        """Turn uint8 pictures (B, 96, 96, 3) into what the tower takes: (B, 3, 96, 96)."""
        return normalise(pictures)

    @abstractmethod
    def look(self, tower: nn.Module, pictures: Tensor) -> Look:
        """Run the tower on uint8 pictures (B, 96, 96, 3)."""

    def frame_centres(self) -> Tensor:
        """Say where each patch's frame has its centre on the picture in [-1, 1], shape (64, 2).

        The frame is what the tower sees at once; here it is the whole picture.
        """
        return torch.zeros(N_PATCHES, 2)

    @abstractmethod
    def written(self, tower: nn.Module) -> Iterable[Tensor]:
        """List all that is written to the residual stream that features are read from.

        Dividing each by one number divides the features by it and changes nothing else.
        """

    @abstractmethod
    def start_connector(self, model: Any, mean: Tensor, std: Tensor) -> None:
        """Draw what lies between tower and decoder for features of these statistics.

        Args:
            model: The model, its tower trained.
            mean: Mean of the patch features, shape (128,).
            std: Their standard deviation, shape (128,).
        """

    @abstractmethod
    def image_tokens(self, model: Any, look: Look, asked: Asked) -> Tensor:
        """Turn what the tower made of pictures into image tokens.

        Args:
            model: The model.
            look: Of B pictures.
            asked: The questions, which matter to a steered model only.

        Returns:
            Embeddings (M, N, D): M is B, or for a steered model Q.
        """


def draw(weight: Tensor, std: float) -> None:
    """Draw a weight anew; on every device from the same numbers."""
    weight.copy_(torch.empty(weight.shape).normal_(0, std))


def draw_standardising(first: nn.Linear, mean: Tensor, std: Tensor) -> None:
    """Draw a layer whose outputs start at zero mean and unit variance."""
    draw(first.weight, first.in_features**-0.5)
    first.weight.div_(std)
    first.bias.copy_(-(first.weight @ mean))
