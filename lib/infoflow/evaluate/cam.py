"""LLaVA-CAM over a task: what the maps of every layer look like, and what they owe to the picture.

The paper shows maps divided by their maxima. What that hides is measured here: how high a map is,
how spread out, and how much of it lies where the answer can be read from.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from infoflow.data.controls import GREY
from infoflow.data.load import Task
from infoflow.data.sample import Sample
from infoflow.errors import InfoflowError
from infoflow.evaluate.collecting import Row, collect
from infoflow.methods.cam import CAM, llava_cam
from infoflow.methods.localisation import localise, rank_correlation, target_mask
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.options import require_noise
from infoflow.results.store import Store

ANOTHER, GREY_NOISE = "another", "grey"
"""The pictures of the control: another item's, and plain grey, of which only noise is seen."""

SITE, WEIGHTS = "post_attention_layernorm", "mean"


def cam_by_layer(
    lvlm: LVLM, task: Task, store: Store, n_samples: int = 8, sigma: float = 0.1, seed: int = 0
) -> pd.DataFrame:
    """Describe the map of every item and layer, at the paper's own site (Eq. 1-5).

    Explained is the model's own greedy answer; where it says nothing, the reference.

    Args:
        lvlm: The model.
        task: The items; ``task.max_new_tokens`` bounds the answers.
        store: Where the rows are kept.
        n_samples: How many noisy pictures to average over. Fewer make a map look sparser.
        sigma: Standard deviation of the noise, pixels being in [0, 1].
        seed: Seed of the noise, the same for every item.

    Returns:
        Columns ``item``, ``kind``, ``layer`` (the paper's count, 1 to L), ``peak`` (the raw
        maximum, in logits), ``entropy`` (bits), ``lit`` (share of cells above half of the peak)
        and, against the regions the answer can be read from, ``mass``, ``hit``, ``mass_chance`` and
        ``hit_chance`` (see :class:`infoflow.methods.localisation.Localisation`). NaN where
        undefined: all of the last layer, the shape of a map of zeros, the target of an item
        without regions.
    """
    require_noise(n_samples, sigma, seed)

    def measure(sample: Sample) -> list[Row]:
        prompt = lvlm.prompt(sample.image, sample.question)
        answer = _own_answer(lvlm, prompt, sample, task.max_new_tokens)
        cam = llava_cam(lvlm, prompt, answer, SITE, WEIGHTS, n_samples, sigma, seed)
        return [{"kind": sample.kind, **row} for row in _described(cam, prompt, sample)]

    parameters = _parameters(task, n_samples, sigma, seed)
    return collect("cam_by_layer", lvlm, task, store, parameters, measure)


def cam_control(
    lvlm: LVLM,
    task: Task,
    donor: Task,
    store: Store,
    n_samples: int = 8,
    sigma: float = 0.1,
    seed: int = 0,
) -> pd.DataFrame:
    """Map the same answer to the same question on pictures that do not show what is asked for.

    Args:
        lvlm: The model.
        task: The items, whose questions and own answers are kept.
        donor: Where the other pictures come from: item n gets the picture of the donor's item n,
            stretched to the size of its own.
        store: Where the rows are kept.
        n_samples: How many noisy pictures to average over.
        sigma: Standard deviation of the noise, pixels being in [0, 1].
        seed: Seed of the noise.

    Returns:
        Columns of :func:`cam_by_layer`, with ``mass`` and ``hit`` against the item's *own* regions;
        ``picture``, ``"another"`` or ``"grey"``: plain grey, of which the noise is all there is to
        see; and ``correlation``, Spearman's, with the map of the item's own picture.

    Raises:
        InfoflowError: The donor has fewer items than the task.
    """
    _require_enough(donor, task)
    places = {sample.id: place for place, sample in enumerate(task)}
    require_noise(n_samples, sigma, seed)

    def measure(sample: Sample) -> list[Row]:
        own = lvlm.prompt(sample.image, sample.question)
        answer = _own_answer(lvlm, own, sample, task.max_new_tokens)
        settings = (answer, SITE, WEIGHTS, n_samples, sigma, seed)
        maps = llava_cam(lvlm, own, *settings).maps
        size = sample.image.size
        pictures = {
            ANOTHER: donor[places[sample.id]].image.resize(size),
            GREY_NOISE: Image.new("RGB", size, GREY),
        }
        rows: list[Row] = []
        for name, picture in pictures.items():
            prompt = lvlm.prompt(picture, sample.question)
            cam = llava_cam(lvlm, prompt, *settings)
            likeness = rank_correlation(cam.maps, maps)
            rows += [
                {"kind": sample.kind, "picture": name, **row, "correlation": float(value)}
                for row, value in zip(_described(cam, prompt, sample), likeness, strict=True)
            ]
        return rows

    parameters = {
        **_parameters(task, n_samples, sigma, seed),
        "donor": f"{donor.name} {donor.split} ({donor.source})",
    }
    return collect("cam_control", lvlm, task, store, parameters, measure)


def change_at_cliff(rows: pd.DataFrame, cut: int, column: str) -> npt.NDArray[np.float64]:
    """How much larger a measure of an item's maps is from the cliff on than before it.

    Args:
        rows: Rows of :func:`cam_by_layer`.
        cut: The cliff: layers 1 to ``cut`` come before it.
        column: The measure, such as ``"lit"`` or ``"entropy"``.

    Returns:
        For each item the mean over the layers behind the cliff less that over those before it, in
        the column's unit; items without a map on either side are left out.
    """
    by_item = _by_item(rows, rows[column])
    behind, before = by_item.loc[:, cut + 1 :], by_item.loc[:, :cut]
    return _finite(behind.mean(axis=1) - before.mean(axis=1))


def mass_above_chance(rows: pd.DataFrame, first: int, last: int) -> npt.NDArray[np.float64]:
    """How much more of an item's maps lies on target than of an even map.

    Args:
        rows: Rows of :func:`cam_by_layer`.
        first: The first layer that counts, in the paper's count.
        last: The last layer that counts.

    Returns:
        For each item with a target the mean over these layers, as a share of the map; items without
        a map there are left out.
    """
    by_item = _by_item(rows, rows["mass"] - rows["mass_chance"])
    return _finite(by_item.loc[:, first:last].mean(axis=1))


def _by_item(rows: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    return rows.assign(value=values).pivot(index="item", columns="layer", values="value")


def _finite(values: pd.Series) -> npt.NDArray[np.float64]:
    return values.dropna().to_numpy(dtype=np.float64)


def _described(cam: CAM, prompt: Prompt, sample: Sample) -> list[Row]:
    """Describe the map of each layer, against the regions of a sample that fits the picture."""
    peaks, entropies = cam.peaks.double(), cam.entropies.double()
    lit = cam.lit.double().where(peaks > 0, torch.nan)
    on_target = _on_target(cam, prompt, sample)
    return [
        {"layer": layer, "peak": peak, "entropy": entropy, "lit": share, **target}
        for layer, (peak, entropy, share, target) in enumerate(
            zip(peaks.tolist(), entropies.tolist(), lit.tolist(), on_target, strict=True), start=1
        )
    ]


def _on_target(cam: CAM, prompt: Prompt, sample: Sample) -> list[dict[str, float]]:
    if not sample.targets:
        return [dict.fromkeys(("mass", "hit", "mass_chance", "hit_chance"), math.nan)] * len(
            cam.maps
        )
    found = localise(cam.maps, prompt.grid, target_mask(sample))
    chances = {"mass_chance": found.mass_chance, "hit_chance": found.hit_chance}
    return [
        {"mass": float(mass), "hit": float(hit), **chances}
        for mass, hit in zip(found.mass, found.hits, strict=True)
    ]


def _own_answer(lvlm: LVLM, prompt: Prompt, sample: Sample, max_new_tokens: int) -> Tensor | str:
    said = lvlm.generate(prompt, max_new_tokens)
    return said if len(said) else sample.answer


def _require_enough(donor: Task, task: Task) -> None:
    if len(donor) < len(task):
        raise InfoflowError(
            f"{len(task)} items cannot get the pictures of {len(donor)}; "
            "the donor must have as many."
        )


def _parameters(task: Task, n_samples: int, sigma: float, seed: int) -> dict[str, Any]:
    return {
        "site": SITE,
        "weights": WEIGHTS,
        "n_samples": n_samples,
        "sigma": sigma,
        "seed": seed,
        "max_new_tokens": task.max_new_tokens,
    }
