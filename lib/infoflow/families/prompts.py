"""The conversations that the families' prompts are put into."""

PLACEHOLDER = "<image>"
"""Stands for the image tokens in a template; the texts on its two sides are tokenised apart."""

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
VICUNA_V1 = f"{SYSTEM} USER: {PLACEHOLDER}\n{{question}} ASSISTANT:"
"""The ``vicuna_v1`` conversation with one picture and one question."""

SHIKRA = f"{SYSTEM} USER:{PLACEHOLDER}{{question}} ASSISTANT:"
"""Shikra's: the spaces beside the marks around the picture are no tokens."""
