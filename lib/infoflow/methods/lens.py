"""The logit lens: how probable words are in the state of an image token, layer by layer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from infoflow.hooks.forward import Stream, answer_ids, forward_pass
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.threads import on_own_threads


@on_own_threads
def logit_lens(lvlm: LVLM, prompt: Prompt, words: Sequence[str]) -> Tensor:
    """Read states of the image tokens as if they left the last layer (Neo et al., ICLR 2025).

    That is log softmax(W_U norm(h)), the norm applied once. Head and norm were trained on the last
    layer: what early states hold in another form, the lens misses (arXiv 2602.00462).

    Returns:
        In nats, float32 (L + 1, N, W): behind 0 (embeddings) to L layers, of words' first tokens.

    Raises:
        InfoflowError: A word is empty or no text, or the model cannot be observed.
    """
    ids = torch.stack([answer_ids(lvlm, prompt, word)[0] for word in words])
    stream, found = Stream(), []
    with torch.inference_mode(), forward_pass(lvlm, prompt, observer=stream):
        for states in stream.states:
            logits = lvlm.lm_head(lvlm.norm(states[0, prompt.spans.image])).float()
            found.append(logits.log_softmax(-1)[:, ids].cpu())
    return torch.stack(found)
