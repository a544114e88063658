"""One image and one question, encoded for one model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from infoflow.errors import InfoflowError
from infoflow.models.grid import Grid


class Spans(NamedTuple):
    """The three groups of prompt tokens (paper, Eq. 6), half open and adjoining."""

    system: slice
    image: slice
    user: slice


@dataclass(frozen=True, eq=False)
class Prompt:
    """One image and one question, encoded for one model.

    Attributes:
        input_ids: Shape (S,); every image token holds the image token id.
        inputs_embeds: Shape (1, S, D): token embeddings, image features in their places.
        pixel_values: The preprocessed image, (1, 3, height, width), or (1, tiles, 3, height, width)
            for a model that cuts it into tiles; some processors give a row of numbers a patch.
        spans: Where the system, image and user tokens lie.
        grid: Where the image tokens lie on the image.
        image: The image, RGB.
        question: The question as given.
        model_key: The ``key`` of the model it was encoded for; None for one put together by hand.
        position_ids: Where the model places the tokens: (1, S), or (R, 1, S) with a row for each
            of R axes (M-RoPE); None for 0 to S - 1.
        mask: Which tokens (columns) each token (row) may see, if not all up to itself: boolean of
            shape (S, S). In some models image tokens see each other, later ones, too.
        deepstack: What is added to the image tokens' states after each of the first layers:
            shapes (1, N, D).
        inputs: What the untouched model takes beside ids and pixels, by name.
    """

    input_ids: Tensor
    inputs_embeds: Tensor
    pixel_values: Tensor
    spans: Spans
    grid: Grid
    image: Image.Image
    question: str
    model_key: str | None = None
    position_ids: Tensor | None = None
    mask: Tensor | None = None
    deepstack: tuple[Tensor, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    @property
    def n_before(self) -> int:
        """How many tokens at the beginning see nothing of the image, and are the same for all."""
        n = self.spans.image.start
        return 0 if self.mask is not None and bool(self.mask[:n, n:].any()) else n

    def positions(self, start: int, stop: int) -> Tensor:
        """Place tokens start to stop - 1, (1, n) or (R, 1, n); an answer goes on by ones."""
        if self.position_ids is None:
            return torch.arange(start, stop, device=self.input_ids.device)[None]
        steps = torch.arange(max(0, stop - len(self)), device=self.input_ids.device)
        after = self.position_ids[..., -1:] + 1 + steps
        return torch.cat([self.position_ids, after], dim=-1)[..., start:stop]

    def visible(self, n: int) -> Tensor:
        """Which tokens (columns) the first n of prompt and answer (rows) may see: (n, n)."""
        seen = self.input_ids.new_ones(n, n, dtype=torch.bool).tril()
        if self.mask is not None:
            seen[: len(self), : len(self)] = self.mask[:n, :n]
        return seen

    def decoder_arguments(self, start: int, stop: int) -> dict[str, Any]:
        """What the decoder takes beside embeddings of such tokens; nothing if it is ordinary."""
        found: dict[str, Any] = {}
        if self.position_ids is not None:
            found["position_ids"] = self.positions(start, stop)
        if self.mask is not None:
            found["attention_mask"] = self.visible(stop)[None, None, start:]
        image = self.spans.image
        if self.deepstack and start <= image.start and image.stop <= stop:
            places = torch.zeros(len(self.deepstack[0]), stop - start, dtype=torch.bool)
            places[:, image.start - start : image.stop - start] = True
            found["visual_pos_masks"] = places.to(self.input_ids.device)
            found["deepstack_visual_embeds"] = [level.flatten(0, 1) for level in self.deepstack]
        return found


def find_spans(input_ids: Tensor, image_token_id: int) -> Spans:
    """Find the token groups in a prompt's ids, shape (S,); the image tokens must be one run."""
    places = (input_ids == image_token_id).nonzero()[:, 0]
    if not len(places):
        raise InfoflowError(f"the prompt holds no image token (id {image_token_id}).")
    start, stop = int(places[0]), int(places[-1]) + 1
    if stop - start != len(places):
        where = f"scattered over {start}..{stop - 1}; they must be one run"
        raise InfoflowError(f"the {len(places)} image tokens lie {where}.")
    return Spans(slice(0, start), slice(start, stop), slice(stop, len(input_ids)))
