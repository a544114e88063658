"""Integrated gradients on the image embeddings (Sundararajan et al., 2017), by captum."""

from functools import partial

import torch
from captum.attr import IntegratedGradients
from PIL import Image
from torch import Tensor

from infoflow.data.controls import GREY
from infoflow.errors import InfoflowError
from infoflow.methods.gradients import logit_of_features
from infoflow.models.lvlm import LVLM, Prompt

COMPLETE = 0.02  # by what part of the logit's change the attributions' sum may miss it


def integrated_gradients(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Attribute the answer's summed logit to the image tokens: what speaks for it, (1, N).

    The path takes 20 steps; where they do not complete to 2 %, twice as many, up to 160. A map
    that is not complete then is undefined.
    """
    for n_steps in (20, 40, 80, 160):
        values, missed = attributions(lvlm, prompt, answer, n_steps)
        if missed <= COMPLETE:
            return values.relu()
    return torch.full_like(values, torch.nan)


def attributions(lvlm: LVLM, prompt: Prompt, answer: Tensor, n_steps: int) -> tuple[Tensor, float]:
    """Attribute by so many steps from a grey image: (1, N), and what part the sum misses."""
    if prompt.deepstack:
        raise InfoflowError(f"{lvlm.name} adds to image tokens between layers: there is no path.")
    blank = lvlm.prompt(Image.new("RGB", prompt.image.size, GREY), prompt.question)
    logit = partial(logit_of_features, lvlm, prompt, answer)
    path = {"n_steps": n_steps, "method": "riemann_middle", "internal_batch_size": 4}
    with torch.inference_mode(False):
        start, end = (p.inputs_embeds[:, p.spans.image].detach().clone() for p in (blank, prompt))
        with torch.no_grad():
            change = logit(end) - logit(start)
        values = IntegratedGradients(logit).attribute(end, start, **path).sum(-1)
    missed = ((values.sum() - change) / change).abs().nan_to_num(0)  # nothing of nothing
    return values.float().cpu(), float(missed)
