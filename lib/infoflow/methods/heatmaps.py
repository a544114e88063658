"""Every heat map of one answer: LLaVA-CAM at all its sites, its rivals, maps that know nothing."""

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
from torch import Tensor

from infoflow.data.sample import Sample
from infoflow.methods.cam import WEIGHTS, llava_cams
from infoflow.methods.gradients import LAYER_SITES, SITES, TOWER
from infoflow.methods.maps import MAPS
from infoflow.models.grid import Grid
from infoflow.models.lvlm import LVLM, Prompt

Floats = npt.NDArray[np.float64]


class Source(NamedTuple):
    """Where a heat map comes from: a CAM's site with its weights, or the name of another map."""

    site: str
    weights: str


class Place(NamedTuple):
    """One heat map: its source, and its layer, 1 to L in the paper's count, or 0 if it has none."""

    site: str
    weights: str
    layer: int

    @property
    def source(self) -> Source:
        return Source(self.site, self.weights)


PAPER = Source("post_attention_layernorm", "mean")
"""The paper's site (A.1), with Grad-CAM's weights."""
ATTENTION = Source("attention", "head-mean")
RANDOM = Source("random", "none")
CENTRE = Source("centre", "none")

CAMS = tuple(Source(site, weights) for site in SITES for weights in WEIGHTS)
LAYER_CAMS = tuple(source for source in CAMS if source.site in LAYER_SITES)
TOWER_CAMS = tuple(Source(TOWER, weights) for weights in WEIGHTS)
RIVALS = (*TOWER_CAMS, *(Source(name, "none") for name in MAPS if name != ATTENTION.site))
SOURCES = (*CAMS, ATTENTION, RANDOM, CENTRE)


def explained_answer(lvlm: LVLM, prompt: Prompt, sample: Sample, max_new_tokens: int) -> Tensor:
    """The answer whose maps are made: the model's own, or the reference if it says nothing."""
    own = lvlm.generate(prompt, max_new_tokens)
    return own if len(own) else lvlm.encode_answer(sample.answer)


def heat_maps(
    lvlm: LVLM,
    prompt: Prompt,
    answer: Tensor,
    sources: Sequence[Source] = SOURCES,
    n_samples: int = 1,
    sigma: float = 0.0,
    seed: int = 0,
) -> dict[Source, Floats]:
    """Compute the maps of many sources: all CAMs from one backward pass a noisy image.

    They have the shape (L, h, w), or (1, h, w) where there is no layer, NaN throughout where
    undefined. The seed is of the noise and of the random map, another for every question.
    """
    grid = prompt.grid
    cams = [source for source in sources if source.site in (*SITES, TOWER)]
    maps: dict[Source, Floats] = {}
    if cams:
        sites, weights = (tuple(dict.fromkeys(names)) for names in zip(*cams, strict=True))
        found = llava_cams(lvlm, prompt, answer, sites, weights, n_samples, sigma, seed)
        maps |= {source: found[source].maps.double().numpy() for source in cams}
    for source in (each for each in sources if each.site in MAPS):
        maps[source] = grid.cells(MAPS[source.site](lvlm, prompt, answer).double().numpy())
    if RANDOM in sources:
        rng = np.random.default_rng(crc32(f"{seed} {prompt.question}".encode()))
        maps[RANDOM] = rng.random((1, grid.rows, grid.cols))
    if CENTRE in sources:
        maps[CENTRE] = centre_map(grid)[None]
    return maps


def centre_map(grid: Grid) -> Floats:
    """Draw a Gaussian about the image's middle, its deviation a quarter of the side: (h, w)."""
    left, top, right, bottom = grid.box
    x = ((np.arange(grid.cols) + 0.5) / grid.cols - left) / (right - left)
    y = ((np.arange(grid.rows) + 0.5) / grid.rows - top) / (bottom - top)
    squared = (y[:, None] - 0.5) ** 2 + (x - 0.5) ** 2
    return np.exp(-squared / (2 * 0.25**2))
