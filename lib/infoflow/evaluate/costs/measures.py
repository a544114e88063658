"""What a measure over a task should take on one GPU, from the model's shape: time and memory.

No weights are needed for it, so it can be said before anything is fetched or loaded. It is
arithmetic under assumptions, all of which are named; what a run really took is kept with its rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from infoflow.evaluate.costs.shape import Shape
from infoflow.evaluate.costs.work import BYTES_PER_NUMBER, Card, Ways, Work
from infoflow.models.prompt import Spans

CARDS = (
    Card("H100", operations_per_second=989e12, bytes_per_second=3.35e12),
    Card("A100", operations_per_second=312e12, bytes_per_second=2.04e12),
)
"""The cards of 80 GB, with the peaks of NVIDIA's data sheets (SXM; dense bfloat16)."""

SHARE_OF_PEAK = 0.5
SECONDS_PER_CALL = 0.8e-3
"""What a layer's call takes at least, however little it computes: about 25 ms a pass of 32."""

N_SYSTEM = 35
"""Tokens before the image, as in LLaVA-1.5's prompt."""
MICRO_BATCH = 4
"""Noisy pictures that LLaVA-CAM runs at once."""


@dataclass(frozen=True)
class Cost:
    """What a run should take.

    Attributes:
        seconds: By card, for all items.
        bytes: Weights and the largest activations, in bfloat16.
    """

    seconds: Mapping[str, float]
    bytes: int


class _Item(NamedTuple):
    """What one item costs: the decoder's work, runs of the vision tower, bytes of activations."""

    work: Work
    n_pictures: int
    bytes: int


def expected_cost(
    measure: str,
    shape: Shape,
    n_items: int,
    n_user: int,
    max_new_tokens: int,
    settings: Mapping[str, Any],
) -> Cost:
    """Expect what a measure over a task costs on one GPU.

    Args:
        measure: One of :data:`infoflow.evaluate.measures.MEASURES`.
        shape: The model's.
        n_items: How many items are measured.
        n_user: Tokens after the image.
        max_new_tokens: How long answers are; all are taken to be as long as they may.
        settings: The measure's own parameters, all of them.

    Returns:
        Time and memory.
    """
    image = slice(N_SYSTEM, N_SYSTEM + shape.image_tokens)
    spans = Spans(slice(0, image.start), image, slice(image.stop, image.stop + n_user))
    item = _ITEM[measure](shape, Ways(shape.layers, spans), max_new_tokens, settings)
    seconds = {
        card.name: n_items
        * (
            item.work.seconds(shape.layer, card, SHARE_OF_PEAK, SECONDS_PER_CALL)
            + item.n_pictures * _tower_seconds(shape, card)
        )
        for card in CARDS
    }
    return Cost(seconds, BYTES_PER_NUMBER * shape.parameters + item.bytes)


def assumptions(n_user: int, max_new_tokens: int) -> str:
    """Say in a sentence what an expectation rests on."""
    return (
        f"{card_assumptions()}; {n_user} tokens after the image; answers as long as they may be, "
        f"{max_new_tokens} tokens."
    )


def card_assumptions() -> str:
    """Say what an expectation rests on, but for the items; no full stop."""
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
    """Say a time in the largest unit of which there are two or more."""
    for name, unit in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s" if seconds >= 1 else "less than 1 s"


def _tower_seconds(shape: Shape, card: Card) -> float:
    operations = 2 * shape.tower_parameters * shape.tower_tokens
    return operations / card.operations_per_second / SHARE_OF_PEAK


def _length(ways: Ways) -> int:
    return ways.spans.user.stop


def _of_pass(shape: Shape, rows: int) -> int:
    """Bytes at the widest place of a layer: inputs, and three tensors of the inner width."""
    return BYTES_PER_NUMBER * rows * (2 * shape.width + 3 * shape.inner)


def _of_keys(shape: Shape, tokens: int) -> int:
    """Bytes of keys and values, of all layers."""
    return BYTES_PER_NUMBER * tokens * 2 * shape.kv_width * shape.layers


def _of_logits(shape: Shape, rows: int) -> int:
    return BYTES_PER_NUMBER * rows * shape.vocabulary


def _pass(shape: Shape, ways: Ways, length: int, settings: Mapping[str, Any]) -> _Item:
    return _Item(ways.one_pass(), 1, _of_pass(shape, _length(ways)))


def _differentiated(shape: Shape, ways: Ways, length: int, settings: Mapping[str, Any]) -> _Item:
    return _Item(ways.gradients(1), 1, _of_backward(shape, ways, 1))


def _answer(shape: Shape, ways: Ways, length: int, settings: Mapping[str, Any]) -> _Item:
    s = _length(ways)
    return _Item(ways.answer(length), 1, _of_pass(shape, s) + _of_keys(shape, s + length - 1))


def _swept(shape: Shape, ways: Ways, length: int, keep: int) -> _Item:
    """All cuts at once; the branches' keys and values are kept only if something is decoded."""
    s, n_own = _length(ways), ways.spans.user.stop - ways.spans.user.start + keep
    n_cuts = shape.layers + 1 - min(keep, 1)
    keys = _of_keys(shape, s + n_cuts * (n_own + length - 1)) if length > 1 else 0
    rows = max(s, n_cuts * n_own)
    return _Item(
        ways.sweep(length, keep), 1, keys + max(_of_pass(shape, rows), _of_logits(shape, s))
    )


def _sweep(shape: Shape, ways: Ways, length: int, settings: Mapping[str, Any]) -> _Item:
    return _swept(shape, ways, length, 0)


def _sweep_of_answer(shape: Shape, ways: Ways, length: int, settings: Mapping[str, Any]) -> _Item:
    return _swept(shape, ways, 1, 0)


def _sweeps(shape: Shape, ways: Ways, length: int, settings: Mapping[str, Any]) -> _Item:
    """One sweep of some cuts for each K; that of all cuts is taken for it."""
    swept = [_swept(shape, ways, length, keep) for keep in settings["keeps"]]
    work = Work(calls for item in swept for calls in item.work)
    return _Item(work, 1, max((item.bytes for item in swept), default=0))


def _of_backward(shape: Shape, ways: Ways, n_pictures: int) -> int:
    """Bytes that a backward pass needs of all layers; see ``benchmarks.arithmetic.saved_share``."""
    of_layer = 6 * shape.width + 3 * shape.inner
    return BYTES_PER_NUMBER * n_pictures * _length(ways) * shape.layers * of_layer


def _cam(shape: Shape, ways: Ways, length: int, settings: Mapping[str, Any]) -> _Item:
    n_samples = settings["n_samples"]
    work = ways.answer(length) + ways.gradients(n_samples)
    return _Item(work, 1 + n_samples, _of_backward(shape, ways, min(n_samples, MICRO_BATCH)))


_ITEM: Mapping[str, Callable[[Shape, Ways, int, Mapping[str, Any]], _Item]] = {
    "answers": _answer,
    "text_answers": _answer,
    "flow_by_layer": _pass,
    "sink_density_by_head": _pass,
    "truncation_by_cut": _sweep,
    "log_probs_by_cut": _sweep_of_answer,
    "topk_by_cut": _sweeps,
    "cam_by_layer": _cam,
    "localisation_by_layer": _cam,
    "last_layer_gradients": _differentiated,
}
