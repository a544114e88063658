"""Interventions that hide image tokens by the attention they get: FastV and truncation."""

from dataclasses import dataclass
from typing import Literal

from infoflow.errors import InfoflowError, require_name
from infoflow.interventions.base import Effect, Hiding, Intervention
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.options import require_finite, require_whole

SPAN_MODES = ("exact", "authors")


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

    def __post_init__(self) -> None:
        require_whole(self.k, "k", 1)
        require_finite(self.ratio, "ratio", 0, 1)

    def require_fits(self, lvlm: LVLM) -> None:
        require_whole(self.k, "k", 1, lvlm.n_layers - 1)

    def begin(self, lvlm: LVLM, prompt: Prompt) -> Effect:
        return Hiding(prompt, self.k, round((1 - self.ratio) * prompt.grid.n_tokens))


@dataclass(frozen=True)
class Truncate(Intervention):
    """Hide the image from a layer on (paper, Eq. 10-13), while reading and while decoding.

    Attributes:
        cut: How many leading layers see the whole image, 0 to L; the paper's layer l is cut l - 1.
        keep: K, how many image tokens stay in sight: those that the last prompt token attends to
            most in layer ``cut - 1``, heads averaged. They are chosen once, on the prompt.
        span_mode: ``"exact"`` hides the image tokens; ``"authors"`` the same number of tokens from
            one further on, as the released code does: it leaves the first image token in sight
            and hides the first text token after the image.
    """

    cut: int
    keep: int = 0
    span_mode: Literal["exact", "authors"] = "exact"

    def __post_init__(self) -> None:
        require_whole(self.cut, "cut", 0)
        require_whole(self.keep, "keep", 0)
        require_name(self.span_mode, "span mode", SPAN_MODES)
        if self.keep and not self.cut:
            raise InfoflowError(
                f"keep = {self.keep} with cut = 0: no layer comes before the cut to choose by; "
                "valid: a cut of 1 or more, or keep=0."
            )

    @property
    def sweepable(self) -> bool:
        """Not if a text token competes with image tokens for a place."""
        return not (self.keep and self.span_mode == "authors")

    def require_fits(self, lvlm: LVLM) -> None:
        require_whole(self.cut, "cut", 0, lvlm.n_layers)

    def begin(self, lvlm: LVLM, prompt: Prompt) -> Effect:
        require_whole(self.keep, "keep", 0, prompt.grid.n_tokens)
        return Hiding(prompt, self.cut, self.keep, shift=int(self.span_mode == "authors"))
