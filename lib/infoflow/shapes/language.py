"""Stage 2 of the recipe: projector and decoder learn to answer, on a frozen vision tower.

No picture is ever dropped or masked here: where the information-flow cliff of a zoo model lies is
for the model to decide.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, LlavaForConditionalGeneration

from infoflow.shapes.batches import IGNORE, PackedBatch, PackedBatches
from infoflow.shapes.fit import fit
from infoflow.shapes.model import normalise
from infoflow.shapes.tokenizer import EOS, IMAGE
from infoflow.shapes.tower import feature_statistics

BATCH = 24
ATTENTION = "infoflow_packed"
_END_WEIGHT = 0.2
"""Weight of the end-of-answer token in the loss; it is easy, and there is one in every answer."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    slot_mask: Tensor,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention over a shared start followed by slots that cannot see each other.

    A dense mask over the whole sequence would spend most of its work on pairs that may not attend;
    here each slot meets the shared start and itself only.

    Args:
        module: The attention module (part of the interface, unused).
        query: (B, H, S, d) with S = start + N * U.
        key: (B, H, S, d).
        value: (B, H, S, d).
        attention_mask: Unused; which positions see each other follows from the layout.
        slot_mask: Added to the scores inside slots, (B, N, U, U).
        scaling: Factor of the scores.

    Returns:
        The output (B, S, H, d), and no weights.
    """
    b, n, u, _u = slot_mask.shape
    h, d = query.shape[1], query.shape[-1]
    start = query.shape[2] - n * u
    scores = (query * scaling) @ key[:, :, :start].transpose(2, 3)  # everything on the start
    later = torch.full((start, start), -1e4, dtype=scores.dtype).triu(1)
    shared = (scores[:, :, :start] + later).softmax(-1) @ value[:, :, :start]
    q, k, v = (x[:, :, start:].reshape(b, h, n, u, d) for x in (query * scaling, key, value))
    on_start = scores[:, :, start:].reshape(b, h, n, u, start)
    on_slot = q @ k.transpose(3, 4) + slot_mask[:, None].to(q.dtype)
    weights = torch.cat([on_start, on_slot], -1).softmax(-1)
    out = (weights[..., :start].flatten(2, 3) @ value[:, :, :start]).view_as(q)
    out = out + weights[..., start:] @ v
    return torch.cat([shared, out.flatten(2, 3)], 2).transpose(1, 2), None


AttentionInterface.register(ATTENTION, packed_attention)


def slot_mask(segments: Tensor) -> Tensor:
    """Additive mask (B, N, U, U), causal within each question; ``segments`` is (B, N, U)."""
    same = segments[..., :, None] == segments[..., None, :]
    return torch.zeros(same.shape).masked_fill(~same.tril(), -1e4)


class Answerer(nn.Module):
    """LLaVA with the loss of packed questions."""

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        """Freeze the vision tower of ``model``."""
        super().__init__()
        self.model = model
        model.model.vision_tower.requires_grad_(False)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Hidden states (B, S, D) after the decoder's final norm."""
        inner = self.model.model
        with torch.no_grad():
            tower = inner.vision_tower(normalise(batch.pictures), output_hidden_states=True)
        features = inner.multi_modal_projector(tower.hidden_states[-2][:, 1:])
        embeds = inner.get_input_embeddings()(batch.input_ids)
        image = (batch.input_ids == IMAGE)[..., None]
        return inner.language_model(
            inputs_embeds=embeds.masked_scatter(image, features.to(embeds.dtype)),
            position_ids=batch.position_ids,
            slot_mask=slot_mask(batch.slots),
            use_cache=False,
        ).last_hidden_state

    def loss(self, batch: PackedBatch) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the answers' tokens, and the share of answer tokens right."""
        asked = batch.labels != IGNORE
        with torch.autocast(batch.pictures.device.type, torch.bfloat16):
            logits = self.model.lm_head(self(batch)[asked])
        labels = batch.labels[asked]
        weight = torch.where(labels == EOS, _END_WEIGHT, 1.0)
        losses = F.cross_entropy(logits.float(), labels, reduction="none")
        value = (losses * weight).sum() / weight.sum()
        right = (logits.argmax(-1) == labels)[labels != EOS].float().mean()
        return value, {"loss": value.item(), "right": right.item()}


@torch.no_grad()
def standardise_projector(model: LlavaForConditionalGeneration, seed: int) -> None:
    """Initialise the projector so that its hidden units start at zero mean and unit variance."""
    mean, std = feature_statistics(model.model.vision_tower, seed)
    first, second = (
        model.model.multi_modal_projector.linear_1,
        model.model.multi_modal_projector.linear_2,
    )
    first.weight.normal_(0, first.in_features**-0.5).div_(std)
    first.bias.copy_(-(first.weight @ mean))
    second.weight.normal_(0, second.in_features**-0.5)
    second.bias.zero_()


def train_language(
    model: LlavaForConditionalGeneration, seed: int, steps: Mapping[str, int], folder: Path
) -> None:
    """Train projector and decoder in place, in several runs of falling learning rate.

    Args:
        model: The model; its vision tower is frozen.
        seed: Seed of the projector and of the data.
        steps: Name of each run and its steps; each goes on in the curriculum.
        folder: Where each run has its checkpoint, to resume from.
    """
    torch.manual_seed(seed)
    standardise_projector(model, seed)
    model.set_attn_implementation({"text_config": ATTENTION})
    answerer = Answerer(model)
    first = 0
    for name, length in steps.items():
        batches = PackedBatches(seed, BATCH, first)
        fit(answerer, answerer.loss, batches, length, folder / f"{name}.pt")
        first += length
    model.set_attn_implementation({"text_config": "sdpa"})
