"""What holds of interventions whatever the model answers, and what they refuse."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_models import QUESTION, load_random, picture

from benchmarks import baselines
from infoflow.errors import InfoflowError
from infoflow.hooks.forward import forward_pass
from infoflow.interventions import (
    EAH,
    FastV,
    Simignore,
    Truncate,
    even_strengths,
    intervene,
    sink_density,
    sink_strengths,
)
from infoflow.interventions.eah import column_means
from infoflow.interventions.hiding import similarity, steps_to_rows
from infoflow.methods.flow import attention_flow
from infoflow.models.prompt import Spans

N_IMAGE, N_TOKENS = 64, 4
ORDERS = ("most", "least", "ends", "random")
TOLERANCE = 5e-5
MODELS = ("grouped",)  # nothing here depends on the family
quick = settings(max_examples=60, deadline=None)


def answers(lvlm, prompt, *interventions):
    """The first token's logits, and the answer."""
    with intervene(lvlm, *interventions):
        logits = lvlm.logits(prompt)[0, -1]
        return logits, lvlm.generate(prompt, N_TOKENS)


def assert_same(one, other, tolerance=TOLERANCE):
    torch.testing.assert_close(one[0], other[0], rtol=0, atol=tolerance)
    assert torch.equal(one[1], other[1])


# Truncation and FastV


@pytest.mark.parametrize("keep", [0, 5])
def test_a_cut_at_the_end_is_the_whole_model(keep, lvlm, prompt):
    assert_same(answers(lvlm, prompt, Truncate(cut=6, keep=keep)), answers(lvlm, prompt), 0)


@pytest.mark.parametrize("cut", range(6))
def test_masking_equals_dropping(cut, lvlm, prompt):
    image = baselines.image_positions(prompt)
    tokens, logits = baselines.dropped_unshared(lvlm, prompt, cut, image, N_TOKENS)
    assert_same(answers(lvlm, prompt, Truncate(cut=cut)), (logits[0], tokens))


def test_without_the_image_the_pixels_do_not_matter(lvlm, prompt):
    other = lvlm.prompt(picture(1), QUESTION)
    assert_same(answers(lvlm, prompt, Truncate(cut=0)), answers(lvlm, other, Truncate(cut=0)), 0)
    # the authors' span leaves one image token in sight
    leaky = Truncate(cut=0, span_mode="authors")
    assert not torch.equal(answers(lvlm, prompt, leaky)[0], answers(lvlm, other, leaky)[0])


@pytest.mark.parametrize("cut", range(1, 6))
def test_keeping_all_is_the_whole_model(cut, lvlm, prompt):
    whole = answers(lvlm, prompt)
    assert_same(answers(lvlm, prompt, Truncate(cut=cut, keep=N_IMAGE)), whole)
    assert_same(answers(lvlm, prompt, FastV(k=cut, ratio=0.0)), whole)


@pytest.mark.parametrize("layer", range(1, 6))
def test_fastv_that_keeps_nothing_is_truncation(layer, lvlm, prompt):
    pruned = answers(lvlm, prompt, FastV(k=layer, ratio=1.0))
    assert_same(pruned, answers(lvlm, prompt, Truncate(cut=layer)), 0)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(0, N_IMAGE))
def test_fastv_keeps_as_many_tokens_as_it_says(pair, layer, n_kept):
    lvlm, prompt = pair
    with intervene(lvlm, FastV(k=layer, ratio=1 - n_kept / N_IMAGE)):
        rows = attention_flow(lvlm, prompt).rows[..., prompt.spans.image]
    assert (rows[:layer] > 0).all()
    assert ((rows[layer:] > 0).sum(-1) == n_kept).all()


@pytest.fixture(scope="module")
def pair(lvlm, prompt):
    return lvlm, prompt


# Simignore

EMBEDDINGS = st.integers(2, 9).flatmap(
    lambda n: st.tuples(
        *(arrays("f8", (rows, 3), elements=st.integers(-50, 50).map(float)) for rows in (n, 4))
    )
)


@pytest.mark.parametrize("order", ORDERS)
def test_ignoring_nothing_is_the_whole_model(order, lvlm, prompt):
    kept = Simignore(N_IMAGE, order=order)
    assert_same(answers(lvlm, prompt, kept), answers(lvlm, prompt))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("keep", [0, 1, 40, 64])
def test_exactly_k_image_tokens_stay_in_sight(keep, order, lvlm, prompt):
    with intervene(lvlm, Simignore(keep, order=order, stride=2)):
        rows = attention_flow(lvlm, prompt).rows[..., prompt.spans.image]
    seen = rows > 0
    assert (seen.sum(-1) == keep).all()
    assert (seen == seen[0, 0]).all()


@pytest.mark.parametrize("keep", [1, 40, 64, 300])
def test_the_k_best_entries_keep_at_most_k_tokens(keep, lvlm, prompt):
    kept = {}
    for order in ORDERS:
        with intervene(lvlm, Simignore(keep, count="entries", order=order)):
            kept[order] = int(
                (attention_flow(lvlm, prompt).rows[0, 0] > 0)[prompt.spans.image].sum()
            )
    assert len(set(kept.values())) == 1
    assert kept["most"] <= min(keep, N_IMAGE)
    assert kept["most"] < keep or keep == 1


def test_the_seed_decides_which_random_tokens_stay(lvlm, prompt):
    one, same, other = (
        answers(lvlm, prompt, Simignore(20, order="random", seed=seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(one[0], same[0])
    assert not torch.equal(one[0], other[0])


@quick
@given(EMBEDDINGS, st.lists(st.integers(-3, 3), min_size=13, max_size=13))
def test_cosine_ranks_do_not_depend_on_lengths(embeddings, exponents):
    image, text = (torch.from_numpy(array) for array in embeddings)
    scale = torch.tensor([2.0**e for e in exponents], dtype=torch.float64)
    scaled = image * scale[: len(image), None], text * scale[len(image) :][: len(text), None]
    steps = steps_to_rows(similarity(image, text, "cosine"), 0, 1)
    assert torch.equal(steps, steps_to_rows(similarity(*scaled, "cosine"), 0, 1))


@quick
@given(EMBEDDINGS, st.integers(0, 6), st.integers(1, 4))
def test_a_walk_meets_rows_in_the_order_of_their_entries(embeddings, start, stride):
    image, text = (torch.from_numpy(array) for array in embeddings)
    table = similarity(image, text, "manhattan")
    steps = steps_to_rows(table, start, stride)
    entries = sorted(((-v, row) for row, vs in enumerate(table.tolist()) for v in vs))
    walk = [row for _, row in entries[start::stride]]
    met = [walk.index(row) if row in walk else float("inf") for row in range(len(image))]
    assert steps.tolist() == met


@quick
@given(EMBEDDINGS, st.integers(0, 9), st.sampled_from(ORDERS), st.integers(0, 99))
def test_a_choice_holds_exactly_k_rows_whatever_the_embeddings(embeddings, keep, order, seed):
    image, text = (torch.from_numpy(array) for array in embeddings)
    keep = min(keep, len(image))
    prompt = embedded(image, text)
    ignored = Simignore(keep, order=order, seed=seed).ignored(None, prompt)
    assert int((~ignored).sum()) == keep
    by_entries = Simignore(keep, count="entries", order=order, seed=seed).ignored(None, prompt)
    assert int((~by_entries).sum()) <= keep


@quick
@given(EMBEDDINGS, st.integers(0, 9))
def test_more_kept_tokens_hold_the_fewer(embeddings, keep):
    image, text = (torch.from_numpy(array) for array in embeddings)
    prompt = embedded(image, text)
    fewer, more = sorted((min(keep, len(image)), len(image) - 1))
    for order in ("most", "least"):
        small, large = (Simignore(k, order=order).ignored(None, prompt) for k in (fewer, more))
        assert (small | ~large).all()


def embedded(image, text):
    """All of a prompt that Simignore compares: an image before a text."""
    spans = Spans(slice(0, 0), slice(0, len(image)), slice(len(image), len(image) + len(text)))
    return SimpleNamespace(inputs_embeds=torch.cat([image, text])[None], spans=spans)


# EAH


def test_it_changes_nothing_if_all_heads_are_one(tmp_path):
    lvlm = load_random(tmp_path)
    for layer in lvlm.layers:
        for project in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            width = layer.self_attn.head_dim
            project.weight.copy_(project.weight[:width].repeat(4, 1))
    prompt = lvlm.prompt(picture(), QUESTION)
    assert float(sink_density(lvlm, prompt, 0.02).max()) > 0
    for columns in ("all", "image"):
        changed = answers(lvlm, prompt, EAH(layers=range(6), beta=0.02, columns=columns))
        assert_same(changed, answers(lvlm, prompt))


def test_the_first_head_may_win(tmp_path):
    lvlm = load_random(tmp_path)
    prompt = lvlm.prompt(picture(), QUESTION)
    before, changed = answers(lvlm, prompt), answers(lvlm, prompt, EAH(beta=0.02))
    winner = int(sink_density(lvlm, prompt, 0.02)[1].argmax())
    assert winner > 0
    attention, width = lvlm.layers[1].self_attn, lvlm.layers[1].self_attn.head_dim
    heads = torch.arange(4 * width).view(4, width).roll(-winner, 0).flatten()
    for project in (attention.q_proj, attention.k_proj, attention.v_proj):
        project.weight.copy_(project.weight[heads])
    attention.o_proj.weight.copy_(attention.o_proj.weight[:, heads])
    assert int(sink_density(lvlm, prompt, 0.02)[1].argmax()) == 0
    assert_same(answers(lvlm, prompt), before)
    assert_same(answers(lvlm, prompt, EAH(beta=0.02)), changed)
    assert (changed[0] - before[0]).abs().max() > 100 * TOLERANCE


def test_without_a_sink_it_changes_nothing(lvlm, prompt):
    assert_same(answers(lvlm, prompt, EAH(beta=1.0)), answers(lvlm, prompt), 0)
    assert_same(answers(lvlm, prompt, EAH(beta=0.02, gamma=1.0)), answers(lvlm, prompt), 0)


SQUARES = st.integers(4, 8).flatmap(
    lambda n: arrays("f8", (3, n, n), elements=st.floats(0.01, 1.0))
)


@pytest.mark.parametrize("divisor", ["exact", "ramp"])
@pytest.mark.parametrize("spans", [(0, 3, 9), (4, 11, 12), (2, 5, 5)])
def test_even_strengths_equal_a_loop_over_rows(spans, divisor):
    start, stop, end = spans
    strengths = even_strengths(
        Spans(slice(0, start), slice(start, stop), slice(stop, end)), divisor
    )
    for i, column in enumerate(range(start, stop)):
        below = sum(1 / (row + 1) for row in range(column + 1, end))
        count = end - 1 - column if divisor == "exact" else stop - i
        assert float(strengths[i]) == pytest.approx(below / max(count, 1), abs=1e-12)


def test_even_strengths_fall_as_a_prompt_grows():
    short, long = (
        even_strengths(Spans(slice(0, 8), slice(8, 8 + n), slice(8 + n, 2 * n))).mean()
        for n in (32, 128)
    )
    assert 3 < short / long < 5


@quick
@given(SQUARES)
def test_strengths_are_the_mean_attention_from_later_tokens(table):
    weights = torch.from_numpy(table).tril()
    image = slice(1, 3)
    for divisor in ("exact", "ramp"):
        found = column_means(weights, image, divisor)
        assert (found > 0).all()
        assert (found < weights.sum()).all()
    below = weights[:, 3:, 2].mean(1)
    torch.testing.assert_close(column_means(weights, image, "exact")[:, 1], below)


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Truncate(cut=1, span_mode="author"), "span_mode 'author'. Did you mean 'authors'"),
        (lambda: Simignore(3, metric="cos"), "metric 'cos'"),
        (lambda: Simignore(3, count="columns"), "count 'columns'"),
        (lambda: Simignore(3, order="more"), "order 'more'"),
        (lambda: EAH(divisor="rows"), "divisor 'rows'"),
        (lambda: EAH(columns="text"), "columns 'text'"),
    ],
)
def test_settings_of_an_unknown_name_are_refused_at_once(make, message):
    with pytest.raises(InfoflowError, match=message):
        make()


@pytest.mark.parametrize("intervention", ["FastV", FastV, None])
def test_what_is_no_intervention_is_refused_at_the_door(intervention, lvlm):
    refused = pytest.raises(InfoflowError, match="one is no intervention; valid: EAH")
    with refused, intervene(lvlm, EAH(), intervention):
        pytest.fail("entered")


@pytest.mark.parametrize(
    ("intervention", "message"),
    [
        (FastV(k=0), "k is 0; .* 1 to 5"),
        (FastV(k=6), "k is 6; .* 1 to 5"),
        (FastV(k=1.5), "k is 1.5"),
        (FastV(ratio=1.2), "ratio is 1.2; .* 0 to 1"),
        (FastV(ratio=float("nan")), "ratio is nan"),
        (FastV(ratio="half"), "ratio is 'half'"),
        (Truncate(cut=-1), "cut is -1"),
        (Truncate(cut=7), "cut is 7; .* 0 to 6"),
        (Truncate(cut=0, keep=3), "cut is 0; .* 1 to 6"),
        (Truncate(cut=1, keep=-3), "keep .* is -3"),
        (Truncate(cut=2, keep=65), "keep .* is 65; .* 0 to 64"),
        (Truncate(cut=2, keep=5, span_mode="authors"), "keep with span_mode='authors' is 5"),
        (EAH(layers=()), "at least one layer"),
        (EAH(layers=1), "at least one layer"),
        (EAH(layers=(1, -2)), "layer is -2"),
        (EAH(layers=(1, 6)), "layer is 6; .* 0 to 5"),
        (EAH(beta=-0.1), "beta is -0.1"),
        (EAH(beta=float("inf")), "beta is inf"),
        (EAH(gamma=15), "gamma is 15"),
        (Simignore(-1), "keep is -1"),
        (Simignore(3, stride=0), "stride is 0"),
        (Simignore(3, start=-1), "start is -1"),
        (Simignore(3, seed=-1), "seed is -1"),
        (Simignore(65), "meets 64 of 64"),
        (Simignore(64, start=700), "meets .* of 64 image tokens"),
        (Simignore(9, text=""), "holds no token"),
        (Simignore(9, text=torch.tensor([10**6])), "ids outside"),
    ],
)
def test_what_does_not_fit_the_model_or_the_prompt_is_refused_when_it_is_read(
    intervention, message, lvlm, prompt
):
    with intervene(lvlm, intervention), pytest.raises(InfoflowError, match=message):
        lvlm.answer(prompt)
    assert torch.equal(answers(lvlm, prompt)[1], lvlm.generate(prompt, N_TOKENS))


@pytest.mark.parametrize("intervention", [EAH(), Truncate(cut=2)], ids=str)
def test_embeddings_without_their_prompt_are_refused(intervention, lvlm, prompt):
    refused = pytest.raises(InfoflowError, match=r"where the image is; valid: .*logits\(prompt\)")
    with intervene(lvlm, intervention):
        lvlm.answer(prompt)  # what was read before is no help
        with refused:
            lvlm.logits(prompt.inputs_embeds)


def test_a_batch_is_refused(lvlm, prompt):
    both = replace(prompt, inputs_embeds=prompt.inputs_embeds.expand(2, -1, -1))
    refused = pytest.raises(InfoflowError, match="one sequence at a time, not 2")
    with intervene(lvlm, FastV()), refused, forward_pass(lvlm, both):
        pytest.fail("entered")


@pytest.mark.parametrize("arguments", [{"beta": -1.0}, {"divisor": "rows"}])
def test_sink_density_refuses_bad_settings(arguments, lvlm, prompt):
    with pytest.raises(InfoflowError, match=next(iter(arguments))):
        sink_density(lvlm, prompt, **arguments)


def test_sink_strengths_refuse_an_unknown_divisor(lvlm, prompt):
    with pytest.raises(InfoflowError, match="divisor 'rows'"):
        sink_strengths(lvlm, prompt, "rows")
    with pytest.raises(InfoflowError, match="divisor 'rows'"):
        even_strengths(prompt.spans, "rows")
