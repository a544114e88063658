"""What a measure should take on one GPU, from a model's shape alone: time and memory.

No weights are needed for it, so it is said before anything is fetched or loaded. It is arithmetic
under assumptions, all of which are named; what a run really took is kept with its rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from transformers import AutoConfig

from infoflow.data.load import BENCHMARKS
from infoflow.errors import InfoflowError, require_name
from infoflow.evaluate.costs.work import BYTES_PER_NUMBER, Card, Layer, Ways, Work
from infoflow.models.prompt import Spans

CARDS = (
    Card("H100", operations_per_second=989e12, bytes_per_second=3.35e12),
    Card("A100", operations_per_second=312e12, bytes_per_second=2.04e12),
)
"""The cards of 80 GB, with the peaks of NVIDIA's data sheets (SXM; dense bfloat16)."""

SHARE_OF_PEAK = 0.5
SECONDS_PER_CALL = 0.8e-3  # of a layer at least, however little it computes: 25 ms a pass of 32
N_SYSTEM = 35  # tokens before the image, as in LLaVA-1.5's prompt
MICRO_BATCH = 4  # noisy images that LLaVA-CAM runs at once


@dataclass(frozen=True)
class Shape:
    """What the cost of a model depends on: its decoder, its vision tower, and what joins them."""

    layers: int  # L
    width: int  # D
    inner: int  # width inside the decoder's feed-forward layers
    kv_width: int  # of keys and of values: all heads that have their own
    vocabulary: int  # V
    image_tokens: int  # N; at most, where it depends on the image
    tower_layers: int
    tower_width: int
    tower_inner: int
    tower_tokens: int  # over all tiles
    connector: int  # weights between tower and decoder

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
        return self.layers * self.layer.parameters + ends + self.tower_parameters + self.connector


def _seven(
    vocabulary: int, image_tokens: int, tower: tuple[int, int, int, int], connector: int
) -> Shape:
    """A decoder of the shape of LLaMA-7B, which all published models have."""
    return Shape(32, 4096, 11008, 4096, vocabulary, image_tokens, *tower, connector)


_CLIP = (24, 1024, 4096)
_TWO_LINEAR = 1024 * 4096 + 4096 * 4096
_Q_FORMER = 12 * (4 * 768**2 + 2 * 768 * 3072 + 2 * 768 * 3072 + 2 * 768**2 + 2 * 1408 * 768)
_QWEN_VL = _seven(151936, 256, (48, 1664, 8192, 1024), 1664 * 4096 + 5 * 4096**2)

PUBLISHED = {
    "llava-1.5-7b": _seven(32064, 576, (*_CLIP, 577), _TWO_LINEAR),
    # the whole image and four tiles of 336 pixels, their 48 rows with an end each
    "llava-1.6-7b": _seven(32064, 576 + 48 * 49, (*_CLIP, 5 * 577), _TWO_LINEAR),
    "instructblip-7b": _seven(32001, 32, (39, 1408, 6144, 257), _Q_FORMER + 768 * 4096),
    "internvl-7b": _seven(32000, 576, (48, 3200, 12800, 577), 3200 * 4096 + 4096**2),
    "shikra-7b": _seven(32003, 256, (*_CLIP, 257), 1024 * 4096),
    "qwen-vl-7b": _QWEN_VL,
    "qwen-vl-chat-7b": _QWEN_VL,
}
"""By name, from the published configurations; InstructBLIP's connector is its Q-Former."""


def model_shape(name: str, folder: Path | None) -> Shape:
    """The shape of a model before it is loaded: of its folder's configuration, or as published."""
    if folder is None:
        return PUBLISHED[name]
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return read_shape(config)
    except Exception as error:  # whatever a configuration of another kind leads to
        if name in PUBLISHED:
            return PUBLISHED[name]
        raise InfoflowError(f"the shape of the model in {folder} is not known.") from error


def read_shape(config: Any) -> Shape:
    """Read the shape out of a transformers configuration with a vision tower and a text decoder."""
    text, vision = config.get_text_config(), config.vision_config
    size, patch = (int(np.ravel(side)[0]) for side in (vision.image_size, vision.patch_size))
    side = size // patch
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
        connector=(vision.hidden_size + text.hidden_size) * text.hidden_size,
    )


class Cost(NamedTuple):
    seconds: Mapping[str, float]  # by card
    bytes: int  # of weights and largest activations


class _Sample(NamedTuple):
    work: Work  # of the decoder
    n_images: int  # runs of the vision tower
    bytes: int  # of activations


def expected_cost(
    measure: str,
    shape: Shape,
    n_samples: int,
    n_user: int,
    max_new_tokens: int,
    settings: Mapping[str, Any],
) -> Cost | None:
    """What a measure costs on one GPU; None if its work is not written down here.

    ``n_user`` tokens follow the image of each sample, and answers are as long as they may be.
    """
    image = slice(N_SYSTEM, N_SYSTEM + shape.image_tokens)
    spans = Spans(slice(0, image.start), image, slice(image.stop, image.stop + n_user))
    sample = _of_sample(measure, shape, Ways(shape.layers, spans), max_new_tokens, settings)
    if sample is None:
        return None
    tower = 2 * shape.tower_parameters * shape.tower_tokens
    seconds = {
        card.name: n_samples
        * (
            sample.work.seconds(shape.layer, card, SHARE_OF_PEAK, SECONDS_PER_CALL)
            + sample.n_images * (tower / card.operations_per_second / SHARE_OF_PEAK)
        )
        for card in CARDS
    }
    return Cost(seconds, BYTES_PER_NUMBER * shape.parameters + sample.bytes)


def _of_sample(
    measure: str, shape: Shape, ways: Ways, length: int, settings: Mapping[str, Any]
) -> _Sample | None:
    n_prompt = ways.spans.user.stop
    match measure:
        case "flow_by_layer" | "sink_density_by_head":
            return _Sample(ways.one_pass(), 1, _of_pass(shape, n_prompt))
        case "last_layer_gradients":
            return _Sample(ways.gradients(1), 1, _of_backward(shape, n_prompt))
        case "answers" | "text_answers":
            keys = _of_keys(shape, n_prompt + length - 1)
            return _Sample(ways.answer(length), 1, _of_pass(shape, n_prompt) + keys)
        case "log_probs_by_cut":
            return _sweeps(shape, ways, 1, [0])
        case "truncation_by_cut" | "blind_and_intact" | "topk_by_cut":  # some cuts count as all
            return _sweeps(shape, ways, length, settings.get("keeps", [0]))
        case "cam_by_layer" | "localisation_by_layer":
            n_images = settings["n_samples"]
            work = ways.answer(length) + ways.gradients(n_images)
            together = n_prompt * min(n_images, MICRO_BATCH)
            return _Sample(work, 1 + n_images, _of_backward(shape, together))
    return None


def _sweeps(shape: Shape, ways: Ways, length: int, keeps: Sequence[int]) -> _Sample:
    """All cuts at once, for each K; branches keep keys and values only if something is decoded."""
    n_prompt, n_user = ways.spans.user.stop, ways.spans.user.stop - ways.spans.user.start
    work, most = Work(), 0
    for keep in keeps:
        n_cuts, n_own = shape.layers + 1 - min(keep, 1), n_user + keep
        of_branches = n_prompt + n_cuts * (n_own + length - 1)
        keys = _of_keys(shape, of_branches) if length > 1 else 0
        logits = BYTES_PER_NUMBER * n_prompt * shape.vocabulary
        widest = max(_of_pass(shape, max(n_prompt, n_cuts * n_own)), logits)
        work, most = work + ways.sweep(length, keep), max(most, keys + widest)
    return _Sample(work, 1, most)


def _of_pass(shape: Shape, tokens: int) -> int:
    """Bytes at the widest place of a layer: inputs, and three tensors of the inner width."""
    return BYTES_PER_NUMBER * tokens * (2 * shape.width + 3 * shape.inner)


def _of_keys(shape: Shape, tokens: int) -> int:
    """Bytes of keys and values, of all layers."""
    return BYTES_PER_NUMBER * tokens * 2 * shape.kv_width * shape.layers


def _of_backward(shape: Shape, tokens: int) -> int:
    """Bytes that a backward pass needs of all layers; see ``benchmarks.arithmetic.saved_share``."""
    return BYTES_PER_NUMBER * tokens * shape.layers * (6 * shape.width + 3 * shape.inner)


def assumptions() -> str:
    """What an expectation rests on, but for the samples; no full stop."""
    peaks = " and ".join(
        f"{card.operations_per_second / 1e12:.0f} TFLOP/s, {card.bytes_per_second / 1e12:.2f} TB/s "
        f"({card.name})"
        for card in CARDS
    )
    return (
        f"Assumed: bfloat16; {SHARE_OF_PEAK:.0%} of the peaks {peaks}; {SECONDS_PER_CALL * 1e3:.1f}"
        " ms a layer's call at least"
    )


def span(seconds: float) -> str:
    """A time in the largest unit of which there are two or more."""
    for name, unit in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s" if seconds >= 1 else "less than 1 s"


class Benchmark(NamedTuple):
    n_items: int  # that are reported on
    n_user: int  # tokens after the image, about as many as in LLaVA-1.5's wording


SIZES: Mapping[str, Benchmark] = {
    "scienceqa": Benchmark(2017, 120),
    "pope": Benchmark(4500, 25),  # half of the images; the cliff is chosen on the others
    "textvqa": Benchmark(5000, 70),
    "chair": Benchmark(250, 15),  # half of the hub's images, likewise
}
"""By benchmark, from the hub; CHAIR from COCO's own files is twice that."""

HEADS = ("model", "benchmark", "items", *(card.name for card in CARDS), "memory")


def page_cost(model: str, task: str, answer_length: int) -> Cost:
    """What Table 1's page costs for a model and a whole benchmark (see ``costs_assumptions``)."""
    require_name(model, "published model", PUBLISHED)
    n_items, n_user = SIZES[task]
    parts = [("truncation_by_cut", 2 * n_items), ("answers", n_items)]
    found = (expected_cost(m, PUBLISHED[model], n, n_user, answer_length, {}) for m, n in parts)
    costs = [cost for cost in found if cost]
    seconds = {card.name: sum(cost.seconds[card.name] for cost in costs) for card in CARDS}
    return Cost(seconds, max(cost.bytes for cost in costs))


def costs_table(models: Sequence[str]) -> list[tuple[str, ...]]:
    """The costs of all benchmarks in words: a line a model and benchmark, a cell for each head.

    Times go from answers of one token to answers as long as they may be; memory is of the latter.
    """

    def line(model: str, task: str) -> tuple[str, ...]:
        lengths = 1, BENCHMARKS[task].data.max_new_tokens
        least, most = (page_cost(model, task, length) for length in lengths)
        times = (f"{span(least.seconds[c.name])} to {span(most.seconds[c.name])}" for c in CARDS)
        items = f"{SIZES[task].n_items} + {SIZES[task].n_items}"
        return (model, task, items, *times, f"{most.bytes / 1e9:.1f} GB")

    return [line(model, task) for model in models for task in SIZES]


def costs_assumptions() -> str:
    """What the table counts, and what it rests on."""
    lengths = ", ".join(f"{task} {BENCHMARKS[task].data.max_new_tokens}" for task in SIZES)
    users = ", ".join(f"{task} {size.n_user}" for task, size in SIZES.items())
    return (
        "Counted: the truncation sweep over the items reported on and over as many to choose the "
        "cliff on, and the control's answers. Times go from answers of one token to answers as "
        f"long as they may be ({lengths}). Items are those of the hub; COCO's own files have twice "
        f"as many for chair. {assumptions()}; tokens after the image about {users}. All this "
        "is arithmetic; nothing was measured for it."
    )


def costs_text(models: Sequence[str]) -> str:
    """The table for a terminal, with its assumptions below."""
    table = pd.DataFrame(costs_table(models), columns=HEADS).to_string(index=False)
    heading = "To be expected of Table 1 on whole benchmarks, on one card of 80 GB:"
    return "\n".join([heading, table, costs_assumptions()])
