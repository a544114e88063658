"""LLaVA-CAM: which image tokens an answer's logit hangs on, layer by layer (paper, Eq. 1-5)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from infoflow.errors import require_name
from infoflow.hooks.forward import answer_ids, modifier_of
from infoflow.methods.gradients import OUTPUT, PROJECTOR, SITES, TOWER, gradient_visitor
from infoflow.methods.out_of_memory import in_batches
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.threads import on_own_threads
from infoflow.options import require_finite, require_whole

MAX_NEW_TOKENS = 32
"""How long an answer the model gives itself if none is given."""
WEIGHTS = ("mean", "relu-mean", "element-wise")
"""How gradients weight features; see ``activation_map``."""
THRESHOLD = 0.5
"""The share of its maximum above which a cell is lit; below, the authors' code blanks it."""


@dataclass(frozen=True, eq=False)
class CAM:
    """Class activation maps of one prompt and answer: a map for each decoder layer.

    Some maps are undefined, and all NaN: those from behind the last layer's attention, where image
    tokens no longer act on the answer, and the element-wise one of the next to last layer's
    ``"output"``, of which the last layer's norm leaves a direction without a length.

    Attributes:
        maps: Float32 of shape (L, h, w), not negative: raw maps, comparable between layers in
            sign and place but not in scale. Of projector and vision tower there is one: (1, h, w).
        by_token: The same as one value an image token, float32 of shape (L, N); of the tower, by
            patch. In most families a token is a cell of the map.
        answer: The ids of the answer whose logits were summed, shape (T,).
    """

    maps: Tensor
    by_token: Tensor
    answer: Tensor

    @property
    def defined(self) -> Tensor:
        """Which layers have a map: boolean of shape (L,)."""
        return ~self.maps.isnan().any(-1).any(-1)

    @property
    def peaks(self) -> Tensor:
        """The raw maxima, shape (L,)."""
        return self.maps.amax((-2, -1))

    @property
    def entropies(self) -> Tensor:
        """How spread out the maps are, in bits: see ``map_entropies``."""
        return map_entropies(self.maps)

    @property
    def lit(self) -> Tensor:
        """The share of cells above half of the maximum, shape (L,)."""
        share = (normalise_maps(self.maps) > THRESHOLD).float().mean((-2, -1))
        return share.where(self.defined, torch.nan)


@on_own_threads
def llava_cam(
    lvlm: LVLM,
    prompt: Prompt,
    answer: str | Tensor | None = None,
    site: str = "post_attention_layernorm",
    weights: str = "mean",
    n_samples: int = 50,
    sigma: float = 0.1,
    seed: int = 0,
    micro_batch: int = 4,
    checkpointed: bool = False,
) -> CAM:
    """Map which image tokens the answer's logit hangs on, for all layers of one site.

    The logit is the sum over the answer's tokens, each read where that token is predicted; the end
    token is no part of it (Eq. 1). Maps of noisy images are averaged raw (Eq. 4-5), the same
    images for all layers.

    Args:
        lvlm: The model. In float16 small gradients may vanish; float32 and bfloat16 have the range.
        prompt: The image and question.
        answer: The answer, as text or as ids of shape (T,); None for the model's own greedy one,
            of at most 32 tokens.
        site: One of ``SITES``: ``"input_layernorm"``, ``"self_attn.v_proj"``,
            ``"post_attention_layernorm"`` or ``"output"`` of every decoder layer; the
            ``"projector"``, by which the decoder is given its image tokens; or ``"vision_tower"``,
            the encoder's last layer that they are made of (Eq. 2), by patch.
        weights: ``"mean"``, ``"relu-mean"`` or ``"element-wise"``; see ``activation_map``.
        n_samples: How many noisy images to average over.
        sigma: Standard deviation of the noise, pixels being in [0, 1]; 0 for no noise, whatever
            ``n_samples`` is.
        seed: Seed of the noise. The first n of more images are those of n images.
        micro_batch: How many images to run at once; a matter of speed and memory alone. Under
            an intervention it is one; where a GPU's memory runs out, half as many and so on.
        checkpointed: Recompute layers in the backward pass: the same maps in less memory.

    Raises:
        InfoflowError: There is no such site or weighting; a number is out of range; the answer is
            empty, holds ids outside the vocabulary or does not fit the context.
    """
    cams = llava_cams(
        lvlm, prompt, answer, (site,), (weights,), n_samples, sigma, seed, micro_batch, checkpointed
    )
    return cams[site, weights]


@on_own_threads
def llava_cams(
    lvlm: LVLM,
    prompt: Prompt,
    answer: str | Tensor | None = None,
    sites: Sequence[str] = SITES,
    weights: Sequence[str] = WEIGHTS,
    n_samples: int = 50,
    sigma: float = 0.1,
    seed: int = 0,
    micro_batch: int = 4,
    checkpointed: bool = False,
) -> dict[tuple[str, str], CAM]:
    """Compute the maps of many sites and weightings, by both, at the cost of one ``llava_cam``."""
    keys = list(product(sites, weights))
    for site, weighting in keys:
        require_name(site, "site", (*SITES, TOWER))
        require_name(weighting, "weighting", WEIGHTS)
    require_whole(n_samples, "n_samples", least=1)
    require_finite(sigma, "sigma", least=0)
    require_whole(seed, "seed", least=0, most=2**63 - 1)
    # an intervention chooses its tokens for one prompt at a time
    size = require_whole(micro_batch, "micro_batch", 1) if modifier_of(lvlm) is None else 1
    with torch.inference_mode(False):
        given = lvlm.generate(prompt, MAX_NEW_TOKENS) if answer is None else answer
        ids = answer_ids(lvlm, prompt, given)
        visit = gradient_visitor(lvlm, prompt, ids, sites, checkpointed)
        # behind queries its patches are the cells
        patches = replace(prompt.grid, spread=None) if lvlm.family.has_queries else prompt.grid
        grids = dict.fromkeys(SITES, prompt.grid) | {TOWER: patches}
        n_maps = dict.fromkeys(SITES, lvlm.n_layers) | {PROJECTOR: 1, TOWER: 1}
        undefined = {s: torch.full((n_maps[s], g.n_tokens), torch.nan) for s, g in grids.items()}

        def sums(batch: list[Prompt]) -> dict[tuple[str, str], Tensor]:
            # in double, so that the order and grouping of the sum leave no trace
            maps = {key: undefined[key[0]].to(lvlm.device, torch.double, copy=True) for key in keys}

            def add(site: str, layer: int, feature: Tensor, gradient: Tensor) -> None:
                for weighting in weights:
                    if not (weighting == "element-wise" and _is_only_normed(lvlm, site, layer)):
                        found = activation_map(feature, gradient, weighting)
                        maps[site, weighting][layer] = found.to(maps[site, weighting]).sum(0)

            visit(batch, add)
            return maps

        n_images = n_samples if sigma else 1
        images = _noisy_images(lvlm, prompt, n_images, sigma, seed)
        found = list(in_batches(images, sums, size, lvlm.decoder, "noisy images"))
        cams = {}
        for key in keys:
            mean = torch.stack([maps[key] for maps in found]).sum(0) / n_images
            by_token = mean.float().cpu()
            over_cells = torch.from_numpy(grids[key[0]].cells(by_token.numpy()))
            cams[key] = CAM(over_cells, by_token, ids.cpu())
        return cams


def _noisy_images(
    lvlm: LVLM, prompt: Prompt, n_samples: int, sigma: float, seed: int
) -> Iterator[Prompt]:
    # drawn on the CPU, one image at a time, so that neither device nor batch size changes the noise
    generator = torch.Generator().manual_seed(seed)
    pixels = prompt.pixel_values
    for _ in range(n_samples):
        noise = lvlm.family.pixel_noise(pixels, sigma, generator)
        with torch.no_grad():
            noisy = lvlm.with_pixels(prompt, pixels + noise.to(pixels))
        yield noisy


def _is_only_normed(lvlm: LVLM, site: str, layer: int) -> bool:
    """Whether a feature acts on the answer through one norm alone, as before the last layer.

    It undoes their length: the rate at which the logit grows with it is zero but for rounding.
    """
    behind_a_norm = {OUTPUT: layer + 1, PROJECTOR: 0}.get(site) == lvlm.n_layers - 1
    return behind_a_norm or (site == TOWER and lvlm.family.has_queries)


def activation_map(feature: Tensor, gradient: Tensor, weights: str) -> Tensor:
    """Weight a feature by a gradient, both (..., N, C), and sum over channels (Eq. 2-3): (..., N).

    ``"mean"`` (Grad-CAM) weights each channel by its mean gradient over the image tokens;
    ``"relu-mean"``, as the authors' released code, by the mean of the positive gradients;
    ``"element-wise"`` weights each entry by its own gradient, which makes a cell's value the rate
    at which the logit grows with the length of that token's feature. Negative sums become zero.
    """
    wide = torch.promote_types(feature.dtype, torch.float32)
    feature, gradient = feature.to(wide), gradient.to(wide)
    if weights == "element-wise":
        return (gradient * feature).sum(-1).relu()
    if weights == "relu-mean":
        gradient = gradient.relu()
    return (feature @ gradient.mean(-2)[..., None])[..., 0].relu()


def normalise_maps(maps: Tensor) -> Tensor:
    """Divide each map by its maximum, shape (..., h, w); a map of zeros stays one."""
    peaks = maps.amax((-2, -1), keepdim=True)
    return maps / peaks.where(peaks != 0, 1)


def map_entropies(maps: Tensor) -> Tensor:
    """Entropy of each map taken as a distribution over its cells, in bits: (..., h, w) to (...).

    It is 0 for a single lit cell, log2(h w) for an even map, and NaN for a map of zeros.
    """
    # divided by the peak first: the sum of raw values could leave the range of the type
    values = normalise_maps(maps).flatten(-2)
    shares = values / values.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1) / torch.log(torch.tensor(2.0))
