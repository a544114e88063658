"""Models whose layers lie on several devices, or are lent to one, measure as they do on one."""

from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from accelerate import dispatch_model
from accelerate.utils import check_device_map, set_module_tensor_to_device
from checkpoints import TEXT
from pretended import devices
from tiny_models import PUBLISHED, QUESTION, load_random, never_ending, picture
from transformers import LlamaConfig

from infoflow.errors import InfoflowError
from infoflow.interventions import EAH, FastV, Simignore, Truncate, intervene, sink_density
from infoflow.methods.cam import llava_cams
from infoflow.methods.faithfulness import faithfulness_curve, randomised_weights
from infoflow.methods.flow import attention_flow, attention_matrix
from infoflow.methods.gradients import last_layer_gradient_maxima
from infoflow.methods.truncation import truncated_log_probs, truncation_sweep
from infoflow.models import placement
from infoflow.models.lvlm import load_lvlm

# LLaVA is spread below, with every measure; the chat model of Qwen-VL has the parts of the other
MODELS = [name for name in PUBLISHED if name != "qwen-vl-chat-7b"]
ANSWER = torch.tensor([7, 9, 11])
NAMES = {0: "cpu:1", 1: "cpu:2", "cpu": "cpu"}
"""Two GPUs and main memory, pretended."""


def interventions(lvlm):
    n = lvlm.prompt(picture(), QUESTION).spans.image
    return (
        FastV(k=2, ratio=0.5),
        Truncate(cut=3, keep=5),
        Simignore((n.stop - n.start) // 2),
        EAH(beta=0.001),
    )


def under(lvlm, prompt, intervention):
    with torch.no_grad(), intervene(lvlm, intervention):
        return lvlm.logits(prompt), lvlm.generate(prompt, 2)


def under_fastv(lvlm, prompt):
    with intervene(lvlm, FastV(k=2, ratio=0.5)):
        sweep = truncation_sweep(lvlm, prompt, max_new_tokens=2)
        return sweep.logits, sweep.tokens, attention_flow(lvlm, prompt).rows


def cams(lvlm, prompt, checkpointed):
    found = llava_cams(lvlm, prompt, ANSWER, n_samples=2, checkpointed=checkpointed)
    return [cam.maps.nan_to_num(-1) for cam in found.values()]


def sweep(lvlm, prompt, keep):
    found = truncation_sweep(lvlm, prompt, keep, max_new_tokens=2)
    return found.logits, found.tokens


MEASURES = {
    "logits": lambda lvlm, prompt: [lvlm.logits(prompt)],
    "generation": lambda lvlm, prompt: [lvlm.generate(prompt, 3)],
    "flow": lambda lvlm, prompt: [attention_flow(lvlm, prompt, ANSWER).rows],
    "matrix": lambda lvlm, prompt: [attention_matrix(lvlm, prompt, lvlm.n_layers - 1)],
    "sweep": lambda lvlm, prompt: sweep(lvlm, prompt, keep=0),
    "sweep that keeps tokens": lambda lvlm, prompt: sweep(lvlm, prompt, keep=5),
    "log-probabilities": lambda lvlm, prompt: [truncated_log_probs(lvlm, prompt, ANSWER)],
    "CAM": lambda lvlm, prompt: cams(lvlm, prompt, checkpointed=False),
    "CAM, checkpointed": lambda lvlm, prompt: cams(lvlm, prompt, checkpointed=True),
    "sinks": lambda lvlm, prompt: [sink_density(lvlm, prompt, beta=0.02)],
    "sweep and flow under FastV": under_fastv,
    "interventions": lambda lvlm, prompt: [
        result
        for intervention in interventions(lvlm)
        for result in under(lvlm, prompt, intervention)
    ],
    "last layer": lambda lvlm, prompt: [
        torch.tensor(list(last_layer_gradient_maxima(lvlm, prompt).values()))
    ],
    "perturbation": lambda lvlm, prompt: [
        torch.from_numpy(faithfulness_curve(lvlm, prompt, ANSWER, ramp(prompt), n_steps=2).scores)
    ],
}
GRADIENTS = {"CAM", "CAM, checkpointed", "last layer"}
"""What rounds otherwise where it is watched."""
OF_EACH_FAMILY = ("flow", "sweep that keeps tokens")


def ramp(prompt):
    return np.arange(prompt.grid.rows * prompt.grid.cols).reshape(prompt.grid.rows, -1)


def shares_of(lvlm):
    """Bytes of all but the layers, and of one layer."""
    layer = sum(p.numel() for p in lvlm.layers[0].parameters())
    total = sum(p.numel() for p in lvlm.model.parameters())
    return 4 * (total - layer * lvlm.n_layers), 4 * layer


def two_gpus(lvlm, *layers):
    """Free memory for so many layers on each of two GPUs, and in main memory."""
    rest, layer = shares_of(lvlm)
    room = [int(1.2 * layer * (n + 0.5)) for n in layers]
    # a GPU that others lend their layers to keeps room for one more
    return {0: room[0] + int(1.2 * (rest + layer)), 1: room[1], "cpu": room[2] + int(1.2 * layer)}


@contextmanager
def spread(lvlm):
    """The same model, two layers each on two pretended GPUs, the others in main memory."""
    parts = dict(zip(lvlm.family.parts, lvlm.family.part_folders, strict=False))
    other = never_ending(load_lvlm(lvlm.name, checkpoint=lvlm.folder, device="cpu", **parts))
    found = placement.spread_layers(other.model, two_gpus(lvlm, 2, 2, 9), torch.float32)
    places = {name: NAMES[key] for name, key in found.items()}
    with devices():
        # from_pretrained puts single tensors into place when it loads them, dispatching does not
        for name in places.keys() & dict(other.model.named_parameters()).keys():
            set_module_tensor_to_device(other.model, name, places[name])
        skipped = other.model._skip_keys_device_placement
        dispatch_model(other.model, places, main_device="cpu:1", skip_keys=skipped)
        yield other


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    config = LlamaConfig(**{**TEXT, "num_key_value_heads": 2})
    return load_random(tmp_path_factory.mktemp("whole"), config)


@pytest.fixture(scope="module")
def expected(whole):
    # before the model is spread: while it is, all that runs is watched, at twice the time
    return measured(whole, MEASURES.keys() - GRADIENTS)


@pytest.fixture(scope="module")
def in_parts(whole, expected):
    with spread(whole) as other:
        yield other


def measured(lvlm, measures):
    prompt = lvlm.prompt(picture(), QUESTION)
    return {name: MEASURES[name](lvlm, prompt) for name in measures}


def assert_same(in_parts, measure, expected):
    prompt = in_parts.prompt(picture(), QUESTION)
    assert prompt.inputs_embeds.device == in_parts.device == torch.device("cpu:1")
    actual = MEASURES[measure](in_parts, prompt)
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert torch.equal(one.cpu(), other.cpu()), measure


def test_each_family_can_be_spread(lvlm):
    # before the others, while nothing is watched
    found = placement.spread_layers(lvlm.model, two_gpus(lvlm, 2, 2, 9), torch.float32)
    check_device_map(lvlm.model, found)  # each weight has its place
    prefix = next(name for name, m in lvlm.model.named_modules() if m is lvlm.decoder.layers)
    places = [found.pop(f"{prefix}.{i}") for i in range(lvlm.n_layers)]
    assert places == sorted(places, key=[0, 1, "cpu"].index)
    assert set(places) == {0, 1, "cpu"}
    assert set(found.values()) == {0}
    expected = measured(lvlm, OF_EACH_FAMILY)
    with spread(lvlm) as in_parts:
        assert {p.device.type for p in in_parts.layers[-1].parameters()} == {"meta"}
        for measure in OF_EACH_FAMILY:
            assert_same(in_parts, measure, expected[measure])


@pytest.mark.parametrize("measure", MEASURES)
def test_a_spread_model_measures_the_same(whole, expected, in_parts, measure):
    assert_same(in_parts, measure, expected.get(measure) or measured(whole, [measure])[measure])


def test_weights_that_are_elsewhere_cannot_be_drawn_anew(in_parts):
    with (
        pytest.raises(InfoflowError, match="quantised or offloaded"),
        randomised_weights(in_parts),
    ):
        pass


def test_a_model_that_leaves_no_room_for_a_layer_is_not_spread(whole):
    assert placement.spread_layers(whole.model, two_gpus(whole, 2, 0, 1), torch.float32) is None
    free = {0: shares_of(whole)[0] // 2, 1: 10**12, "cpu": 10**12}
    assert placement.spread_layers(whole.model, free, torch.float32) is None


def gpus(n):
    return (
        pytest.mark.gpu,
        pytest.mark.skipif(torch.cuda.device_count() < n, reason=f"fewer than {n} CUDA devices"),
    )


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param((2, 9, 9), id="two GPUs", marks=gpus(2)),
        pytest.param((2, 1, 9), id="two GPUs and main memory", marks=gpus(2)),
        pytest.param((2, None, 9), id="a GPU and main memory", marks=gpus(1)),
    ],
)
def test_a_model_that_no_gpu_holds_is_spread(whole, layers, monkeypatch):
    free = two_gpus(whole, *(n or 0 for n in layers))
    free = free if layers[1] is not None else {0: free[0], "cpu": free["cpu"]}
    monkeypatch.setattr(placement, "free_memory", lambda: free)
    in_parts = never_ending(
        load_lvlm(whole.name, checkpoint=whole.folder, device="auto", dtype="float32")
    )
    assert in_parts.device == torch.device("cuda:0")
    assert len({p.device for p in in_parts.model.parameters()}) == 1 + (layers != (2, None, 9))
    prompts = [model.prompt(picture(), QUESTION) for model in (whole, in_parts)]
    for measure in ("logits", "flow", "sweep", "sweep that keeps tokens", "CAM, checkpointed"):
        expected, actual = (
            MEASURES[measure](*pair) for pair in zip((whole, in_parts), prompts, strict=True)
        )
        for one, other in zip(actual, expected, strict=True):
            torch.testing.assert_close(one.cpu(), other.cpu(), rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(
    not (torch.cuda.is_available() and find_spec("bitsandbytes")),
    reason="no CUDA device, or no bitsandbytes",
)
@pytest.mark.parametrize("kind", ["8bit", "4bit"])
def test_a_quantised_model_is_measured(whole, kind):
    lvlm = never_ending(load_lvlm(whole.name, checkpoint=whole.folder, quantise=kind))
    assert lvlm.digest == f"{whole.digest}-{kind}"  # no result of one is taken for the other's
    prompt = lvlm.prompt(picture(), QUESTION)
    assert attention_flow(lvlm, prompt).shares.sum(-1) == pytest.approx(1, abs=1e-3)
    found = truncation_sweep(lvlm, prompt, max_new_tokens=3)
    assert torch.equal(found.tokens[-1], lvlm.generate(prompt, 3).cpu())
    cam = llava_cams(lvlm, prompt, ANSWER, ("input_layernorm",), ("mean",), n_samples=1, sigma=0.0)
    assert cam["input_layernorm", "mean"].peaks.min() > 0
    with pytest.raises(InfoflowError, match="quantised"), randomised_weights(lvlm):
        pass
