"""What a model can be given: text, no more tokens than its context holds, only tokens it has."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from infoflow.errors import InfoflowError

if TYPE_CHECKING:
    from infoflow.lvlm import LVLM


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
        InfoflowError: The ids are no row of at least one, or lie outside the vocabulary.
    """
    if ids.ndim != 1 or not len(ids):
        raise InfoflowError(f"{what} holds no token; give text or ids of shape (T,).")
    vocabulary = lvlm.decoder.embed_tokens.num_embeddings
    if ids.min() < 0 or ids.max() >= vocabulary:
        raise InfoflowError(f"{what} has ids outside 0..{vocabulary - 1}.")
