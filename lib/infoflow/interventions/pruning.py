"""Interventions that hide image tokens by the attention they get: FastV and truncation."""

from dataclasses import dataclass
from typing import Literal

from infoflow.interventions.base import Effect, Intervention, image_mask
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.options import require_finite, require_whole


@dataclass(frozen=True)
class FastV(Intervention):
    """Let only the most attended image tokens be seen from layer K on (Chen et al., 2024).

    Tokens are ranked by the attention that the last prompt token pays them in layer K - 1, heads
    averaged. They are masked, not dropped, which is the same to all that remain; positions stay.
    Tokens are chosen once, on the prompt, and stay hidden while decoding.

    Attributes:
        k: K, how many leading layers see the whole image; 1 to L - 1.
        ratio: R, the share of image tokens that are hidden: N tokens keep (1 - R) N, rounded.
    """

    k: int = 2
    ratio: float = 0.5

    def begin(self, lvlm: LVLM, prompt: Prompt) -> Effect:
        require_whole(self.k, "k", 1, lvlm.n_layers - 1)
        ratio = require_finite(self.ratio, "ratio", 0, 1)
        return Effect(image_mask(prompt), self.k, round((1 - ratio) * prompt.grid.n_tokens))


@dataclass(frozen=True)
class Truncate(Intervention):
    """Hide the image from a layer on (paper, Eq. 10-13), while reading and while decoding.

    Attributes:
        cut: How many leading layers see the whole image, 0 to L; the paper's layer l is cut l - 1.
        keep: K, how many image tokens stay in sight: those that the last prompt token attends to
            most in layer ``cut - 1``, heads averaged. They are chosen once, on the prompt.
        span_mode: ``"exact"`` hides the image tokens; ``"authors"`` the same number of tokens from
            one further on, as the released code does: it leaves the first image token in sight
            and hides the first text token after the image. It keeps none.
    """

    cut: int
    keep: int = 0
    span_mode: Literal["exact", "authors"] = "exact"

    def begin(self, lvlm: LVLM, prompt: Prompt) -> Effect:
        most, shift = {"exact": (prompt.grid.n_tokens, 0), "authors": (0, 1)}[self.span_mode]
        keep = require_whole(self.keep, f"keep with span_mode={self.span_mode!r}", 0, most)
        # no layer comes before cut 0 to choose by
        require_whole(self.cut, "cut", 1 if keep else 0, lvlm.n_layers)
        return Effect(image_mask(prompt, shift=shift), self.cut, keep)
