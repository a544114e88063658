"""Qwen-VL and Qwen-VL-Chat: queries on a raster read the image for a Qwen (Bai et al., 2023).

Queries also have places of their own, which only steer what a query attends to; what it holds comes
from there, by the resampler's one attention, heads averaged.
"""

from typing import Any, ClassVar

from torch import Tensor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from infoflow.models.checkpoint import Checkpoint, require_value
from infoflow.models.convert.qwen_vl import convert_qwen_vl
from infoflow.models.convert.tokenizers import END_OF_TEXT, ENDS, IMAGE_PAD, IMAGE_TOKENS
from infoflow.models.families.base import PLACEHOLDER, Family, ImageFeatures, Size
from infoflow.models.families.qwen_model import QwenVLForConditionalGeneration
from infoflow.models.prompt import Prompt


class QwenVL(Family):
    """Qwen-VL, as ``Qwen/Qwen-VL`` or in our layout; it continues texts, without a conversation."""

    architecture: ClassVar[Any] = QwenVLForConditionalGeneration
    processor: ClassVar[Any] = BlipImageProcessorPil
    template = f"<img>{PLACEHOLDER}</img>{{question}}"
    tower = "visual.transformer.resblocks"
    connector = "resampler"
    ends: ClassVar[tuple[str, ...]] = (END_OF_TEXT,)
    tokens = IMAGE_TOKENS
    marks = (PLACEHOLDER, *IMAGE_TOKENS)
    chat_format: ClassVar[str] = "raw"  #: What the published generation settings call it.
    kinds: ClassVar[dict[str, str]] = {}
    convert = staticmethod(convert_qwen_vl)
    files = ("*.json", "pytorch_model*.bin", "qwen.tiktoken")

    @classmethod
    def require_own(cls, checkpoint: Checkpoint) -> None:
        super().require_own(checkpoint)
        found = checkpoint.generation.get("chat_format")
        require_value(found, f"the chat_format of {checkpoint.folder}", cls.chat_format, None)

    @property
    def vision(self) -> Any:
        return self.model.visual.shape

    @property
    def image_token_id(self) -> int:
        return int(self.tokenizer.convert_tokens_to_ids(IMAGE_PAD))

    def n_image_tokens(self, size: Size) -> int:
        return int(self.vision.n_queries)

    def whole_logits(self, prompt: Prompt) -> Tensor:
        return self.embedded_logits(prompt)  # transformers has no model of this kind

    def encode_image(
        self, pixel_values: Tensor, input_ids: Tensor, size: Size | None
    ) -> ImageFeatures:
        self.require_shape(pixel_values)
        return ImageFeatures(*self.model.visual(pixel_values))


class QwenVLChat(QwenVL):
    """Qwen-VL-Chat: one message of ChatML (``qwen_generation_utils.py``), with its image named."""

    template = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        f"<|im_start|>user\nPicture 1:<img>{PLACEHOLDER}</img>\n{{question}}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    chat_format = "chatml"
    ends = ENDS
