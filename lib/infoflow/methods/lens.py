"""The logit lens: how probable words are in the state of an image token, layer by layer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from infoflow.hooks.forward import answer_ids, forward_pass
from infoflow.methods.patching import Stream
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.threads import on_own_threads


@on_own_threads
def logit_lens(lvlm: LVLM, prompt: Prompt, words: Sequence[str] | None = None) -> Tensor:
    """Read the states of the image tokens as if they left the last layer (Neo et al., ICLR 2025).

    That is softmax(W_U norm(h)), the norm applied once. Both were trained on the last layer: what
    early states hold in another form, the lens misses (arXiv 2602.00462).

    Returns:
        Log-probabilities in nats, float32 of shape (L + 1, N, W): behind 0 layers (embeddings) to
        L, of each word's first token; without words, of the whole vocabulary.

    Raises:
        InfoflowError: A word is empty or no text, or the model cannot be observed.
    """
    ids = [answer_ids(lvlm, prompt, word)[0] for word in words or ()]
    chosen = slice(None) if words is None else torch.stack(ids)
    stream = Stream()
    with torch.inference_mode(), forward_pass(lvlm, prompt, observer=stream):
        normed = (lvlm.norm(states[0, prompt.spans.image]) for states in stream.states)
        log_probs = (lvlm.lm_head(states).float().log_softmax(-1) for states in normed)
        found = [of_depth[:, chosen].cpu() for of_depth in log_probs]
    return torch.stack(found)
