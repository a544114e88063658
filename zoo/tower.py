"""Stage 1 of the recipe: the vision tower learns to say what each patch shows."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoflow.data.shapes.world import COLOURS, DEFAULT_WORLD, LETTERS, SHAPES, SIGNS, World
from zoo.architectures import Architecture, Look
from zoo.batches import PatchBatches, PatchLabels
from zoo.fit import Stage, fit
from zoo.model import WIDTH

BATCH = 64
_DECAY = 0.45


class PatchReader(nn.Module):
    """The tower with one linear read-out for each label; the read-outs are thrown away later."""

    frame_centres: Tensor

    def __init__(self, architecture: Architecture, tower: nn.Module) -> None:
        """Read out from the features that are handed on."""
        super().__init__()
        sizes = {
            "shape": len(SHAPES) + len(SIGNS) + 1,
            "colour": len(COLOURS) + 1,
            "letter": len(LETTERS),
            "place": 3,
            "centre": 2,
            "present": len(COLOURS) * len(SHAPES),
        }
        self.architecture, self.tower = architecture, tower
        self.heads = nn.ModuleDict({name: nn.Linear(WIDTH, n) for name, n in sizes.items()})
        self.register_buffer("frame_centres", architecture.frame_centres(), persistent=False)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Read-outs (B, 64, ...) of pictures uint8 (B, 96, 96, 3); ``present`` is (B, 48)."""
        look = self.look(pictures)
        patches = F.layer_norm(look.patches.float(), (WIDTH,))
        read: dict[str, Tensor] = {
            name: head(look.picture if name == "present" else patches).float()
            for name, head in self.heads.items()
        }
        return read | {"centre": read["centre"] + self.frame_centres}

    def look(self, pictures: Tensor) -> Look:
        """Give the features to read out from."""
        return self.architecture.look(self.tower, pictures)

    def loss(self, batch: tuple[Tensor, PatchLabels]) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of the losses of all labels, and the share of object and letter patches right."""
        pictures, labels = batch
        with torch.autocast(pictures.device.type, torch.bfloat16):
            read = self(pictures)

        def classify(name: str) -> Tensor:
            return F.cross_entropy(read[name].flatten(0, 1), getattr(labels, name).flatten())

        known = ~labels.centre.isnan()
        value = (
            classify("shape")
            + classify("colour")
            + classify("letter")
            + 0.7 * classify("place")
            + 2 * (read["centre"] - labels.centre)[known].square().mean()
            + 2 * F.binary_cross_entropy_with_logits(read["present"], labels.present)
        )
        objects, letters = labels.shape < len(SHAPES), labels.letter >= 0
        return value, {
            "loss": value.detach(),
            "shape": _share_right(read["shape"], labels.shape, objects),
            "colour": _share_right(read["colour"], labels.colour, objects),
            "letter": _share_right(read["letter"], labels.letter, letters),
        }


def _share_right(scores: Tensor, labels: Tensor, where: Tensor) -> Tensor:
    return (scores.argmax(-1) == labels)[where].float().mean()


def train_tower(
    architecture: Architecture,
    tower: nn.Module,
    stage: Stage,
) -> None:
    """Train the tower in place, where it is; resumes from its checkpoint."""
    torch.manual_seed(stage.seed)
    reader = PatchReader(architecture, tower).to(next(tower.parameters()).device)
    batches = PatchBatches(stage.seed, BATCH, stage.world)
    fit(reader, reader.loss, batches, stage.steps, _DECAY, stage.checkpoint, stage.loaders)


def start_connector(
    architecture: Architecture, model: Any, seed: int, world: World = DEFAULT_WORLD
) -> None:
    """Draw what lies between the trained tower and the decoder."""
    torch.manual_seed(seed)
    statistics = feature_statistics(architecture, architecture.tower(model), seed, world)
    architecture.start_connector(model, *statistics)


@torch.no_grad()
def feature_statistics(
    architecture: Architecture, tower: nn.Module, seed: int, world: World = DEFAULT_WORLD
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (both (D,)) of the patch features over one batch."""
    pictures, _ = PatchBatches(seed, BATCH, world)[0]
    look = architecture.look(tower, pictures.to(next(tower.parameters()).device))
    flat = look.patches.flatten(0, 1)
    return flat.mean(0), flat.std(0)


@torch.no_grad()
def rescale_tower(
    architecture: Architecture, tower: nn.Module, seed: int, world: World = DEFAULT_WORLD
) -> None:
    """Bring the features to unit scale without changing what the tower computes.

    Training lets the residual stream grow; a scale far from one slows the projector down and
    wastes the range of float16. Every block normalises its input, so dividing all that is written
    to the stream by one number divides the features by it and changes nothing else.
    """
    _, std = feature_statistics(architecture, tower, seed, world)
    scale = std.square().mean().sqrt()
    for tensor in architecture.written(tower):
        tensor /= scale
