"""Edges that are blocked in one pass, against a full masked forward pass for every layer."""

import pytest
import torch
from tiny_models import CORNERS, QUESTION, picture

from benchmarks import baselines
from infoflow import EAH, attention_knockout, intervene
from infoflow.errors import InfoflowError
from infoflow.hooks.forward import forward_pass
from infoflow.methods.knockout import scaled_window, token_groups
from infoflow.methods.truncation import truncated_log_probs

MODELS = CORNERS
TOLERANCE = 5e-5
N_TOKENS = 8
EDGES = [
    *(("image", "question"), ("image", "last"), ("image", "user")),
    *(("question", "last"), ("system", "last"), ("last", "last"), ("image", "image")),
]


def rows_of(prompt, group, n_rows):
    """The definition of the groups, written out with loops."""
    system, image, user = prompt.spans
    spans = {
        "system": range(system.start, system.stop),
        "image": range(image.start, image.stop),
        "question": range(user.start, user.stop - 1),
        "last": range(user.stop - 1, n_rows),
        "user": range(user.start, n_rows),
    }
    return list(spans[group]) if isinstance(group, str) else group


def masked(lvlm, prompt, ids, sources, targets, window, layer):
    """Logits (T, V) that predict an answer, with the whole mask written out, in every layer."""
    said = lvlm.decoder.embed_tokens(ids[:-1])[None]
    embeds = torch.cat([prompt.inputs_embeds, said], dim=1)
    n_rows = embeds.shape[1]
    causal = torch.ones(n_rows, n_rows, dtype=torch.bool).tril()
    cut = causal.clone()
    for row in rows_of(prompt, targets, n_rows):
        for column in rows_of(prompt, sources, n_rows):
            cut[row, column] = False
        if not cut[row].any():
            cut[row, row] = True
    first, last = layer - window // 2, layer + window // 2

    def mask(index, args, kwargs):
        seen = cut if first <= index <= last else causal
        return args, kwargs | {"attention_mask": seen[None, None]}

    with torch.no_grad(), baselines.edited(lvlm, mask):
        hidden = lvlm.decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state
    return lvlm.lm_head(hidden[0, -len(ids) :])


def agree(lvlm, prompt, ids, edge, window, layers):
    found = attention_knockout(lvlm, prompt, ids, *edge, window)
    for layer in layers:
        logits = masked(lvlm, prompt, ids, *edge, window, layer)
        log_probs = logits.log_softmax(-1)[range(len(ids)), ids]
        torch.testing.assert_close(found.logits[layer], logits[0], rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(found.log_probs[layer], log_probs, rtol=0, atol=TOLERANCE)
        assert torch.equal(found.tokens[layer], logits.argmax(-1))
    return found


@pytest.mark.every_family
def test_every_edge_and_layer_equal_their_masked_forward_passes(lvlm, prompt):
    ids = lvlm.encode_answer("two red circle")
    for edge in EDGES:
        if token_groups(prompt)[edge[0]].any():
            found = agree(lvlm, prompt, ids, edge, 3, range(lvlm.n_layers))
            assert (found.log_probs - found.intact).abs().amax(-1).min() > 10 * TOLERANCE
        else:
            with pytest.raises(InfoflowError, match="'system' has no token in this prompt"):
                attention_knockout(lvlm, prompt, ids, *edge)


@pytest.mark.every_family
@pytest.mark.parametrize("window", [1, 5, 99])
def test_every_window_equals_its_masked_forward_passes(lvlm, prompt, window):
    ids = lvlm.encode_answer("two red")
    for edge in (("image", "question"), ("image", "last")):
        agree(lvlm, prompt, ids, edge, window, (0, lvlm.n_layers - 1))


@pytest.mark.every_family
def test_greedy_tokens_are_those_of_masked_passes(lvlm, prompt):
    edge, layer = ("image", "user"), lvlm.n_layers // 2
    said = torch.tensor([], dtype=torch.long)
    for _ in range(N_TOKENS):
        ids = torch.cat([said, torch.tensor([0])])  # the last one is not read in
        logits = masked(lvlm, prompt, ids, *edge, 3, layer)
        said = torch.cat([said, logits[-1:].argmax(-1)])
    found = attention_knockout(lvlm, prompt, said, *edge, 3)
    assert torch.equal(found.tokens[layer], said)
    assert not torch.equal(lvlm.generate(prompt, N_TOKENS), said)


def test_tokens_by_mask_and_by_position_are_blocked(lvlm, prompt):
    image = prompt.spans.image
    places = [image.start, image.start + 3, image.stop - 1]
    mask = torch.zeros(len(prompt), dtype=torch.bool)
    mask[places] = True
    ids = lvlm.encode_answer("two red")
    found = agree(lvlm, prompt, ids, (places, "last"), 3, range(lvlm.n_layers))
    for sources in (mask, mask.numpy(), torch.tensor(places)):
        same = attention_knockout(lvlm, prompt, ids, sources, "last", 3)
        assert torch.equal(same.log_probs, found.log_probs)
    # positions are of the prompt alone: the answer's own rows still see them
    agree(lvlm, prompt, ids, (places, [len(prompt) - 1]), 3, range(lvlm.n_layers))


def test_the_intact_answer_is_that_of_the_untouched_model(lvlm, prompt):
    ids = lvlm.encode_answer("two red circle")
    with forward_pass(lvlm, prompt, ids) as states, torch.no_grad():
        log_probs = lvlm.lm_head(states)[0, -len(ids) :].log_softmax(-1)[range(len(ids)), ids]
    found = attention_knockout(lvlm, prompt, "two red circle", "image", "last")
    torch.testing.assert_close(found.intact, log_probs, rtol=0, atol=TOLERANCE)
    assert not found.intact.is_inference()


def test_the_image_hidden_from_all_that_follows_in_all_layers_is_truncation_at_cut_zero(
    lvlm, prompt
):
    ids = lvlm.encode_answer("two red circle")
    found = attention_knockout(lvlm, prompt, ids, "image", "user", 2 * lvlm.n_layers - 1)
    truncated = truncated_log_probs(lvlm, prompt, ids, cuts=[0])
    torch.testing.assert_close(
        found.log_probs.sum(-1), truncated.expand(lvlm.n_layers), rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize(("n_layers", "window"), [(32, 9), (12, 3), (6, 1), (16, 5), (40, 11)])
def test_the_window_scales_with_the_model(n_layers, window):
    assert scaled_window(n_layers) == window


def test_the_window_is_scaled_where_none_is_given(lvlm, prompt):
    none, scaled = (
        attention_knockout(lvlm, prompt, "two", "image", "last", window)
        for window in (None, scaled_window(lvlm.n_layers))
    )
    assert torch.equal(none.log_probs, scaled.log_probs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sources": "picture"}, "unknown token group 'picture'.*image"),
        ({"sources": torch.zeros(1, dtype=torch.long)[:0]}, "has no token"),
        ({"sources": [500]}, "marks no token"),
        ({"sources": [0.5]}, "marks no token"),
        ({"sources": torch.ones(3, dtype=torch.bool)}, "marks no token"),
        ({"sources": None}, "marks no token"),
        ({"sources": "last", "targets": "image"}, "no target .*image.* after a source .*last"),
        ({"window": 2}, "window is 2; valid: an odd number"),
        ({"window": 0}, "window is 0"),
        ({"answer": ""}, "holds no token"),
        ({"answer": "yes " * 100}, "context of 160"),
    ],
)
def test_bad_arguments_are_one_clear_error(load_tiny, arguments, message):
    lvlm = load_tiny("grouped")
    prompt = lvlm.prompt(picture(), QUESTION)
    good = {"answer": "yes", "sources": "image", "targets": "last"}
    with pytest.raises(InfoflowError, match=message):
        attention_knockout(lvlm, prompt, **good | arguments)
    with (
        intervene(lvlm, EAH(layers=(1,))),
        pytest.raises(InfoflowError, match="intervention is at work"),
    ):
        attention_knockout(lvlm, prompt, **good)
