"""Interventions that hide image tokens: FastV, truncation and Simignore."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from infoflow.interventions.base import Effect, Intervention, image_mask
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.options import require_finite, require_whole


@dataclass(frozen=True)
class FastV(Intervention):
    """Let only the most attended image tokens be seen from layer K on (Chen et al., 2024).

    Tokens are ranked by the attention that the last prompt token pays them in layer K - 1, heads
    averaged, and masked, not dropped: positions stay. They stay hidden while decoding.

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


@dataclass(frozen=True, eq=False)
class Simignore(Intervention):
    """Let only image tokens be seen that are similar to the text, in all layers (Eq. 9-16).

    The entries of the similarity matrix, image tokens by text tokens, are sorted; a walk along
    them collects the image tokens it meets (Zhang et al., AAAI 2025). The paper takes the tokens
    of the K best entries, K or fewer: ``Simignore(K, count="entries")``. The released code walks on
    until it has met K tokens, and reads the options alone: ``Simignore(452, start=1,
    text=options)`` for the 7B model, ``Simignore(451, stride=2, text=options)`` for the 13B. Its
    published gain has ``FastV(k=5, ratio=0.75)`` at work besides, 4 for the 13B.

    Attributes:
        keep: K, how many ``count`` to walk for.
        count: ``"rows"``: distinct image tokens; ``"entries"``: entries of the matrix.
        start: The rank of the entry at which the walk begins.
        stride: How many ranks a step goes.
        text: What the image is compared with, as text or as ids of shape (M,); None for all that
            follows the image in the prompt.
        metric: Similarity of embeddings: ``"cosine"``, or ``"euclidean"`` or ``"manhattan"``
            distance, negative, of the embeddings as they are.
        order: Which tokens stay: ``"most"``: those that the walk meets first; ``"least"``: those it
            meets last or not at all; ``"ends"``: half of both; ``"random"``: as many of any.
        seed: Of the random order.
    """

    keep: int
    count: Literal["rows", "entries"] = "rows"
    start: int = 0
    stride: int = 1
    text: str | Tensor | None = None
    metric: Literal["cosine", "euclidean", "manhattan"] = "cosine"
    order: Literal["most", "least", "ends", "random"] = "most"
    seed: int = 0

    def begin(self, lvlm: LVLM, prompt: Prompt) -> Effect:
        return Effect(image_mask(prompt, self.ignored(lvlm, prompt)))

    def ignored(self, lvlm: LVLM, prompt: Prompt) -> Tensor:
        """Say which of a prompt's image tokens are hidden: boolean of shape (N,)."""
        for name, least in (("keep", 0), ("start", 0), ("stride", 1), ("seed", 0)):
            require_whole(getattr(self, name), name, least)
        embeds, spans = prompt.inputs_embeds[0], prompt.spans
        image, text = embeds[spans.image], embeds[spans.user]
        if self.text is not None:
            ids = lvlm.encode_answer(self.text) if isinstance(self.text, str) else self.text
            lvlm.require_token_ids(ids, f"text = {self.text!r}")
            text = lvlm.decoder.embed_tokens(ids.to(lvlm.device))
        similarities = similarity(image, text, self.metric)
        kept = self._choose(steps_to_rows(similarities, self.start, self.stride))
        ignored = torch.ones(len(image), dtype=torch.bool, device=image.device)
        ignored[kept.to(image.device)] = False
        return ignored

    def _choose(self, steps: Tensor) -> Tensor:
        """Choose tokens by the step at which the walk meets each, shape (N,): indices (K,)."""
        n_kept = self.keep if self.count == "rows" else int((steps < self.keep).sum())
        n_met = int(steps.isfinite().sum())
        what = f"keep, for a walk that meets {n_met} of {len(steps)} image tokens,"
        require_whole(n_kept, what, 0, n_met)
        if self.order == "random":
            generator = torch.Generator().manual_seed(self.seed)
            return torch.randperm(len(steps), generator=generator)[:n_kept]
        n_first = {"most": n_kept, "least": 0, "ends": n_kept - n_kept // 2}[self.order]
        ranked = steps.argsort(stable=True)
        return torch.cat([ranked[:n_first], ranked[len(steps) - n_kept + n_first :]])


def similarity(image: Tensor, text: Tensor, metric: str) -> Tensor:
    """Compare embeddings: (N, D) and (M, D) to (N, M), higher being more similar."""
    wide = torch.promote_types(image.dtype, torch.float32)
    image, text = image.to(wide), text.to(wide)
    if metric == "cosine":
        return normalize(image, dim=-1) @ normalize(text, dim=-1).T
    return -torch.cdist(image, text, p=2 if metric == "euclidean" else 1)


def steps_to_rows(similarities: Tensor, start: int, stride: int) -> Tensor:
    """Walk along a matrix's entries, (N, M), from the one of rank ``start`` down by ``stride``.

    Equal entries are met in order. Returns the step at which each row is met, (N,), or infinity.
    """
    n_rows, n_columns = similarities.shape
    ranked = similarities.flatten().argsort(descending=True, stable=True)
    walk = ranked[start::stride] // n_columns
    steps = torch.full((n_rows,), torch.inf, dtype=torch.float64, device=walk.device)
    at = torch.arange(len(walk), dtype=torch.float64, device=walk.device)
    return steps.scatter_reduce(0, walk, at, "amin")
