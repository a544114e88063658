"""Interventions, sinks and teacher forcing equal their twins by eager attention."""

import pytest
import torch

from benchmarks import baselines, eager
from infoflow.hooks.forward import forward_pass
from infoflow.interventions import EAH, FastV, Simignore, intervene, sink_density
from infoflow.methods.truncation import truncated_log_probs

N_TOKENS = 4
TOLERANCE = 5e-5

CASES = {
    "FastV": (FastV(k=2, ratio=0.5), eager.fastv, {"k": 2, "ratio": 0.5}),
    "FastV, a quarter stays": (FastV(k=5, ratio=0.75), eager.fastv, {"k": 5, "ratio": 0.75}),
    "Simignore": (Simignore(20), eager.simignore, {"keep": 20}),
    "Simignore, nearly all": (Simignore(50), eager.simignore, {"keep": 50}),
    "EAH": (EAH((1,), beta=0.02), eager.eah, {"layer": 1, "beta": 0.02}),
    "EAH, deeper": (EAH((3,), beta=0.01), eager.eah, {"layer": 3, "beta": 0.01}),
}


@pytest.mark.parametrize(("intervention", "twin", "settings"), CASES.values(), ids=CASES)
def test_an_intervention_equals_its_eager_twin(intervention, twin, settings, lvlm, prompt):
    ordinary = lvlm.logits(prompt.inputs_embeds)[0, -1]
    tokens, logits = twin(lvlm, prompt, **settings, n_tokens=N_TOKENS)
    with intervene(lvlm, intervention):
        answer = lvlm.generate(prompt, N_TOKENS)
        with forward_pass(lvlm, prompt, tokens) as states:
            forced = lvlm.lm_head(states)[0, -N_TOKENS:]
    assert torch.equal(answer, tokens)
    torch.testing.assert_close(forced, logits, rtol=0, atol=TOLERANCE)
    assert (logits[0] - ordinary).abs().max() > 1e-3
    assert torch.equal(lvlm.logits(prompt.inputs_embeds)[0, -1], ordinary)


def test_without_a_sink_the_eager_twin_changes_nothing_either(lvlm, prompt):
    _, logits = eager.eah(lvlm, prompt, layer=1, beta=1.0, n_tokens=1)
    ordinary = lvlm.logits(prompt.inputs_embeds)[0, -1:]
    torch.testing.assert_close(logits, ordinary, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("beta", [0.01, 0.02])
def test_sink_density_equals_its_eager_twin(beta, lvlm, prompt):
    density = sink_density(lvlm, prompt, beta)
    assert torch.equal(density, eager.sink_density(lvlm, prompt, beta))
    assert float(density.std()) > 0.01


@pytest.mark.parametrize("n_tokens", [1, 6])
def test_an_answer_read_in_equals_masked_passes(n_tokens, lvlm, prompt):
    ids, image = torch.arange(5, 5 + n_tokens), baselines.image_positions(prompt)
    masked = [
        baselines.masked_log_prob(lvlm, prompt, cut, image, ids) for cut in range(lvlm.n_layers + 1)
    ]
    found = truncated_log_probs(lvlm, prompt, ids)
    torch.testing.assert_close(found, torch.stack(masked), rtol=0, atol=TOLERANCE)
    assert (found[:-1] - found[-1]).abs().min() > 1e-3
