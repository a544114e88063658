"""The attention flow against eager attention: time and memory."""

from collections.abc import Iterator
from functools import partial

from benchmarks import baselines
from benchmarks.arithmetic import H200, Ways
from benchmarks.gauges import peak_megabytes, seconds
from benchmarks.model import Size
from benchmarks.table import Line
from infoflow.methods.flow import attention_flow
from infoflow.models.lvlm import LVLM, Prompt


def flow_lines(size: Size, lvlm: LVLM, prompt: Prompt) -> Iterator[Line]:
    """Measure the flow and eager attention."""
    eager = seconds(partial(_eager, lvlm, prompt), lvlm.device, runs=3)
    flow = seconds(partial(attention_flow, lvlm, prompt), lvlm.device, runs=3)
    one_pass = Ways(lvlm.n_layers, prompt.spans).one_pass().seconds(size.layer, H200)
    yield Line(
        "flow, against eager output_attentions",
        *("s", eager, flow, 1.0),
        h200=(one_pass, one_pass),
    )
    yield Line(
        "flow, against eager, peak memory",
        "MB",
        peak_megabytes(_eager, size, lvlm, prompt),
        peak_megabytes(attention_flow, size, lvlm, prompt),
        remark=_kept(lvlm, prompt),
    )


def _eager(lvlm: LVLM, prompt: Prompt) -> None:
    baselines.eager_attentions(lvlm, prompt.inputs_embeds)


def _kept(lvlm: LVLM, prompt: Prompt) -> str:
    """Say what each of the two must at least hold in the end."""
    row = lvlm.n_layers * lvlm.n_heads * len(prompt) / 2**20
    return (
        f"all maps take {row * len(prompt) * lvlm.dtype.itemsize:.0f} MB, "
        f"the rows that are used {4 * row:.1f} MB"
    )
