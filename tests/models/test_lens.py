"""The logit lens against transformers' own hidden states, on every family."""

import pytest
import torch
from tiny_models import CORNERS, QUESTION, picture

from infoflow.errors import InfoflowError
from infoflow.interventions import Truncate, intervene
from infoflow.methods.lens import logit_lens

MODELS = CORNERS
WORDS = ("red", "circle", "yes")


def plain_lens(lvlm, prompt, words):
    """All hidden states kept by transformers, where the last one is normed already."""
    ids = [int(lvlm.encode_answer(word)[0]) for word in words]
    with torch.no_grad():
        kept = lvlm.decoder(inputs_embeds=prompt.inputs_embeds, output_hidden_states=True)
        *raw, last = kept.hidden_states
        normed = [*map(lvlm.norm, raw), last]
        logits = torch.stack([lvlm.lm_head(states)[0, prompt.spans.image] for states in normed])
    return logits.log_softmax(-1)[..., ids]


@pytest.mark.every_family
def test_it_equals_the_head_on_the_hidden_states_of_transformers(lvlm, prompt):
    found = logit_lens(lvlm, prompt, WORDS)
    expected = plain_lens(lvlm, prompt, WORDS)
    assert found.shape == (lvlm.n_layers + 1, prompt.grid.n_tokens, len(WORDS))
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    assert expected.std(dim=1).min() > 0.05  # far from the same at all tokens
    assert not found.is_inference()


def test_behind_the_last_layer_it_is_what_the_model_predicts(lvlm, prompt):
    logits = lvlm.logits(prompt.inputs_embeds)[0, prompt.spans.image]
    ids = torch.cat([lvlm.encode_answer(word)[:1] for word in WORDS])
    expected = logits.log_softmax(-1)[:, ids]
    found = logit_lens(lvlm, prompt, WORDS)[-1]
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_it_reads_the_model_that_an_intervention_leaves(load_tiny):
    lvlm = load_tiny("heads")
    prompt = lvlm.prompt(picture(), QUESTION)
    plain = logit_lens(lvlm, prompt, WORDS)
    with intervene(lvlm, Truncate(cut=2)):
        cut = logit_lens(lvlm, prompt, WORDS)
    assert torch.equal(cut[:3], plain[:3])
    assert not torch.equal(cut[3], plain[3])
    with pytest.raises(InfoflowError, match="no token"):
        logit_lens(lvlm, prompt, ["red", ""])
