"""Mystery models: a folder with a model that has one hidden fault, and the teacher's key to it."""

import os
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from scipy.stats import ortho_group
from torch import Tensor

from infoflow.errors import InfoflowError
from infoflow.files import require_path
from infoflow.interventions.plants import plant
from infoflow.models.checkpoint import in_one_line
from infoflow.models.lvlm import LVLM, load_lvlm
from infoflow.options import require_whole

MODEL = "tiny-llava-1.5"
FAULTS = ("blind", "decoy", "sink", "scaled")
"""The plants that lie in the decoder's layers; swapped words would show in embeddings' norms."""
_LARGEST, _LOST = 10.0, 7.0  # powers of ten: of a head's size, and between a sum and what it loses


def mystery_model(seed: int) -> LVLM:
    """Make the model with the fault that a seed draws; its ``fault`` is the teacher's key."""
    rng = np.random.default_rng(require_whole(seed, "seed", 0))
    name, own_seed = str(rng.choice(FAULTS)), int(rng.integers(2**31))
    return plant(load_lvlm(MODEL, device="cpu"), name, own_seed)


def write_mystery(folder: str | Path, seed: int) -> None:
    """Write a seed's model, its weights drawn anew, and a worksheet into a new or empty folder."""
    place = require_path(folder, "folder")
    if place.is_file() or (place.is_dir() and any(place.iterdir())):
        raise InfoflowError(f"{place} is there and not empty; valid: a new folder.")
    lvlm = mystery_model(seed)
    redraw_weights(lvlm, np.random.default_rng([seed, 1]))
    with in_one_line(f"{place} cannot be written"):
        lvlm.model.save_pretrained(place)
        for path in (*lvlm.folder.glob("*token*.json"), lvlm.folder / "preprocessor_config.json"):
            copyfile(path, place / path.name)
        copyfile(Path(__file__).with_name("mystery.md"), place / "WORKSHEET.md")
        for path in place.iterdir():
            os.utime(path, (0, 0))  # the time that making it took would be a hint


@torch.no_grad()
def redraw_weights(lvlm: LVLM, rng: Generator) -> None:
    """Draw a LLaVA-1.5's decoder anew, in place; what it computes stays, but for rounding.

    The residual stream is rotated, norms' gains move into what reads them but for a drawn factor,
    heads get other bases and sizes: neither differences to the shipped weights nor singular values
    tell anything. Products of a head's two matrices keep what they were, and would tell.
    """
    decoder, last = lvlm.decoder, lvlm.model.model.multi_modal_projector.linear_2
    rotation = torch.from_numpy(ortho_group.rvs(decoder.config.hidden_size, random_state=rng))
    readers: list[tuple[Any, list[Any]]] = [(decoder.norm, [lvlm.lm_head])]
    writers = [last]
    for layer in decoder.layers:
        attention, mlp = layer.self_attn, layer.mlp
        _redraw_values(attention, rng)
        _redraw_pairs(attention, rng)
        projections = [attention.q_proj, attention.k_proj, attention.v_proj]
        readers += [(layer.input_layernorm, projections)]
        readers += [(layer.post_attention_layernorm, [mlp.gate_proj, mlp.up_proj])]
        writers += [attention.o_proj, mlp.down_proj]
    for norm, modules in readers:
        gain = float(np.exp(rng.uniform(-3, 3)))
        for module in modules:
            module.weight.copy_(module.weight * norm.weight.double() / gain @ rotation.T)
        norm.weight.fill_(gain)
    for module in writers:
        module.weight.copy_(rotation @ module.weight.double())
    last.bias.copy_(rotation @ last.bias.double())
    decoder.embed_tokens.weight.copy_(decoder.embed_tokens.weight.double() @ rotation.T)


def _redraw_values(attention: Any, rng: Generator) -> None:
    """Give each head's values another basis and size, and what reads them the inverse.

    A cut head's output becomes as large as what rounding takes from the others: its matrices look
    like theirs, whereas zeros could not be hidden.
    """
    width = attention.head_dim
    for start in range(0, len(attention.v_proj.weight), width):
        values: Tensor = attention.v_proj.weight[start : start + width]
        out: Tensor = attention.o_proj.weight[:, start : start + width]
        one, other = (torch.from_numpy(ortho_group.rvs(width, random_state=rng)) for _ in range(2))
        lost = 0.0 if out.any() else _LOST
        if lost:
            out.copy_(values.double().T @ other)  # singular values of a trained head
        stretch = torch.from_numpy(10 ** rng.uniform(-0.5, 0.5, width))
        size = rng.uniform(-_LARGEST, _LARGEST - lost)
        values.copy_(10**size * (one * stretch) @ other @ values.double())
        out.copy_(10 ** (-size - lost) * out.double() @ other.T @ (one / stretch).T)


def _redraw_pairs(attention: Any, rng: Generator) -> None:
    """Turn the pairs of entries that RoPE turns, in query and key, and exchange their sizes."""
    half = attention.head_dim // 2
    pairs = (len(attention.q_proj.weight) // attention.head_dim, 2, half)  # heads that share none
    angle, size = rng.uniform(0, 2 * np.pi, pairs[::2]), 10 ** rng.uniform(-2, 2, pairs[::2])
    turned = torch.from_numpy(size * np.exp(1j * angle))[..., None]
    for weight, factor in (
        (attention.q_proj.weight, turned),
        (attention.k_proj.weight, 1 / turned.conj()),
    ):
        entries = weight.double().unflatten(0, pairs)
        product = factor * torch.complex(entries[:, 0], entries[:, 1])
        weight.copy_(torch.stack([product.real, product.imag], 1).flatten(0, 2))
