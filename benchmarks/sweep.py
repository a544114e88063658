"""The truncation sweep against a pass for each cut, in three ways; and with image tokens kept."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks import baselines
from benchmarks.arithmetic import H200, Ways, Work
from benchmarks.gauges import seconds
from benchmarks.model import Size
from benchmarks.table import Line
from infoflow.methods.flow import attention_flow, reduce_heads
from infoflow.methods.truncation import TruncationSweep, truncation_sweep
from infoflow.models.lvlm import LVLM, Prompt

N_TOKENS, KEEP = 16, 64
SHARE_OF_FORMULA = 0.8
"""What must be reached of the ratio that the count of tokens predicts."""
WANTED_16_TOKENS = {16: 8.0, 32: 12.0}
"""By number of layers: how many times slower the cached way must be for 16 tokens."""

Baseline = Callable[[LVLM, Prompt, int, Tensor, int], tuple[Tensor, Tensor]]
Answers = list[tuple[Tensor, Tensor]]


def sweep_lines(size: Size, lvlm: LVLM, prompt: Prompt) -> Iterator[Line]:
    """Time the sweep and its baselines on one prompt, and say whether they agree."""
    ways = Ways(lvlm.n_layers, prompt.spans)
    image = baselines.image_positions(prompt)
    all_cuts = [(cut, image) for cut in range(lvlm.n_layers + 1)]
    compared: list[tuple[str, Baseline, int, Work]] = [
        (
            "sweep, against masked passes, no cache",
            *(baselines.masked_without_cache, 1, ways.masked(lvlm.n_layers + 1)),
        ),
        (
            "sweep, against image dropped, not shared",
            *(baselines.dropped_unshared, 1, ways.dropped()),
        ),
        (
            f"{N_TOKENS}-token sweep, against masked with cache",
            *(baselines.masked_with_cache, N_TOKENS, ways.masked_with_cache(N_TOKENS)),
        ),
    ]
    ours = {n: _timed_sweep(lvlm, prompt, n) for n in (1, N_TOKENS)}
    for name, baseline, n_tokens, theirs in compared:
        answers: Answers = []
        task = partial(_answer, baseline, lvlm, prompt, n_tokens, all_cuts, answers)
        usual = seconds(task, lvlm.device)
        took, sweep = ours[n_tokens]
        predicted = theirs.tokens / ways.sweep(n_tokens).tokens
        wanted = None
        if baseline is baselines.masked_without_cache:
            wanted = SHARE_OF_FORMULA * predicted
        elif baseline is baselines.masked_with_cache:
            wanted = WANTED_16_TOKENS.get(lvlm.n_layers)
        yield Line(
            *(name, "s", usual, took, predicted, wanted, _agreement(sweep, answers)),
            (theirs.seconds(size.layer, H200), ways.sweep(n_tokens).seconds(size.layer, H200)),
        )
    yield _keeping_line(size, lvlm, prompt)
    plain = seconds(lambda: baselines.last_logits(lvlm, prompt.inputs_embeds), lvlm.device, runs=3)
    yield Line(
        "sweep, against one ordinary pass",
        *("s", plain, ours[1][0], ways.one_pass().tokens / ways.sweep().tokens),
        h200=(ways.one_pass().seconds(size.layer, H200), ways.sweep().seconds(size.layer, H200)),
    )


def _keeping_line(size: Size, lvlm: LVLM, prompt: Prompt) -> Line:
    """Compare the sweep that keeps K image tokens; masked passes of three cuts are timed."""
    ways = Ways(lvlm.n_layers, prompt.spans)
    took, sweep = _timed_sweep(lvlm, prompt, 1, KEEP)
    cuts = sorted({1, lvlm.n_layers // 2, lvlm.n_layers - 1})
    rows = reduce_heads(attention_flow(lvlm, prompt).rows).to(lvlm.device)
    image = baselines.image_positions(prompt)
    dropped = []
    for cut in cuts:
        others = torch.ones_like(image, dtype=torch.bool)
        others[rows[cut - 1, image].topk(KEEP).indices] = False
        dropped.append(image[others])
    answers: Answers = []
    by_cut = list(zip(cuts, dropped, strict=True))
    task = partial(_answer, baselines.masked_without_cache, lvlm, prompt, 1, by_cut, answers)
    usual = seconds(task, lvlm.device) / len(cuts) * lvlm.n_layers
    theirs, ours = ways.masked(lvlm.n_layers), ways.sweep(keep=KEEP)
    told = _agreement(sweep, answers, [cut - 1 for cut in cuts])
    return Line(
        f"sweep keeping {KEEP}, against masked passes",
        *("s", usual, took, theirs.tokens / ours.tokens, None),
        f"{told} (masked passes of {len(cuts)} cuts, multiplied up)",
        (theirs.seconds(size.layer, H200), ours.seconds(size.layer, H200)),
    )


def _timed_sweep(
    lvlm: LVLM, prompt: Prompt, n_tokens: int, keep: int = 0
) -> tuple[float, TruncationSweep]:
    found: list[TruncationSweep] = []

    def task() -> None:
        found.append(truncation_sweep(lvlm, prompt, keep, max_new_tokens=n_tokens))

    return seconds(task, lvlm.device, runs=3), found[-1]


def _answer(
    baseline: Baseline,
    lvlm: LVLM,
    prompt: Prompt,
    n_tokens: int,
    cuts: Iterable[tuple[int, Tensor]],
    answers: Answers,
) -> None:
    """Answer under each cut, without the positions that are dropped there."""
    for cut, dropped in cuts:
        answers.append(baseline(lvlm, prompt, cut, dropped, n_tokens))


def _agreement(sweep: TruncationSweep, theirs: Answers, places: list[int] | None = None) -> str:
    """Say how far the sweep is from a baseline, over all cuts or those at some places."""
    at = slice(None) if places is None else places
    logits = torch.stack([logits[0] for _, logits in theirs]).float().cpu()
    tokens = torch.stack([tokens for tokens, _ in theirs]).cpu()
    apart = (sweep.logits[at] - logits).abs().max().item()
    same = int((sweep.tokens[at] == tokens).sum())
    return f"tokens equal: {same} of {tokens.numel()}; first logits within {apart:.0e}"
