"""Forward passes with one edge of attention cut, the plain way: the whole matrix, masked."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from infoflow import LVLM, Prompt
from infoflow.hooks.attention import Attention
from infoflow.hooks.forward import modified

EDGES = ("picture", "image-question", "image-last", "question-last")


@dataclass
class CutEdge:
    """Hides the keys of an edge's source from the rows of its target in layers first <= l < stop.

    The last row is the prompt's last and, while an answer is generated or read in, those after it;
    the question is the rest of the text behind the image.
    """

    edge: str
    first: int
    stop: int

    @contextmanager
    def reading(self, prompt: Prompt) -> Iterator[None]:
        self.image, self.last = prompt.spans.image, len(prompt) - 1
        yield

    def modify(self, layer: int, call: Attention) -> Attention:
        if not self.first <= layer < self.stop:
            return call
        scores = call.query[0] @ call.key[0].mT * call.scaling
        n_rows, n_keys = scores.shape[1:]
        keys = torch.arange(n_keys)
        rows = keys[n_keys - n_rows :, None]
        is_image = (keys >= self.image.start) & (keys < self.image.stop)
        is_question = (keys >= self.image.stop) & (keys < self.last)
        behind = rows >= self.image.stop
        cut = {
            "picture": is_image & behind,
            "image-question": is_image & behind & (rows < self.last),
            "image-last": is_image & (rows >= self.last),
            "question-last": is_question & (rows >= self.last),
        }[self.edge]
        seen = (keys <= rows) & ~cut
        return call._replace(weights=scores.masked_fill(~seen, -torch.inf).softmax(-1))


@contextmanager
def cut_edge(lvlm: LVLM, edge: str, first: int, stop: int) -> Iterator[None]:
    with modified(lvlm, CutEdge(edge, first, stop)):
        yield
