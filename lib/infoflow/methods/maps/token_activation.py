"""Token activation: the answer's words, read at the image tokens (TAM; Li et al., ICCV 2025)."""

import torch
from torch import Tensor

from infoflow.hooks.forward import forward_pass
from infoflow.models.lvlm import LVLM, Prompt


def token_activation(lvlm: LVLM, prompt: Prompt, answer: Tensor) -> Tensor:
    """Average over answer tokens their logits at image states, less what earlier words explain.

    Earlier words, of the question and the answer, are weighted by the answer token's logit at their
    own places; the least-squares share of their mixed map is taken away. Negative values become
    zero. The rank filter that smooths the published maps is left out: (1, N).
    """
    words = torch.cat([prompt.input_ids[prompt.spans.user], answer])
    with torch.inference_mode(), forward_pass(lvlm, prompt, answer) as states:
        logits = (states[0] @ lvlm.lm_head.get_parameter("weight")[words].mT).float().relu()
    at_image, at_words = logits[prompt.spans.image], logits[prompt.spans.user.start :]
    maps = [
        _unexplained(at_image, at_words[:, place], words, place)
        for place in range(len(words) - len(answer), len(words))
    ]
    return torch.stack(maps).mean(0, keepdim=True).cpu()


def _unexplained(at_image: Tensor, weights: Tensor, words: Tensor, place: int) -> Tensor:
    """What of a word's map, (N,), is not that of the other words before it."""
    earlier = (words[:place] != words[place]).nonzero()[:, 0]
    own, shared = at_image[:, place], at_image[:, earlier] @ weights[earlier]
    scale = own @ shared / shared.square().sum().clamp(min=torch.finfo(shared.dtype).tiny)
    return (own - scale * shared).relu()
