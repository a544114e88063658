"""Mystery models: the same in form whatever the fault, found by measuring and not by weights."""

import hashlib
import sys

import mystery_solver
import numpy as np
import pytest
import torch

from infoflow import InfoflowError, attention_flow, cli, load_lvlm, load_task
from infoflow.interventions import plants
from infoflow.interventions.mystery import MODEL, mystery_model, redraw_weights, write_mystery

SEEDS = (0, 7, 11)  # scaled, scaled, blind: quick to make; `mystery_solver.py` goes over all kinds
SLOW_SEED = 1  # a decoy


@pytest.fixture(scope="module")
def healthy():
    return load_lvlm(MODEL, device="cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {seed: tmp_path_factory.mktemp("mystery") / "model" for seed in SEEDS}
    for seed, folder in made.items():
        write_mystery(folder, seed)
    return made


def test_weights_drawn_anew_compute_the_same(healthy):
    drawn = load_lvlm(MODEL, device="cpu")
    redraw_weights(drawn, np.random.default_rng(0))
    for sample in [*load_task("scienceqa", limit=2), load_task("chair")[0]]:
        prompts = [m.prompt(sample.image, sample.question) for m in (healthy, drawn)]
        one, other = healthy.logits(prompts[0]), drawn.logits(prompts[1])
        assert (one - other).abs().max() < 1e-4
        rows = [attention_flow(m, p).rows for m, p in zip((healthy, drawn), prompts, strict=True)]
        assert (rows[0] - rows[1]).abs().max() < 1e-5


def test_no_matrix_of_the_decoder_is_left_as_it_was(healthy, folders):
    for folder in folders.values():
        weights = load_lvlm(MODEL, checkpoint=folder).decoder.state_dict()
        for name, shipped in healthy.decoder.state_dict().items():
            if shipped.ndim > 1:
                assert (weights[name] - shipped).norm() > 0.5 * shipped.norm(), name
            else:
                assert len(weights[name].unique()) == 1, name  # a gain of one number


def test_a_cut_head_looks_like_the_others(healthy):
    """Neither zeros nor size nor rank show it, though its two matrices give next to nothing."""
    blind, cut = plants.plant(healthy, "blind"), plants.plant(healthy, "blind")
    redraw_weights(cut, np.random.default_rng(0))
    sample = load_task("scienceqa", limit=1)[0]
    logits = [m.logits(m.prompt(sample.image, sample.question)) for m in (cut, blind)]
    assert (logits[0] - logits[1]).abs().max() < 1e-4
    first, sizes, ranks = cut.fault["layer"], [], []
    for layer in cut.decoder.layers:
        attention = layer.self_attn
        width = attention.head_dim
        values = torch.stack(attention.v_proj.weight.split(width))
        outs = torch.stack(attention.o_proj.weight.split(width, dim=1))
        found = torch.linalg.svdvals(torch.stack([values, outs.mT]))
        sizes.append(found[..., 0].log10())
        ranks.append((found[..., -1] / found[..., 0]).log10())
    sizes, ranks = torch.stack(sizes), torch.stack(ranks)
    for told in (sizes, ranks):
        intact, cuts = told[:first], told[first:]
        assert intact.min() < cuts.quantile(0.1)
        assert cuts.quantile(0.9) < intact.max()


def test_folders_differ_in_the_weights_alone(folders):
    listed = []
    for folder in folders.values():
        files = sorted(folder.iterdir())
        assert {path.stat().st_mtime for path in files} == {0}
        others = [path for path in files if path.suffix != ".safetensors"]
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in others]
        listed.append(([(path.name, path.stat().st_size) for path in files], digests))
    assert all(each == listed[0] for each in listed)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_solver_finds_it_and_subtracted_weights_do_not(healthy, folders, seed):
    student = load_lvlm(MODEL, checkpoint=folders[seed])
    key = mystery_solver.key_of(seed)
    assert mystery_solver.solve(healthy, student) == key
    for guess in mystery_solver.LAZY:
        assert guess(healthy, student) != key


def test_the_solver_finds_a_planted_head(healthy, tmp_path, monkeypatch):
    monkeypatch.setattr(plants, "_N_EXAMPLES", 10)
    student = mystery_solver.opened(SLOW_SEED, tmp_path / "model")
    found = mystery_solver.solve(healthy, student)
    monkeypatch.setattr(plants, "_look_at", lambda *place, **more: None)  # the key does without
    fault = mystery_model(SLOW_SEED).fault
    assert found == {name: fault[name] for name in ("plant", "layer", "head")}
    assert fault["plant"] in ("sink", "decoy")
    assert not torch.equal(student.lm_head.weight, healthy.lm_head.weight)


def test_the_key_is_printed_and_a_full_folder_is_refused(monkeypatch, capsys, folders):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["infoflow", "mystery", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code

    assert call("--seed", "11", "--key") == 0
    assert "blind" in capsys.readouterr().out
    assert call("--seed", "11", "--folder", str(folders[11])) == 2
    assert "not empty" in capsys.readouterr().err
    with pytest.raises(InfoflowError, match="seed"):
        mystery_model(-1)
