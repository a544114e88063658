"""Published tokenizer files, turned into tokenizers without the libraries that wrote them."""

import base64
import struct
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from tokenizers import normalizers
from transformers import LlamaTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter, generate_merges

from infoflow.models.checkpoint import in_one_line

END_OF_TEXT, MESSAGE_START, MESSAGE_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE_START, IMAGE_END, IMAGE_PAD = "<img>", "</img>", "<imgpad>"
IMAGE_TOKENS, ENDS = (IMAGE_START, IMAGE_END, IMAGE_PAD), (MESSAGE_END, MESSAGE_START, END_OF_TEXT)
SPECIAL = (
    *(END_OF_TEXT, MESSAGE_START, MESSAGE_END),
    *(f"<|extra_{i}|>" for i in range(205)),
    *("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>"),
    *IMAGE_TOKENS,
)
"""Qwen's tokens beyond its vocabulary file, in order of their ids (``tokenization_qwen.py``)."""
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""What Qwen cuts texts into before bytes are joined (``tokenization_qwen.py``)."""


def qwen_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """Build Qwen's tokenizer from its ``qwen.tiktoken``."""
    with in_one_line(f"the tokenizer {file} cannot be read"):
        core = _RankConverter(file, pattern=SPLIT, extra_special_tokens=SPECIAL).converted()
    core.normalizer = normalizers.NFC()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


class _RankConverter(TikTokenConverter):  # type: ignore[misc]
    @staticmethod
    def load_tiktoken_bpe(file: Path) -> dict[bytes, int]:
        lines = Path(file).read_bytes().splitlines()
        pairs = [line.split() for line in lines if line]
        return {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}


def llama_tokenizer(file: Path, added: Sequence[str] = ()) -> LlamaTokenizer:
    """Build LLaMA's tokenizer from its ``tokenizer.model``; added tokens follow its own."""
    with in_one_line(f"the tokenizer {file} cannot be read"):
        pieces = [_piece(value) for number, value in _fields(file.read_bytes()) if number == 1]
        vocabulary = {text: i for i, (text, _, _) in enumerate(pieces)}
        scores = {text: score for text, score, kind in pieces if kind == 1}
        tokenizer = LlamaTokenizer(vocab=vocabulary, merges=generate_merges(vocabulary, scores))
        tokenizer.add_tokens(list(added), special_tokens=True)
    return tokenizer


def _piece(message: bytes) -> tuple[str, float, int]:
    """Read an entry of a SentencePiece vocabulary: its text, its score, and 1 if it is ordinary."""
    content = dict(_fields(message))
    (score,) = struct.unpack("<f", content.get(2, bytes(4)))
    return content[1].decode(), score, content.get(3, 1)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Read a protocol buffer's fields, without its package: numbers, and bytes or numbers."""
    stream = BytesIO(message)
    while stream.tell() < len(message):
        number, kind = divmod(_varint(stream), 8)
        if kind == 0:
            yield number, _varint(stream)
            continue
        value = stream.read(size := _varint(stream) if kind == 2 else {1: 8, 5: 4}[kind])
        if len(value) < size:
            raise ValueError("the file ends early")
        yield number, value


def _varint(stream: BytesIO) -> int:
    byte = stream.read(1)[0]
    return byte if byte < 0x80 else byte - 0x80 + (_varint(stream) << 7)
