"""Shikra: a CLIP tower, one linear layer and a LLaMA decoder (Chen et al., 2023).

What is published is the difference of its decoder to LLaMA-7B, and the linear layer. The tower is
OpenAI's, which was not trained further.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import (
    CONFIG,
    PROCESSOR,
    load_image_processor,
    load_tokenizer,
    load_weights,
    read_json,
    require_files,
    some,
    write_json,
)
from infoflow.models.convert.conversion import (
    converted,
    is_converted,
    remapped,
    shard_files,
    tensor_lookup,
    write_tensors,
)
from infoflow.models.convert.published import (
    decoder_name,
    generation_config,
    llama_config,
    require_fields,
    require_settings,
    tower_folder,
)
from infoflow.models.convert.sentencepiece import llama_tokenizer, read_pieces
from infoflow.models.families.prompts import SHIKRA
from infoflow.models.families.vicuna import VicunaFamily
from infoflow.models.placement import Placement

MARKS = ("<im_patch>", "<im_start>", "<im_end>")
"""The tokens added to LLaMA's: in the place of each patch, and around them all."""

_TOWER_NEEDS = ("hidden_size", "image_size", "num_attention_heads", "patch_size")
_GROWN = ("model.embed_tokens.weight", "lm_head.weight")
_PROJECTOR = "model.mm_projector."
_CLIP_STATISTICS = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


class Shikra(VicunaFamily):
    """Shikra, as ``shikras/shikra-7b-delta-v1`` with its LLaMA and CLIP, or as converted."""

    connector = "linear layer"
    template = SHIKRA
    padding = (255, 255, 255)
    foreign_tokens = tuple(t for t in VicunaFamily.foreign_tokens if t not in MARKS)
    files = ("*.json", "pytorch_model*.bin", "tokenizer.model")
    parts: ClassVar[Mapping[str, str]] = {
        "base": "huggyllama/llama-7b",
        "vision": "openai/clip-vit-large-patch14",
    }

    @classmethod
    def prepare(cls, folder: Path, find_part: Callable[[str], Path]) -> Path:
        """Add the difference to LLaMA, with the tower's weights; see ``Family.prepare``."""
        if is_converted(folder):
            return folder
        base, vision = find_part("base"), tower_folder(folder) or find_part("vision")
        for part in (base, vision):
            require_files(part, (CONFIG,))
        tokenizer = (
            next((f for f in (folder, base) if (f / "tokenizer.model").is_file()), folder)
            / "tokenizer.model"
        )
        files = [shard for part in (folder, base, vision) for shard in shard_files(part)]
        sources = [folder / CONFIG, vision / CONFIG, tokenizer, *files]
        return converted(
            "shikra", sources, lambda target: _convert(folder, base, vision, tokenizer, target)
        )

    @classmethod
    def open(cls, folder: Path, placement: Placement, dtype: torch.dtype) -> Self:
        """Load a checkpoint folder; see ``Family.open``."""
        model = load_weights(LlavaForConditionalGeneration, folder, "llava", placement, dtype)
        processor = load_image_processor(CLIPImageProcessorPil, folder)
        return cls(model, load_tokenizer(folder, MARKS), processor)

    def around_image(self, image: list[int]) -> list[int]:
        """Put the marks of a picture's beginning and end around it."""
        start, end = self.tokenizer.convert_tokens_to_ids(list(MARKS[1:]))
        return [start, *image, end]


def _convert(folder: Path, base: Path, vision: Path, tokenizer: Path, target: Path) -> None:
    """Write the sum of the difference and its base in the layout of transformers' LLaVA."""
    published, tower = read_json(folder / CONFIG), read_json(vision / CONFIG)
    require_settings(published, folder / CONFIG, {"mm_vision_select_feature": "patch"})
    tower = dict(tower.get("vision_config", tower)) | {"model_type": "clip_vision_model"}
    require_fields(tower, _TOWER_NEEDS)
    if published.get("mm_hidden_size", tower["hidden_size"]) != tower["hidden_size"]:
        raise InfoflowError(
            f"the tower in {vision} is {tower['hidden_size']} wide; {folder} was trained with one "
            f"of {published['mm_hidden_size']}."
        )
    n_words = len(read_pieces(tokenizer))

    def tensors() -> Iterator[tuple[str, Tensor]]:
        yield from merged(folder, base)
        yield from remapped(vision, _tower)
        width = published["hidden_size"]
        # transformers' projector has a second layer; this one changes nothing
        yield "model.multi_modal_projector.linear_2.weight", torch.eye(width)
        yield "model.multi_modal_projector.linear_2.bias", torch.zeros(width)

    write_tensors(tensors(), target)
    config = {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": n_words,
        "projector_hidden_act": "linear",
        "text_config": llama_config(published),
        "vision_config": tower,
        "vision_feature_layer": published.get("mm_vision_select_layer", -2),
        "vision_feature_select_strategy": "default",
    }
    write_json(target / CONFIG, config)
    write_json(target / "generation_config.json", generation_config())
    side = int(tower["image_size"])
    square = {"height": side, "width": side}
    processor = {"size": {"shortest_edge": side}, "crop_size": square}
    write_json(target / PROCESSOR, processor | _CLIP_STATISTICS)
    added = {token: n_words + i for i, token in enumerate(MARKS)}
    llama_tokenizer(tokenizer, added).save_pretrained(target)


def merged(folder: Path, base: Path) -> Iterator[tuple[str, Tensor]]:
    """Add a published difference to its base: tensors under transformers' names.

    The sum is taken in the difference's type, as its authors do. Rows of the vocabulary that the
    base does not have are the difference's own, and so is the projector.

    Raises:
        InfoflowError: The base lacks tensors, or has them in another shape: it is another model.
    """
    of_base, wrong = tensor_lookup(base), []

    def add(name: str, tensor: Tensor) -> Mapping[str, Tensor] | None:
        if name.startswith(_PROJECTOR):
            last = name.removeprefix(_PROJECTOR)
            return {f"model.multi_modal_projector.linear_1.{last}": tensor}
        known = decoder_name(name)
        if known is None:
            return None
        total = _sum(tensor, of_base(name), grown=name in _GROWN)
        if total is None:
            wrong.append(name)
            return {}
        return {known: total}

    yield from remapped(folder, add)
    if wrong:
        raise InfoflowError(
            f"{base} is not the LLaMA that {folder} is a difference to: {len(wrong)} tensors are "
            f"missing or of another shape ({some(sorted(wrong))})."
        )


def _sum(delta: Tensor, base: Tensor | None, grown: bool) -> Tensor | None:
    """Add a tensor to its base, of which the vocabulary may be shorter; None if they do not fit."""
    if base is None or delta.shape[1:] != base.shape[1:] or len(delta) < len(base):
        return None
    if len(delta) > len(base) and not grown:
        return None
    total = delta.clone()
    total[: len(base)] += base.to(delta.dtype)
    return total


def _tower(name: str, tensor: Tensor) -> Mapping[str, Tensor] | None:
    """Take the vision tower out of a CLIP checkpoint."""
    if name.startswith("vision_model."):
        return {f"model.vision_tower.{name.removeprefix('vision_model.')}": tensor}
    others = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")
    return {} if name.startswith(others) else None
