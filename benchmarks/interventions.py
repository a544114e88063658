"""FastV, Simignore, EAH and attention sinks, against all attention weights in every layer."""

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from benchmarks import eager
from benchmarks.arithmetic import H200, Ways
from benchmarks.gauges import Way, peak_megabytes, seconds
from benchmarks.model import Size
from benchmarks.table import Line
from infoflow.interventions import EAH, FastV, Intervention, Simignore, intervene, sink_density
from infoflow.models.lvlm import LVLM, Prompt

N_TOKENS = 16
K, RATIO = 2, 0.5
LAYER, BETA = 1, 0.002
KEPT = 452 / 576
"""The share of image tokens that Simignore leaves the 7B model."""

Usual = partial[tuple[Tensor, Tensor]]


def intervention_lines(size: Size, lvlm: LVLM, prompt: Prompt) -> Iterator[Line]:
    """Measure an answer under each intervention, and then the density of sinks."""
    compared = interventions(prompt)
    work = Ways(lvlm.n_layers, prompt.spans).answer(N_TOKENS).seconds(size.layer, H200)
    for name, (intervention, usual) in compared.items():
        yield Line(
            f"{N_TOKENS} tokens under {name}, against eager",
            "s",
            _seconds(usual, lvlm, prompt),
            _seconds(partial(_answer, intervention), lvlm, prompt),
            predicted=1.0,
            remark=_agreement(lvlm, prompt, intervention, usual),
            h200=(work, work),
        )
    pruning, usual = compared["FastV"]
    of_layer, of_keys = _weights(lvlm, prompt), 2 * lvlm.n_layers * size.width * len(prompt)
    yield Line(
        "FastV, against eager, peak memory",
        "MB",
        peak_megabytes(usual, size, lvlm, prompt),
        peak_megabytes(partial(_answer, pruning), size, lvlm, prompt),
        remark=f"the weights of a layer take {of_layer:.0f} MB; keys and values, kept either way, "
        f"{of_keys * lvlm.dtype.itemsize / 2**20:.0f} MB",
    )
    yield from _sink_lines(size, lvlm, prompt)


def _sink_lines(size: Size, lvlm: LVLM, prompt: Prompt) -> Iterator[Line]:
    usual, ours = partial(eager.sink_density, beta=BETA), partial(sink_density, beta=BETA)
    apart = (ours(lvlm, prompt) - usual(lvlm, prompt).cpu()).abs().max().item()
    one_pass = Ways(lvlm.n_layers, prompt.spans).one_pass().seconds(size.layer, H200)
    yield Line(
        "sinks, against eager output_attentions",
        "s",
        _seconds(usual, lvlm, prompt),
        _seconds(ours, lvlm, prompt),
        predicted=1.0,
        remark=f"densities within {apart:.0e}",
        h200=(one_pass, one_pass),
    )
    of_layer = _weights(lvlm, prompt)
    yield Line(
        "sinks, against eager, peak memory",
        "MB",
        peak_megabytes(usual, size, lvlm, prompt),
        peak_megabytes(ours, size, lvlm, prompt),
        remark=f"all weights take {lvlm.n_layers * of_layer:.0f} MB, those of a layer "
        f"{of_layer:.0f} MB",
    )


def interventions(prompt: Prompt) -> dict[str, tuple[Intervention, Usual]]:
    """Set up each method for a prompt with its authors' numbers: ours, and the naive way."""
    image = prompt.spans.image
    keep = round(KEPT * (image.stop - image.start))
    return {
        "FastV": (FastV(K, RATIO), partial(eager.fastv, k=K, ratio=RATIO, n_tokens=N_TOKENS)),
        "Simignore": (Simignore(keep), partial(eager.simignore, keep=keep, n_tokens=N_TOKENS)),
        "EAH": (EAH((LAYER,), BETA), partial(eager.eah, layer=LAYER, beta=BETA, n_tokens=N_TOKENS)),
    }


def _answer(intervention: Intervention, lvlm: LVLM, prompt: Prompt) -> Tensor:
    with intervene(lvlm, intervention):
        return lvlm.generate(prompt, N_TOKENS)


def _seconds(way: Way, lvlm: LVLM, prompt: Prompt) -> float:
    return seconds(partial(way, lvlm, prompt), lvlm.device, runs=3)


def _agreement(lvlm: LVLM, prompt: Prompt, intervention: Intervention, usual: Usual) -> str:
    """Say how far an answer of ours is from the naive one's."""
    tokens, logits = usual(lvlm, prompt)
    with intervene(lvlm, intervention):
        first = lvlm.logits(prompt)[0, -1]
    same = int((_answer(intervention, lvlm, prompt) == tokens).sum())
    apart = (first - logits[0]).abs().max().item()
    return f"tokens equal: {same} of {len(tokens)}; first logits within {apart:.0e}"


def _weights(lvlm: LVLM, prompt: Prompt) -> float:
    """Tell what one layer's attention weights take, in megabytes."""
    return lvlm.n_heads * len(prompt) ** 2 * lvlm.dtype.itemsize / 2**20
