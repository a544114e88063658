"""The attention flow against eager attention: time, and memory in processes of their own."""

from collections.abc import Callable
from functools import partial

import torch

from benchmarks import baselines
from benchmarks.gauges import cpu_seconds, peak_megabytes
from benchmarks.model import SIZES, random_lvlm
from benchmarks.table import print_row
from infoflow.flow import attention_flow
from infoflow.lvlm import LVLM, Prompt


def print_flow(lvlm: LVLM, prompt: Prompt, size: str) -> None:
    """Measure the flow and eager attention on the prompt of a size."""
    eager = partial(baselines.eager_attentions, lvlm, prompt.inputs_embeds)
    flow = partial(attention_flow, lvlm, prompt)
    print_row("flow / eager output_attentions", cpu_seconds(eager, 3), cpu_seconds(flow, 3), "> 1")
    rows = 4 * lvlm.n_layers * lvlm.n_heads * len(prompt) / 2**20
    print(
        f"  peak memory: eager {peak_megabytes(_eager_task, size):.0f} MB (its attention maps "
        f"alone: {rows * len(prompt):.0f}), flow {peak_megabytes(_flow_task, size):.0f} MB "
        f"(its rows: {rows:.1f})"
    )


def _eager_task(size: str) -> Callable[[], object]:
    lvlm, prompt = _alone(size)
    return partial(baselines.eager_attentions, lvlm, prompt.inputs_embeds)


def _flow_task(size: str) -> Callable[[], object]:
    lvlm, prompt = _alone(size)
    attention_flow(lvlm, prompt)  # the check that runs once a model
    return partial(attention_flow, lvlm, prompt)


def _alone(size: str) -> tuple[LVLM, Prompt]:
    """Build the model in a process of its own, and warm it up."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    lvlm, prompt = random_lvlm(SIZES[size])
    baselines.last_logits(lvlm, prompt.inputs_embeds)
    return lvlm, prompt
