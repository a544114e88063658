"""The benchmarks' arithmetic, their table, and one run of all of them at a toy size."""

import ctypes
import json
import multiprocessing
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from benchmarks import __main__ as benchmark
from benchmarks import baselines, eager
from benchmarks.arithmetic import H200, Ways, saved_share
from benchmarks.gauges import peak_megabytes
from benchmarks.interventions import interventions
from benchmarks.model import SIZES, Size, random_lvlm, random_model
from benchmarks.table import Line, print_line
from benchmarks.teacher_forcing import with_answer
from infoflow.interventions import intervene, sink_density
from infoflow.methods.knockout import attention_knockout
from infoflow.methods.truncation import truncated_log_probs, truncation_sweep
from infoflow.models.prompt import Spans

TOY = Size(layers=4, width=32, inner=48, heads=2, side=9, vocabulary=99)
SEVEN = SIZES["llava-1.5-7b"]
PROMPT = Spans(system=slice(0, 35), image=slice(35, 611), user=slice(611, 636))


def counted_tokens(lvlm, run):
    """Count the tokens that go through decoder layers, by their first norm's input."""
    count = 0

    def see(module, args, output):
        nonlocal count
        count += output.shape[0] * output.shape[1]

    norms = [layer.input_layernorm for layer in lvlm.layers]
    handles = [norm.register_forward_hook(see) for norm in norms]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return count


@pytest.fixture(scope="module")
def toy():
    lvlm, prompt = random_lvlm(TOY)
    truncation_sweep(lvlm, prompt)  # the check that runs once a model
    return lvlm, prompt


@pytest.mark.parametrize(("n_tokens", "keep"), [(1, 0), (5, 0), (1, 7), (3, 7)])
def test_tokens_of_the_sweep_are_those_counted(toy, n_tokens, keep):
    lvlm, prompt = toy
    work = Ways(lvlm.n_layers, prompt.spans).sweep(n_tokens, keep)
    assert work.tokens == counted_tokens(
        lvlm, lambda: truncation_sweep(lvlm, prompt, keep, max_new_tokens=n_tokens)
    )


@pytest.mark.parametrize(
    ("baseline", "n_tokens"),
    [
        (baselines.masked_without_cache, 1),
        (baselines.dropped_unshared, 1),
        (baselines.masked_with_cache, 4),
    ],
)
def test_tokens_of_the_usual_ways_are_those_counted(toy, baseline, n_tokens):
    lvlm, prompt = toy
    ways, image = Ways(lvlm.n_layers, prompt.spans), baselines.image_positions(prompt)
    work = {
        baselines.masked_without_cache: ways.masked(lvlm.n_layers + 1),
        baselines.dropped_unshared: ways.dropped(),
        baselines.masked_with_cache: ways.masked_with_cache(n_tokens),
    }[baseline]

    def run():
        for cut in range(lvlm.n_layers + 1):
            baseline(lvlm, prompt, cut, image, n_tokens)

    assert counted_tokens(lvlm, run) == work.tokens


@pytest.mark.parametrize("n_tokens", [1, 5])
def test_tokens_of_an_answer_read_in_are_those_counted(toy, n_tokens):
    lvlm, prompt = toy
    ids, image = torch.arange(n_tokens), baselines.image_positions(prompt)
    ways = Ways(lvlm.n_layers, with_answer(prompt.spans, n_tokens))

    def usual():
        for cut in range(lvlm.n_layers + 1):
            baselines.masked_log_prob(lvlm, prompt, cut, image, ids)

    assert ways.masked(lvlm.n_layers + 1).tokens == counted_tokens(lvlm, usual)
    assert ways.sweep().tokens == counted_tokens(
        lvlm, lambda: truncated_log_probs(lvlm, prompt, ids)
    )


@pytest.mark.parametrize(("target", "window"), [("last", 1), ("question", 3)])
def test_tokens_of_a_knockout_are_those_counted(toy, target, window):
    lvlm, prompt = toy
    ways, user = Ways(lvlm.n_layers, prompt.spans), prompt.spans.user
    n_own = 1 if target == "last" else user.stop - user.start
    work = ways.one_pass() + ways.knockout(n_own, window)
    blocked = partial(attention_knockout, lvlm, prompt, torch.tensor([1]), "image", target, window)
    assert work.tokens == counted_tokens(lvlm, blocked)


@pytest.mark.parametrize("name", ["FastV", "Simignore", "EAH"])
def test_tokens_under_an_intervention_are_those_of_an_answer_both_ways(toy, name):
    lvlm, prompt = toy
    intervention, usual = interventions(prompt)[name]
    work = Ways(lvlm.n_layers, prompt.spans).answer(16)
    assert work.tokens == counted_tokens(lvlm, lambda: usual(lvlm, prompt))
    with intervene(lvlm, intervention):
        assert work.tokens == counted_tokens(lvlm, lambda: lvlm.generate(prompt, 16))


def test_tokens_of_sinks_are_those_of_one_pass_both_ways(toy):
    lvlm, prompt = toy
    work = Ways(lvlm.n_layers, prompt.spans).one_pass()
    for way in (sink_density, eager.sink_density):
        assert work.tokens == counted_tokens(lvlm, partial(way, lvlm, prompt, beta=0.002))


def test_the_arithmetic_at_7b():
    # by hand: 8.34 TFLOP a full pass at 790 TFLOP/s; 405 MB a layer at 4.3 TB/s; 32 layers
    ways = Ways(32, PROMPT)
    assert SEVEN.layer_parameters == 4 * 4096**2 + 3 * 4096 * 11008
    assert ways.one_pass().seconds(SEVEN.layer, H200) == pytest.approx(8.34e12 / 790e12, rel=2e-3)
    masked, sweep = ways.masked(33), ways.sweep()
    assert masked.tokens / sweep.tokens == pytest.approx(33 / (1 + 25 * 33 / (2 * 636)))
    assert masked.seconds(SEVEN.layer, H200) == pytest.approx(33 * 8.34 / 790, rel=2e-3)
    assert 0.015 < sweep.seconds(SEVEN.layer, H200) < 0.020
    # a decoding step reads all weights once, for one token or for 33
    step = 32 * 2 * SEVEN.layer_parameters / 4.3e12
    decoding = ways.sweep(16).seconds(SEVEN.layer, H200) - sweep.seconds(SEVEN.layer, H200)
    assert decoding == pytest.approx(15 * step)
    cached = ways.masked_with_cache(16).seconds(SEVEN.layer, H200)
    cached -= masked.seconds(SEVEN.layer, H200)
    assert cached == pytest.approx(33 * 15 * step)
    assert ways.gradients(10).seconds(SEVEN.layer, H200) == pytest.approx(0.211, abs=1e-3)


def test_checkpointing_saves_more_the_deeper_the_model():
    shares = [saved_share(replace(TOY, layers=layers)) for layers in (1, 8, 32)]
    assert shares == sorted(shares, reverse=True)
    # 6 + 3 * 48 / 32 = 10.5 numbers a token and layer, in units of D
    assert shares[1] == pytest.approx((8 + 10.5) / (8 * 10.5))


def test_a_missed_line_is_said_plainly(capsys):
    line = Line("a, against b", "s", usual=3.0, ours=1.0, predicted=4.0, wanted=3.2)
    assert line.ratio == 3
    assert line.reached is False
    print_line(line, on_gpu=False)
    assert capsys.readouterr().out.split()[-6:] == ["1.00", "s", "3.0", "4.0", "3.2", "NO"]
    assert replace(line, wanted=3.0).reached is True
    assert replace(line, wanted=None).reached is None


def test_one_run_prints_every_line_and_writes_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(SIZES, "quick", TOY)
    monkeypatch.setattr("benchmarks.sweep.KEEP", 8)
    # memory is read in a process of its own: see the next test
    for part in ("flow", "cam", "interventions"):
        monkeypatch.setattr(f"benchmarks.{part}.peak_megabytes", lambda *arguments: 1.0)
    monkeypatch.setattr("benchmarks.threads._seconds", lambda threads: 1.0)  # up to a minute
    target = tmp_path / "results" / "cpu.json"
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--size", "quick", "--output", str(target)])
    try:
        benchmark.main()
    finally:
        torch.set_grad_enabled(True)
    printed = capsys.readouterr().out
    results = json.loads(target.read_text())
    names = [line["name"] for line in results["lines"]]
    assert len(names) == len(set(names)) == 22
    for name in names:
        assert name in printed
    asked = {line["name"].split(",")[0] for line in results["lines"] if line["wanted"]}
    assert asked == {"sweep", "one pass", "CAM of all layers", "CAM checkpointed"}
    remarks = [line["remark"] for line in results["lines"]]
    answered = [remark for remark in remarks if remark.startswith("tokens equal")]
    assert len(answered) == 7
    for remark in answered:
        said, within = remark.partition(" (")[0].split("; first logits within ")
        same, total = said.removeprefix("tokens equal: ").split(" of ")
        assert same == total
        assert float(within) < 5e-5
    blocked = [remark for remark in remarks if remark.startswith("first logits within")]
    assert len(blocked) == 2
    assert all(float(remark.split()[3]) < 5e-5 for remark in blocked)
    (forced,) = (remark for remark in remarks if remark.startswith("log-probabilities"))
    assert float(forced.split(" within ")[1]) < 5e-5
    assert "densities within 0e+00" in remarks
    assert set(results["machine"]) == {"device", "hardware", "python", "torch", "transformers"}
    assert "H200" not in printed


def fill_64_megabytes(lvlm, prompt):
    return torch.ones(64, 2**20, dtype=torch.uint8)


def give_back_free_room():
    ctypes.CDLL(None).malloc_trim(0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's high-water mark is Linux's")
def test_peak_memory_is_what_a_task_needs_beyond_what_was_there(toy, monkeypatch):
    # a fresh process imports for seconds; in a fork the room its parent has freed would be filled
    pool = partial(multiprocessing.get_context("fork").Pool, initializer=give_back_free_room)
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: SimpleNamespace(Pool=pool))
    assert peak_megabytes(fill_64_megabytes, TOY, *toy) == pytest.approx(64, abs=4)


def test_the_7b_size_without_a_gpu_is_one_clear_error(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--size", "llava-1.5-7b"])
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: the size llava-1.5-7b needs a CUDA device, and this machine has none; for a CPU "
        "there are quick, small, deep.\n"
    )


def test_the_7b_size_has_the_shapes_of_the_published_model():
    """Built without memory: parameter counts of the published decoder, tower and projector."""
    model = random_model(replace(SEVEN, device="meta")).model
    counts = [
        sum(parameter.numel() for parameter in part.parameters())
        for part in (model.language_model, model.vision_tower, model.multi_modal_projector)
    ]
    # LLaMA-2-7B without its head has 6,476,271,616 beside its 32,064 (there 32,000) embeddings
    assert counts == [6_476_271_616 + 32064 * 4096, 303_507_456, 20_979_712]
    assert model.dtype == torch.bfloat16
