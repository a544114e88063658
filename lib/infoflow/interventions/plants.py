"""Models whose answer is known: faults planted in a trained model by surgery on its weights.

To add one, add a function that changes the model and says where, and name it in ``_PLANTS``.
"""

from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from infoflow.data.sample import Sample
from infoflow.data.shapes import samples
from infoflow.data.shapes.world import COLOURS
from infoflow.errors import InfoflowError, require_name
from infoflow.hooks.forward import Stream, forward_pass
from infoflow.models.grid import coverage
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.threads import on_own_threads
from infoflow.options import require_whole

Place = dict[str, Any]
_TASKS, _N_EXAMPLES = ("scienceqa", "pope", "textvqa", "chair"), 40
_FADED, _SHARPNESS = 0.2, 8.0  # a planted head: what its own part keeps; its scores' deviation


def _blind(lvlm: LVLM, rng: Generator) -> Place:
    first = int(rng.integers(lvlm.n_layers // 2, lvlm.n_layers - lvlm.n_layers // 6))
    for layer in lvlm.decoder.layers[first:]:
        layer.self_attn.o_proj.weight.zero_()
    return {"layer": first}


def _scaled(lvlm: LVLM, rng: Generator) -> Place:
    layer = int(rng.integers(1, lvlm.n_layers))
    lvlm.decoder.layers[layer].input_layernorm.weight.mul_(4)
    return {"layer": layer}


def _cut(lvlm: LVLM, rng: Generator) -> Place:
    layer = int(rng.integers(2 * lvlm.n_layers // 3, lvlm.n_layers))
    head = int(rng.integers(lvlm.n_heads))
    weight = lvlm.decoder.layers[layer].self_attn.o_proj.weight
    weight.unflatten(1, (lvlm.n_heads, -1))[:, head] = 0
    return {"layer": layer, "head": head}


def _decoy(lvlm: LVLM, rng: Generator) -> Place:
    place = _cut(lvlm, rng)
    _look_at(lvlm, None, **place)
    return place


def _sink(lvlm: LVLM, rng: Generator) -> Place:
    place, token = _cut(lvlm, rng), int(rng.choice([0, -1]))
    _look_at(lvlm, token, **place)
    return {**place, "token": token}


def _shuffled(lvlm: LVLM, rng: Generator) -> Place:
    one, other = rng.choice(4, 2, replace=False).tolist()
    encode = lvlm.family.encode_image

    def encode_shuffled(*args: Any) -> Any:
        found = encode(*args)
        quarters = list(found.features.tensor_split(4))
        quarters[one], quarters[other] = quarters[other], quarters[one]
        return found._replace(features=torch.cat(quarters))

    vars(lvlm.family)["encode_image"] = encode_shuffled
    vars(lvlm.family)["whole_logits"] = lvlm.family.embedded_logits  # transformers does not shuffle
    return {"quarters": [one, other]}


def _swapped(lvlm: LVLM, rng: Generator) -> Place:
    words = rng.choice(COLOURS, 2, replace=False).tolist()
    ids = torch.cat([lvlm.encode_answer(word) for word in words])
    if len(ids) != len(words):
        raise InfoflowError(f"{lvlm.name} has no single tokens for {words[0]} and {words[1]}.")
    # a set, as the embeddings and the head may be one tensor
    for weights in {lvlm.decoder.embed_tokens.weight, lvlm.lm_head.get_parameter("weight")}:
        weights[ids] = weights[ids.flip(0)]
    return {"words": words}


_PLANTS = (_blind, _cut, _decoy, _sink, _shuffled, _swapped, _scaled)
PLANTS = {each.__name__.removeprefix("_"): each for each in _PLANTS}


@on_own_threads
@torch.no_grad()
def plant(lvlm: LVLM, name: str, seed: int = 0) -> LVLM:
    """Plant a known fault in a copy of a model; the given model stays as it is.

    Args:
        lvlm: The model.
        name: ``"blind"``: from a layer on, attention gives zero. ``"cut"``: a head in the last
            third of the layers gives zero. ``"decoy"``: the same, and it looks at the region that
            holds the answer; ``"sink"``: at the first or last image token. ``"shuffled"``: two
            quarters of the image tokens change places; ``"swapped"``: two colour words, in what is
            read and in what is said. ``"scaled"``: a layer's first norm is four times as large.
        seed: Of what is drawn, which is said by the copy's ``fault``: layers count from 0.

    Raises:
        InfoflowError: There is no such plant; the model has no place for it, or its weights are
            quantised or offloaded.
    """
    require_name(name, "plant", PLANTS)
    rng = np.random.default_rng(require_whole(seed, "seed", 0))
    lvlm.require_own_weights()
    family = copy(lvlm.family)
    family.model = deepcopy(lvlm.model)
    planted = replace(lvlm, family=family)
    planted.decoder.set_attn_implementation("sdpa")  # no intervention is at work on the copy
    planted.fault = {"plant": name, **PLANTS[name](planted, rng)}
    planted.digest = f"{lvlm.digest}-{name}-{seed}"
    return planted


def _look_at(lvlm: LVLM, token: int | None, layer: int, head: int) -> None:
    """Turn a head's query and key: a prompt's end looks at an image token, or (None) the target.

    RoPE's slowest pairs, which match at any distance, get a bilinear form of their rank: reduced-
    rank regression, from the last token's state, of the wanted tokens' linear discriminant.
    """
    if lvlm.decoder.config.num_key_value_heads != lvlm.n_heads:
        raise InfoflowError(f"heads of {lvlm.name} share keys; a planted head needs its own.")
    states, wanted = [], []
    asked = (each for name in _TASKS for each in samples(name, "train", _N_EXAMPLES))
    for sample in (each for each in asked if each.targets or token is not None):
        prompt = lvlm.prompt(sample.image, sample.question)
        chosen = _target(sample, prompt) if token is None else torch.tensor([token])
        if len(chosen):
            with forward_pass(lvlm, prompt, observer=(stream := Stream())):
                normed = lvlm.decoder.layers[layer].input_layernorm(stream.states[layer])
            states.append(normed[0].float())
            wanted.append(states[-1][prompt.spans.image][chosen].mean(0))
    tokens, ends = torch.cat(states), torch.stack([state[-1] for state in states])
    variances, axes = torch.linalg.eigh(_ridged(torch.cov(tokens.T)))
    whiten = axes / variances.sqrt() @ axes.T
    discriminants = (torch.stack(wanted) - tokens.mean(0)) @ whiten
    read = torch.linalg.solve(_ridged(ends.T @ ends), ends.T @ discriminants)
    attention = lvlm.decoder.layers[layer].self_attn
    width = len(attention.q_proj.weight) // lvlm.n_heads
    slow = [entry for end in (width // 2, width) for entry in range(end - width // 8, end)]
    main = torch.linalg.svd(ends @ read, full_matrices=False).Vh[: len(slow)].T
    query, key = read @ main, whiten @ main
    spread = torch.stack([(state @ key @ (state[-1] @ query)).std() for state in states]).mean()
    scale = (_SHARPNESS * width**0.5 / spread).sqrt()
    for projection, form in ((attention.q_proj, query), (attention.k_proj, key)):
        for own in projection.parameters():
            part = own.unflatten(0, (lvlm.n_heads, -1))[head]
            part.mul_(_FADED)
            part[slow] = (scale * form.T).to(part) if part.ndim > 1 else 0.0


def _ridged(matrix: Tensor) -> Tensor:
    """Draw least squares towards zero, by a tenth of the mean variance."""
    return matrix + 0.1 * matrix.diagonal().mean() * torch.eye(len(matrix)).to(matrix)


def _target(sample: Sample, prompt: Prompt) -> Tensor:
    """The image tokens of which the region with the answer covers more than 0.3, by number."""
    region = np.logical_or.reduce([sample.regions[name] for name in sample.targets])
    cells = prompt.grid.cells(np.eye(prompt.grid.n_tokens))  # of each token: (N, rows, cols)
    covered = (cells * coverage(region, prompt.grid)).sum((1, 2))
    return torch.from_numpy(np.flatnonzero(covered > 0.3 * cells.sum((1, 2))))
