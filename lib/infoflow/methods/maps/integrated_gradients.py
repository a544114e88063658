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

    The path begins at a grey image and takes 20 steps; where they do not complete to 2 %, twice as
    many, up to 160. A map that is not complete then is undefined.
    """
    if prompt.deepstack:
        raise InfoflowError(f"{lvlm.name} adds to image tokens between layers: there is no path.")
    blank = lvlm.prompt(Image.new("RGB", prompt.image.size, GREY), prompt.question)
    logit = partial(logit_of_features, lvlm, prompt, answer)
    with torch.inference_mode(False):
        start, end = (p.inputs_embeds[:, p.spans.image].detach().clone() for p in (blank, prompt))
        with torch.no_grad():
            change = logit(end) - logit(start)
        for n_steps in (20, 40, 80, 160):
            path = {"n_steps": n_steps, "method": "riemann_middle", "internal_batch_size": 4}
            found = IntegratedGradients(logit).attribute(end, start, **path).sum(-1)
            if (found.sum() - change).abs() <= COMPLETE * change.abs():
                return found.relu().float().cpu()
    return torch.full_like(found, torch.nan).cpu()
