"""Teacher forcing: an answer read in after its prompt, and the rows that predict its tokens."""

import torch
from torch import Tensor
from transformers import Cache

from infoflow.hooks.probe import teacher_forced
from infoflow.models.lvlm import LVLM, Prompt


def answer_ids(lvlm: LVLM, prompt: Prompt, answer: str | Tensor) -> Tensor:
    """Return the ids of an answer, shape (T,), without the token that ends it.

    Args:
        lvlm: The model.
        prompt: What it answers.
        answer: The answer, as text or as ids.

    Raises:
        InfoflowError: The prompt is another model's; the answer is empty, holds ids outside the
            vocabulary, or does not fit the context with the prompt.
    """
    lvlm.require_prompt(prompt)
    ids = lvlm.encode_answer(answer) if isinstance(answer, str) else answer
    if isinstance(ids, Tensor) and ids.ndim == 1:
        ids = ids.to(lvlm.device)
        ends = torch.isin(ids, torch.tensor(lvlm.eos_token_ids, device=ids.device))
        ids = ids[~ends.cummax(0).values] if len(ids) else ids
    lvlm.require_token_ids(ids, f"the answer {answer!r}")
    lvlm.require_context(len(prompt) + len(ids) - 1, "the prompt with its answer")
    return ids


def predicting_states(lvlm: LVLM, embeds: Tensor, ids: Tensor, read: Cache | None = None) -> Tensor:
    """Run prompts with one answer, and return the hidden states that predict its tokens.

    Answer token t is predicted one position before its own; the last one is never read in.

    Args:
        lvlm: The model.
        embeds: B prompts of one length, shape (B, S, D).
        ids: The answer, shape (T,).
        read: Keys and values of what comes before the prompts, if something does; it is used up.

    Returns:
        Normed hidden states, ready for the language head: shape (B, T, D).
    """
    said = lvlm.decoder.embed_tokens(ids[:-1]).expand(len(embeds), -1, -1)
    with teacher_forced(lvlm, embeds.shape[1]):
        hidden: Tensor = lvlm.decoder(
            inputs_embeds=torch.cat([embeds, said], dim=1),
            past_key_values=read,
            use_cache=read is not None,
        ).last_hidden_state
    return hidden[:, -len(ids) :]
