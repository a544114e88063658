"""Attention knockout: by which road does information reach the answer (arXiv 2411.18620)?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from infoflow.errors import InfoflowError, one_line, require_name
from infoflow.hooks.attention import Attention
from infoflow.hooks.forward import answer_ids, forward_pass, modifier_of
from infoflow.interventions.base import image_mask
from infoflow.methods.branches import Branches, cascade_attention
from infoflow.methods.localisation import tokens_on
from infoflow.methods.out_of_memory import in_batches
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.threads import on_own_threads
from infoflow.options import require_whole

Group = str | Tensor | Sequence[int]


@dataclass(frozen=True, eq=False)
class AttentionKnockout:
    """How probable the T tokens of an answer are with an edge blocked around each of L layers.

    Attributes:
        log_probs: Float32 of shape (L, T), in nats.
        intact: Float32 of shape (T,): the same with no edge blocked.
        logits: Float32 of shape (L, V): of the first answer token.
        tokens: Shape (L, T): the most probable token in each place of the answer.
    """

    log_probs: Tensor
    intact: Tensor
    logits: Tensor
    tokens: Tensor


@on_own_threads
def attention_knockout(
    lvlm: LVLM,
    prompt: Prompt,
    answer: str | Tensor,
    sources: Group,
    targets: Group,
    window: int | None = None,
) -> AttentionKnockout:
    """Read an answer in with an edge of the prompt blocked around every layer, in one pass.

    In a window of layers no target token attends to a source; one that would see nothing sees
    itself. Equal to a full masked forward pass for each of the L windows, but only rows from the
    first target on are computed again, from the window's first layer on. Their attention weights
    in one layer are held for all windows at once.

    A group is a name of :func:`token_groups`, or prompt tokens by a boolean mask (S,) or positions.
    ``"last"`` is each row that predicts a token of the answer, as while decoding. They belong to
    ``"user"``, too; masks and positions are of the prompt alone.

    Args:
        lvlm: The model.
        prompt: The image and question.
        answer: The answer, as text or as ids of shape (T,); a token that ends it is no part of it.
        sources: The group that is not seen.
        targets: The group that does not see it.
        window: How many layers, an odd number: the layer itself and as many on both sides as there
            are. None for :func:`scaled_window`.

    Raises:
        InfoflowError: A group is unknown or empty, no target comes after a source, or the window is
            not odd; the answer is not valid; the model cannot be observed, or is intervened in.
    """
    ids = answer_ids(lvlm, prompt, answer)
    if modifier_of(lvlm):
        raise InfoflowError("an intervention is at work; edges are blocked in the ordinary model.")
    window = scaled_window(lvlm.n_layers) if window is None else require_whole(window, "window", 1)
    if window % 2 == 0:
        raise InfoflowError(f"window is {window}; valid: an odd number, to lie around a layer.")
    source, target = (_marked(prompt, group, len(ids) - 1) for group in (sources, targets))
    visible = prompt.visible(len(prompt) + len(ids) - 1)
    edge = target[:, None] & source & visible
    if not edge.any():
        raise InfoflowError(f"no target ({targets!r:.40}) comes after a source ({sources!r:.40}).")
    if prompt.deepstack and edge[: prompt.spans.image.stop].any():
        inside = f"reach into the image, to which {lvlm.name} adds inside (DeepStack)"
        raise InfoflowError(f"targets ({targets!r:.40}) {inside}; valid: targets after it.")
    layers, half = range(lvlm.n_layers), window // 2
    windows = [layers[max(0, layer - half) : layer + half + 1] for layer in layers]

    def read(windows: list[range]) -> tuple[Tensor, ...]:
        """What :class:`AttentionKnockout` has, of some of the windows; intact is (1, T)."""
        branches = _Knockouts(windows, edge, visible, prompt)
        with forward_pass(lvlm, prompt, ids, branches) as intact:
            states = [intact[0, -len(ids) :], *lvlm.norm(branches.hidden[:, -len(ids) :])]
        found = []
        for rows in states:  # one window at a time: logits of all of them at once would be large
            logits = lvlm.lm_head(rows).float()
            log_probs = logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0]
            found.append((log_probs, logits[0].clone(), logits.argmax(-1)))
        log_probs, firsts, tokens = (torch.stack(part).cpu() for part in zip(*found, strict=True))
        return log_probs[1:], log_probs[:1], firsts[1:], tokens[1:]

    with torch.inference_mode():
        parts = [*in_batches(windows, read, lvlm.n_layers, lvlm.decoder, "windows of layers")]
    log_probs, intact, logits, tokens = map(torch.cat, zip(*parts, strict=True))
    return AttentionKnockout(log_probs, intact[0], logits, tokens)


def scaled_window(n_layers: int) -> int:
    """The odd number nearest to 9 layers of 32, as in the source: 3 of 12."""
    return 2 * round((n_layers * 9 / 32 - 1) / 2) + 1


def token_groups(prompt: Prompt, region: npt.ArrayLike | None = None) -> dict[str, Tensor]:
    """Mark groups by name, boolean (S,): the spans, the ``"last"`` token, and ``"question"``.

    That is the rest of the ``"user"`` span, whose last token predicts the answer. Image tokens on
    a region (H, W) are the ``"object"``, the others the ``"background"``.
    """
    places = torch.arange(len(prompt), device=prompt.inputs_embeds.device)
    spans = prompt.spans._asdict().items()
    named = {name: (places >= span.start) & (places < span.stop) for name, span in spans}
    last = places == len(prompt) - 1
    named |= {"question": named["user"] & ~last, "last": last}
    if region is not None:
        on = torch.as_tensor(tokens_on(region, prompt.grid), device=last.device)
        named |= {"object": image_mask(prompt, on), "background": image_mask(prompt, ~on)}
    return named


def _marked(prompt: Prompt, group: Group, n_answer: int) -> Tensor:
    named = token_groups(prompt)
    if isinstance(group, str):
        require_name(group, "token group", named)
        marked = named[group]
    else:
        marked, odd = torch.zeros_like(named["last"]), (IndexError, TypeError, ValueError)
        with one_line(f"{group!r:.40} marks no token", RuntimeError, *odd):
            marked[torch.as_tensor(group)] = True
    if not marked.any():
        raise InfoflowError(f"the group {group!r:.40} has no token in this prompt.")
    return pad(marked, (0, n_answer), value=isinstance(group, str) and bool(marked[-1]))


class _Knockouts(Branches):
    """A branch for each window of layers in which an edge, rows by columns, is blocked."""

    def __init__(self, windows: list[range], edge: Tensor, visible: Tensor, prompt: Prompt) -> None:
        first = int(edge.any(1).nonzero()[0])
        # rows before the first target change, too, where the mask lets them look ahead
        self._windows, self._n_prefix = windows, 0 if visible[:first, first:].any() else first
        super().__init__(prompt, len(edge) - self._n_prefix)
        hidden = torch.stack([~visible, ~visible | edge])[:, self._n_prefix :]  # outside, inside
        hidden.diagonal(self._n_prefix, 1, 2).logical_and_(~hidden.all(-1))
        self._bias = torch.zeros_like(hidden, dtype=torch.float32).masked_fill(hidden, -torch.inf)

    def beginning(self, layer: int) -> Tensor:
        own = torch.arange(self._n_own, device=self._bias.device) + self._n_prefix
        return own.expand(sum(window.start == layer for window in self._windows), -1)

    def attend_in_branches(self, layer: int, call: Attention) -> Tensor:
        n, intact = self._n_prefix, self._intact
        in_window = [int(layer in window) for window in self._windows[: len(call.query)]]
        bias = self._bias[in_window].to(call.key.device)[:, None]
        shared = intact.key[0, :, :n], intact.value[0, :, :n]
        return cascade_attention(call, shared, (call.key, call.value), bias)
