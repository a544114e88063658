"""Every measure on a GPU, and in bfloat16, against the CPU in float32.

In float32 a GPU adds in another order: results may differ in their last bits, and tokens must be
equal. TensorFloat-32 is switched off, which PyTorch else uses in the tower's convolution. In
bfloat16 a number has eight bits; the bounds are about three times what a CPU shows in the same
comparison, which therefore runs on every machine.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tiny_models import QUESTION, load_random, picture

from benchmarks import baselines
from infoflow.interventions import EAH, FastV, Simignore, Truncate, intervene, sink_density
from infoflow.methods.cam import llava_cams
from infoflow.methods.faithfulness import faithfulness_curve
from infoflow.methods.flow import attention_flow
from infoflow.methods.truncation import truncated_log_probs, truncation_sweep
from infoflow.models.lvlm import load_lvlm

ANSWER = "two red circle"
N_TOKENS = 8

INTERVENTIONS = {
    "FastV": FastV(k=2, ratio=0.5),
    "truncation": Truncate(cut=3),
    "truncation to 5": Truncate(cut=2, keep=5),
    "Simignore": Simignore(20),
    "EAH": EAH(beta=0.02),
}
SWEPT = {"FastV": FastV(k=2, ratio=0.5), "Simignore": Simignore(20)}


@dataclass(frozen=True)
class Bounds:
    """How far a device and a type may be from the CPU in float32.

    Attributes:
        rows: Attention weights and shares, absolute.
        logits: In units of the standard deviation of the CPU's logits.
        chosen: As ``logits``, where an intervention chooses tokens, which may fall out otherwise.
        maps: In units of each map's maximum.
        sinks: Sink densities, absolute: a column at the threshold may fall on either side of it.
        probability: Absolute.
        exact: Whether discrete choices, tokens among them, must be the same.
    """

    rows: float
    logits: float
    chosen: float
    maps: float
    sinks: float
    probability: float
    exact: bool


BOUNDS = {
    torch.float32: Bounds(*(1e-5, 1e-4, 1e-4), maps=1e-4, sinks=0.0, probability=1e-5, exact=True),
    torch.bfloat16: Bounds(
        *(0.03, 0.25, 0.5), maps=0.25, sinks=0.05, probability=1e-3, exact=False
    ),
}
GPU = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
)
PLACES = [
    pytest.param(("cpu", torch.bfloat16), id="cpu-bfloat16"),
    pytest.param(("cuda", torch.float32), id="cuda-float32", marks=GPU),
    pytest.param(("cuda", torch.bfloat16), id="cuda-bfloat16", marks=GPU),
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return load_random(tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="module", params=PLACES)
def other(request, reference):
    device, dtype = request.param
    lvlm = load_lvlm(reference.name, checkpoint=reference.folder, device=device, dtype=dtype)
    lvlm.eos_token_ids = reference.eos_token_ids
    return lvlm


@pytest.fixture(scope="module")
def bounds(other):
    return BOUNDS[other.dtype]


@pytest.fixture(scope="module")
def prompts(reference, other):
    return tuple(lvlm.prompt(picture(), QUESTION) for lvlm in (reference, other))


def both(reference, other, prompts, measure):
    """Take a measure on the CPU in float32 and on the other side."""
    return (measure(lvlm, prompt) for lvlm, prompt in zip((reference, other), prompts, strict=True))


def assert_logits(actual, expected, bound):
    assert actual.device.type == "cpu"
    assert actual.dtype == torch.float32
    assert (actual - expected).abs().max() <= bound * expected.std()


@pytest.fixture(autouse=True)
def _full_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def test_the_model_is_where_and_what_was_asked(other):
    assert {parameter.device.type for parameter in other.model.parameters()} == {other.device.type}
    assert {parameter.dtype for parameter in other.model.parameters()} == {other.dtype}


def test_a_prompt_is_the_same(prompts, bounds):
    expected, actual = prompts
    assert torch.equal(actual.input_ids.cpu(), expected.input_ids)
    embeds = actual.inputs_embeds.float().cpu()
    scale = expected.inputs_embeds.abs().max()
    assert (embeds - expected.inputs_embeds).abs().max() <= bounds.rows * scale


def test_generation(reference, other, prompts, bounds):
    expected, actual = both(
        *(reference, other, prompts), lambda lvlm, prompt: lvlm.generate(prompt, N_TOKENS).cpu()
    )
    assert actual.shape == expected.shape
    assert torch.equal(actual, expected) or not bounds.exact


@pytest.mark.parametrize("answer", [None, ANSWER])
@pytest.mark.parametrize("head_reduce", ["mean", "max"])
def test_attention_flow(reference, other, prompts, bounds, answer, head_reduce):
    expected, actual = both(
        *(reference, other, prompts),
        lambda lvlm, prompt: attention_flow(lvlm, prompt, answer, head_reduce),
    )
    for name in ("rows", "shares"):
        torch.testing.assert_close(
            getattr(actual, name), getattr(expected, name), rtol=0, atol=bounds.rows
        )
    assert actual.shares.sum(-1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("keep", [0, 5])
def test_sweep_with_decoding(reference, other, prompts, bounds, keep):
    expected, actual = both(
        *(reference, other, prompts),
        lambda lvlm, prompt: truncation_sweep(lvlm, prompt, keep, max_new_tokens=N_TOKENS),
    )
    assert_logits(actual.logits, expected.logits, bounds.chosen if keep else bounds.logits)
    assert torch.equal(actual.tokens, expected.tokens) or not bounds.exact


def test_the_sweep_equals_masked_passes_there(other, prompts, bounds):
    """Sharing work between cuts adds no more error than the type has."""
    prompt = prompts[1]
    sweep = truncation_sweep(other, prompt)
    image = baselines.image_positions(prompt)
    with torch.no_grad():
        naive = torch.stack(
            [
                baselines.masked_logits(other, prompt.inputs_embeds, cut, image)
                for cut in range(other.n_layers + 1)
            ]
        )
    assert_logits(sweep.logits, naive.float().cpu(), bounds.logits)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_cam(reference, other, prompts, bounds, checkpointed):
    expected, actual = both(
        *(reference, other, prompts),
        lambda lvlm, prompt: llava_cams(
            *(lvlm, prompt, ANSWER), n_samples=3, micro_batch=2, checkpointed=checkpointed
        ),
    )
    for (site, weights), cam in expected.items():
        assert torch.equal(actual[site, weights].defined, cam.defined)
        maps, others = cam.maps[cam.defined], actual[site, weights].maps[cam.defined]
        peaks = maps.amax((-2, -1), keepdim=True)
        assert ((others - maps) / peaks).abs().max() <= bounds.maps, (site, weights)


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_interventions(reference, other, prompts, bounds, name):
    def measure(lvlm, prompt):
        with torch.no_grad(), intervene(lvlm, INTERVENTIONS[name]):
            logits = lvlm.logits(prompt)[0, -1].float().cpu()
            return logits, lvlm.generate(prompt, N_TOKENS).cpu()

    (expected, tokens), (actual, others) = both(reference, other, prompts, measure)
    assert_logits(actual, expected, bounds.chosen)
    assert torch.equal(others, tokens) or not bounds.exact


@pytest.mark.parametrize("name", SWEPT)
def test_measures_under_an_intervention(reference, other, prompts, bounds, name):
    def measure(lvlm, prompt):
        with intervene(lvlm, SWEPT[name]):
            return truncation_sweep(lvlm, prompt, max_new_tokens=3), attention_flow(lvlm, prompt)

    (sweep, flow), (other_sweep, other_flow) = both(reference, other, prompts, measure)
    assert_logits(other_sweep.logits, sweep.logits, bounds.chosen)
    # attention may come to rest on another token than one that was chosen otherwise
    apart = (other_flow.shares - flow.shares).abs().max()
    assert apart <= bounds.rows
    assert torch.equal(other_sweep.tokens, sweep.tokens) or not bounds.exact


def test_log_probabilities_under_truncation(reference, other, prompts, bounds):
    expected, actual = both(
        *(reference, other, prompts),
        lambda lvlm, prompt: truncated_log_probs(lvlm, prompt, ANSWER),
    )
    assert (actual - expected).abs().max() <= bounds.logits * expected.std()


def test_sink_density(reference, other, prompts, bounds):
    expected, actual = both(
        *(reference, other, prompts), lambda lvlm, prompt: sink_density(lvlm, prompt, beta=0.02)
    )
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= bounds.sinks


def test_perturbation_curves(reference, other, prompts, bounds):
    grid = prompts[0].grid
    heat = np.arange(grid.rows * grid.cols).reshape(grid.rows, grid.cols)
    for curve in ("deletion", "insertion"):
        expected, actual = both(
            *(reference, other, prompts),
            lambda lvlm, prompt, curve=curve: faithfulness_curve(
                *(lvlm, prompt, ANSWER, heat, curve), n_steps=4
            ),
        )
        assert abs(actual.scores - expected.scores).max() <= bounds.probability
