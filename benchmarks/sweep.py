"""The truncation sweep against a pass for each cut, in three ways."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks import baselines
from benchmarks.gauges import cpu_seconds
from benchmarks.table import n_image, n_user, print_row
from infoflow.lvlm import LVLM, Prompt
from infoflow.truncation import truncation_sweep

N_TOKENS = 16
Baseline = Callable[[LVLM, Prompt, int, Tensor, int], tuple[Tensor, Tensor]]


def print_sweep(lvlm: LVLM, prompt: Prompt) -> None:
    """Time the sweep and its baselines on one prompt, and say whether they agree."""
    masked, cached, unshared = _predictions(lvlm.n_layers, prompt)
    seconds = {n: cpu_seconds(_sweep(lvlm, prompt, n), runs=3) for n in (1, N_TOKENS)}
    compared: list[tuple[str, Baseline, int, float]] = [
        ("sweep / masked passes, no cache", baselines.masked_without_cache, 1, masked),
        ("sweep / image dropped, not shared", baselines.dropped_unshared, 1, unshared),
        (
            f"sweep / masked with cache, {N_TOKENS} tokens",
            baselines.masked_with_cache,
            N_TOKENS,
            cached,
        ),
    ]
    for name, baseline, n_tokens, predicted in compared:
        answers: list[tuple[Tensor, Tensor]] = []
        naive = cpu_seconds(partial(_every_cut, baseline, lvlm, prompt, n_tokens, answers))
        print_row(name, naive, seconds[n_tokens], f"{predicted:.1f}")
        print(f"  {_agreement(_sweep(lvlm, prompt, n_tokens)(), answers)}")
    plain = cpu_seconds(lambda: baselines.last_logits(lvlm, prompt.inputs_embeds), runs=3)
    share = 1 / (1 + _branch_share(lvlm.n_layers, prompt))
    print_row("sweep / one ordinary pass", plain, seconds[1], f"{share:.2f}")


def _predictions(n_layers: int, prompt: Prompt) -> tuple[float, float, float]:
    """Predict the three ratios from how many tokens go through a layer, all cuts together.

    With S tokens of which N are the image's and U come after it, L layers and T answer tokens, the
    sweep runs S + U (L + 1) / 2 + (T - 1) (L + 1) tokens through each layer on average.
    """
    s, n = len(prompt), n_image(prompt)
    cuts, steps = n_layers + 1, N_TOKENS - 1
    sweep = s * (1 + _branch_share(n_layers, prompt))
    return (
        cuts * s / sweep,
        cuts * (s + steps) / (sweep + cuts * steps),
        cuts * (s - n / 2) / sweep,
    )


def _branch_share(n_layers: int, prompt: Prompt) -> float:
    """What all truncated branches cost together, in ordinary forward passes: U (L + 1) / (2 S)."""
    return n_user(prompt) * (n_layers + 1) / (2 * len(prompt))


def _sweep(lvlm: LVLM, prompt: Prompt, n_tokens: int) -> Callable[[], tuple[Tensor, Tensor]]:
    def task() -> tuple[Tensor, Tensor]:
        sweep = truncation_sweep(lvlm, prompt, max_new_tokens=n_tokens)
        return sweep.tokens, sweep.logits

    return task


def _every_cut(
    baseline: Baseline,
    lvlm: LVLM,
    prompt: Prompt,
    n_tokens: int,
    answers: list[tuple[Tensor, Tensor]],
) -> None:
    image = baselines.image_positions(prompt)
    for cut in range(lvlm.n_layers + 1):
        answers.append(baseline(lvlm, prompt, cut, image, n_tokens))


def _agreement(ours: tuple[Tensor, Tensor], theirs: list[tuple[Tensor, Tensor]]) -> str:
    """Say how far the sweep is from a baseline, over all cuts."""
    tokens, logits = ours
    apart = (logits - torch.stack([logits[0] for _, logits in theirs])).abs().max().item()
    same = int((tokens == torch.stack([tokens for tokens, _ in theirs])).sum())
    return f"tokens equal: {same} of {tokens.numel()}; first logits within {apart:.0e}"
