import pytest
import torch
from conftest import QUESTION, picture

from benchmarks import baselines
from infoflow.errors import InfoflowError
from infoflow.truncation import truncation_sweep

N_TOKENS = 16
TOLERANCE = 5e-5


@pytest.fixture(scope="module")
def sweep(lvlm, prompt):
    return truncation_sweep(lvlm, prompt, max_new_tokens=N_TOKENS)


@pytest.fixture(scope="module")
def masked(lvlm, prompt):
    """The definition: full forward passes with masks, no cache, every cut."""
    image = baselines.image_positions(prompt)
    return [
        baselines.masked_without_cache(lvlm, prompt, cut, image, N_TOKENS)
        for cut in range(lvlm.n_layers + 1)
    ]


def test_every_cut_equals_its_masked_forward_passes(lvlm, sweep, masked):
    assert sweep.cuts.tolist() == list(range(lvlm.n_layers + 1))
    logits = torch.stack([logits[0] for _, logits in masked])
    torch.testing.assert_close(sweep.logits, logits, rtol=0, atol=TOLERANCE)
    assert torch.equal(sweep.tokens, torch.stack([tokens for tokens, _ in masked]))


@pytest.mark.parametrize("twin", [baselines.masked_with_cache, baselines.dropped_unshared])
def test_every_cut_equals_other_ways_to_truncate(lvlm, prompt, sweep, twin):
    for cut in range(lvlm.n_layers + 1):
        image = baselines.image_positions(prompt)
        tokens, logits = twin(lvlm, prompt, cut, image, N_TOKENS)
        torch.testing.assert_close(sweep.logits[cut], logits[0], rtol=0, atol=TOLERANCE)
        assert torch.equal(sweep.tokens[cut], tokens)


def test_branches_differ_so_that_equality_means_something(sweep):
    assert len({tuple(tokens) for tokens in sweep.tokens.tolist()}) >= 5
    assert (sweep.logits[:-1] - sweep.logits[-1]).abs().amax(1).min() > 100 * TOLERANCE


def test_the_whole_model_is_bit_equal_to_the_ordinary_forward_pass(lvlm, prompt, sweep):
    ordinary = lvlm.logits(prompt.inputs_embeds)[0, -1]
    assert torch.equal(sweep.logits[-1], ordinary)
    alone = truncation_sweep(lvlm, prompt, cuts=[lvlm.n_layers])
    assert torch.equal(alone.logits[0], ordinary)


def test_the_whole_model_answers_as_generate_does(lvlm, prompt, sweep):
    assert torch.equal(sweep.tokens[-1], lvlm.generate(prompt, N_TOKENS))


def test_cut_zero_does_not_depend_on_the_pixels(lvlm, prompt, sweep):
    other = truncation_sweep(lvlm, lvlm.prompt(picture(1), QUESTION), max_new_tokens=N_TOKENS)
    assert torch.equal(sweep.logits[0], other.logits[0])
    assert torch.equal(sweep.tokens[0], other.tokens[0])
    assert not torch.allclose(sweep.logits[1], other.logits[1], atol=0.01)


@pytest.mark.parametrize("cuts", [[0], [3], [0, 2, 5], [1, 6], [6], [4, 0, 6, 4]])
def test_some_cuts_equal_the_same_cuts_of_all(lvlm, prompt, sweep, cuts):
    some = truncation_sweep(lvlm, prompt, cuts=cuts, max_new_tokens=N_TOKENS)
    assert some.cuts.tolist() == cuts
    torch.testing.assert_close(some.logits, sweep.logits[cuts], rtol=0, atol=TOLERANCE)
    assert torch.equal(some.tokens, sweep.tokens[cuts])


def test_margins_are_the_lead_of_the_first_token(sweep):
    ordered = sweep.logits.sort(descending=True).values
    torch.testing.assert_close(sweep.margins, ordered[:, 0] - ordered[:, 1])
    assert torch.equal(sweep.tokens[:, 0], sweep.logits.argmax(-1))


@pytest.mark.parametrize("keep", [1, 5])
def test_kept_tokens_are_those_the_last_token_attends_to_most(lvlm, prompt, keep):
    sweep = truncation_sweep(lvlm, prompt, keep=keep, max_new_tokens=5)
    assert sweep.cuts.tolist() == list(range(1, lvlm.n_layers + 1))
    attentions = baselines.eager_attentions(lvlm, prompt.inputs_embeds)
    image = baselines.image_positions(prompt)
    for i, cut in enumerate(sweep.cuts.tolist()):
        row = attentions[cut - 1][0, :, -1].mean(0)[image]
        dropped = image[row.argsort(descending=True)[keep:]]
        tokens, logits = baselines.masked_without_cache(lvlm, prompt, cut, dropped, 5)
        torch.testing.assert_close(sweep.logits[i], logits[0], rtol=0, atol=TOLERANCE)
        assert torch.equal(sweep.tokens[i], tokens)


def test_keeping_every_image_token_changes_nothing(lvlm, prompt, sweep):
    n_image = len(baselines.image_positions(prompt))
    kept = truncation_sweep(lvlm, prompt, keep=n_image, max_new_tokens=N_TOKENS)
    torch.testing.assert_close(
        kept.logits, sweep.logits[-1:].expand_as(kept.logits), rtol=0, atol=TOLERANCE
    )
    assert (kept.tokens == sweep.tokens[-1]).all()


def test_each_branch_stops_at_its_own_end_token(lvlm, prompt, masked, monkeypatch):
    # a token that some answers hold early, some late and some never ends them here
    answers = [tokens.tolist() for tokens, _ in masked]
    ends = {
        token: {answer.index(token) if token in answer else N_TOKENS for answer in answers}
        for token in {token for answer in answers for token in answer}
    }
    eos = max(ends, key=lambda token: len(ends[token]))
    assert len(ends[eos]) >= 3
    monkeypatch.setattr(lvlm, "eos_token_ids", (eos,))
    sweep = truncation_sweep(lvlm, prompt, max_new_tokens=N_TOKENS)
    for answer, tokens in zip(answers, sweep.tokens.tolist(), strict=True):
        length = answer.index(eos) if eos in answer else N_TOKENS
        assert tokens == answer[:length] + [eos] * (N_TOKENS - length)
    assert torch.equal(
        lvlm.generate(prompt, N_TOKENS),
        torch.tensor(answers[-1])[: answers[-1].index(eos) if eos in answers[-1] else N_TOKENS],
    )


def test_an_answer_that_ends_at_once_is_all_end_tokens(lvlm, prompt, sweep, monkeypatch):
    monkeypatch.setattr(lvlm, "eos_token_ids", tuple(set(sweep.tokens[:, 0].tolist())))
    ended = truncation_sweep(lvlm, prompt, max_new_tokens=3)
    assert torch.equal(ended.tokens[:, 0], sweep.tokens[:, 0])
    assert (ended.tokens[:, 1:] == lvlm.eos_token_ids[0]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cuts": [7]}, "cut = 7 .* 0 to 6"),
        ({"cuts": [-1]}, "cut = -1 .* 0 to 6"),
        ({"cuts": [0.5]}, "whole numbers"),
        ({"cuts": []}, "no cut"),
        ({"keep": -1}, "keep = -1 .* 0 to"),
        ({"keep": 500}, r"keep = 500 .* 0 to \d\d\D"),
        ({"keep": 3, "cuts": [0, 1]}, "cut = 0 .* 1 to 6"),
        ({"max_new_tokens": 0}, "max_new_tokens = 0"),
        ({"max_new_tokens": 100}, "context of 160"),
    ],
)
def test_arguments_out_of_range_are_one_clear_error(lvlm, prompt, arguments, message):
    with pytest.raises(InfoflowError, match=message):
        truncation_sweep(lvlm, prompt, **arguments)
