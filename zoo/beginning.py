"""What a decoder begins with: word vectors, a head that looks back and a head that matches.

An option is found by its word and answered by the mark before it: one head must bring every token
what stands before it, a later one must find where the same word stood. Trained decoders have both
(the induction heads of Olsson et al., 2022). A small one with a picture before the question finds
them late: at first it attends to everything alike, and the picture is most of what there is.
Beginning near what training ends in is mimetic initialisation (Trockman and Kolter, 2023). Nothing
here is about the picture.
"""

from typing import Any

import torch
from torch import Tensor

from infoflow.data.shapes.questions import LETTERS
from zoo.model import WORD_SCALE

_LOOKING_BACK, _MATCHING = slice(0, 2), slice(1, 3)
"""Layers that begin with a head of the kind; what is looked back for can be matched one later."""
_BACK_STRENGTH, _MATCH_STRENGTH = 0.8, 2.0
_FAST, _SLOW = 4, 8
"""Frequencies of RoPE that a head rests on: the fastest tell distances, the slowest hardly do."""


@torch.no_grad()
def begin(decoder: Any, ids: dict[str, int]) -> None:
    """Draw the word vectors and the two kinds of heads of a decoder, in place.

    Args:
        decoder: A freshly drawn decoder.
        ids: Its tokenizer's words.
    """
    words = draw_words(decoder)
    for letter in LETTERS:  # an option's mark begins as the letter that answers with it
        words[ids[f"({letter})"]] = words[ids[letter]]
    common = torch.randn(words.shape[1])
    words += WORD_SCALE * common
    common /= common.norm()
    turns = decoder.rotary_emb.inv_freq
    for layer in decoder.layers[_LOOKING_BACK]:
        _set_head(layer, 0, *_looking_back(common, turns))
    for layer in decoder.layers[_MATCHING]:
        matching = _matching(common, turns)
        _set_head(layer, 1, matching, matching)


@torch.no_grad()
def draw_words(decoder: Any) -> Tensor:
    """Draw the word vectors well apart, in place, and return them."""
    words: Tensor = decoder.embed_tokens.weight.normal_(0, WORD_SCALE)
    return words


def _looking_back(common: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """Query and key, (d, D) each, of a head that attends to the token before its own.

    Both rest on what all words have in common; the key is the query turned on by one position, so
    that under RoPE (Su et al., 2021) they meet where the distance is one.
    """
    query = torch.zeros(2, len(turns))  # the two halves of a head are turned against each other
    query[0, :_FAST] = _BACK_STRENGTH
    key = torch.stack([query[0] * turns.cos(), query[0] * turns.sin()])
    return query.flatten()[:, None] * common, key.flatten()[:, None] * common


def _matching(common: Tensor, turns: Tensor) -> Tensor:
    """Query or key, (d, D), of a head that attends to its own word, wherever it stood.

    It compares what words do not have in common, along directions drawn at random.
    """
    drawn = torch.randn(2 * _SLOW, len(common))
    drawn -= (drawn @ common)[:, None] * common
    directions = torch.linalg.qr(drawn.T)[0].T.reshape(2, _SLOW, len(common))
    rows = torch.zeros(2, len(turns), len(common))
    rows[:, -_SLOW:] = _MATCH_STRENGTH * directions
    return rows.flatten(0, 1)


def _set_head(layer: Any, head: int, query: Tensor, key: Tensor) -> None:
    here = slice(head * len(query), (head + 1) * len(query))
    layer.self_attn.q_proj.weight[here], layer.self_attn.k_proj.weight[here] = query, key
