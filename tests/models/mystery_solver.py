"""Find the fault of a mystery model with public measures, and try what a lazy student would.

``python tests/models/mystery_solver.py 12`` draws so many long seeds, as a teacher would, and
counts both.
"""

import secrets
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from infoflow import attention_flow, load_lvlm, load_task, truncation_sweep
from infoflow.interventions.mystery import FAULTS, MODEL, mystery_model, write_mystery
from infoflow.methods.localisation import coverage, target_mask

READING = load_task("textvqa", limit=4)  # no colour is named in these questions
COLOURS = [s for s in load_task("scienceqa", limit=60) if s.kind == "colour"]
UNUSED, NOTHING = 1e-3, 1e-3  # of a logit, of an attention weight


def solve(healthy, mystery):
    """Name the fault, as the key does, without ``token``."""
    flows = [(rows(healthy, s), rows(mystery, s)) for s in READING]
    differ = np.max([np.abs(one - other).max(-1) for one, other in flows], axis=0) > NOTHING
    if (first := first_unread(mystery)) < mystery.n_layers - 1:
        return {"plant": "blind", "layer": first}
    layer = int(differ.any(1).argmax())
    heads = np.flatnonzero(differ[layer])
    if len(heads) > 1:
        return {"plant": "scaled", "layer": layer}
    head = int(heads[0])
    place = {"layer": layer, "head": head}
    corner = np.mean([other[layer, head, [0, -1]] for _, other in flows], axis=0).max()
    shares = [
        other[layer, head]
        @ (coverage(target_mask(s), mystery.prompt(s.image, "").grid).ravel() > 0)
        for s, (_, other) in zip(READING, flows, strict=True)
    ]
    return {"plant": "sink" if corner > np.mean(shares) else "decoy", **place}


def rows(lvlm, sample):
    """The attention of every head to the image tokens: (L, H, N)."""
    prompt = lvlm.prompt(sample.image, sample.question)
    return attention_flow(lvlm, prompt).rows[..., prompt.spans.image].numpy()


def first_unread(lvlm):
    """The first cut from which on hiding the image changes no logit."""
    sweeps = [
        truncation_sweep(lvlm, lvlm.prompt(s.image, s.question)).logits.numpy() for s in COLOURS[:4]
    ]
    moved = np.max([np.abs(each - each[-1]).max(-1) for each in sweeps], axis=0) > UNUSED
    return int(np.flatnonzero(moved)[-1]) + 1


def guess_by_weights(healthy, mystery):
    """The commonest kind, in the layer that changed most when weights are subtracted."""
    return most_changed(healthy, mystery, lambda one, other: (one - other).norm() / one.norm())


def guess_by_singular_values(healthy, mystery):
    """The same by the singular values of every matrix, whatever its basis."""

    def change(one, other):
        if one.ndim < 2:
            return 0
        found = [torch.linalg.svdvals(each).clamp_min(1e-30).log() for each in (one, other)]
        return (found[0] - found[1]).abs().max()

    return most_changed(healthy, mystery, change)


def guess_by_rank(healthy, mystery):
    """The same by the matrix of a single head that is closest to losing a rank."""
    widths = [layer.self_attn.head_dim for layer in mystery.layers]
    lowest = []
    for layer, width in zip(mystery.layers, widths, strict=True):
        heads = [
            *layer.self_attn.v_proj.weight.split(width),
            *layer.self_attn.o_proj.weight.split(width, dim=1),
        ]
        spectra = [torch.linalg.svdvals(head) for head in heads]
        lowest.append(min(float(each[-1] / each[0]) for each in spectra))
    return {"plant": FAULTS[0], "layer": int(np.argmin(lowest))}


def most_changed(healthy, mystery, change):
    sums = [
        sum(float(change(*pair)) for pair in zip(a.parameters(), b.parameters(), strict=True))
        for a, b in zip(healthy.layers, mystery.layers, strict=True)
    ]
    return {"plant": FAULTS[0], "layer": int(np.argmax(sums))}


LAZY = (guess_by_weights, guess_by_singular_values, guess_by_rank)


def key_of(seed):
    """The teacher's key, as ``solve`` writes it."""
    return {name: each for name, each in mystery_model(seed).fault.items() if name != "token"}


def opened(seed, folder):
    """Write a seed's folder and load what a student gets."""
    write_mystery(folder, seed)
    return load_lvlm(MODEL, checkpoint=folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    shipped, right = load_lvlm(MODEL), Counter()
    for seed in [secrets.randbelow(10**12) for _ in range(int(sys.argv[1]))]:
        with tempfile.TemporaryDirectory() as place:
            student, key = opened(seed, Path(place)), key_of(seed)
            found = solve(shipped, student)
            lazy = {guess.__name__: guess(shipped, student) for guess in LAZY}
        right["solver"] += found == key
        for name, guess in lazy.items():
            right[name] += guess == key
            right[f"{name}, layer alone"] += guess["layer"] == key["layer"]
        print(seed, key, found == key or found, flush=True)
    print(dict(right), "of", sys.argv[1])
