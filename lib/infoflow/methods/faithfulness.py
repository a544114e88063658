"""Does a heat map say what the model uses? Answers under changed images and changed weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from infoflow.errors import InfoflowError, require_name
from infoflow.hooks.forward import answer_ids, forward_pass, modifier_of
from infoflow.methods.out_of_memory import in_batches
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.threads import on_own_threads
from infoflow.options import require_whole

_BLUR = 0.1  # of the image's longer side
_BATCH = 8
Pixels = npt.NDArray[np.uint8]


class FaithfulnessCurve(NamedTuple):
    """An answer's probability (F,) while the fractions (F,) of an image that are hottest change."""

    fractions: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]


def faithfulness_curve(
    lvlm: LVLM,
    prompt: Prompt,
    answer: str | Tensor,
    heat: npt.ArrayLike,
    curve: str = "deletion",
    n_steps: int = 10,
    seed: int = 0,
) -> FaithfulnessCurve:
    """Follow an answer's probability while the hottest pixels change first (RISE, 2018).

    Args:
        lvlm: The model.
        prompt: The image and question.
        answer: The answer, as text or as ids of shape (T,).
        heat: One value an image token, shape (h, w); see ``Grid``.
        curve: ``"deletion"``: pixels take the image's mean colour, and a right map soon hurts: the
            area under the curve is small. ``"insertion"``: the image's pixels are shown on a
            blurred one, and a right map has a large area.
        n_steps: In how many equal steps the image goes.
        seed: Seed of the order of pixels that are equally hot.

    Raises:
        InfoflowError: There is no such curve; the map is undefined or does not fit the prompt;
            ``n_steps`` is not positive; or the answer is not valid.
    """
    lvlm.require_prompt(prompt)
    pixels = np.asarray(prompt.image)
    blank = np.broadcast_to(pixels.mean((0, 1)).round().astype(np.uint8), pixels.shape)
    blurred = prompt.image.filter(ImageFilter.GaussianBlur(_BLUR * max(prompt.image.size)))
    ends = {"deletion": (pixels, blank), "insertion": (np.asarray(blurred), pixels)}
    require_name(curve, "curve", ends)
    n_steps = require_whole(n_steps, "n_steps", 1)
    over_image = prompt.grid.to_picture(heat, prompt.image.size)
    if not np.isfinite(over_image).all():
        raise InfoflowError("the heat map is undefined; there is no order to change pixels in.")
    changed = [
        lvlm.prompt(Image.fromarray(pixels), prompt.question)
        for pixels in replace_hottest(*ends[curve], over_image, n_steps, seed)
    ]
    # an intervention chooses its tokens for one prompt at a time
    size = _BATCH if modifier_of(lvlm) is None else 1
    score = partial(answer_probabilities, lvlm, answer=answer)
    scores = list(in_batches(changed, score, size, lvlm.decoder, "changed images"))
    fractions = np.linspace(0, 1, n_steps + 1)
    return FaithfulnessCurve(fractions, torch.cat(scores).double().numpy())


@on_own_threads
def answer_probabilities(lvlm: LVLM, prompts: list[Prompt], answer: str | Tensor) -> Tensor:
    """Compute the geometric mean of the answer's tokens' probabilities after B prompts: (B,)."""
    ids = answer_ids(lvlm, prompts[0], answer)
    embeds = torch.cat([prompt.inputs_embeds for prompt in prompts])
    inside = zip(*(prompt.deepstack for prompt in prompts), strict=True)
    batch = replace(prompts[0], inputs_embeds=embeds, deepstack=tuple(map(torch.cat, inside)))
    with torch.no_grad(), forward_pass(lvlm, batch, ids) as states:
        log_probs = lvlm.lm_head(states[:, -len(ids) :]).float().log_softmax(-1)
        of_answer = log_probs.gather(-1, ids.expand(len(embeds), -1)[..., None])[..., 0]
    return of_answer.mean(-1).exp().cpu()


def replace_hottest(
    before: Pixels, after: Pixels, heat: npt.ArrayLike, n_steps: int, seed: int = 0
) -> Iterator[Pixels]:
    """Turn one image, (H, W, 3), into another, hottest pixels first: ``n_steps`` + 1 images."""
    values = np.asarray(heat).ravel()
    shuffled = np.random.default_rng(seed).permutation(values.size)
    hottest_first = shuffled[np.argsort(-values[shuffled], kind="stable")]
    image = before.copy()
    flat, target = image.reshape(-1, 3), after.reshape(-1, 3)
    ends = np.linspace(0, values.size, n_steps + 1).round().astype(int)
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        changed = hottest_first[start:end]
        flat[changed] = target[changed]
        yield image.copy()


@contextmanager
def randomised_weights(lvlm: LVLM, seed: int = 0) -> Iterator[None]:
    """Put random weights in the decoder layers and the head; after, all is as before.

    The sanity check of saliency maps (Adebayo et al., 2018): a map that stays the same does not
    show what the model has learnt. Each matrix, but no gain or bias, is drawn anew from a normal
    distribution of its own mean and deviation. Quantised or offloaded weights are an error.
    """
    generator = torch.Generator().manual_seed(seed)
    modules = [lvlm.lm_head, *lvlm.layers]
    matrices = [m for module in modules for m in module.parameters() if m.ndim > 1]
    lvlm.require_own_weights()
    before = [matrix.detach().to("cpu", copy=True) for matrix in matrices]
    try:
        with torch.no_grad():
            for matrix, values in zip(matrices, before, strict=True):
                deviation, mean = torch.std_mean(values.float())
                drawn = torch.randn(matrix.shape, generator=generator)
                matrix.copy_(drawn * deviation + mean)
        yield
    finally:
        with torch.no_grad():
            for matrix, values in zip(matrices, before, strict=True):
                matrix.copy_(values)
