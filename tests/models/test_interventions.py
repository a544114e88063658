"""Interventions on a model: equal to the plain twin, composable, and gone afterwards."""

from contextlib import ExitStack

import plain
import pytest
import torch
from tiny_models import QUESTION, never_ending, picture

from infoflow.errors import InfoflowError
from infoflow.hooks.attention import attention_rows
from infoflow.hooks.forward import Observer, attached
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
from infoflow.methods.truncation import truncation_sweep
from infoflow.models.lvlm import load_lvlm

# fewer keys than queries, prompts that begin with the image and a key a query, and a Qwen2; what
# other families have is among these, and test_eager_twins takes them all
MODELS = ("grouped", "instructblip-7b", "qwen-vl-7b")
TOLERANCE = 1e-6
N_TOKENS = 3
IDS = torch.tensor([33, 34, 31])

CASES = {
    "FastV": (FastV(k=2, ratio=0.5), plain.pruned(2, share=0.5)),
    "FastV, a quarter stays": (FastV(k=5, ratio=0.75), plain.pruned(5, share=0.25)),
    "truncation": (Truncate(cut=3), plain.pruned(3, 0)),
    "truncation at once": (Truncate(cut=0), plain.pruned(0, 0)),
    "truncation to 5": (Truncate(cut=2, keep=5), plain.pruned(2, 5)),
    "authors' truncation": (Truncate(cut=2, span_mode="authors"), plain.pruned(2, 0, shift=1)),
    "Simignore": (Simignore(20), plain.simignored(20)),
    "Simignore, 7B": (Simignore(50, start=1, text=IDS), plain.simignored(50, 1, ids=IDS)),
    "Simignore, 13B": (
        Simignore(50, stride=2, text=IDS),
        plain.simignored(50, stride=2, ids=IDS),
    ),
    "Simignore, paper": (
        Simignore(40, count="entries"),
        plain.simignored(40, by="entries"),
    ),
    "Simignore, Euclidean": (
        Simignore(20, metric="euclidean"),
        plain.simignored(20, distance=2),
    ),
    "Simignore, Manhattan": (
        Simignore(20, metric="manhattan"),
        plain.simignored(20, distance=1),
    ),
    "Simignore, least": (Simignore(20, order="least"), plain.simignored(20, order="least")),
    "Simignore, ends": (Simignore(21, order="ends"), plain.simignored(21, order="ends")),
    "all image tokens ignored": (Simignore(0), plain.pruned(0, 0)),
    "EAH": (EAH(beta=0.02), plain.broadcast((1,), 0.02)),
    "EAH, two layers": (EAH(layers=(0, 3), beta=0.01), plain.broadcast((0, 3), 0.01)),
    "EAH, ramp": (
        EAH(layers=(4,), beta=0.008, divisor="ramp"),
        plain.broadcast((4,), 0.008, ramp=True),
    ),
    "EAH, image columns": (
        EAH(beta=0.02, columns="image"),
        plain.broadcast((1,), 0.02, columns="image"),
    ),
    "EAH, dense heads only": (
        EAH(layers=(0, 1, 2, 3, 4, 5), beta=0.015, gamma=0.2),
        plain.broadcast(range(6), 0.015, gamma=0.2),
    ),
}
SAME_WAY = ("7B", "13B", "paper", "Euclidean", "Manhattan", "least", "two layers", "ramp")
"""Cases that choose other tokens or layers, and then go the way that another case goes."""
WAYS = {name: case for name, case in CASES.items() if name.split(", ")[-1] not in SAME_WAY}
every_case = pytest.mark.parametrize(("intervention", "twin"), CASES.values(), ids=CASES)
every_way = pytest.mark.parametrize(("intervention", "twin"), WAYS.values(), ids=WAYS)

ALL = ["EAH", "FastV", "Simignore", "truncation to 5"]


@pytest.fixture(scope="module")
def exact(lvlm):
    """The fixture's model in float64."""
    parts = dict(zip(lvlm.family.parts, lvlm.family.part_folders, strict=False))
    double = never_ending(load_lvlm(lvlm.name, checkpoint=lvlm.folder, device="cpu", **parts))
    double.model.double()
    return double


@pytest.fixture(scope="module")
def asked(exact):
    return exact.prompt(picture(), QUESTION)


@pytest.fixture(scope="module")
def ordinary(exact, asked):
    return exact.logits(asked)[0]


def step_logits(lvlm, prompt, n_tokens):
    """Tokens (T,) and logits (T, V) of transformers' cached decoding."""
    with lvlm.reading(prompt):
        output = lvlm.family.language_model.generate(
            inputs_embeds=prompt.inputs_embeds,
            attention_mask=torch.ones_like(prompt.input_ids)[None],
            do_sample=False,
            max_new_tokens=n_tokens,
            min_new_tokens=n_tokens,
            eos_token_id=10**6,
            return_dict_in_generate=True,
            output_logits=True,
        )
    return output.sequences[0], torch.cat(output.logits)


@every_case
def test_it_equals_its_plain_twin(intervention, twin, exact, asked, ordinary):
    expected = plain.run(exact, asked.inputs_embeds[0], asked, [twin]).logits
    with intervene(exact, intervention):
        logits = exact.logits(asked)[0]
    torch.testing.assert_close(logits, expected, rtol=0, atol=TOLERANCE)
    assert (logits[-1] - ordinary[-1]).abs().max() > 1e-3


@every_way
def test_decoding_with_a_cache_equals_decoding_without(intervention, twin, exact, asked):
    tokens, logits = plain.answer(exact, asked, N_TOKENS, [twin])
    with intervene(exact, intervention):
        generated, cached = step_logits(exact, asked, N_TOKENS)
        answered = exact.generate(asked, N_TOKENS)
    assert torch.equal(generated, tokens)
    assert torch.equal(answered, tokens)
    torch.testing.assert_close(cached, logits.float(), rtol=0, atol=TOLERANCE)


@every_way
def test_flow_shows_the_changed_attention(intervention, twin, exact, asked):
    passed = plain.run(exact, asked.inputs_embeds[0], asked, [twin])
    with intervene(exact, intervention):
        flow = attention_flow(exact, asked)
    expected = torch.stack(passed.attentions)[:, :, -1]
    torch.testing.assert_close(flow.rows, expected, rtol=0, atol=TOLERANCE)
    ordinary = plain.run(exact, asked.inputs_embeds[0], asked)
    assert (torch.stack(ordinary.attentions)[:, :, -1] - expected).abs().max() > 1e-3


@every_way
def test_an_answer_read_in_is_no_part_of_the_prompt(intervention, twin, exact, asked):
    answer = torch.tensor([20, 31, 33, 28])
    said = torch.cat([asked.inputs_embeds[0], exact.decoder.embed_tokens(answer[:-1])])
    passed = plain.run(exact, said, asked, [twin])
    rows = torch.stack(passed.attentions)[:, :, -len(answer) :, : len(asked)]
    with intervene(exact, intervention):
        flow = attention_flow(exact, asked, answer)
    left = rows.mean(1).sum(-1)  # (L, T): what the prompt gets, heads averaged
    expected = (rows / left[:, None, :, None]).mean(2)
    torch.testing.assert_close(flow.rows, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("names", [ALL, ALL[:2], ALL[1:3]], ids=" + ".join)
def test_several_together_equal_their_twins_in_any_order_and_nested(names, exact, asked):
    interventions, twins = zip(*(CASES[name] for name in names), strict=True)
    tokens, logits = plain.answer(exact, asked, N_TOKENS, twins)
    with intervene(exact, *interventions):
        together = step_logits(exact, asked, N_TOKENS)
    with ExitStack() as stack:
        for intervention in reversed(interventions):
            stack.enter_context(intervene(exact, intervention))
        nested = step_logits(exact, asked, N_TOKENS)
    torch.testing.assert_close(together[1], logits.float(), rtol=0, atol=TOLERANCE)
    assert torch.equal(together[0], tokens)
    assert torch.equal(together[1], nested[1])


def test_the_four_arms_of_simignore_are_four_models(exact, asked):
    ignored = Simignore(50, start=1, text="red green blue circle")
    pruned = FastV(k=5, ratio=0.75)
    answers = []
    for arm in ((), (ignored,), (pruned,), (ignored, pruned)):
        with intervene(exact, *arm):
            answers.append(exact.logits(asked)[0, -1])
    assert torch.equal(answers[0], exact.logits(asked)[0, -1])
    for i, one in enumerate(answers):
        assert all((one - other).abs().max() > 1e-3 for other in answers[:i])


@pytest.mark.parametrize("name", WAYS)
def test_a_sweep_equals_truncating_beside_the_intervention(name, lvlm, prompt):
    intervention, _ = CASES[name]
    with intervene(lvlm, intervention):
        sweep = truncation_sweep(lvlm, prompt, max_new_tokens=N_TOKENS)
    for cut in range(lvlm.n_layers + 1):
        with intervene(lvlm, intervention, Truncate(cut=cut)):
            tokens, logits = step_logits(lvlm, prompt, N_TOKENS)
        torch.testing.assert_close(sweep.logits[cut], logits[0], rtol=0, atol=5e-5)
        assert torch.equal(sweep.tokens[cut], tokens)


def test_what_cannot_be_swept_is_refused(lvlm, prompt):
    with intervene(lvlm, EAH()), pytest.raises(InfoflowError, match="keep = 3 cannot be swept"):
        truncation_sweep(lvlm, prompt, keep=3)


@pytest.mark.parametrize("beta", [0.01, 0.02, 0.03])
def test_sink_density_equals_its_plain_twin(beta, exact, asked):
    passed = plain.run(exact, asked.inputs_embeds[0], asked)
    expected = plain.sink_densities(passed.attentions, asked, beta)
    density = sink_density(exact, asked, beta)
    torch.testing.assert_close(density, expected)
    assert 0.01 < float(density.mean()) < 0.99
    assert float(density.std()) > 0.01


@pytest.mark.parametrize("divisor", ["exact", "ramp"])
def test_sink_strengths_equal_column_sums_over_counts(divisor, exact, asked):
    passed = plain.run(exact, asked.inputs_embeds[0], asked)
    image, n = asked.spans.image, len(asked)
    expected = [
        [
            [
                float(head[column + 1 :, column].sum())
                / (n - 1 - column if divisor == "exact" else image.stop - i)
                for i, column in enumerate(range(image.start, image.stop))
            ]
            for head in weights
        ]
        for weights in passed.attentions
    ]
    strengths = sink_strengths(exact, asked, divisor)
    torch.testing.assert_close(strengths, torch.tensor(expected).double(), rtol=0, atol=TOLERANCE)


def test_sink_density_inside_is_of_the_changed_model(exact, asked):
    with intervene(exact, EAH(beta=0.02)):
        density = sink_density(exact, asked, 0.02)
    outside = sink_density(exact, asked, 0.02)
    assert (density[1] == outside[1].max()).all()
    assert not torch.equal(density[2:], outside[2:])
    with intervene(exact, Truncate(cut=2)):
        assert (sink_density(exact, asked, 0.0)[2:] == 0).all()


class Rows(Observer):
    """Keeps the full weights of each layer."""

    def __init__(self):
        self.weights = []

    def see(self, layer, call):
        self.weights.append(attention_rows(call))


@every_way
def test_rows_still_sum_to_one(intervention, twin, exact, asked):
    rows = Rows()
    with intervene(exact, intervention), attached(exact, rows):
        exact.logits(asked)
    weights = torch.stack(rows.weights)
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]).double())
    assert (weights >= 0).all()
    assert (weights.triu(1) == 0).all()


def state(lvlm):
    """All that an intervention might leave behind."""
    modules = [lvlm.decoder, *lvlm.layers, *(layer.self_attn for layer in lvlm.layers)]
    return (
        lvlm.decoder.config._attn_implementation,
        lvlm.model.config._attn_implementation,
        [dict(m._forward_hooks) | dict(m._forward_pre_hooks) for m in modules],
        [sorted(vars(m)) for m in modules],
    )


class Interrupt(Observer):
    """Breaks off at layer 3 of the given pass: the reading of the prompt, or a decoding step."""

    def __init__(self, n_passes):
        self.left = n_passes

    def attend(self, layer, call):
        if layer == 3:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
        return super().attend(layer, call)


@pytest.mark.parametrize("name", ["FastV", "truncation to 5", "Simignore", "EAH"])
@pytest.mark.parametrize("n_passes", [1, 2])
def test_an_interrupted_answer_leaves_no_trace(name, n_passes, lvlm, prompt):
    before, logits = state(lvlm), lvlm.logits(prompt)
    interrupt = attached(lvlm, Interrupt(n_passes))
    with pytest.raises(KeyboardInterrupt), intervene(lvlm, CASES[name][0]), interrupt:
        lvlm.generate(prompt, N_TOKENS)
    assert state(lvlm) == before
    assert torch.equal(lvlm.logits(prompt), logits)


def test_nested_and_interrupted_contexts_leave_no_trace(lvlm, prompt):
    before, logits = state(lvlm), lvlm.logits(prompt)
    weights = {name: value.clone() for name, value in lvlm.model.state_dict().items()}

    with intervene(lvlm, FastV()):
        outer = lvlm.logits(prompt)
        with pytest.raises(KeyboardInterrupt), intervene(lvlm, EAH()), attached(lvlm, Interrupt(1)):
            lvlm.logits(prompt)
        assert torch.equal(lvlm.logits(prompt), outer)
        with pytest.raises(InfoflowError), intervene(lvlm, EAH(), Truncate(cut=7)):
            lvlm.logits(prompt)
        with intervene(lvlm):
            assert torch.equal(lvlm.logits(prompt), outer)
        with intervene(lvlm, Truncate(cut=1)):
            assert not torch.equal(lvlm.logits(prompt), outer)
        assert torch.equal(lvlm.logits(prompt), outer)
    assert not torch.equal(outer, logits)
    assert state(lvlm) == before
    assert torch.equal(lvlm.logits(prompt), logits)
    for name, value in lvlm.model.state_dict().items():
        assert torch.equal(value, weights[name])


def test_other_models_are_not_changed(lvlm, prompt, exact, asked, ordinary):
    with intervene(lvlm, Truncate(cut=0)):
        assert torch.equal(exact.logits(asked)[0], ordinary)


def test_a_new_prompt_is_read_anew(exact, asked):
    other = exact.prompt(picture(1), "is the red square left ?")
    chosen = FastV(k=2), Simignore(20)
    alone = []
    for prompt in (asked, other):
        with intervene(exact, *chosen):
            alone.append(exact.generate(prompt, N_TOKENS))
    with intervene(exact, *chosen):
        together = [exact.generate(prompt, N_TOKENS) for prompt in (asked, other)]
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
