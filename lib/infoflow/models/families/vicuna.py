"""What the families share that are of transformers' LLaVA kind: the prompt and the way inside."""

import re
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image
from torch import Tensor, nn

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import CONFIG, JOINT_PROCESSOR, read_json
from infoflow.models.families.base import Family, Seen, Size, require_shape, square_box
from infoflow.models.families.prompts import PLACEHOLDER, VICUNA_V1
from infoflow.models.grid import Grid

_ROLES = (r"USER|\bupper\b", "ASSISTANT:")
"""What a chat template of the Vicuna conversation writes; published ones write the roles' names in
capitals."""


class VicunaFamily(Family):
    """A vision tower, a projector and a LLaMA decoder; one square picture, a token a patch."""

    template = VICUNA_V1
    foreign_tokens: ClassVar[tuple[str, ...]] = (
        *("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "[INST]"),
        "<im_start>",  # of LLaVA's first version, and of Shikra
    )
    tower: ClassVar[str] = "clip_vision_model"
    """The type of its vision tower, in a checkpoint's configuration."""

    @classmethod
    def require_own(cls, folder: Path) -> None:
        """Raise unless the parts are of its kinds, the LLaMA tuned on Vicuna's conversation.

        What a checkpoint says nothing of is not checked.
        """
        config = read_json(folder / CONFIG)
        vision, decoder = config.get("vision_config"), config.get("text_config")
        tower = vision.get("model_type", cls.tower) if isinstance(vision, dict) else cls.tower
        if tower != cls.tower:
            raise InfoflowError(
                f"{folder} has a vision tower of type {tower!r}; this family's is {cls.tower!r}."
            )
        found = decoder.get("model_type", "llama") if isinstance(decoder, dict) else "llama"
        if found != "llama":
            raise InfoflowError(
                f"{folder} has a decoder of type {found!r}, tuned on another conversation; this "
                "family asks a 'llama' in Vicuna's (USER: ... ASSISTANT:)."
            )
        template = chat_template(folder)
        if template and not all(re.search(role, template) for role in _ROLES):
            raise InfoflowError(
                f"{folder} was tuned on another conversation: its chat template is "
                f"{template[:60]!r}...; this family asks in Vicuna's (USER: ... ASSISTANT:)."
            )

    @property
    def decoder(self) -> Any:
        """The LLaMA decoder."""
        return self.model.model.language_model

    @property
    def lm_head(self) -> nn.Module:
        """The linear map to the vocabulary."""
        head: nn.Module = self.model.lm_head
        return head

    @property
    def image_token_id(self) -> int:
        """The placeholder's id, from the checkpoint's configuration."""
        return int(self.model.config.image_token_id)

    @property
    def pixels_a_side(self) -> int:
        """The side of the square that the vision tower takes, in pixels."""
        return _first(self.model.config.vision_config.image_size)

    @property
    def tokens_a_side(self) -> int:
        """Patches along one side of that square."""
        return self.pixels_a_side // _first(self.model.config.vision_config.patch_size)

    def input_ids(self, question: str, size: Size) -> list[int]:
        """Encode the conversation; the texts before and after the picture are tokenised apart."""
        before, after = self.template.format(question=question).split(PLACEHOLDER, 1)
        asked = self.tokenise(after)
        if PLACEHOLDER in question or self.image_token_id in asked:
            raise InfoflowError(
                f"the question contains the image placeholder {PLACEHOLDER!r}: {question!r}. "
                "Leave it out; the picture's place in the prompt is fixed."
            )
        image = self.around_image([self.image_token_id] * self.n_image_tokens(size))
        return [self.tokenizer.bos_token_id, *self.tokenise(before), *image, *asked]

    def n_image_tokens(self, size: Size) -> int:
        """Count the image tokens of a picture of that size."""
        return self.tokens_a_side**2

    def around_image(self, image: list[int]) -> list[int]:
        """Put the ids that mark the beginning and the end of a picture around it: here none."""
        return image

    @property
    def padding(self) -> tuple[int, ...] | None:
        """The colour that pads a picture to a square; None if it is not padded to one."""
        processor = self.image_processor
        return tuple(int(mean * 255) for mean in processor.image_mean) if processor.do_pad else None

    def pixel_values(self, image: Image.Image) -> Tensor:
        """Pad the picture to a square with the family's colour, then resize and normalise it."""
        if self.padding is not None:
            size = self.image_processor.size
            side = size.shortest_edge or size.height
            image = resized_square(image, self.padding, side, self.image_processor.resample)
        values: Tensor = self.image_processor(image, return_tensors="pt").pixel_values
        return values

    def see(self, pixel_values: Tensor, input_ids: Tensor, size: Size | None) -> Seen:
        """Run the vision tower and the projector; see ``Family.see``."""
        side = self.pixels_a_side
        require_shape(pixel_values, 1, 3, side, side)
        features = self.model.get_image_features(pixel_values=pixel_values, return_dict=True)
        return Seen(features.pooler_output[0])

    def grid(self, size: Size, seen: Seen) -> Grid:
        """Place the picture in the padded square."""
        return Grid(self.tokens_a_side, self.tokens_a_side, square_box(size))


def resized_square(
    image: Image.Image, padding: tuple[int, ...], side: int, resample: Image.Resampling
) -> Image.Image:
    """Pad a picture to a square and resize it, to the bit as if one after the other.

    Pillow resizes rows before columns. So the padded rows can be made and resized in bands, and of
    a long and thin picture the square is never in memory.

    Args:
        image: The picture, RGB.
        padding: The colour of the padding.
        side: The side of the result, in pixels.
        resample: The filter.
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


_PIXELS_A_BAND = 1 << 20


def chat_template(folder: Path) -> str:
    """Read a checkpoint's chat template, from where transformers would; empty if it has none.

    Raises:
        InfoflowError: One of the files that may hold it is damaged.
    """
    written = folder / "chat_template.jinja"
    if written.is_file():
        return written.read_text(encoding="utf-8", errors="replace")
    for name in ("chat_template.json", JOINT_PROCESSOR, "tokenizer_config.json"):
        if (folder / name).is_file() and (found := read_json(folder / name).get("chat_template")):
            return str(found)
    return ""


def _first(side: Any) -> int:
    """Read a side that a configuration gives as a number or as a pair."""
    return int(side[0] if isinstance(side, list | tuple) else side)
