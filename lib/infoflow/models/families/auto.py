"""Any image-text model of transformers, in the words and the geometry of its own processor.

The untouched model runs up to the call of its decoder; the embeddings, positions, masks and
features of that call are what prompts carry. ``require_whole_model`` says whether it was enough.
"""

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any, Self, cast

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING as CLASSES
from transformers import AutoConfig, AutoImageProcessor
from transformers.models.auto.processing_auto import (
    PROCESSOR_MAPPING_NAMES,
    processor_class_from_name,
)
from transformers.video_processing_utils import BaseVideoProcessor

from infoflow.errors import InfoflowError, one_line
from infoflow.models.checkpoint import in_one_line, load_model
from infoflow.models.families.base import DecoderInputs, Family, ImageFeatures, Reading, Size
from infoflow.models.grid import Grid
from infoflow.models.placement import Placement
from infoflow.models.prompt import Spans
from infoflow.models.tiles import image_grid

_UNTALKATIVE = ("paligemma",)
"""Kinds that were trained on the image and a text without a conversation around them."""
_HYBRID = ("linear", "conv", "mamba", "recurrent", "chunked", "compress", "sparse")
_REFUSED = {
    "kv_lora_rank": "compresses keys and values (multi-head latent attention)",
    "attention_chunk_size": "attends in chunks",
    "index_topk_blocks": "attends to some blocks of keys alone (sparse attention)",
    "num_kv_shared_layers": "shares keys and values between layers",
    "cross_attention_layers": "reads the image by cross-attention, not as tokens of the prompt",
}
"""Settings of decoders whose attention hooks do not follow, and why."""


class AutoFamily(Family):
    """A model of ``AutoModelForImageTextToText``."""

    connector = "of its own kind"
    files = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors")
    beside = "the positions and masks of their tokens"

    def __init__(self, model: Any, tokenizer: Any, reader: Any) -> None:
        require_followed(model.config)
        super().__init__(model, tokenizer, reader.image_processor)
        self.reader = reader
        self._grids: dict[Any, Grid] = {}  # by what they depend on: to ask the processor takes time
        with one_line(f"a {model.config.model_type} has a decoder of another form", AttributeError):
            _ = self.decoder.layers, self.decoder.norm, self.decoder.embed_tokens

    @classmethod
    def open(cls, folder: Path, placement: Placement, dtype: torch.dtype, **parts: Path) -> Self:
        config, checkpoint = read_config(folder), cls.read(folder, parts)
        reader = load_processor(folder, config.model_type, checkpoint.tokenizer)
        model = load_model(architecture_of(config), checkpoint, placement, dtype)
        return cls(model, checkpoint.tokenizer, reader)

    @property
    def lm_head(self) -> nn.Module:
        return cast(nn.Module, self.model.get_output_embeddings())

    def encode(self, image: Image.Image, question: str) -> Reading:
        """Let the processor word and encode the prompt; the image's span is first to last token.

        Marks of tiles or rows between image tokens are part of it, but lie nowhere on the image.
        """
        token = self.tokenizer.convert_ids_to_tokens(self.image_token_id)
        self.require_no_mark(question, (token, getattr(self.reader, "image_token", token)))
        batch = self._processed(image, text := self.worded(question))
        ids, pixels = batch.pop("input_ids")[0], batch.pop("pixel_values")
        taken = signature(type(self.model).forward).parameters
        inputs = {name: value for name, value in batch.items() if name in taken}
        places = (ids == self.image_token_id).nonzero()[:, 0]
        if not len(places):
            raise InfoflowError(f"the processor puts no image token ({token}) into a prompt.")
        start, stop = int(places[0]), int(places[-1]) + 1
        within = (places - start).numpy()
        key = image.size, within.tobytes()
        if key not in self._grids:
            self._grids[key] = image_grid(
                lambda shown: self._processed(shown, text)["pixel_values"],
                *(self.model, image.size, inputs, within),
            )
        spans = Spans(slice(0, start), slice(start, stop), slice(stop, len(ids)))
        return Reading(ids.tolist(), pixels, inputs, spans, self._grids[key])

    def worded(self, question: str) -> str:
        template = self.reader.chat_template or self.tokenizer.chat_template
        if template is None and self.model.config.model_type in _UNTALKATIVE:
            return f"{self.reader.image_token}{question}"
        if template is None:
            how = "so how the model is asked is not known; save one as chat_template.jinja"
            raise InfoflowError(f"the processor has no chat template, {how}.")
        content = [{"type": "image"}, {"type": "text", "text": question}]
        worded = {"chat_template": template, "add_generation_prompt": True, "tokenize": False}
        message = {"role": "user", "content": content}
        return str(self.tokenizer.apply_chat_template([message], **worded))

    def _processed(self, image: Image.Image, text: str) -> dict[str, Any]:
        bos = self.tokenizer.bos_token
        whole = {"add_special_tokens": False} if bos and text.startswith(bos) else {}
        with in_one_line("the processor takes no such image or question"):
            return dict(self.reader(images=[image], text=[text], return_tensors="pt", **whole))

    def decoder_inputs(
        self, input_ids: Tensor, pixel_values: Tensor, size: Size | None, inputs: Mapping[str, Any]
    ) -> DecoderInputs:
        """Run the untouched model up to the call of its decoder, and take that call's arguments."""
        call = self._call_of_decoder(input_ids, pixel_values, inputs)
        embeds, inside = call["inputs_embeds"], call.get("deepstack_visual_embeds") or ()
        places = (input_ids == self.image_token_id).nonzero()[:, 0]
        if inside and len(places) != int(places[-1] - places[0]) + 1:
            raise InfoflowError("what is added inside belongs to image tokens that are scattered.")
        image, mask = ImageFeatures(embeds[0, places]), _own_mask(call.get("attention_mask"))
        deepstack = tuple(level[None] for level in inside)
        return DecoderInputs(embeds, image, call.get("position_ids"), mask, deepstack)

    def _call_of_decoder(self, ids: Tensor, pixels: Tensor, inputs: Mapping[str, Any]) -> Any:
        class Called(Exception):  # noqa: N818
            """No error: it ends the pass, as the decoder need not run."""

        def take(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            raise Called(kwargs)

        hook = self.decoder.register_forward_pre_hook(take, with_kwargs=True)
        try:
            self.model(input_ids=ids[None], pixel_values=pixels, use_cache=False, **inputs)
        except Called as called:
            return called.args[0]
        finally:
            hook.remove()
        raise InfoflowError(f"a {type(self.model).__name__} answers without calling its decoder.")

    def pixel_noise(self, pixels: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
        """Draw noise; where a row is a patch, given twice as of a video, the same for both."""
        if pixels.ndim > 2:
            return super().pixel_noise(pixels, sigma, generator)
        times = self.image_processor.temporal_patch_size
        frames = pixels.view(len(pixels), 3, times, -1)
        one = super().pixel_noise(frames[:, :, :1], sigma, generator)
        return one.expand(-1, -1, times, -1).reshape(pixels.shape)


def read_config(path: str | Path) -> Any:
    """Read the configuration in a folder, a file, or at a name on the hub; nothing else is read."""
    with in_one_line(f"the configuration of {path} cannot be read"):
        return AutoConfig.from_pretrained(path, trust_remote_code=False)


def architecture_of(config: Any) -> Any:
    """Find the class of transformers for a configuration."""
    if type(config) not in CLASSES:
        known = "model that transformers gives images and text to (AutoModelForImageTextToText)"
        raise InfoflowError(f"a {config.model_type} is no {known}.")
    return CLASSES[type(config)]


def require_followed(config: Any) -> None:
    """Raise if hooks would not follow a decoder's attention, by what its settings say."""
    text = config.get_text_config().to_dict()
    kinds = text.get("layer_types") or ()
    strange = [kind for kind in kinds if any(word in kind for word in _HYBRID)]
    reasons = [why for name, why in _REFUSED.items() if text.get(name)]
    if strange:
        reasons.insert(0, f"has {len(strange)} of {len(kinds)} layers of {strange[0]}")
    if config.is_encoder_decoder:
        reasons.insert(0, "is an encoder and a decoder")
    if reasons:
        raise InfoflowError(f"{text['model_type']} cannot be observed: it {reasons[0]}.")


def load_processor(folder: Path, model_type: str, tokenizer: Any) -> Any:
    """Put a processor together from its parts; Pillow makes the same pixels on all machines."""
    # with nothing for videos, which would need more packages
    with in_one_line(f"the processor in {folder} cannot be made"):
        published = cast(Any, processor_class_from_name(PROCESSOR_MAPPING_NAMES[model_type]))
        unchecked = {"check_argument_for_proper_class": lambda own, name, part: type(part)}
        kind: Any = type(published.__name__, (published,), unchecked)
        settings, _ = kind.get_processor_dict(folder)
        load_images = AutoImageProcessor.from_pretrained
        parts = {
            "tokenizer": tokenizer,
            "image_processor": load_images(folder, backend="pil", trust_remote_code=False),
            "video_processor": BaseVideoProcessor(),
        }
        return kind.from_args_and_dict([parts[name] for name in kind.get_attributes()], settings)


def _own_mask(mask: Any) -> Tensor | None:
    """The mask (S, S) of a call, unless it is the ordinary one; windows are a matter of length."""
    mask = mask["full_attention"] if isinstance(mask, Mapping) else mask
    if mask is None or mask.ndim != 4 or mask[0, 0].equal(torch.ones_like(mask[0, 0]).tril()):
        return None
    return cast(Tensor, mask[0, 0])
