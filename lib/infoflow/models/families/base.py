"""What a family's adapter answers: everything in which architectures differ."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, cast

import torch
from PIL import Image
from scipy import sparse
from torch import Tensor, nn
from transformers import DynamicCache

from infoflow.errors import InfoflowError
from infoflow.models.checkpoint import (
    CONFIG,
    Checkpoint,
    in_one_line,
    load_model,
    read_checkpoint,
    read_json,
    require_value,
)
from infoflow.models.grid import Grid
from infoflow.models.placement import Placement
from infoflow.models.prompt import Prompt, Spans

PLACEHOLDER = "<image>"
"""Stands for the image tokens in a template; the texts on its two sides are tokenised apart."""
Size = tuple[int, int]
"""An image's width and height in pixels, as ``PIL.Image.size``."""


class ImageFeatures(NamedTuple):
    """What a model's vision side makes of an image."""

    features: Tensor  #: The image tokens' embeddings, shape (N, D).
    #: If tokens are not places, their weights over the patches, (N, patches); rows sum to one.
    attention: Tensor | None = None


class Reading(NamedTuple):
    """An image and a question as a processor gives them."""

    input_ids: list[int]
    pixel_values: Tensor
    inputs: Mapping[str, Tensor] = {}  #: What the model takes beside them, by name.
    spans: Spans | None = None  #: None to find them by the image tokens, which are one run,
    grid: Grid | None = None  #: and None for a grid that follows from the features.


class DecoderInputs(NamedTuple):
    """What a model gives its decoder of ids and pixels; see ``Prompt`` for all but the image."""

    inputs_embeds: Tensor
    image: ImageFeatures
    position_ids: Tensor | None = None
    mask: Tensor | None = None
    deepstack: tuple[Tensor, ...] = ()


class Family:
    """A loaded model of one architecture: the only place that knows in what architectures differ.

    A new architecture is a subclass: it names its classes and its prompt, encodes images, and is
    entered in the table of ``infoflow.models.families``. What stands here is for tokens that are
    queries and read a squashed image; ``VicunaFamily`` is for LLaVA's kind, whose are patches.
    """

    architecture: ClassVar[Any]  #: The transformers class of the model.
    processor: ClassVar[Any]  #: The transformers class of the image processor,
    processor_options: ClassVar[dict[str, Any]] = {}  #: and what it sets in any case.
    template: ClassVar[str]  #: The prompt around ``{question}`` and ``<image>``.
    tower: ClassVar[str] = ""  #: Where in the model the vision tower's layers are.
    has_queries: ClassVar[bool] = True  #: Whether image tokens are queries that read it, normed.
    connector: ClassVar[str]  #: What lies between vision tower and decoder, in words.
    ends: ClassVar[tuple[str, ...]] = ()  #: Tokens that end an answer; none: as configured.
    tokens: ClassVar[tuple[str, ...]] = ()  #: Other tokens that a tokenizer must have.
    marks: ClassVar[tuple[str, ...]] = (PLACEHOLDER,)  #: What a question must not contain.
    foreign_tokens: ClassVar[tuple[str, ...]] = ()  #: Tokens of other conversations alone.
    kinds: ClassVar[dict[str, str]] = {"text_config": "llama"}  #: Types of parts, if said.
    files: ClassVar[tuple[str, ...]] = ("*.json", "*.safetensors")  #: What is fetched from the hub.
    #: Reads what is published in another layout, from its folder and those of its parts.
    convert: ClassVar[Any] = None
    parts: ClassVar[Mapping[str, str]] = {}  #: What that needs beside itself, and hub ids.
    part_folders: tuple[Path, ...] = ()  #: Those that the model was built from, too.
    beside: ClassVar[str] = ""  #: What its decoder may need beside embeddings, in words.

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor

    @classmethod
    def is_published(cls, folder: Path) -> bool:
        """Whether a checkpoint is in the layout that it was published in, not in transformers'."""
        return cls.convert is not None and "vision_config" not in read_json(folder / CONFIG)

    @classmethod
    def read(cls, folder: Path, parts: Mapping[str, Path]) -> Checkpoint:
        if (folder / "adapter_config.json").is_file():
            raise InfoflowError(
                f"{folder} holds a LoRA adapter; merge it into its model and save the whole."
            )
        if not cls.is_published(folder):
            return read_checkpoint(folder)
        with in_one_line(f"the checkpoint in {folder} cannot be converted"):
            return cast(Checkpoint, cls.convert(folder, parts))

    @classmethod
    def require_own(cls, checkpoint: Checkpoint) -> None:
        """Raise if a checkpoint says that it is of another kind, or lacks tokens of prompts."""
        config, path = checkpoint.config, checkpoint.folder / CONFIG
        own = cls.architecture.config_class.model_type
        require_value(config.get("model_type"), f"the model_type in {path}", own)
        for part, kind in cls.kinds.items():
            content = config.get(part)
            found = content.get("model_type", kind) if isinstance(content, dict) else kind
            require_value(found, f"the model_type of the {part} in {path}", kind)
        vocabulary, folder = checkpoint.tokenizer.get_vocab(), checkpoint.folder
        if missing := [token for token in (*cls.ends, *cls.tokens) if token not in vocabulary]:
            raise InfoflowError(f"the tokenizer in {folder} lacks the tokens {', '.join(missing)}.")

    @classmethod
    def open(cls, folder: Path, placement: Placement, dtype: torch.dtype, **parts: Path) -> Self:
        checkpoint = cls.read(folder, parts)
        cls.require_own(checkpoint)
        with in_one_line(f"the image processor in {folder} cannot be made"):
            processor = cls.processor(**checkpoint.processor | cls.processor_options)
        model = load_model(cls.architecture, checkpoint, placement, dtype)
        family = cls(model, checkpoint.tokenizer, processor)
        family.part_folders = tuple(parts.values())
        return family

    @property
    def language_model(self) -> Any:
        return self.model

    @property
    def decoder(self) -> Any:
        # twice: a model within the model may have a decoder of its own
        return self.model.get_decoder().get_decoder()

    @property
    def lm_head(self) -> nn.Module:
        return cast(nn.Module, self.language_model.lm_head)

    @property
    def vision(self) -> Any:
        return self.model.config.vision_config

    @property
    def pixels_a_side(self) -> int:
        return first(self.vision.image_size)

    @property
    def patches_a_side(self) -> int:
        return self.pixels_a_side // first(self.vision.patch_size)

    @property
    def image_token_id(self) -> int:
        """The id that stands for an image token in the input ids, in the vocabulary or not."""
        return int(self.model.config.image_token_id)

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        if self.ends:
            return tuple(self.tokenizer.convert_tokens_to_ids(list(self.ends)))
        ids = self.model.generation_config.eos_token_id
        ids = self.tokenizer.eos_token_id if ids is None else ids
        return tuple(ids) if isinstance(ids, list | tuple) else (ids,)

    @property
    def context_length(self) -> int:
        """As many tokens as have positions, and no more than all layers see (sliding windows)."""
        config = self.decoder.config
        kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
        window = getattr(config, "sliding_window", None) if "sliding_attention" in kinds else None
        return min(int(config.max_position_embeddings), window or sys.maxsize)

    @property
    def beginning(self) -> list[int]:
        return []

    def encode(self, image: Image.Image, question: str) -> Reading:
        ids = self.input_ids(question, image.size)
        return Reading(ids, self.pixel_values(image), self.inputs(ids, image.size))

    def inputs(self, ids: list[int], size: Size) -> dict[str, Tensor]:
        """What the untouched model takes beside ids and pixels, by name: here nothing."""
        return {}

    def decoder_inputs(
        self, input_ids: Tensor, pixel_values: Tensor, size: Size | None, inputs: Mapping[str, Any]
    ) -> DecoderInputs:
        """Embed ids (S,), image features in their places; ``inputs`` are those of ``encode``."""
        found = self.encode_image(pixel_values, input_ids, size)
        is_image = (input_ids == self.image_token_id)[None]
        # the image token's id need not be in the vocabulary
        embeds: Tensor = self.decoder.embed_tokens(input_ids[None].masked_fill(is_image, 0))
        if (n_ids := int(is_image.sum())) != len(found.features):
            each = f"the id {self.image_token_id} must stand once for each"
            raise InfoflowError(
                f"{n_ids} image token ids for {len(found.features)} image features; {each}."
            )
        embeds = embeds.masked_scatter(is_image[..., None], found.features.to(embeds))
        return DecoderInputs(embeds, found)

    def embedded_logits(self, prompt: Prompt) -> Tensor:
        """Run ids and pixels through model and tower where no class takes both: (1, S, V)."""
        found = self.decoder_inputs(
            prompt.input_ids, prompt.pixel_values, prompt.image.size, prompt.inputs
        )
        return cast(Tensor, self.model(inputs_embeds=found.inputs_embeds, use_cache=False).logits)

    def whole_logits(self, prompt: Prompt) -> Tensor:
        """Run ids and pixels through the untouched model: logits of all positions, (1, S, V)."""
        given = {"input_ids": prompt.input_ids[None], "pixel_values": prompt.pixel_values}
        return cast(Tensor, self.model(**given, use_cache=False, **prompt.inputs).logits)

    @torch.no_grad()
    def generate(self, prompt: Prompt, max_new_tokens: int, ends: list[int]) -> Tensor:
        """Decode greedily up to one of the tokens that end an answer: ids of shape (T,)."""
        cache = DynamicCache(config=self.decoder.config)
        embeds, start = prompt.inputs_embeds, 0
        found: list[Tensor] = []
        while len(found) < max_new_tokens and not (found and int(found[-1]) in ends):
            stop = start + embeds.shape[1]
            given = prompt.decoder_arguments(start, stop)
            states = self.decoder(
                inputs_embeds=embeds, past_key_values=cache, use_cache=True, **given
            ).last_hidden_state
            found.append(self.lm_head(states[0, -1:]).argmax(-1))
            embeds, start = self.decoder.embed_tokens(found[-1])[None], stop
        return torch.cat(found)

    def input_ids(self, question: str, size: Size) -> list[int]:
        """Encode the whole prompt around a question, one image token id an image token."""
        before, after = self.template.format(question=question).split(PLACEHOLDER, 1)
        text = self.tokenise(after)
        self.require_no_mark(question, self.marks, self.image_token_id in text)
        return [*self.beginning, *self.tokenise(before), *self.image_ids(size), *text]

    def require_no_mark(self, question: str, marks: Sequence[str], encoded: bool = False) -> None:
        """Raise if a question holds what stands for an image, as text or once it is encoded."""
        if (found := [mark for mark in marks if mark in question]) or encoded:
            raise InfoflowError(
                f"the question contains the image placeholder {(found or marks)[0]!r}: "
                f"{question!r}. Leave it out; the image's place in the prompt is fixed."
            )

    def image_ids(self, size: Size) -> list[int]:
        """The ids of the image tokens, and of those that always stand beside them."""
        return [self.image_token_id] * self.n_image_tokens(size)

    def n_image_tokens(self, size: Size) -> int:
        raise NotImplementedError

    def pixel_values(self, image: Image.Image) -> Tensor:
        """Preprocess an RGB image: shape (1, 3, height, width), or one more for tiles."""
        return cast(Tensor, self.image_processor(image, return_tensors="pt").pixel_values)

    def pixel_noise(self, pixels: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
        """Draw noise for pixel values (..., 3, height, width); sigma is in units of [0, 1]."""
        std = torch.tensor(self.image_processor.image_std)[:, None, None]
        return sigma / std * torch.randn(pixels.shape, generator=generator)

    def encode_image(
        self, pixel_values: Tensor, input_ids: Tensor, size: Size | None
    ) -> ImageFeatures:
        """Compute the image tokens' embeddings from pixels that the tower takes, or raise.

        The prompt's ids (S,) are for features that its text steers, the size for tiles.
        """
        raise NotImplementedError

    def grid(self, size: Size, image: ImageFeatures) -> Grid:
        """Say where image tokens lie: here each gives its value to the patches it attended to."""
        if image.attention is None:
            raise InfoflowError("the attention of the image tokens was not recorded.")
        spread = sparse.csr_array(image.attention.detach().double().cpu().numpy().T)
        return Grid(self.patches_a_side, self.patches_a_side, spread=spread)

    @property
    def tower_layer(self) -> nn.Module:
        """The last layer of the vision tower that image tokens are made of."""
        if not self.tower:
            raise InfoflowError(f"{type(self).__name__} does not name its tower's layers.")
        place = getattr(self.model.config, "vision_feature_layer", -1)  # 0: what the first is given
        layers = cast(nn.ModuleList, self.model.get_submodule(self.tower))
        return layers[place if place < 0 else place - 1]

    def tower_patches(self, states: Tensor, size: Size) -> Tensor:
        """Lay its output, (tiles, patches, C), out as image tokens are, or as the grid: (P, C)."""
        return states[0, -(self.patches_a_side**2) :]  # a class token would stand first

    def tokenise(self, text: str) -> list[int]:
        """Encode a piece of a prompt: no token is added at its beginning or end."""
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def require_shape(self, pixel_values: Tensor, *tiles: int) -> None:
        valid = (1, *tiles, 3, self.pixels_a_side, self.pixels_a_side)
        require_value(tuple(pixel_values.shape), "the shape of the pixel values", valid)


def first(side: Any) -> int:
    """Of a side or sides in pixels, as configurations have them, the first."""
    return int(side[0] if isinstance(side, list | tuple) else side)
