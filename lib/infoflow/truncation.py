"""Truncation: what the model answers if the image is removed from a layer on (paper, Eq. 10-13)."""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import index

import torch
from torch import Tensor

from infoflow.branches import Branches, CachedBranches
from infoflow.errors import InfoflowError
from infoflow.lvlm import LVLM, Prompt, require_context
from infoflow.probe import attached, modifier_of, require_faithful


@dataclass(frozen=True, eq=False)
class TruncationSweep:
    """The answers of one prompt under C cuts.

    A cut is how many leading decoder layers still see the image: 0 is none, L the intact model. The
    paper's layer l is cut l - 1.

    Attributes:
        cuts: Shape (C,), in the order asked for.
        logits: Float32 of shape (C, V): of the first answer token.
        tokens: Shape (C, T): the greedy answer, filled up with the end token once it has ended.
        margins: Float32 of shape (C,): the first token's largest logit less its second largest.
    """

    cuts: Tensor
    logits: Tensor
    tokens: Tensor
    margins: Tensor


def truncation_sweep(
    lvlm: LVLM,
    prompt: Prompt,
    keep: int = 0,
    cuts: Iterable[int] | None = None,
    max_new_tokens: int = 1,
) -> TruncationSweep:
    """Answer one prompt under many cuts in one pass, exactly.

    Equal to one full forward pass a cut in which, from layer ``cut`` on, no token attends to the
    image tokens that were dropped; while decoding, too. The intact model's row is bit for bit that
    of the ordinary forward pass.

    Args:
        lvlm: The model.
        prompt: The picture and question.
        keep: K, how many image tokens stay after the cut: those that the last prompt token attends
            to most in the last layer before it, heads averaged (Eq. 10-11). They are chosen once,
            on the prompt.
        cuts: The cuts, in any order; None for all of them: 0..L, or 1..L with ``keep`` > 0, where
            cut 0 has no layer to choose by.
        max_new_tokens: T, how many tokens to decode.

    Raises:
        InfoflowError: A cut, ``keep`` or ``max_new_tokens`` is out of range, or the prompt with its
            answer does not fit the context; or the model cannot be probed; or an intervention is at
            work that cannot be swept.
    """
    _require_range("keep", keep, 0, prompt.spans.image.stop - prompt.spans.image.start)
    if modifier := modifier_of(lvlm):
        modifier.require_sweepable(keep)
    _require_range("max_new_tokens", max_new_tokens, 1, lvlm.context_length)
    require_context(lvlm, len(prompt) + max_new_tokens - 1, "the prompt with its answer")
    asked = _require_cuts(cuts, first=min(keep, 1), last=lvlm.n_layers)
    distinct = sorted(set(asked))
    with torch.inference_mode():
        require_faithful(lvlm, prompt.inputs_embeds)
        logits, branches = _prefill(lvlm, prompt, keep, distinct, room=max_new_tokens - 1)
        tokens = _decode(lvlm, len(prompt), logits.argmax(-1), branches, max_new_tokens)
    order = [distinct.index(cut) for cut in asked]
    logits = logits.float().cpu()[order]
    best = logits.topk(2).values
    return TruncationSweep(
        cuts=torch.tensor(asked),
        logits=logits,
        tokens=tokens.cpu()[order],
        margins=best[:, 0] - best[:, 1],
    )


def _prefill(
    lvlm: LVLM, prompt: Prompt, keep: int, cuts: list[int], room: int
) -> tuple[Tensor, Branches]:
    """Run the prompt and its branches: first-token logits (C, V), and the branches to decode."""
    truncated = [cut for cut in cuts if cut < lvlm.n_layers]
    embeds = prompt.inputs_embeds
    # tokens before the image never see it, but an intervention may change them by it
    n_prefix = 0 if modifier_of(lvlm) else prompt.spans.image.start
    branches = Branches(truncated, prompt.spans, embeds, keep, n_prefix, len(cuts), room)
    with attached(lvlm, branches):
        intact = lvlm.decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state
    logits = lvlm.lm_head(lvlm.norm(branches.hidden[:, -1]))
    if len(truncated) < len(cuts):
        # the head over all positions, as in the ordinary pass: one row alone rounds differently
        logits = torch.cat([logits, lvlm.lm_head(intact)[:, -1]])
    return logits, branches


def _decode(lvlm: LVLM, start: int, first: Tensor, branches: Branches, n_tokens: int) -> Tensor:
    """Go on greedily from each branch's first token, shape (C,), to answers of shape (C, T).

    Branches that have ended leave the batch.
    """
    ends = torch.tensor(lvlm.eos_token_ids, device=first.device)
    tokens = torch.full((len(first), n_tokens), lvlm.eos_token_ids[0], device=first.device)
    tokens[:, 0] = first
    if n_tokens == 1:
        return tokens
    running, newest = torch.arange(len(first), device=first.device), first
    decoding = CachedBranches(branches.caches)
    with attached(lvlm, decoding):
        for step in range(1, n_tokens):
            going = ~torch.isin(newest, ends)
            if not going.all():
                running, newest = running[going], newest[going]
                decoding.keep(going)
            if not len(running):
                break
            hidden = lvlm.decoder(
                inputs_embeds=lvlm.decoder.embed_tokens(newest)[:, None],
                position_ids=torch.tensor([[start + step - 1]], device=first.device),
                use_cache=False,
            ).last_hidden_state
            newest = lvlm.lm_head(hidden[:, 0]).argmax(-1)
            tokens[running, step] = newest
    return tokens


def _require_cuts(cuts: Iterable[int] | None, first: int, last: int) -> list[int]:
    """Return the cuts asked for, all of them by default.

    Raises:
        InfoflowError: There are none, or one is no whole number of first..last.
    """
    if cuts is None:
        return list(range(first, last + 1))
    try:
        asked = [index(cut) for cut in cuts]
    except TypeError as error:
        raise InfoflowError(f"cuts must be whole numbers, not {cuts!r}.") from error
    if not asked:
        raise InfoflowError(f"no cut was asked for; valid: {first} to {last}, or None for all.")
    for cut in asked:
        _require_range("cut", cut, first, last)
    return asked


def _require_range(name: str, value: int, first: int, last: int) -> None:
    if not first <= value <= last:
        raise InfoflowError(f"{name} = {value} is out of range; valid: {first} to {last}.")
