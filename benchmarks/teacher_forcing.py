"""An answer's probability under every cut, against a masked pass for each."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks import baselines
from benchmarks.arithmetic import H200, Ways
from benchmarks.gauges import seconds
from benchmarks.model import Size
from benchmarks.table import Line
from infoflow.methods.truncation import truncated_log_probs
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.prompt import Spans

N_TOKENS = 16


def teacher_forcing_lines(size: Size, lvlm: LVLM, prompt: Prompt) -> Iterator[Line]:
    """Measure the teacher-forced view, and say whether the two agree."""
    ids = prompt.input_ids[-N_TOKENS:]  # any answer will do
    image = baselines.image_positions(prompt)
    found: list[Tensor] = []
    expected: list[Tensor] = []

    def ours() -> None:
        found.append(truncated_log_probs(lvlm, prompt, ids))

    def usual() -> None:
        for cut in range(lvlm.n_layers + 1):
            expected.append(baselines.masked_log_prob(lvlm, prompt, cut, image, ids))

    took = seconds(ours, lvlm.device, runs=3)
    ways = Ways(lvlm.n_layers, with_answer(prompt.spans, N_TOKENS))
    masked, sweep = ways.masked(lvlm.n_layers + 1), ways.sweep()
    usually = seconds(usual, lvlm.device)
    apart = (found[-1] - torch.stack(expected).cpu()).abs().max().item()
    yield Line(
        f"{N_TOKENS} tokens read in, against masked passes",
        *("s", usually, took, masked.tokens / sweep.tokens),
        remark=f"log-probabilities of the whole answer within {apart:.0e}",
        h200=(masked.seconds(size.layer, H200), sweep.seconds(size.layer, H200)),
    )


def with_answer(spans: Spans, n_tokens: int) -> Spans:
    """Count an answer that is read in with the question; its last token is never read."""
    user = spans.user
    return spans._replace(user=slice(user.start, user.stop + n_tokens - 1))
