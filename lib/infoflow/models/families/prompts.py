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

QWEN = f"<img>{PLACEHOLDER}</img>{{question}}"
"""Qwen-VL's, which continues a text: there is no conversation."""

QWEN_CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    f"<|im_start|>user\nPicture 1:<img>{PLACEHOLDER}</img>\n{{question}}<|im_end|>\n"
    "<|im_start|>assistant\n"
)
"""Qwen-VL-Chat's: one message of ChatML (``qwen_generation_utils.py``), with its picture named."""
