"""Qwen-VL and Qwen-VL-Chat: queries on a raster read the picture for a Qwen (Bai et al., 2023)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from PIL import Image
from torch import Tensor, nn
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import (
    CONFIG,
    GENERATION,
    load_image_processor,
    load_weights,
    read_json,
    read_tokenizer,
    require_files,
)
from infoflow.models.convert.conversion import converted, is_converted, shard_files
from infoflow.models.convert.qwen_vl import VOCABULARY, convert
from infoflow.models.convert.tiktoken import (
    END_OF_TEXT,
    IMAGE_END,
    IMAGE_PAD,
    IMAGE_START,
    MESSAGE_END,
    MESSAGE_START,
)
from infoflow.models.families.base import Family, Seen, Size, grid_of_looks, require_shape
from infoflow.models.families.prompts import PLACEHOLDER, QWEN, QWEN_CHAT
from infoflow.models.families.qwen_model import QwenVLConfig, QwenVLForConditionalGeneration
from infoflow.models.grid import Grid
from infoflow.models.placement import Placement

_MARKS = (PLACEHOLDER, IMAGE_START, IMAGE_END, IMAGE_PAD)


class QwenVL(Family):
    """Qwen-VL, as ``Qwen/Qwen-VL`` or as converted; it continues texts."""

    connector = "resampler"
    files = ("*.json", "pytorch_model*.bin", VOCABULARY)
    template: ClassVar[str] = QWEN
    ends: ClassVar[tuple[str, ...]] = (END_OF_TEXT,)
    """The tokens that end an answer, the first one being what pads."""
    chat_format: ClassVar[str] = "raw"
    """What the published generation settings call the conversation."""

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        super().__init__(model, tokenizer, image_processor)
        model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list(self.ends))

    @classmethod
    def prepare(cls, folder: Path, find_part: Callable[[str], Path]) -> Path:
        """Convert the published checkpoint; see ``Family.prepare``."""
        if is_converted(folder):
            return folder
        require_files(folder, (VOCABULARY,))
        sources = [folder / CONFIG, folder / VOCABULARY, *shard_files(folder)]
        return converted("qwen-vl", sources, lambda target: convert(folder, target))

    @classmethod
    def require_own(cls, folder: Path) -> None:
        """Raise if the checkpoint is the other of Qwen-VL and Qwen-VL-Chat, as far as is told."""
        path = folder / GENERATION
        found = read_json(path).get("chat_format") if path.is_file() else None
        if found not in (None, cls.chat_format):
            raise InfoflowError(
                f"{folder} was trained on chat_format {found!r}; this model is asked in "
                f"{cls.chat_format!r}: qwen-vl-7b is 'raw', qwen-vl-chat-7b 'chatml'."
            )

    @classmethod
    def open(cls, folder: Path, placement: Placement, dtype: torch.dtype) -> Self:
        """Load a checkpoint folder; see ``Family.open``."""
        model = load_weights(
            QwenVLForConditionalGeneration, folder, QwenVLConfig.model_type, placement, dtype
        )
        processor = load_image_processor(BlipImageProcessorPil, folder)
        marks = (IMAGE_START, IMAGE_END, IMAGE_PAD)
        return cls(model, read_tokenizer(folder, (*cls.ends, *marks)), processor)

    @property
    def decoder(self) -> Any:
        """The Qwen2 decoder."""
        return self.model.model

    @property
    def lm_head(self) -> nn.Module:
        """The linear map to the vocabulary."""
        head: nn.Module = self.model.lm_head
        return head

    @property
    def pixels_a_side(self) -> int:
        """The side of the squashed picture."""
        return int(self.model.visual.shape.image_size)

    @property
    def image_token_id(self) -> int:
        """The id of ``<imgpad>``: what the published code fills a picture's places with."""
        return int(self.tokenizer.convert_tokens_to_ids(IMAGE_PAD))

    def input_ids(self, question: str, size: Size) -> list[int]:
        """Encode the whole prompt; the picture's marks stand around its tokens."""
        if found := [mark for mark in _MARKS if mark in question]:
            raise InfoflowError(
                f"the question contains the image placeholder {found[0]!r}: {question!r}. "
                "Leave it out; the picture's place in the prompt is fixed."
            )
        before, after = self.template.format(question=question).split(PLACEHOLDER, 1)
        image = [self.image_token_id] * self.model.visual.shape.n_queries
        return [*self.tokenise(before), *image, *self.tokenise(after)]

    def pixel_values(self, image: Image.Image) -> Tensor:
        """Squash the picture to a square and normalise it."""
        values: Tensor = self.image_processor(image, return_tensors="pt").pixel_values
        return values

    def see(self, pixel_values: Tensor, input_ids: Tensor, size: Size | None) -> Seen:
        """Run the tower and the resampler; see ``Family.see``."""
        side = self.pixels_a_side
        require_shape(pixel_values, 1, 3, side, side)
        features, looks = self.model.visual(pixel_values)
        return Seen(features, looks)

    def grid(self, size: Size, seen: Seen) -> Grid:
        """Give each query's value to the patches it looked at, in the shares of its looks.

        Queries also have places of their own, on a raster of 16 x 16. These only steer where a
        query looks; what it holds comes from where it looked, by the resampler's one attention,
        of which the looks are the mean over heads.
        """
        return grid_of_looks(self.model.visual.shape.patches_a_side, seen)


class QwenVLChat(QwenVL):
    """Qwen-VL-Chat, as ``Qwen/Qwen-VL-Chat`` or as converted; it answers in conversations."""

    template = QWEN_CHAT
    chat_format = "chatml"
    ends = (MESSAGE_END, MESSAGE_START, END_OF_TEXT)
