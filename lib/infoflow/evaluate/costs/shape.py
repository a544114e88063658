"""The shape of a model, from its configuration alone: how many weights, how wide, how many tokens.

Shapes of the published models are written down here, so that nothing need be fetched to say what a
run will cost.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from infoflow.errors import InfoflowError
from infoflow.evaluate.costs.work import Layer


@dataclass(frozen=True)
class Shape:
    """What the cost of a model hangs on.

    Attributes:
        layers: L, decoder layers.
        width: D.
        inner: Width inside the decoder's feed-forward layers.
        kv_width: Width of keys and of values: all heads that have their own.
        vocabulary: V.
        image_tokens: N; at most, where it depends on the picture.
        tower_layers: Layers of the vision tower.
        tower_width: Their width.
        tower_inner: Width inside their feed-forward layers.
        tower_tokens: Tokens that go through them, over all tiles.
        bridge: Weights between tower and decoder.
    """

    layers: int
    width: int
    inner: int
    kv_width: int
    vocabulary: int
    image_tokens: int
    tower_layers: int
    tower_width: int
    tower_inner: int
    tower_tokens: int
    bridge: int

    @property
    def layer(self) -> Layer:
        """A decoder layer: queries and output, keys and values, three feed-forward matrices."""
        attention = 2 * self.width**2 + 2 * self.width * self.kv_width
        return Layer(attention + 3 * self.width * self.inner, self.width)

    @property
    def tower_parameters(self) -> int:
        """Weights of the vision tower's layers: four attention matrices, and two others."""
        of_layer = 4 * self.tower_width**2 + 2 * self.tower_width * self.tower_inner
        return self.tower_layers * of_layer

    @property
    def parameters(self) -> int:
        """All weights but norms, biases and positions: embeddings and head are two matrices."""
        ends = 2 * self.vocabulary * self.width
        return self.layers * self.layer.parameters + ends + self.tower_parameters + self.bridge


def _seven(
    vocabulary: int, image_tokens: int, tower: tuple[int, int, int, int], bridge: int
) -> Shape:
    """A decoder of the shape of LLaMA-7B, which all six published models have."""
    return Shape(32, 4096, 11008, 4096, vocabulary, image_tokens, *tower, bridge)


_CLIP = (24, 1024, 4096)
_TWO_LINEAR = 1024 * 4096 + 4096 * 4096
_Q_FORMER = 12 * (4 * 768**2 + 2 * 768 * 3072 + 2 * 768 * 3072 + 2 * 768**2 + 2 * 1408 * 768)

PUBLISHED = {
    "llava-1.5-7b": _seven(32064, 576, (*_CLIP, 577), _TWO_LINEAR),
    # the whole picture and four tiles of 336 pixels, their 48 rows with an end each
    "llava-1.6-7b": _seven(32064, 576 + 48 * 49, (*_CLIP, 5 * 577), _TWO_LINEAR),
    "instructblip-7b": _seven(32001, 32, (39, 1408, 6144, 257), _Q_FORMER + 768 * 4096),
    "internvl-7b": _seven(32000, 576, (48, 3200, 12800, 577), 3200 * 4096 + 4096**2),
    "shikra-7b": _seven(32003, 256, (*_CLIP, 257), 1024 * 4096),
    "qwen-vl-7b": _seven(151936, 256, (48, 1664, 8192, 1024), 1664 * 4096 + 5 * 4096**2),
    "qwen-vl-chat-7b": _seven(151936, 256, (48, 1664, 8192, 1024), 1664 * 4096 + 5 * 4096**2),
}
"""By name: the published configurations; InstructBLIP's bridge is its Q-Former."""


def model_shape(name: str, folder: Path | None) -> Shape:
    """Tell the shape of a model before it is loaded.

    Args:
        name: Its name.
        folder: A checkpoint folder to take the configuration from; None, or one whose configuration
            transformers does not know, for the published model of that name.

    Raises:
        InfoflowError: Neither is known.
    """
    if folder is not None:
        try:
            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            return read_shape(config)
        except Exception as error:  # whatever a configuration of another kind leads to
            if name not in PUBLISHED:
                raise InfoflowError(f"the shape of the model in {folder} is not known.") from error
    return PUBLISHED[name]


def read_shape(config: Any) -> Shape:
    """Read the shape out of a transformers configuration.

    Args:
        config: Of a model with a vision tower and a text decoder.

    Raises:
        AttributeError: It is of another kind.
    """
    text, vision = config.get_text_config(), config.vision_config
    side = _first(vision.image_size) // _first(vision.patch_size)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    queries = getattr(config, "num_query_tokens", None)
    return Shape(
        layers=text.num_hidden_layers,
        width=text.hidden_size,
        inner=text.intermediate_size,
        kv_width=text.hidden_size * heads // text.num_attention_heads,
        vocabulary=text.vocab_size,
        image_tokens=queries or getattr(config, "image_seq_length", None) or side**2,
        tower_layers=vision.num_hidden_layers,
        tower_width=vision.hidden_size,
        tower_inner=vision.intermediate_size,
        tower_tokens=side**2 + 1,
        bridge=(vision.hidden_size + text.hidden_size) * text.hidden_size,
    )


def _first(size: Any) -> int:
    return int(size[0] if isinstance(size, list | tuple) else size)
