"""Attention knockout: against a masked pass for each layer, and what it adds to one pass."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks import baselines
from benchmarks.arithmetic import H200, Ways
from benchmarks.gauges import seconds
from benchmarks.model import Size
from benchmarks.table import Line
from infoflow.methods.knockout import AttentionKnockout, attention_knockout, scaled_window
from infoflow.models.lvlm import LVLM, Prompt

MOST_ADDED = {"last": 0.3, "question": 1.2}
"""By target: what its edge from the image, blocked in all layers, may add to an ordinary pass."""


def knockout_lines(size: Size, lvlm: LVLM, prompt: Prompt) -> Iterator[Line]:
    """Time both edges from the image."""
    for target in MOST_ADDED:
        yield from _lines_of(target, size, lvlm, prompt)


def _lines_of(target: str, size: Size, lvlm: LVLM, prompt: Prompt) -> Iterator[Line]:
    """Compare one edge; masked passes of three layers are timed."""
    window, n_layers = scaled_window(lvlm.n_layers), lvlm.n_layers
    layers, user = sorted({0, n_layers // 2, n_layers - 1}), prompt.spans.user
    rows = slice(user.stop - 1, user.stop) if target == "last" else slice(user.start, user.stop - 1)
    found: list[AttentionKnockout] = []
    expected: list[Tensor] = []

    def ours() -> None:
        found.append(attention_knockout(lvlm, prompt, prompt.input_ids[:1], "image", target))

    def usual() -> None:
        expected.extend(baselines.blocked_logits(lvlm, prompt, rows, at, window) for at in layers)

    plain = seconds(lambda: baselines.last_logits(lvlm, prompt.inputs_embeds), lvlm.device, runs=5)
    took = seconds(ours, lvlm.device, runs=5)
    usually = seconds(usual, lvlm.device) / len(layers) * n_layers
    apart = (found[-1].logits[layers] - torch.stack(expected).float().cpu()).abs().max().item()
    ways = Ways(n_layers, prompt.spans)
    one, beside = ways.one_pass(), ways.knockout(user.stop - rows.start, window)
    masked, both = one.times(n_layers), one + beside
    yield Line(
        f"image to {target} blocked, against masked passes",
        *("s", usually, took, masked.tokens / both.tokens),
        remark=f"first logits within {apart:.0e} (masked passes of {len(layers)} layers, "
        "multiplied up)",
        h200=(masked.seconds(size.layer, H200), both.seconds(size.layer, H200)),
    )
    yield Line(
        f"one pass, against what image to {target} adds",
        *("s", plain, took - plain, one.tokens / beside.tokens, 1 / MOST_ADDED[target]),
        h200=(one.seconds(size.layer, H200), beside.seconds(size.layer, H200)),
    )
