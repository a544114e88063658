"""Find the fault of a mystery model with public measures, and try what a lazy student would.

``python tests/models/mystery_solver.py 20`` solves so many seeds and counts both.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from infoflow import attention_flow, load_lvlm, load_task, truncation_sweep
from infoflow.methods.localisation import coverage, target_mask
from infoflow.models.mystery import FAULTS, MODEL, mystery_model, write_mystery

READING = load_task("textvqa", limit=4)  # no colour is named in these questions
COLOURS = [s for s in load_task("scienceqa", limit=60) if s.kind == "colour"]
UNUSED, NOTHING = 1e-3, 1e-3  # of a logit, of an attention weight


def solve(healthy, mystery):
    """Name the fault, as the key does, without ``token``."""
    flows = [(rows(healthy, s), rows(mystery, s)) for s in READING]
    differ = np.max([np.abs(one - other).max(-1) for one, other in flows], axis=0) > NOTHING
    if not differ.any():
        return {"plant": "swapped", "words": sorted(swapped_words(healthy, mystery))}
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


def swapped_words(healthy, mystery):
    """The two colours that the models exchange most often in open questions."""
    said = Counter()
    for sample in COLOURS:
        question = sample.question.splitlines()[1].removeprefix("Question: ")
        answers = [m.answer(m.prompt(sample.image, question), 2) for m in (healthy, mystery)]
        if answers[0] != answers[1]:
            said[frozenset(answers)] += 1
    return said.most_common(1)[0][0]


def first_unread(lvlm):
    """The first cut from which on hiding the image changes no logit."""
    sweeps = [
        truncation_sweep(lvlm, lvlm.prompt(s.image, s.question)).logits.numpy() for s in COLOURS[:4]
    ]
    moved = np.max([np.abs(each - each[-1]).max(-1) for each in sweeps], axis=0) > UNUSED
    return int(np.flatnonzero(moved)[-1]) + 1


def guess_by_weights(healthy, mystery):
    """What subtracting weights gives: the layer that changed most, and the commonest kind."""
    change = [
        sum(
            float((one - other).norm() / one.norm())
            for one, other in zip(a.parameters(), b.parameters(), strict=True)
        )
        for a, b in zip(healthy.layers, mystery.layers, strict=True)
    ]
    return {"plant": FAULTS[0], "layer": int(np.argmax(change))}


def key_of(seed):
    """The teacher's key, as ``solve`` writes it."""
    fault = dict(mystery_model(seed).fault)
    fault.pop("token", None)
    return fault | ({"words": sorted(fault["words"])} if "words" in fault else {})


def opened(seed, folder):
    """Write a seed's folder and load what a student gets."""
    write_mystery(folder, seed)
    return load_lvlm(MODEL, checkpoint=folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    shipped, right = load_lvlm(MODEL), Counter()
    for number in range(int(sys.argv[1])):
        with tempfile.TemporaryDirectory() as place:
            student, key = opened(number, Path(place)), key_of(number)
            found = solve(shipped, student), guess_by_weights(shipped, student)
        right["solver"] += found[0] == key
        right["weights"] += found[1] == key
        right["weights, layer alone"] += found[1]["layer"] == key.get("layer")
        print(number, key, found[0] == key or found[0], found[1]["layer"], flush=True)
    print(dict(right), "of", sys.argv[1])
