"""A loaded vision-language model: prompts, the ordinary forward pass, greedy answers."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import torch
from PIL import Image
from torch import Tensor, nn

from infoflow.data.pictures import read_image
from infoflow.errors import InfoflowError, one_line, require_name
from infoflow.models.checkpoint import weights_digest
from infoflow.models.families import Family, find_model
from infoflow.models.grid import require_size
from infoflow.models.loading import locate, split_revision
from infoflow.models.placement import choose_dtype, choose_placement
from infoflow.models.prompt import Prompt, Spans, find_spans
from infoflow.models.threads import on_own_threads
from infoflow.models.usable import require_usable
from infoflow.options import require_whole

__all__ = ["LVLM", "Prompt", "Spans", "load_lvlm"]
_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_ARGUMENTS = ("checkpoint", "revision", "device", "dtype", "quantise")


@dataclass(eq=False, repr=False)
class LVLM:
    """A large vision-language model, ready for prompts and measures.

    Attributes:
        name: Its name in ``list_models``.
        family: The adapter of its architecture.
        folder: The checkpoint it was loaded from.
        revision: The hub's commit; None for a zoo model or a local checkpoint.
        quantise: How its weights were quantised: ``"8bit"``, ``"4bit"``, or None.
        fault: What ``plant`` did to it, and where; empty for a model as it was loaded.
        key: What its prompts are known by.
        model: The transformers model.
        tokenizer: The transformers tokenizer.
        decoder: The text model inside: embeddings (B, S, D) to normed hidden states (B, S, D).
        layers: The decoder layers, first to last.
        norm: The norm between the last layer and the language head.
        lm_head: The language head: normed hidden states (..., D) to logits (..., V).
        n_layers: L, the number of decoder layers.
        n_heads: H, the number of query heads in a layer.
        context_length: The longest sequence the decoder has positions for, in tokens.
        reading: What every pass over a prompt runs inside; it tells interventions of the image.
    """

    name: str
    family: Family
    folder: Path
    revision: str | None
    quantise: str | None = None
    fault: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key = uuid4().hex
        self.model, self.tokenizer = self.family.model, self.family.tokenizer
        self.decoder, self.lm_head = self.family.decoder, self.family.lm_head
        self.layers: list[nn.Module] = list(self.decoder.layers)
        self.norm: nn.Module = self.decoder.norm
        self.n_layers = len(self.layers)
        self.n_heads = int(self.decoder.config.num_attention_heads)
        self.context_length = self.family.context_length
        self.reading: Callable[[Prompt], AbstractContextManager[object]] = nullcontext

    def __repr__(self) -> str:
        return f"LVLM({self.name!r}, {self.n_layers} layers, {self.dtype}, {self.device})"

    @property
    def device(self) -> torch.device:
        return torch.device(self.model.device)

    @property
    def dtype(self) -> torch.dtype:
        return cast(torch.dtype, self.decoder.dtype)

    @cached_property
    def digest(self) -> str:
        """What identifies the weights: the hub's commit, or the SHA-256 of the local files."""
        # a commit says all only of weights that come from nowhere else
        commit = None if self.family.parts else self.revision
        found = commit or weights_digest((self.folder, *self.family.part_folders))
        return f"{found}-{self.quantise}" if self.quantise else found

    @cached_property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The ids that end an answer; the first one pads."""
        return self.family.eos_token_ids

    @on_own_threads
    def prompt(self, image: Image.Image | str | Path, question: str) -> Prompt:
        """Encode one image and one question.

        Args:
            image: An image or the path of one (:func:`infoflow.data.pictures.read_image`).
            question: The text, which may be empty; the conversation around it is added.

        Raises:
            InfoflowError: The image is missing or unreadable, the question is no text or contains
                the image placeholder, or the prompt is longer than the model's context.
        """
        _require_text(question, "a question")
        rgb = read_image(image)
        read = self.family.encode(rgb, question)
        input_ids = torch.tensor(read.input_ids, device=self.device)
        self.require_context(len(input_ids), "the prompt")
        pixel_values = read.pixel_values.to(self.device, self.dtype)
        inputs = {name: value.to(self.device) for name, value in read.inputs.items()}
        found = self.family.decoder_inputs(input_ids, pixel_values, rgb.size, inputs)
        carried = found._asdict()
        features = carried.pop("image")
        return Prompt(
            input_ids=input_ids,
            pixel_values=pixel_values,
            spans=read.spans or find_spans(input_ids, self.family.image_token_id),
            grid=read.grid or self.family.grid(rgb.size, features),
            image=rgb,
            question=question,
            model_key=self.key,
            inputs=inputs,
            **carried,
        )

    @on_own_threads
    def with_pixels(self, prompt: Prompt, pixel_values: Tensor) -> Prompt:
        """Encode a prompt anew with other pixels of its image, of the same shape."""
        found = self.family.decoder_inputs(
            prompt.input_ids, pixel_values, prompt.image.size, prompt.inputs
        )
        embeds, deepstack = found.inputs_embeds, found.deepstack
        return replace(prompt, pixel_values=pixel_values, inputs_embeds=embeds, deepstack=deepstack)

    @on_own_threads
    def embed(
        self, input_ids: Tensor, pixel_values: Tensor, size: tuple[int, int] | None = None
    ) -> Tensor:
        """Embed tokens, image features in their places: (1, S, D), differentiable in the pixels.

        Args:
            input_ids: Shape (S,) or (1, S), an image token's id for each image feature.
            pixel_values: The preprocessed image, shape (1, 3, height, width), or (1, tiles, 3,
                height, width) for a model that cuts images into tiles,
            size: and then the image's width and height in pixels.

        Raises:
            InfoflowError: An argument has another shape, ids are no tokens or hold not one image
                token id for each image feature, or pixels are not finite.
        """
        if not isinstance(input_ids, Tensor) or not isinstance(pixel_values, Tensor):
            raise InfoflowError("input ids and pixel values must be tensors.")
        ids = input_ids[0] if input_ids.shape[:-1] == (1,) else input_ids
        text = ids.masked_fill(ids == self.family.image_token_id, 0)
        self.require_token_ids(text, "the sequence of input ids")
        if not (pixel_values.is_floating_point() and pixel_values.isfinite().all()):
            raise InfoflowError("pixel values must be finite numbers of a floating type.")
        size = None if size is None else require_size(size)
        ids, pixel_values = ids.to(self.device), pixel_values.to(self.device, self.dtype)
        return self.family.decoder_inputs(ids, pixel_values, size, {}).inputs_embeds

    @on_own_threads
    def logits(self, embeds: Tensor | Prompt) -> Tensor:
        """Run the ordinary forward pass on one embedded sequence: (1, S, D) to (1, S, V).

        Inside ``intervene`` it takes a prompt, which knows where its image is.

        Raises:
            InfoflowError: Embeddings are of another shape, type or device, not finite, or too long.
        """
        given: dict[str, Any] = {}
        reading: AbstractContextManager[object] = nullcontext()
        if isinstance(embeds, Prompt):
            self.require_prompt(embeds)
            given = embeds.decoder_arguments(0, embeds.inputs_embeds.shape[1])
            reading, embeds = self.reading(embeds), embeds.inputs_embeds
        elif self.family.beside:
            raise InfoflowError(
                f"embeddings alone lack {self.family.beside}; valid for {self.name}: a prompt."
            )
        self.require_embeddings(embeds, "the sequence")
        self.require_context(embeds.shape[1], "the sequence")
        if not embeds.isfinite().all():
            raise InfoflowError("the sequence has embeddings that are not finite.")
        with reading:
            hidden = self.decoder(inputs_embeds=embeds, use_cache=False, **given).last_hidden_state
        return cast(Tensor, self.lm_head(hidden))

    @on_own_threads
    def generate(self, prompt: Prompt, max_new_tokens: int) -> Tensor:
        """Decode greedily: the answer's ids, shape (T,), without the token that ended it.

        Raises:
            InfoflowError: The prompt is another model's, or ``max_new_tokens`` no number that fits.
        """
        self.require_prompt(prompt)
        max_new_tokens = require_whole(max_new_tokens, "max_new_tokens", 1)
        self.require_context(len(prompt) + max_new_tokens - 1, "the prompt with its answer")
        with self.reading(prompt):
            ids = self.family.generate(prompt, max_new_tokens, list(self.eos_token_ids))
        return self.before_eos(ids)

    def decode(self, ids: Tensor) -> str:
        """Turn answer ids, shape (T,), into text, up to the first token that ends an answer.

        Raises:
            InfoflowError: These are no ids, not one sequence, or not all in the vocabulary.
        """
        if not isinstance(ids, Tensor) or ids.ndim != 1:
            raise InfoflowError("an answer is decoded from a tensor of ids, shape (T,).")
        ids = self.before_eos(ids)
        if len(ids):
            self.require_token_ids(ids, "the answer")
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def answer(self, prompt: Prompt, max_new_tokens: int = 32) -> str:
        return self.decode(self.generate(prompt, max_new_tokens))

    def encode_answer(self, text: str) -> Tensor:
        """Encode an answer as the model would generate it: ids of shape (T,), no end token.

        Raises:
            InfoflowError: The answer is no text.
        """
        _require_text(text, "an answer")
        return torch.tensor(self.family.tokenise(text), dtype=torch.long, device=self.device)

    def require_prompt(self, prompt: Prompt) -> None:
        """Raise unless a prompt was encoded for this model, which has not been moved since."""
        if not isinstance(prompt, Prompt):
            kind = type(prompt).__name__
            raise InfoflowError(f"a prompt comes from lvlm.prompt(image, question); got a {kind}.")
        if prompt.model_key not in (None, self.key):
            question = f"the prompt {prompt.question!r}"
            raise InfoflowError(f"{question} was encoded for another model than this {self!r}.")
        self.require_embeddings(prompt.inputs_embeds, "the prompt")

    def require_embeddings(self, embeds: Tensor, what: str) -> None:
        """Raise unless embeddings, named so in the error, are what the decoder takes: (B, S, D)."""
        width = self.decoder.config.hidden_size
        shape = tuple(getattr(embeds, "shape", ()))
        if len(shape) != 3 or shape[-1] != width or 0 in shape:
            raise InfoflowError(f"{what} has embeddings of shape {shape}; valid: (1, S, {width}).")
        if (embeds.dtype, embeds.device) != (self.dtype, self.device):
            own = f"the model is in {self.dtype} on {self.device}"
            raise InfoflowError(f"{what} is in {embeds.dtype} on {embeds.device}; {own}.")

    def require_own_weights(self) -> None:
        """Raise if weights are quantised or offloaded, so that none can be put in their place."""
        if not all(p.is_floating_point() and not p.is_meta for p in self.model.parameters()):
            raise InfoflowError(
                f"weights of {self.name} are quantised or offloaded; load it whole on one device."
            )

    def require_context(self, length: int, what: str) -> None:
        """Raise unless a sequence of that many tokens, named so in the error, fits the context."""
        if length > self.context_length:
            context = f"{self.name} has a context of {self.context_length}"
            raise InfoflowError(f"{what} takes {length} tokens; {context}.")

    def require_token_ids(self, ids: Tensor, what: str) -> None:
        """Raise unless ids, named so in the error, are a row of the model's tokens."""
        if not isinstance(ids, Tensor) or ids.dtype not in _WHOLE:
            kind = getattr(ids, "dtype", type(ids).__name__)
            raise InfoflowError(f"{what} is {kind}; give text or a tensor of whole numbers.")
        if ids.ndim != 1 or not len(ids):
            raise InfoflowError(f"{what} holds no token or not one sequence; valid: shape (T,).")
        vocabulary = self.decoder.embed_tokens.num_embeddings
        if ids.min() < 0 or ids.max() >= vocabulary:
            raise InfoflowError(f"{what} has ids outside 0..{vocabulary - 1}.")

    def before_eos(self, ids: Tensor) -> Tensor:
        """Cut off what follows an answer's end, and the token that says so."""
        ends = torch.isin(ids, torch.tensor(self.eos_token_ids, device=ids.device)).nonzero()
        return ids[: int(ends[0])] if len(ends) else ids


def load_lvlm(
    name: str,
    checkpoint: str | Path | None = None,
    revision: str | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    quantise: str | None = None,
    **parts: str | Path,
) -> LVLM:
    """Load a model by name.

    Args:
        name: One of ``list_models()``, or any image-text model of transformers: ``org/name`` on the
            hub, or a folder's path (``infoflow check`` says what can be measured of it);
            ``name@revision`` pins its version, in a notebook's ``model`` parameter, too.
        checkpoint: A local folder with the model's checkpoint, in place of the hub or the zoo.
        revision: A commit, branch or tag of the hub's repository; None for its newest.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``. ``"auto"`` is the first GPU that
            holds the model; if none does, its decoder layers are spread over all of them and, as
            far as that is not enough, main memory. Without a GPU it is the CPU.
        dtype: ``"auto"`` (float32 on a CPU; on a GPU bfloat16, or float16 where that is not
            supported), ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        quantise: ``"8bit"`` or ``"4bit"``, on a GPU, with the extra ``quantised``; or None.
        **parts: Local folders of what a published checkpoint needs beside itself, in place of the
            hub: of Shikra, a difference, ``base`` is its LLaMA-7B, ``vision`` the CLIP tower.

    Raises:
        UnknownNameError: There is no such model, device, type, quantisation or part.
        InfoflowError: The checkpoint is missing, partial or of another architecture; the hub is out
            of reach; there is no such GPU; or the model does not fit: the error says what it takes.
    """
    name, revision = split_revision(name, revision)
    spec = find_model(name)
    for part in parts:
        require_name(part, f"argument for {name}", (*_ARGUMENTS, *spec.family.parts))
    placement = choose_placement(device, quantise)
    number = choose_dtype(dtype, placement.device)
    if revision is not None and (checkpoint is not None or spec.hub_id is None):
        raise InfoflowError(
            f"revision={revision!r} names a version on the hub, but {name} is loaded from a folder."
        )
    folder, commit = locate(spec, checkpoint, revision)
    needed = spec.family.parts if spec.family.is_published(folder) else ()
    beside = {part: locate(spec, parts.get(part), None, part)[0] for part in needed}
    family = spec.family.open(folder, placement, number, **beside)
    require_usable(family, folder)
    return LVLM(name, family, folder, commit, quantise)


def _require_text(text: str, what: str) -> None:
    with one_line(f"{what} must be text", AttributeError, UnicodeEncodeError):
        text.encode()
