"""Activation patching against whole passes with a hook, and what its definition entails."""

from dataclasses import replace

import pytest
import torch
from tiny_models import CORNERS, QUESTION, picture

from infoflow.errors import InfoflowError
from infoflow.hooks.forward import forward_pass
from infoflow.interventions import Truncate, intervene
from infoflow.methods.patching import Stream, activation_patching

MODELS = CORNERS
ANSWERS = ("two", "red")


@pytest.fixture(scope="module")
def other(lvlm):
    return lvlm.prompt(picture(seed=1), QUESTION)


def states_of(lvlm, prompt):
    stream = Stream()
    with torch.inference_mode(), forward_pass(lvlm, prompt, observer=stream):
        return torch.cat(stream.states)


def rows_of(prompt, *spans):
    rows = torch.zeros(len(prompt), dtype=torch.bool)
    for span in spans:
        rows[span] = True
    return rows


def plain_recovery(lvlm, clean, other, groups):
    """The definition: one whole pass for each group and depth, its states replaced by a hook."""
    first, second = (int(lvlm.encode_answer(answer)[0]) for answer in ANSWERS)
    source = states_of(lvlm, clean)

    def lead(embeds):
        with torch.no_grad():
            logits = lvlm.logits(embeds)[0, -1]
        return float(logits[first] - logits[second])

    def patched(depth, rows):
        if depth == 0:
            return lead(torch.where(rows[:, None], source[:1], other.inputs_embeds))

        def replace_states(module, args, output):
            return torch.where(rows[:, None], source[depth : depth + 1], output)

        handle = lvlm.layers[depth - 1].register_forward_hook(replace_states)
        try:
            return lead(other.inputs_embeds)
        finally:
            handle.remove()

    m_clean, m_other = lead(clean.inputs_embeds), lead(other.inputs_embeds)
    assert abs(m_clean - m_other) > 0.1
    depths = range(lvlm.n_layers + 1)
    m = torch.tensor([[patched(d, rows) for d in depths] for rows in groups], dtype=torch.float64)
    return (m - m_other) / (m_clean - m_other)


def test_it_equals_whole_passes_in_which_a_hook_replaces_the_states(lvlm, prompt, other):
    image = prompt.spans.image
    some = slice(image.start + 5, image.start + 30, 3)
    groups = [rows_of(prompt, span) for span in (some, slice(image.stop, None), slice(-1, None))]
    found = activation_patching(lvlm, prompt, other, ANSWERS, torch.stack(groups))
    expected = plain_recovery(lvlm, prompt, other, groups)
    assert torch.equal(found, expected)  # to the last bit: the same kernels on the same shapes
    assert found.shape == (3, lvlm.n_layers + 1)
    assert found[0, 0] not in (0, 1)
    assert found[2].tolist()[0] == 0
    assert found[2].tolist()[-1] == 1  # behind the last layer only the last row is read


@pytest.mark.every_family
def test_every_changed_row_gives_the_clean_run_and_no_other_row_changes_anything(
    lvlm, prompt, other
):
    ours, theirs = states_of(lvlm, prompt), states_of(lvlm, other)
    changed = (ours != theirs).any(-1)  # (L + 1, S): by depth
    image = prompt.spans.image
    assert not changed[:, : image.start].any()  # what comes before the image never sees it
    assert not changed[0, image.stop :].any()  # the same question
    assert changed[0, image].any()
    assert changed[1:, image.stop :].all()
    assert (changed[1:] == changed[1]).all()
    groups = torch.stack([changed[0], changed[1], ~changed[0], ~changed[1]])
    for answers in (ANSWERS, ("blue", "no")):
        found = activation_patching(lvlm, prompt, other, answers, groups)
        assert found[0, 0] == 1
        assert (found[1, 1:] == 1).all()
        assert found[2, 0] == 0
        assert (found[3] == 0).all()


def test_background_whose_embeddings_are_equal_brings_nothing(lvlm, prompt, other):
    """Pictures whose vision tower mixed no patches: they differ in the object's tokens alone."""
    image = prompt.spans.image
    thing = rows_of(prompt, slice(image.start + 20, image.start + 26))
    embeds = torch.where(thing[:, None], other.inputs_embeds, prompt.inputs_embeds)
    twin = replace(other, inputs_embeds=embeds)
    background = rows_of(prompt, image) & ~thing
    before = rows_of(prompt, slice(image.start, image.start + 20))
    groups = torch.stack([thing, background, before])
    found = activation_patching(lvlm, prompt, twin, ANSWERS, groups)
    assert found[0, 0] == 1
    assert abs(found[1, 0]) < 1e-6
    assert found[2].abs().max() < 1e-6  # at any depth: they never see the object
    assert found[1, 1:-1].abs().max() > 1e-4  # the background behind the object has seen it


def test_what_cannot_be_patched_is_refused(load_tiny):
    lvlm = load_tiny("heads")
    clean, other = (lvlm.prompt(picture(seed), QUESTION) for seed in (0, 1))
    last = rows_of(clean, slice(-1, None))[None]
    with pytest.raises(InfoflowError, match=r"answered \('red', 'red'\)"):
        activation_patching(lvlm, clean, other, ("red", "red"), last)
    with pytest.raises(InfoflowError, match="one question"):
        activation_patching(lvlm, clean, lvlm.prompt(picture(), "is it red ?"), ANSWERS, last)
    for groups in (last[:, 1:], last[0], last.float()):
        with pytest.raises(InfoflowError, match=rf"valid: boolean, \(G, {len(clean)}\)"):
            activation_patching(lvlm, clean, other, ANSWERS, groups)
    with intervene(lvlm, Truncate(cut=2)), pytest.raises(InfoflowError, match="intervention"):
        activation_patching(lvlm, clean, other, ANSWERS, last)
