"""The stages that see pictures: projector and decoder learn to answer, on a frozen vision tower.

No picture is ever dropped or masked here: where the information-flow cliff of a zoo model lies is
for the model to decide.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from zoo.architectures import Architecture
from zoo.batches import IGNORE, PackedBatch, PackedBatches
from zoo.curriculum import SAYING
from zoo.fit import Plans, Stage, Watch, fit, resting
from zoo.tokenizer import IMAGE

BATCH = 16
_DECAY = 1.0  # looking up an option is learned only once the rate has fallen
ATTENTION = "infoflow_packed"


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
    later = torch.full((start, start), -1e4, dtype=scores.dtype, device=scores.device).triu(1)
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
    return torch.zeros(same.shape, device=same.device).masked_fill(~same.tril(), -1e4)


def read(decoder: Any, batch: PackedBatch, embeds: Tensor) -> Tensor:
    """Hidden states (B, S, D) of packed embeddings, after the decoder's final norm."""
    hidden: Tensor = decoder(
        inputs_embeds=embeds,
        position_ids=batch.position_ids,
        slot_mask=slot_mask(batch.slots),
        use_cache=False,
    ).last_hidden_state
    return hidden


class Answerer(nn.Module):
    """A model of any architecture, with the loss of packed questions."""

    def __init__(self, architecture: Architecture, model: Any, float32: bool = False) -> None:
        """Freeze the vision tower of ``model``; compute in bfloat16, or in float32."""
        super().__init__()
        self.architecture, self.model, self.float32 = architecture, model, float32
        self._family = architecture.adapter(model)
        architecture.tower(model).requires_grad_(False)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Hidden states (B, S, D) after the decoder's final norm."""
        decoder = self._family.decoder
        tokens = self._image_tokens(batch)
        embeds = decoder.embed_tokens(batch.input_ids)
        image = (batch.input_ids == IMAGE)[..., None]
        return read(decoder, batch, embeds.masked_scatter(image, tokens.to(embeds.dtype)))

    def _image_tokens(self, batch: PackedBatch) -> Tensor:
        """All image tokens of a batch, in the order of their places."""
        with torch.no_grad():
            look = self.architecture.look(self.architecture.tower(self.model), batch.pictures)
        return self.architecture.image_tokens(self.model, look, batch.asked)

    def loss(self, batch: PackedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the answers' tokens, and the share of answer tokens right."""
        device = batch.pictures.device.type
        with torch.autocast(device, torch.bfloat16, enabled=not self.float32):
            return answer_loss(batch, self(batch), self._family.lm_head)


def answer_loss(
    batch: PackedBatch, hidden: Tensor, head: nn.Module
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy of what is learned, and the share of answer tokens that are right."""
    asked = batch.labels != IGNORE
    logits = head(hidden[asked])
    labels, weight = batch.labels[asked], batch.weights[asked]
    losses = F.cross_entropy(logits.float(), labels, reduction="none")
    value = (losses * weight).sum() / weight.sum()
    right = (logits.argmax(-1) == labels)[weight == 1].float().mean()
    return value, {"loss": value.detach(), "right": right}


@contextmanager
def packed(decoder: Any, compiled: bool = False) -> Iterator[None]:
    """Let a decoder read packed batches, its layers compiled: a fifth faster after a minute."""
    decoder.set_attn_implementation(ATTENTION)
    if compiled:
        for layer in decoder.layers:
            layer.compile()
    try:
        yield
    finally:
        decoder.set_attn_implementation("sdpa")


def train_captions(
    architecture: Architecture,
    model: Any,
    stage: Stage,
    float32: bool = False,
) -> None:
    """Train what lies between tower and decoder to say what is seen; resumes."""
    answerer, family = Answerer(architecture, model, float32), architecture.adapter(model)
    batches = PackedBatches(architecture, stage.seed, BATCH, stage.world, SAYING, slots=1)
    with packed(family.decoder), resting(family.decoder, family.lm_head):
        fit(
            answerer,
            answerer.loss,
            batches,
            stage.steps,
            _DECAY,
            stage.checkpoint,
            stage.loaders,
        )


def train_language(
    architecture: Architecture,
    model: Any,
    stage: Stage,
    compiled: bool = False,
    optimiser: str = "muon",
    watch: Watch | None = None,
    float32: bool = False,
) -> Plans:
    """Train all but the tower in place; resumes from its checkpoint.

    Args:
        architecture: What the model is.
        model: The model; its vision tower is frozen.
        stage: Its data, steps and checkpoint.
        compiled: Let torch compile the decoder's layers.
        optimiser: See :func:`zoo.fit.make_optimisers`.
        watch: See :func:`zoo.fit.fit`.
        float32: Compute in it, which is faster on a CPU without units for bfloat16.

    Returns:
        As :func:`zoo.fit.fit`.
    """
    answerer = Answerer(architecture, model, float32)
    batches = PackedBatches(architecture, stage.seed, BATCH, stage.world)
    with packed(architecture.adapter(model).decoder, compiled):
        return fit(
            answerer,
            answerer.loss,
            batches,
            stage.steps,
            _DECAY,
            stage.checkpoint,
            stage.loaders,
            architecture.shares,
            optimiser,
            watch,
        )
