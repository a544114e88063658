"""LLaMA's ``tokenizer.model``: the pieces of a SentencePiece model, read without its library."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from transformers import LlamaTokenizer

from infoflow.errors import InfoflowError

_PIECES, _PIECE, _SCORE, _TYPE = 1, 1, 2, 3
_NORMAL = 1
_LONGEST_NUMBER = 63
"""Bits: what a protocol buffer's numbers have at most, but for one."""


class Piece(NamedTuple):
    """An entry of the vocabulary.

    Attributes:
        text: The piece, a space being ``▁``.
        score: Pieces of higher scores are merged first.
        kind: 1 for ordinary pieces; others are unknown, control, user-defined, byte.
    """

    text: str
    score: float
    kind: int


def llama_tokenizer(file: Path, added: dict[str, int] | None = None) -> LlamaTokenizer:
    """Build LLaMA's tokenizer from its published file.

    Args:
        file: A ``tokenizer.model``.
        added: Tokens beyond its vocabulary, with the ids they must get.

    Raises:
        InfoflowError: The file is missing or damaged, or the added ids do not follow its own.
    """
    pieces = read_pieces(file)
    vocabulary = {piece.text: i for i, piece in enumerate(pieces)}
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=merges(pieces))
    for token, index in sorted((added or {}).items(), key=lambda entry: entry[1]):
        tokenizer.add_tokens([token], special_tokens=True)
        if tokenizer.convert_tokens_to_ids(token) != index:
            raise InfoflowError(
                f"the added token {token!r} should have the id {index}, but the vocabulary of "
                f"{file} has {len(pieces)} entries."
            )
    return tokenizer


def read_pieces(file: Path) -> list[Piece]:
    """Read a SentencePiece model's vocabulary, in order of ids.

    Raises:
        InfoflowError: The file is missing or is no such model.
    """
    try:
        fields = list(_fields(file.read_bytes()))
        pieces = [_piece(value) for number, value in fields if number == _PIECES]
    except (OSError, IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise InfoflowError(f"the tokenizer {file} cannot be read: {error}") from error
    if not pieces:
        raise InfoflowError(f"the tokenizer {file} cannot be read: it holds no vocabulary.")
    return pieces


def merges(pieces: list[Piece]) -> list[tuple[str, str]]:
    """List the pairs that byte-pair encoding merges, the first ones first.

    SentencePiece merges whatever neighbours make the piece of the highest score, so a piece stands
    for all pairs that it is made of. Of one piece's pairs, those of earlier pieces come first.
    """
    ranks = {piece.text: i for i, piece in enumerate(pieces)}
    by_score = sorted(range(len(pieces)), key=lambda i: -pieces[i].score)
    found: list[tuple[str, str]] = []
    for i in by_score:
        text = pieces[i].text
        if pieces[i].kind != _NORMAL:
            continue
        pairs = [(text[:cut], text[cut:]) for cut in range(1, len(text))]
        known = [pair for pair in pairs if pair[0] in ranks and pair[1] in ranks]
        found += sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    return found


def _piece(message: bytes | int) -> Piece:
    if isinstance(message, int):
        raise TypeError("a piece is no message")
    content = dict(_fields(message))
    text, score = content[_PIECE], content.get(_SCORE, b"\0\0\0\0")
    if not isinstance(text, bytes) or not isinstance(score, bytes):
        raise TypeError("a piece has no text")
    kind = content.get(_TYPE, _NORMAL)
    return Piece(text.decode(), _float(score), int(kind) if isinstance(kind, int) else _NORMAL)


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Read a protocol buffer's fields: numbers, and values as bytes or whole numbers."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(message, place)
            yield number, value
            continue
        length = {1: 8, 5: 4}.get(wire)
        if length is None:
            if wire != 2:
                raise ValueError(f"unknown wire type {wire}")
            length, place = _varint(message, place)
        if place + length > len(message):
            raise ValueError("the file ends early")
        yield number, message[place : place + length]
        place += length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, the lowest first; return it and where it ends."""
    value, shift = 0, 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > _LONGEST_NUMBER:
            raise ValueError("a number is too long")


def _float(value: bytes) -> float:
    number: float = struct.unpack("<f", value)[0]
    return number
