"""LLaVA-1.5 and its kind: a vision tower, a connector, and a LLaMA tuned on Vicuna's conversation.

LLaVA-1.5 has a CLIP tower and a two-layer connector (Liu et al., 2024), InternVL-Chat 1.0 the tower
InternViT-6B (Chen et al., 2024), Shikra one linear layer (Chen et al., 2023).
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from PIL import Image
from torch import Tensor
from transformers import LlavaForConditionalGeneration
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from infoflow.errors import InfoflowError
from infoflow.files import read_text
from infoflow.models.checkpoint import Checkpoint
from infoflow.models.convert.llava import MARKS, convert_internvl, convert_shikra
from infoflow.models.families.base import PLACEHOLDER, Family, ImageFeatures, Size
from infoflow.models.grid import Grid
from infoflow.models.prompt import Prompt

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
VICUNA_V1 = f"{SYSTEM} USER: {PLACEHOLDER}\n{{question}} ASSISTANT:"
"""The ``vicuna_v1`` conversation with one image and one question."""
_ROLES = (r"USER|\bupper\b", "ASSISTANT:")
"""What a chat template of that conversation writes; published ones write roles in capitals."""
_TEMPLATE_FILES = (
    *("chat_template.jinja", "chat_template.json"),
    *("processor_config.json", "tokenizer_config.json"),
)
_FOREIGN = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "[INST]")
_PUBLISHED_FILES = ("*.json", "pytorch_model*.bin", "tokenizer.model")
_PIXELS_A_BAND = 1 << 20


class VicunaFamily(Family):
    """A vision tower, a connector and a LLaMA decoder; one square image, a token a patch."""

    architecture: ClassVar[Any] = LlavaForConditionalGeneration
    processor: ClassVar[Any] = LlavaImageProcessorPil
    template = VICUNA_V1
    tower = "model.vision_tower.encoder.layers"
    has_queries = False
    connector = "two-layer MLP"
    # the last is of LLaVA's first version, and of Shikra
    foreign_tokens: ClassVar[tuple[str, ...]] = (*_FOREIGN, "<im_start>")
    kinds: ClassVar[dict[str, str]] = Family.kinds | {"vision_config": "clip_vision_model"}

    @classmethod
    def require_own(cls, checkpoint: Checkpoint) -> None:
        super().require_own(checkpoint)
        for name in _TEMPLATE_FILES:
            path = checkpoint.folder / name
            text = name + read_text(path) if path.is_file() else ""
            if "chat_template" in text and not all(re.search(role, text) for role in _ROLES):
                other = f"the chat template in {path} is of another conversation than this family's"
                raise InfoflowError(f"{other}, which is Vicuna's (USER: ... ASSISTANT:).")

    @property
    def beginning(self) -> list[int]:
        return [self.tokenizer.bos_token_id]

    def n_image_tokens(self, size: Size) -> int:
        return self.patches_a_side**2

    @property
    def padding(self) -> tuple[int, ...] | None:
        """The colour that pads an image to a square; None if it is not padded to one."""
        processor = self.image_processor
        return tuple(int(mean * 255) for mean in processor.image_mean) if processor.do_pad else None

    def pixel_values(self, image: Image.Image) -> Tensor:
        if self.padding is not None:
            resample = self.image_processor.resample
            image = resized_square(image, self.padding, self.pixels_a_side, resample)
        return super().pixel_values(image)

    def encode_image(
        self, pixel_values: Tensor, input_ids: Tensor, size: Size | None
    ) -> ImageFeatures:
        self.require_shape(pixel_values)
        found = self.model.get_image_features(pixel_values=pixel_values, return_dict=True)
        return ImageFeatures(found.pooler_output[0])

    def grid(self, size: Size, image: ImageFeatures) -> Grid:
        """Place the image in the square it is padded to, to the pixel as image processors do."""
        (width, height), side = size, max(size)
        left, top = (side - width) // 2, (side - height) // 2
        box = (left / side, top / side, (left + width) / side, (top + height) / side)
        return Grid(self.patches_a_side, self.patches_a_side, box)


class Llava15(VicunaFamily):
    """LLaVA-1.5, in the layout of ``llava-hf/llava-1.5-7b-hf`` or in transformers' own."""

    # the published processor crops the centre; the original code pads, which loses no border
    processor_options: ClassVar[dict[str, Any]] = {"do_pad": True}


class InternVLChat(VicunaFamily):
    """InternVL-Chat, whose image token's id is the first one past its vocabulary."""

    kinds: ClassVar[dict[str, str]] = Family.kinds | {"vision_config": "internvl_vision"}
    tower = "model.vision_tower.encoder.layer"
    convert = staticmethod(convert_internvl)
    files = _PUBLISHED_FILES

    def whole_logits(self, prompt: Prompt) -> Tensor:
        return self.embedded_logits(prompt)  # transformers' class embeds the id past the vocabulary


class Shikra(VicunaFamily):
    """Shikra: published are the difference of its decoder to LLaMA-7B, and the linear layer."""

    processor = CLIPImageProcessorPil
    # the spaces beside the marks around the image are no tokens
    template = f"{SYSTEM} USER:{PLACEHOLDER}{{question}} ASSISTANT:"
    connector = "linear layer"
    padding = (255, 255, 255)
    tokens = MARKS
    foreign_tokens = _FOREIGN
    convert = staticmethod(convert_shikra)
    files = _PUBLISHED_FILES
    parts: ClassVar[Mapping[str, str]] = {
        "base": "huggyllama/llama-7b",
        "vision": "openai/clip-vit-large-patch14",
    }

    def image_ids(self, size: Size) -> list[int]:
        start, end = self.tokenizer.convert_tokens_to_ids(list(MARKS[1:]))
        return [start, *super().image_ids(size), end]


def resized_square(
    image: Image.Image, padding: tuple[int, ...], side: int, resample: Image.Resampling
) -> Image.Image:
    """Pad an RGB image to a square and resize it, to the bit as if one after the other.

    Pillow resizes rows before columns: of a long and thin image the square is never in memory.
    """
    width, height = image.size
    longest = max(width, height)
    left, top = (longest - width) // 2, (longest - height) // 2
    rows = Image.new("RGB", (side, longest), padding)
    step = max(1, _PIXELS_A_BAND // longest)
    for start in range(0, height, step):
        band = Image.new("RGB", (longest, min(step, height - start)), padding)
        band.paste(image, (left, -start))
        rows.paste(band.resize((side, band.height), resample), (0, top + start))
    return rows.resize((side, side), resample)
