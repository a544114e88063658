"""LLaVA-CAM over a task: what maps look like, and owe to the image; gradients of the last layer."""

from functools import partial

import numpy as np
import pandas as pd
import torch
from PIL import Image

from infoflow.data.controls import GREY
from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.methods.cam import CAM, llava_cam
from infoflow.methods.gradients import last_layer_gradient_maxima
from infoflow.methods.heatmaps import explained_answer
from infoflow.methods.localisation import localise, rank_correlation, target_mask
from infoflow.models.prompt import Prompt

ANOTHER, GREY_NOISE = "another", "grey"  # the images of the control; of grey only noise is seen


@measure
def cam_by_layer(
    lvlm: LVLM, task: Task, sample: Sample, n_samples: int = 8, sigma: float = 0.1, seed: int = 0
) -> pd.DataFrame:
    """Describe every layer's map of the model's own answer, at the paper's site (Eq. 1-5).

    Settings:
        n_samples: How many noisy images to average over. Fewer make a map look sparser.
        sigma: Standard deviation of the noise, pixels being in [0, 1].
        seed: Seed of the noise, the same for every sample.

    Returns:
        Columns ``kind``, ``layer`` (the paper's count, 1 to L), ``peak`` (the raw maximum, in
        logits), ``entropy`` (bits), ``lit`` (share of cells above half of the peak) and, against
        the regions the answer can be read from, ``mass``, ``hit``, ``mass_chance`` and
        ``hit_chance`` (see :class:`infoflow.methods.localisation.Localisation`); NaN if undefined.
    """
    prompt = lvlm.prompt(sample.image, sample.question)
    answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
    cam = llava_cam(lvlm, prompt, answer, n_samples=n_samples, sigma=sigma, seed=seed)
    return _described(cam, prompt, sample)


@measure
def cam_control(
    lvlm: LVLM,
    task: Task,
    donor: Sample,
    sample: Sample,
    n_samples: int = 8,
    sigma: float = 0.1,
    seed: int = 0,
) -> pd.DataFrame:
    """Map the same answer to the same question on images that do not show what it is about.

    Settings:
        donor: The task whose sample n lends its image, stretched to the size of sample n's own.
        n_samples: As of :func:`cam_by_layer`, and so are ``sigma`` and ``seed``.

    Returns:
        Columns of :func:`cam_by_layer`, with ``mass`` and ``hit`` against the sample's *own*
        regions; ``picture``, ``"another"`` or ``"grey"``: plain grey, of which the noise is all
        there is to see; and ``correlation``, Spearman's, with the map of the sample's own image.
    """
    own = lvlm.prompt(sample.image, sample.question)
    answer = explained_answer(lvlm, own, sample, task.max_new_tokens)
    cam_of = partial(llava_cam, lvlm, answer=answer, n_samples=n_samples, sigma=sigma, seed=seed)
    maps = cam_of(own).maps
    images = {
        ANOTHER: donor.image.resize(sample.image.size),
        GREY_NOISE: Image.new("RGB", sample.image.size, GREY),
    }
    frames = {}
    for name, image in images.items():
        cam = cam_of(prompt := lvlm.prompt(image, sample.question))
        frame = _described(cam, prompt, sample)
        frames[name] = frame.assign(correlation=rank_correlation(cam.maps, maps))
    return pd.concat(frames, names=["picture"]).reset_index("picture")


@measure
def last_layer_gradients(lvlm: LVLM, task: Task, sample: Sample) -> list[Row]:
    """Measure the gradient of the first answer token's logit in the last layer.

    Returns:
        Columns ``kind``, ``site``, ``at_image`` and ``at_answer``: the largest absolute gradient at
        image positions and at the last position of the prompt.
    """
    found = last_layer_gradient_maxima(lvlm, lvlm.prompt(sample.image, sample.question))
    return [
        {"site": site, "at_image": at_image, "at_answer": at_answer}
        for site, (at_image, at_answer) in found.items()
    ]


def _described(cam: CAM, prompt: Prompt, sample: Sample) -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "layer": range(1, len(cam.maps) + 1),
            "peak": cam.peaks.double().tolist(),
            "entropy": cam.entropies.double().tolist(),
            "lit": cam.lit.double().where(cam.peaks > 0, torch.nan).tolist(),
        }
    )
    if not sample.targets:
        return rows.assign(mass=np.nan, hit=np.nan, mass_chance=np.nan, hit_chance=np.nan)
    found = localise(cam.maps, prompt.grid, target_mask(sample))
    chances = {"mass_chance": found.mass_chance, "hit_chance": found.hit_chance}
    return rows.assign(mass=found.mass, hit=found.hits, **chances)
