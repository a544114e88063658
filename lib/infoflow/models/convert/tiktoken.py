"""Qwen's ``qwen.tiktoken``: byte strings by rank, made a tokenizer without tiktoken's library."""

import base64
import binascii
import math
from itertools import pairwise
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from infoflow.errors import InfoflowError

END_OF_TEXT, MESSAGE_START, MESSAGE_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE_START, IMAGE_END, IMAGE_PAD = "<img>", "</img>", "<imgpad>"
SPECIAL = (
    END_OF_TEXT,
    MESSAGE_START,
    MESSAGE_END,
    *(f"<|extra_{i}|>" for i in range(205)),
    *("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>"),
    IMAGE_START,
    IMAGE_END,
    IMAGE_PAD,
)
"""The tokens that follow the file's, in order of their ids (``tokenization_qwen.py``)."""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""What texts are cut into before bytes are joined (``tokenization_qwen.py``)."""

Pair = tuple[bytes, bytes]


def qwen_tokenizer(file: Path) -> PreTrainedTokenizerFast:
    """Build Qwen's tokenizer from its published file.

    Raises:
        InfoflowError: The file is missing or damaged.
    """
    ranks = read_ranks(file)
    vocabulary = {_spelt(token): rank for token, rank in ranks.items()}
    pairs = [(_spelt(first), _spelt(second)) for first, second in merges(ranks)]
    # a word that is in the vocabulary is one token, even if no merges lead to it
    core = Tokenizer(models.BPE(vocabulary, pairs, ignore_merges=True))
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def read_ranks(file: Path) -> dict[bytes, int]:
    """Read byte strings and their ranks, which are their ids.

    Raises:
        InfoflowError: The file is missing, a line of it is not a string in base 64 and a number,
            the numbers are not 0, 1, 2 and so on, or a single byte is missing.
    """
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise InfoflowError(f"the vocabulary {file} cannot be read: {error}") from error
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (binascii.Error, ValueError) as error:
            raise InfoflowError(
                f"the vocabulary {file} is damaged in line {number}; valid: a string in base 64, "
                "a space and its rank."
            ) from error
    _require_whole(ranks, file)
    return ranks


def merges(ranks: dict[bytes, int]) -> list[Pair]:
    """List the pairs that are joined, the first ones first: one for each string of two or more.

    tiktoken joins whatever neighbours make the string of the lowest rank. What happens between two
    cuts of a text does not depend on what is beyond them, so a string is always made from the same
    two parts: those that it comes down to when it is encoded alone.
    """
    longer = sorted((t for t in ranks if len(t) > 1), key=ranks.__getitem__)
    return [pair for token in longer if (pair := _last_two(token, ranks)) is not None]


def _last_two(token: bytes, ranks: dict[bytes, int]) -> Pair | None:
    """Join a string's bytes until two parts are left; None if they do not come so far."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        joined = [ranks.get(a + b, math.inf) for a, b in pairwise(parts)]
        lowest = min(joined)
        if lowest == math.inf:
            return None
        place = joined.index(lowest)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts[0], parts[1]


def _require_whole(ranks: dict[bytes, int], file: Path) -> None:
    """Raise unless the ranks count from 0 without a gap and every byte has one."""
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise InfoflowError(
            f"the vocabulary {file} is damaged: its {len(ranks)} ranks are not 0, 1, 2 and so on."
        )
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise InfoflowError(
            f"the vocabulary {file} is damaged: it lacks {len(missing)} of the 256 single bytes."
        )


def _spelt(token: bytes) -> str:
    """Spell bytes in the letters that stand for them in byte-level vocabularies."""
    return "".join(map(_LETTERS.__getitem__, token))


def _byte_letters() -> list[str]:
    """List each byte's letter: itself if it can be seen, else one beyond the 256 (GPT-2's way)."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte) if byte in seen else chr(next(hidden)) for byte in range(256)]


_LETTERS = _byte_letters()
