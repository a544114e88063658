"""What the features of image tokens in the last layer can do to the answer: its gradient there.

The gradient is taken as it comes, not left out where reasoning says that it must vanish
(:func:`infoflow.methods.gradients.reaches_answer`): this room is the test of that reasoning.
"""

import torch
from torch import Tensor, nn

from infoflow.models.lvlm import LVLM, Prompt

SITES = ("input_layernorm", "self_attn.v_proj", "post_attention_layernorm")
"""Before the last layer's attention twice, and behind it."""


def last_layer_gradients(lvlm: LVLM, prompt: Prompt) -> dict[str, tuple[float, float]]:
    """Differentiate the first answer token's logit by the features of the last layer.

    Args:
        lvlm: The model.
        prompt: The picture and question.

    Returns:
        By site, the largest absolute gradient at image positions and at the last position, where
        the answer is read.
    """
    lvlm.require_prompt(prompt)
    features: dict[str, Tensor] = {}
    layer = lvlm.layers[-1]
    with torch.inference_mode(False), torch.enable_grad():
        handles = [_keep(layer.get_submodule(site), site, features) for site in SITES]
        try:
            embeds = prompt.inputs_embeds.detach().clone().requires_grad_()
            logits = lvlm.logits(embeds)[0, -1]
        finally:
            for handle in handles:
                handle.remove()
        gradients = torch.autograd.grad(logits.max(), [features[site] for site in SITES])
    image = prompt.spans.image
    return {
        site: (float(gradient[0, image].abs().max()), float(gradient[0, -1].abs().max()))
        for site, gradient in zip(SITES, gradients, strict=True)
    }


def _keep(
    module: nn.Module, site: str, features: dict[str, Tensor]
) -> torch.utils.hooks.RemovableHandle:
    def see(module: nn.Module, args: object, output: Tensor) -> None:
        features[site] = output

    return module.register_forward_hook(see)
