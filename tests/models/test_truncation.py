import plain
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import CORNERS, QUESTION, picture

from benchmarks import baselines
from infoflow.errors import InfoflowError
from infoflow.hooks.forward import forward_pass
from infoflow.interventions import Simignore, Truncate, intervene
from infoflow.methods.cam import llava_cam
from infoflow.methods.flow import attention_flow
from infoflow.methods.truncation import (
    truncated_log_probs,
    truncated_token_log_probs,
    truncation_sweep,
)

MODELS = CORNERS
N_TOKENS = 16
N_IMAGE = 64
"""Image tokens of a prompt, at least."""
TOLERANCE = 5e-5
quick = settings(max_examples=12, deadline=None)  # of every family


@pytest.fixture(scope="module")
def pair(lvlm, prompt):
    return lvlm, prompt


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


@pytest.mark.every_family
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


@pytest.mark.every_family
def test_the_whole_model_is_bit_equal_to_the_ordinary_forward_pass(lvlm, prompt, sweep):
    ordinary = lvlm.logits(prompt.inputs_embeds)[0, -1]
    assert torch.equal(sweep.logits[-1], ordinary)
    alone = truncation_sweep(lvlm, prompt, cuts=[lvlm.n_layers])
    assert torch.equal(alone.logits[0], ordinary)


def test_the_whole_model_answers_as_generate_does(lvlm, prompt, sweep):
    assert torch.equal(sweep.tokens[-1], lvlm.generate(prompt, N_TOKENS))


@pytest.mark.every_family
def test_cut_zero_does_not_depend_on_the_pixels(lvlm, prompt, sweep):
    other = truncation_sweep(lvlm, lvlm.prompt(picture(1), QUESTION), max_new_tokens=N_TOKENS)
    assert torch.equal(sweep.logits[0], other.logits[0])
    assert torch.equal(sweep.tokens[0], other.tokens[0])
    assert not torch.allclose(sweep.logits[1], other.logits[1], atol=0.01)


@pytest.mark.every_family
def test_an_answers_tokens_are_those_of_masked_forward_passes(lvlm, prompt):
    ids, image = torch.tensor([5, 3, 5, 7]), baselines.image_positions(prompt)
    cuts = [0, 2, lvlm.n_layers]
    by_token = truncated_token_log_probs(lvlm, prompt, ids, cuts=cuts)
    naive = [
        [baselines.masked_log_prob(lvlm, prompt, cut, image, ids[: n + 1]) for n in range(len(ids))]
        for cut in cuts
    ]
    so_far = torch.tensor(naive, dtype=torch.float32)
    torch.testing.assert_close(by_token.cumsum(-1), so_far, rtol=0, atol=TOLERANCE)
    sums = truncated_log_probs(lvlm, prompt, ids, cuts=cuts)
    assert torch.equal(sums, torch.stack([of_cut.sum() for of_cut in by_token]))


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


@pytest.mark.every_family
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
        ({"cuts": [7]}, "cut is 7; .* 0 to 6"),
        ({"cuts": [-1]}, "cut is -1; .* 0 to 6"),
        ({"cuts": [0.5]}, "valid: a whole number"),
        ({"cuts": []}, "no cut"),
        ({"keep": -1}, "keep is -1; .* 0 to"),
        ({"keep": 500}, r"keep is 500; .* 0 to \d\d\D"),
        ({"keep": 3, "cuts": [0, 1]}, "cut is 0; .* 1 to 6"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": 100}, "context of 160"),
    ],
)
def test_arguments_out_of_range_are_one_clear_error(lvlm, prompt, arguments, message):
    with pytest.raises(InfoflowError, match=message):
        truncation_sweep(lvlm, prompt, **arguments)


def test_a_ranking_of_the_wrong_shape_or_without_numbers_is_one_clear_error(lvlm, prompt):
    n = prompt.grid.n_tokens
    for ranking, arguments, message in (
        (torch.rand(9), {}, rf"shape \(9,\) does not fit {n} .* \({n},\) or \(6, {n}\)"),
        (torch.rand(n, 6), {}, rf"shape \({n}, 6\) does not fit"),
        (torch.rand(6, n), {"keep": 3, "cuts": [0]}, "cut is 0; .* 1 to 6"),
        (torch.full((n,), torch.nan), {"keep": 3, "cuts": [2]}, "cut 2 holds NaN"),
    ):
        with pytest.raises(InfoflowError, match=message):
            truncation_sweep(lvlm, prompt, ranking=ranking, **arguments)


def random_ranking(lvlm, prompt, seed, by_layer):
    n = prompt.grid.n_tokens
    shape = (lvlm.n_layers, n) if by_layer else (n,)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def dropped_by(ranking, prompt, keep, cut):
    """The positions of the image tokens that do not rank among the first K."""
    row = ranking if ranking.ndim == 1 else ranking[cut - 1]
    order = sorted(range(len(row)), key=lambda token: -float(row[token]))
    return baselines.image_positions(prompt)[order[keep:]]


@quick
@given(st.integers(0, N_IMAGE), st.integers(1, 6), st.booleans(), st.integers(0, 99))
def test_a_ranking_keeps_its_first_k_as_a_masked_forward_pass_does(pair, keep, cut, by_layer, seed):
    lvlm, prompt = pair
    ranking = random_ranking(lvlm, prompt, seed, by_layer)
    dropped = dropped_by(ranking, prompt, keep, cut)
    twin = baselines.masked_logits(lvlm, prompt.inputs_embeds, cut, dropped)
    sweep = truncation_sweep(lvlm, prompt, keep, ranking=ranking)
    cuts = sweep.cuts.tolist()
    assert cuts == list(range(int(by_layer and keep > 0), lvlm.n_layers + 1))
    torch.testing.assert_close(sweep.logits[cuts.index(cut)], twin, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("by_layer", [False, True])
def test_ranked_answers_are_decoded_under_the_same_mask(lvlm, prompt, by_layer):
    ranking = random_ranking(lvlm, prompt, 3, by_layer)
    sweep = truncation_sweep(lvlm, prompt, keep=7, max_new_tokens=6, ranking=ranking)
    for i, cut in enumerate(sweep.cuts.tolist()):
        dropped = dropped_by(ranking, prompt, 7, cut)
        tokens, logits = baselines.masked_without_cache(lvlm, prompt, cut, dropped, 6)
        torch.testing.assert_close(sweep.logits[i], logits[0], rtol=0, atol=TOLERANCE)
        assert torch.equal(sweep.tokens[i], tokens)
    assert len({tuple(tokens) for tokens in sweep.tokens.tolist()}) >= 4


def test_ranking_by_the_papers_attention_is_the_default(lvlm, prompt):
    attention = attention_flow(lvlm, prompt).rows.mean(1)[:, prompt.spans.image]
    default = truncation_sweep(lvlm, prompt, keep=5, max_new_tokens=4)
    same = truncation_sweep(lvlm, prompt, keep=5, max_new_tokens=4, ranking=attention)
    assert torch.equal(same.logits, default.logits)
    assert torch.equal(same.tokens, default.tokens)
    turned = truncation_sweep(lvlm, prompt, keep=5, ranking=-attention)
    assert (turned.logits[:-1] - default.logits[:-1]).abs().amax(1).min() > 100 * TOLERANCE


def test_maps_rank_too_and_an_undefined_last_layer_is_not_needed(lvlm, prompt):
    cam = llava_cam(lvlm, prompt, "yes", weights="element-wise", n_samples=1, sigma=0.0)
    maps = cam.by_token
    assert maps[-1].isnan().all()
    assert ((maps[:-1] > 0).sum(-1) >= 3).all()  # so that three tokens are better than the rest
    sweep = truncation_sweep(lvlm, prompt, keep=3, ranking=maps)
    for cut in range(1, lvlm.n_layers):
        dropped = dropped_by(maps, prompt, 3, cut)
        twin = baselines.masked_logits(lvlm, prompt.inputs_embeds, cut, dropped)
        torch.testing.assert_close(sweep.logits[cut - 1], twin, rtol=0, atol=TOLERANCE)


def test_a_given_ranking_is_swept_under_an_intervention(lvlm, prompt):
    ranking = random_ranking(lvlm, prompt, 5, by_layer=False)
    with intervene(lvlm, Simignore(40, order="random")):
        sweep = truncation_sweep(lvlm, prompt, keep=20, max_new_tokens=4, ranking=ranking)
        ignored = (attention_flow(lvlm, prompt).rows[0, 0] == 0).nonzero()[:, 0].tolist()
    assert len(ignored) == prompt.grid.n_tokens - 40
    for cut in range(lvlm.n_layers + 1):
        dropped = dropped_by(ranking, prompt, 20, cut).tolist()

        class Both(plain.Twin):
            def hidden(self, layer, attentions, cut=cut, dropped=dropped):
                return [*ignored, *(dropped if layer >= cut else [])]

        tokens, logits = plain.answer(lvlm, prompt, 4, [Both])
        torch.testing.assert_close(sweep.logits[cut], logits[0], rtol=0, atol=TOLERANCE)
        assert torch.equal(sweep.tokens[cut], tokens)


def masked_log_prob(lvlm, prompt, ids, cut, dropped):
    """One full masked forward pass for each answer token."""
    embeds, total = prompt.inputs_embeds, 0.0
    for token in ids:
        logits = baselines.masked_logits(lvlm, embeds, cut, dropped)
        total += float(logits.log_softmax(-1)[token])
        embeds = torch.cat([embeds, lvlm.decoder.embed_tokens(token)[None, None]], dim=1)
    return total


@quick
@given(
    *(st.integers(0, N_IMAGE), st.integers(1, 6), st.booleans(), st.integers(0, 99)),
    st.lists(st.integers(3, 40), min_size=1, max_size=6),
)
def test_log_probs_equal_masked_forward_passes(pair, keep, cut, by_layer, seed, answer):
    lvlm, prompt = pair
    ids = torch.tensor(answer)
    ranking = random_ranking(lvlm, prompt, seed, by_layer)
    twin = masked_log_prob(lvlm, prompt, ids, cut, dropped_by(ranking, prompt, keep, cut))
    found = truncated_log_probs(lvlm, prompt, ids, keep, [cut], ranking)
    torch.testing.assert_close(found, torch.tensor([twin]), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("keep", [0, 5])
def test_log_probs_keep_the_tokens_that_a_sweep_keeps(lvlm, prompt, keep):
    # ranked by the last prompt token's attention, not by that of the answer's last token
    sweep = truncation_sweep(lvlm, prompt, keep)
    attentions = baselines.eager_attentions(lvlm, prompt.inputs_embeds)
    image = baselines.image_positions(prompt)
    ids = lvlm.encode_answer("two red circle left of blue")
    found = truncated_log_probs(lvlm, prompt, ids, keep)
    for i, cut in enumerate(sweep.cuts.tolist()):
        row = attentions[cut - 1][0, :, -1].mean(0)[image]
        dropped = image[row.argsort(descending=True)[keep:]]
        twin = masked_log_prob(lvlm, prompt, ids, cut, dropped)
        assert float(found[i]) == pytest.approx(twin, abs=TOLERANCE)
    first = sweep.logits.log_softmax(-1)
    one = truncated_log_probs(lvlm, prompt, ids[:1], keep)
    torch.testing.assert_close(one, first[:, ids[0]], rtol=0, atol=TOLERANCE)


def test_the_whole_models_log_prob_is_that_of_the_ordinary_forward_pass(lvlm, prompt):
    ids = lvlm.encode_answer("two red circle")
    said = lvlm.decoder.embed_tokens(ids[:-1])[None]
    logits = lvlm.logits(torch.cat([prompt.inputs_embeds, said], dim=1))[0, -len(ids) :]
    ordinary = logits.log_softmax(-1)[range(len(ids)), ids].sum()
    found = truncated_log_probs(lvlm, prompt, "two red circle")
    assert found.shape == (lvlm.n_layers + 1,)
    assert not found.is_inference()
    torch.testing.assert_close(found[-1], ordinary, rtol=0, atol=1e-5)
    assert (found[:-1] - found[-1]).abs().min() > 100 * TOLERANCE


def test_an_answers_end_token_is_no_part_of_it(lvlm, prompt, monkeypatch):
    monkeypatch.setattr(lvlm, "eos_token_ids", (2,))
    ended, bare = (
        truncated_log_probs(lvlm, prompt, torch.tensor(ids)) for ids in ([9, 8, 2, 2], [9, 8])
    )
    assert torch.equal(ended, bare)


@pytest.mark.parametrize("cuts", [[0], [3, 1], [6], [4, 0, 6, 4]])
def test_log_probs_of_some_cuts_are_those_of_all(lvlm, prompt, cuts):
    every = truncated_log_probs(lvlm, prompt, "two red circle")
    some = truncated_log_probs(lvlm, prompt, "two red circle", cuts=cuts)
    torch.testing.assert_close(some, every[cuts], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("intervention", [Simignore(30), Truncate(cut=4)], ids=str)
def test_log_probs_under_an_intervention_are_those_of_truncating_beside_it(
    lvlm, prompt, intervention
):
    ids = lvlm.encode_answer("two red circle")
    with intervene(lvlm, intervention):
        found = truncated_log_probs(lvlm, prompt, ids)
    for cut in range(lvlm.n_layers + 1):
        with (
            intervene(lvlm, intervention, Truncate(cut=cut)),
            forward_pass(lvlm, prompt, ids) as states,
        ):
            logits = lvlm.lm_head(states)[0, -len(ids) :]
        alone = float(logits.log_softmax(-1)[range(len(ids)), ids].sum())
        assert float(found[cut]) == pytest.approx(alone, abs=TOLERANCE)
    assert (found[:4] - found[-1]).abs().min() > 100 * TOLERANCE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"answer": ""}, "holds no token"),
        ({"answer": torch.tensor([10**5])}, "outside 0.."),
        ({"answer": "yes " * 100}, "context of 160"),
        ({"answer": "yes", "cuts": [7]}, "cut is 7; .* 0 to 6"),
        ({"answer": "yes", "keep": 500}, "keep is 500"),
        ({"answer": "yes", "ranking": torch.rand(9)}, r"does not fit \d\d image tokens"),
    ],
)
def test_log_probs_of_bad_arguments_are_one_clear_error(lvlm, prompt, arguments, message):
    with pytest.raises(InfoflowError, match=message):
        truncated_log_probs(lvlm, prompt, **arguments)
