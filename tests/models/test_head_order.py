"""Heads are a set: their order is no part of any measure or intervention."""

import pytest
import torch
from tiny_models import QUESTION, load_random, picture

from infoflow.interventions import (
    EAH,
    FastV,
    Simignore,
    Truncate,
    intervene,
    sink_density,
    sink_strengths,
)
from infoflow.methods.flow import attention_flow

HEADS = 4
TOLERANCE = 1e-6


def reordered(lvlm, order):
    """Give every layer's heads another order; the model computes what it did before."""
    width = lvlm.layers[0].self_attn.head_dim
    rows = torch.arange(HEADS * width).view(HEADS, width)[order].flatten()
    for layer in lvlm.layers:
        attention = layer.self_attn
        for project in (attention.q_proj, attention.k_proj, attention.v_proj):
            project.weight.copy_(project.weight[rows])
        attention.o_proj.weight.copy_(attention.o_proj.weight[:, rows])
    return lvlm


@pytest.fixture(scope="module", params=[(3, 1, 0, 2), (1, 2, 3, 0)])
def order(request):
    return list(request.param)


@pytest.fixture(scope="module")
def models(order, tmp_path_factory):
    one, other = (load_random(tmp_path_factory.mktemp(name)) for name in ("one", "other"))
    for lvlm in (one, other):
        lvlm.model.double()
    return one, reordered(other, order)


@pytest.fixture(scope="module")
def prompts(models):
    return [lvlm.prompt(picture(), QUESTION) for lvlm in models]


def test_the_model_is_the_same(models, prompts):
    one, other = (lvlm.logits(p) for lvlm, p in zip(models, prompts, strict=True))
    torch.testing.assert_close(one, other, rtol=0, atol=TOLERANCE)


def test_flow_is_the_same_but_for_the_order_of_its_heads(models, prompts, order):
    one, other = (attention_flow(lvlm, p) for lvlm, p in zip(models, prompts, strict=True))
    torch.testing.assert_close(one.shares, other.shares, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(one.rows[:, order], other.rows, rtol=0, atol=TOLERANCE)


def test_sinks_are_the_same_but_for_the_order_of_their_heads(models, prompts, order):
    for measure, settings in ((sink_strengths, ()), (sink_density, (0.02,))):
        one, other = (measure(lvlm, p, *settings) for lvlm, p in zip(models, prompts, strict=True))
        torch.testing.assert_close(one[:, order], other, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "interventions",
    [
        (FastV(k=2, ratio=0.75),),
        (Truncate(cut=3, keep=5),),
        (Simignore(20),),
        (EAH(layers=(1, 4), beta=0.02),),
        (EAH(layers=(4,), beta=0.02, columns="image"),),
        (Simignore(40), FastV(k=2), EAH(beta=0.02)),
    ],
    ids=str,
)
def test_interventions_come_to_the_same(interventions, models, prompts):
    found = []
    for lvlm, prompt in zip(models, prompts, strict=True):
        density = sink_density(lvlm, prompt, 0.02)
        assert all(len(set(d.tolist())) > 1 for d in density)  # a tie would go to the first head
        with intervene(lvlm, *interventions):
            found.append((lvlm.logits(prompt), lvlm.generate(prompt, 3)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=TOLERANCE)
    assert torch.equal(found[0][1], found[1][1])
