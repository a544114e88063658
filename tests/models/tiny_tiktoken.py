"""A tiny ``qwen.tiktoken``, and byte-pair encoding by rank restated plainly."""

import base64
import functools
import unicodedata
from collections import Counter
from itertools import pairwise

import regex
from checkpoints import TEXT_OF_ALL_WORDS

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPECIAL += [f"<|extra_{i}|>" for i in range(205)]
SPECIAL += ["<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>", "<img>", "</img>"]
SPECIAL += ["<imgpad>"]
WORDS = [*TEXT_OF_ALL_WORDS.split(), "system", "You", "are", "Picture"]
TRAINED_ON = f"{' '.join(WORDS)}\n{chr(10).join(WORDS)}"  # each after a space, and at a beginning


def single_bytes():
    """The 256 bytes in another order than their own, as in the published file."""
    return [bytes([(i * 37 + 33) % 256]) for i in range(256)]


def trained(text, n_merges):
    """A vocabulary in order of ranks: what is most often side by side joins."""
    tokens = single_bytes()
    words = Counter(piece.encode() for piece in regex.findall(PATTERN, text))
    parts = {word: [word[i : i + 1] for i in range(len(word))] for word in words}
    for _ in range(n_merges):
        counts = Counter()
        for word, n in words.items():
            for pair in pairwise(parts[word]):
                counts[pair] += n
        if not counts:
            break
        first, second = max(counts, key=lambda pair: (counts[pair], pair))
        tokens.append(first + second)
        for word in parts:
            parts[word] = _joined(parts[word], first, second)
    return tokens


def _joined(parts, first, second):
    found = []
    for part in parts:
        if found and (found[-1], part) == (first, second):
            found[-1] = first + second
        else:
            found.append(part)
    return found


@functools.cache
def vocabulary():
    return tuple(trained(TRAINED_ON, 1000))


def special_id(token):
    return len(vocabulary()) + SPECIAL.index(token)


def size():
    """How many ids there are, and some rows of the embeddings beyond them as published."""
    return len(vocabulary()) + len(SPECIAL) + 3


def encode(text, tokens=None):
    """The ids of a text: special tokens apart, the rest byte by byte, the lowest rank first."""
    ranks = {token: rank for rank, token in enumerate(tokens or vocabulary())}
    ids = []
    for chunk in regex.split("(" + "|".join(map(regex.escape, SPECIAL)) + ")", text):
        if chunk in SPECIAL:
            ids.append(len(ranks) + SPECIAL.index(chunk))
            continue
        for piece in regex.findall(PATTERN, unicodedata.normalize("NFC", chunk)):
            ids += _by_rank(piece.encode(), ranks)
    return ids


def _by_rank(piece, ranks):
    if piece in ranks:
        return [ranks[piece]]
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while True:
        known = [(ranks[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
        if not known:
            return [ranks[part] for part in parts]
        _, i = min(known)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def save(path, tokens=None):
    lines = [
        base64.b64encode(token) + b" %d\n" % rank
        for rank, token in enumerate(tokens or vocabulary())
    ]
    path.write_bytes(b"".join(lines))
