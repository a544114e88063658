"""What Table 1 should take on whole benchmarks, on one GPU: arithmetic; nothing is run."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import pandas as pd
import torch
from PIL import Image

from infoflow.data.load import BENCHMARKS
from infoflow.errors import require_name
from infoflow.models.checkpoint import load_tokenizer
from infoflow.models.families.auto import AutoFamily, architecture_of, load_processor, read_config
from infoflow.models.families.base import first
from infoflow.models.loading import locate_settings

BYTES_PER_NUMBER = 2  # weights and activations are counted in bfloat16


class Card(NamedTuple):
    """A GPU: its dense bfloat16 operations, and the bytes it reads from its memory, a second."""

    name: str
    operations_per_second: float
    bytes_per_second: float

    def seconds(self, parameters: int, width: int, tokens: int, pairs: int) -> float:
        """What a call of a decoder layer takes: its arithmetic, or the reading of its weights."""
        operations = 2 * parameters * tokens + 4 * width * pairs  # of a query and a key
        reading = BYTES_PER_NUMBER * parameters / self.bytes_per_second
        return max(operations / self.operations_per_second, reading)


CARDS = (Card("H100", 989e12, 3.35e12), Card("A100", 312e12, 2.04e12))
"""The cards of 80 GB, with the peaks of NVIDIA's data sheets (SXM; dense bfloat16)."""
SHARE_OF_PEAK = 0.5
SECONDS_PER_CALL = 0.8e-3  # of a layer at least, however little it computes: 25 ms a pass of 32
N_SYSTEM = 35  # tokens before the image, as in LLaVA-1.5's prompt
LAYERS, WIDTH, INNER = 32, 4096, 11008  # of LLaMA-7B, whose shape the paper's decoders have
OF_LAYER = 4 * WIDTH**2 + 3 * WIDTH * INNER  # weights


class Shape(NamedTuple):
    """What differs among models: what is around the decoder, and it if it is not LLaMA-7B's."""

    vocabulary: int
    image_tokens: int
    tower: int  # weights of the vision tower's layers
    tower_tokens: int  # over all tiles
    connector: int  # weights between tower and decoder
    layers: int = LAYERS
    width: int = WIDTH
    inner: int = INNER
    of_layer: int = OF_LAYER
    keys: int = 2 * WIDTH  # numbers a token that a layer keeps: its key and value

    @property
    def parameters(self) -> int:
        """All weights but norms, biases and positions: embeddings and head are two matrices."""
        decoder = self.layers * self.of_layer + 2 * self.vocabulary * self.width
        return decoder + self.tower + self.connector


def _tower(layers: int, width: int, inner: int) -> int:
    return layers * (4 * width**2 + 2 * width * inner)


_CLIP = _tower(24, 1024, 4096)
_TWO_LINEAR = 1024 * 4096 + 4096 * 4096
_Q_FORMER = 12 * (4 * 768**2 + 2 * 768 * 3072 + 2 * 768 * 3072 + 2 * 768**2 + 2 * 1408 * 768)
_QWEN_VL = Shape(151936, 256, _tower(48, 1664, 8192), 1024, 1664 * 4096 + 5 * 4096**2)
PUBLISHED = {
    "llava-1.5-7b": Shape(32064, 576, _CLIP, 577, _TWO_LINEAR),
    # the whole image and four tiles of 336 pixels, their 48 rows with an end each
    "llava-1.6-7b": Shape(32064, 576 + 48 * 49, _CLIP, 5 * 577, _TWO_LINEAR),
    "instructblip-7b": Shape(32001, 32, _tower(39, 1408, 6144), 257, _Q_FORMER + 768 * 4096),
    "internvl-7b": Shape(32000, 576, _tower(48, 3200, 12800), 577, 3200 * 4096 + 4096**2),
    "shikra-7b": Shape(32003, 256, _CLIP, 257, 1024 * 4096),
    "qwen-vl-7b": _QWEN_VL,
    "qwen-vl-chat-7b": _QWEN_VL,
}
"""By name, from the published configurations; InstructBLIP's connector is its Q-Former."""


IMAGE_SIZE = (640, 480)
"""That of images in COCO: how many tokens one takes is a matter of its size."""


@cache
def shape_of(model: str) -> Shape:
    """The shape of a published model or, by its configuration, of any; all experts are counted."""
    if "/" not in model:
        require_name(model, "published model", PUBLISHED)
        return PUBLISHED[model]
    folder = locate_settings(model)
    config, tokenizer = read_config(folder), load_tokenizer(folder)
    with torch.device("meta"):
        empty = architecture_of(config)(config)
    family = AutoFamily(empty, tokenizer, load_processor(folder, config.model_type, tokenizer))
    read, text = family.encode(Image.new("RGB", IMAGE_SIZE), ""), family.decoder.config
    layers, pixels = family.decoder.layers, read.pixel_values
    patch = first(getattr(config.vision_config, "patch_size", 14))
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Shape(
        vocabulary=text.vocab_size,
        image_tokens=read.input_ids.count(family.image_token_id),
        tower=_count(empty) - _count(family.decoder) - _count(family.lm_head),
        tower_tokens=len(pixels) if pixels.ndim < 4 else pixels.numel() // (3 * patch**2),
        connector=0,
        layers=len(layers),
        width=text.hidden_size,
        inner=getattr(text, "intermediate_size", 4 * text.hidden_size),
        of_layer=_count(layers) // len(layers),
        keys=2 * head * (getattr(text, "num_key_value_heads", None) or text.num_attention_heads),
    )


def _count(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


N_ITEMS = {"scienceqa": 2017, "pope": 4500, "textvqa": 5000, "chair": 250}
"""Items reported on, of the hub; of POPE and CHAIR half, as the cliff is chosen on the others."""
N_USER = {"scienceqa": 120, "pope": 25, "textvqa": 70, "chair": 15}
"""Tokens after the image, about as many as in LLaVA-1.5's wording."""
HEADS = ("model", "benchmark", "items", *(card.name for card in CARDS), "memory")


def page_seconds(model: str, task: str, answer_length: int) -> dict[str, float]:
    """By card, what Table 1's page takes for a whole benchmark (see :func:`costs_assumptions`)."""
    shape, n_user = shape_of(model), N_USER[task]
    n_prompt = N_SYSTEM + shape.image_tokens + n_user

    def of_item(card: Card) -> float:
        def call(tokens: int, pairs: int) -> float:
            busy = card.seconds(shape.of_layer, shape.width, tokens, pairs)
            return max(busy / SHARE_OF_PEAK, SECONDS_PER_CALL)

        tower = 2 * shape.tower * shape.tower_tokens / card.operations_per_second
        prompt = shape.layers * call(n_prompt, n_prompt * (n_prompt + 1) // 2)
        a_pass = prompt + tower / SHARE_OF_PEAK
        # layer after layer one branch more, in which only the tokens after the image are run again
        begun = range(1, shape.layers + 1)
        cuts = [(n * n_user, n * n_user * (N_SYSTEM + n_user)) for n in begun]
        branches = sum(call(*of_cut) for of_cut in cuts)
        # further tokens: a call of each layer, whether one answer is decoded or those of all cuts
        steps = shape.layers * SECONDS_PER_CALL * (answer_length - 1)
        return 2 * (a_pass + branches + steps)  # to choose the cliff on, and to report

    return {card.name: N_ITEMS[task] * of_item(card) for card in CARDS}


def page_bytes(model: str, task: str, answer_length: int) -> int:
    """Weights, and what the sweep holds at most: keys and values, and a layer's widest place."""
    shape, n_user = shape_of(model), N_USER[task]
    n_prompt, n_cuts = N_SYSTEM + shape.image_tokens + n_user, shape.layers + 1
    keys = (n_prompt + n_cuts * (n_user + answer_length - 1)) * shape.keys * shape.layers
    in_a_layer = max(n_prompt, n_cuts * n_user) * (2 * shape.width + 3 * shape.inner)
    widest = max(in_a_layer, n_prompt * shape.vocabulary)
    return BYTES_PER_NUMBER * (shape.parameters + keys + widest)


def costs_table(models: Sequence[str]) -> list[tuple[str, ...]]:
    """The costs of all benchmarks in words: a line a model and benchmark, a cell for each head."""
    lines = []
    for model in models:
        for task, n_items in N_ITEMS.items():
            longest = BENCHMARKS[task].data.max_new_tokens
            least, most = (page_seconds(model, task, length) for length in (1, longest))
            times = [f"{_in_words(least[card])} to {_in_words(most[card])}" for card in least]
            memory = f"{page_bytes(model, task, longest) / 1e9:.1f} GB"
            lines.append((model, task, f"{n_items} + {n_items}", *times, memory))
    return lines


def _in_words(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def costs_assumptions() -> str:
    """What the table counts, and what it rests on."""
    lengths = ", ".join(f"{task} {BENCHMARKS[task].data.max_new_tokens}" for task in N_ITEMS)
    users = ", ".join(f"{task} {n_user}" for task, n_user in N_USER.items())
    peaks = " and ".join(
        f"{card.operations_per_second / 1e12:.0f} TFLOP/s, {card.bytes_per_second / 1e12:.2f} TB/s "
        f"({card.name})"
        for card in CARDS
    )
    return (
        "Counted: the truncation sweep over the items reported on and over as many to choose the "
        "cliff on. Times go from answers of one token to answers as "
        f"long as they may be ({lengths}). Items are those of the hub; COCO's own files have twice "
        f"as many for chair. Assumed: bfloat16; {SHARE_OF_PEAK:.0%} of the peaks {peaks}; "
        f"{SECONDS_PER_CALL * 1e3:.1f} ms a layer's call at least; tokens after the image about "
        f"{users}. All this is arithmetic; nothing was measured for it."
    )


def costs_text(models: Sequence[str]) -> str:
    """The table for a terminal, with its assumptions below."""
    table = pd.DataFrame(costs_table(models), columns=HEADS).to_string(index=False)
    heading = "To be expected of Table 1 on whole benchmarks, on one card of 80 GB:"
    return "\n".join([heading, table, costs_assumptions()])
