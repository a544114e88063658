"""A tiny ``tokenizer.model``, its protocol buffer written by hand, and its merging restated."""

import struct
from itertools import pairwise

from checkpoints import TEXT_OF_ALL_WORDS

MARK = "▁"


def vocabulary():
    """Pieces as (text, score, kind): controls, bytes, then pieces in order of merging."""
    words = list(dict.fromkeys(TEXT_OF_ALL_WORDS.split()))
    chains = [(MARK + word)[:end] for word in words for end in range(2, len(word) + 2)]
    letters = sorted(set(MARK + "".join(words) + "0123456789abcdefghijklmnopqrstuvwxyz"))
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    pieces += [(f"<0x{i:02X}>", 0.0, 6) for i in range(256)]
    ordinary = [*dict.fromkeys(chains), *letters]
    return pieces + [(text, -float(i), 1) for i, text in enumerate(ordinary)]


SIZE = len(vocabulary())


def save(path):
    path.write_bytes(b"".join(_field(1, _piece(*piece)) for piece in vocabulary()) + _field(2, b""))


def encode(text):
    """SentencePiece's byte-pair encoding, restated: the best neighbours join until none can."""
    ids = {piece: i for i, (piece, _, _) in enumerate(vocabulary())}
    scores = {piece: score for piece, score, kind in vocabulary() if kind == 1}
    parts = list(MARK + text.replace(" ", MARK))
    while True:
        joined = [(scores.get(a + b), -i) for i, (a, b) in enumerate(pairwise(parts))]
        best = max((entry for entry in joined if entry[0] is not None), default=None)
        if best is None:
            break
        i = -best[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    found = []
    for part in parts:
        found += [ids[part]] if part in ids else [ids[f"<0x{b:02X}>"] for b in part.encode()]
    return found


def _piece(text, score, kind):
    number = b"\x15" + struct.pack("<f", score)  # field 2, four bytes
    return _field(1, text.encode()) + number + (b"\x18" + bytes([kind]) if kind != 1 else b"")


def _field(number, content):
    length, size = b"", len(content)
    while size >= 0x80:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content
