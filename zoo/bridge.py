"""Stage 2, for models whose image tokens are read by queries: the bridge learns to look.

A query that begins at random looks everywhere at once, and what it gives is the mean of the
picture. A decoder learns from that what can be learned, and its answers then teach the queries no
better. The published models do not begin there either: BLIP-2's Q-Former (Li et al., 2023, section
3.2) and Qwen-VL's resampler (Bai et al., 2023, section 3.1) are trained before they are tuned.
"""

from typing import Any

import torch
from torch import Tensor, nn

from zoo.architectures import Architecture, Asked, Look
from zoo.batches import PatchBatches
from zoo.fit import Stage, fit, resting
from zoo.model import N_PATCHES, PATCHES_A_SIDE, WIDTH
from zoo.tower import BATCH, PatchReader

_DECAY = 0.6


class TokenReader(PatchReader):
    """Reads out what each patch shows from the image tokens, each of which stands for some."""

    def __init__(self, architecture: Architecture, model: Any) -> None:
        """Read out from what lies between the tower of ``model`` and its decoder."""
        super().__init__(architecture, architecture.tower(model))
        self.model = model
        self.steering = architecture.steering_ids(architecture.prompts(), "")
        self.unfold = nn.Linear(WIDTH, WIDTH * N_PATCHES // architecture.n_queries)

    def look(self, pictures: Tensor) -> Look:
        """Unfold the image tokens into the patches that they stand for."""
        with torch.no_grad():
            look = self.architecture.look(self.tower, pictures)
        n, device = len(pictures), pictures.device
        ids = torch.tensor([self.steering] * n, dtype=torch.long, device=device)
        asked = Asked(ids, torch.arange(n, device=device))
        tokens = self.architecture.image_tokens(self.model, look, asked)
        return look._replace(patches=_unfolded(self.unfold(tokens)))


def _unfolded(tokens: Tensor) -> Tensor:
    """Lay tokens (B, n * n, k * k * D), a raster of squares of k * k patches, out as patches."""
    n = round(tokens.shape[1] ** 0.5)
    k = PATCHES_A_SIDE // n
    squares = tokens.view(-1, n, n, k, k, WIDTH)
    return squares.transpose(2, 3).reshape(-1, N_PATCHES, WIDTH)


def train_bridge(
    architecture: Architecture,
    model: Any,
    stage: Stage,
) -> None:
    """Train what lies between tower and decoder, in place; resumes from its checkpoint."""
    torch.manual_seed(stage.seed)
    reader = TokenReader(architecture, model).to(next(model.parameters()).device)
    family = architecture.adapter(model)
    with resting(architecture.tower(model), family.decoder, family.lm_head):
        batches = PatchBatches(stage.seed, BATCH, stage.world)
        fit(reader, reader.loss, batches, stage.steps, _DECAY, stage.checkpoint, stage.loaders)
