"""What a model can be given: text, its own prompts, tokens that it has, within its context."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from infoflow.errors import InfoflowError
from infoflow.models.prompt import Prompt

_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

if TYPE_CHECKING:
    from infoflow.models.lvlm import LVLM


def require_text(text: Any, what: str) -> None:
    """Raise unless it is text that can be encoded.

    Args:
        text: The text.
        what: What it is, to begin the error with.

    Raises:
        InfoflowError: It is no ``str``, or holds half of a character.
    """
    if not isinstance(text, str):
        raise InfoflowError(f"{what} must be text, not {type(text).__name__}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InfoflowError(
            f"{what} holds half of a character, {text[error.start]!a}; valid: Unicode text."
        ) from error


def require_prompt(lvlm: "LVLM", prompt: Prompt) -> None:
    """Raise unless a prompt was encoded for a model as it is now.

    Args:
        lvlm: The model.
        prompt: What is to be measured on it.

    Raises:
        InfoflowError: It is no prompt, was encoded for another model, or the model has since been
            moved or converted.
    """
    if not isinstance(prompt, Prompt):
        raise InfoflowError(
            f"a prompt comes from lvlm.prompt(picture, question); this is a "
            f"{type(prompt).__name__}."
        )
    if prompt.model_key not in (None, lvlm.key):
        raise InfoflowError(
            f"the prompt {prompt.question!r} was encoded for another model than this {lvlm!r}; "
            "every loaded model encodes its own."
        )
    require_embeddings(lvlm, prompt.inputs_embeds, "the prompt")


def require_embeddings(lvlm: "LVLM", embeds: Tensor, what: str) -> None:
    """Raise unless embeddings are what the decoder takes.

    Args:
        lvlm: The model.
        embeds: The embeddings.
        what: What they are of, to begin the error with.

    Raises:
        InfoflowError: They are no tensor of shape (B, S, D), or of another type or on another
            device than the model.
    """
    width = lvlm.decoder.config.hidden_size
    if not isinstance(embeds, Tensor) or embeds.ndim != 3 or embeds.shape[-1] != width:
        shape = tuple(getattr(embeds, "shape", ()))
        raise InfoflowError(f"{what} has embeddings of shape {shape}; valid: (1, S, {width}).")
    if not embeds.numel():
        raise InfoflowError(f"{what} holds no token.")
    if (embeds.dtype, embeds.device) != (lvlm.dtype, lvlm.device):
        raise InfoflowError(
            f"{what} has embeddings in {embeds.dtype} on {embeds.device}; the model is in "
            f"{lvlm.dtype} on {lvlm.device}."
        )


def require_context(lvlm: "LVLM", length: int, what: str) -> None:
    """Raise unless a sequence fits the model.

    Args:
        lvlm: The model.
        length: The sequence's length in tokens.
        what: What the sequence is, to begin the error with.

    Raises:
        InfoflowError: The sequence is longer than the context.
    """
    if length > lvlm.context_length:
        raise InfoflowError(
            f"{what} takes {length} tokens; {lvlm.name} has a context of {lvlm.context_length}."
        )


def require_token_ids(lvlm: "LVLM", ids: Tensor, what: str) -> None:
    """Raise unless ids are tokens of the model.

    Args:
        lvlm: The model.
        ids: The ids, of any shape.
        what: What they spell, to begin the error with.

    Raises:
        InfoflowError: The ids are no row of at least one whole number, or lie outside the
            vocabulary.
    """
    if not isinstance(ids, Tensor) or ids.dtype not in _WHOLE:
        kind = getattr(ids, "dtype", type(ids).__name__)
        raise InfoflowError(f"{what} is {kind}; give text or a tensor of whole numbers.")
    if ids.ndim != 1 or not len(ids):
        raise InfoflowError(f"{what} holds no token; give text or ids of shape (T,).")
    vocabulary = lvlm.decoder.embed_tokens.num_embeddings
    if ids.min() < 0 or ids.max() >= vocabulary:
        raise InfoflowError(f"{what} has ids outside 0..{vocabulary - 1}.")
