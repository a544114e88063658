"""Truncation: what the model answers if the image is removed from a layer on (paper, Eq. 10-13)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from infoflow.hooks.probe import attached, modifier_of, require_faithful, teacher_forced
from infoflow.methods.branches import Branches, CachedBranches
from infoflow.methods.cuts import Plan, plan_cuts
from infoflow.methods.out_of_memory import in_batches
from infoflow.methods.teacher_forcing import answer_ids
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.options import require_whole

_Result = TypeVar("_Result")


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
    ranking: Tensor | None = None,
) -> TruncationSweep:
    """Answer one prompt under many cuts in one pass, exactly.

    Equal to one full forward pass a cut in which, from layer ``cut`` on, no token attends to the
    image tokens that were dropped; while decoding, too. The intact model's row is bit for bit that
    of the ordinary forward pass.

    Args:
        lvlm: The model.
        prompt: The picture and question.
        keep: K, how many of the N image tokens stay after the cut: those that rank highest. They
            are chosen once, on the prompt.
        cuts: The cuts, in any order; None for all that can be ranked: 0..L, or 1..L with
            ``keep`` > 0 and a ranking by layer, since no layer comes before cut 0.
        max_new_tokens: T, how many tokens to decode.
        ranking: Scores of the image tokens: one ranking for all cuts, shape (N,), or one a layer,
            shape (L, N), of which cut c uses row c - 1, the last layer that saw the whole image.
            None for the paper's: the attention that the last prompt token pays them in that layer,
            heads averaged (Eq. 10-11).

    Raises:
        InfoflowError: A cut, ``keep`` or ``max_new_tokens`` is out of range, or the prompt with its
            answer does not fit the context; the ranking has another shape, or no number where one
            is needed; or the model cannot be probed; or an intervention is at work that cannot be
            swept.
    """
    lvlm.require_prompt(prompt)
    max_new_tokens = require_whole(max_new_tokens, "max_new_tokens", 1, lvlm.context_length)
    lvlm.require_context(len(prompt) + max_new_tokens - 1, "the prompt with its answer")
    plan = plan_cuts(lvlm, prompt, keep, cuts, ranking)
    with torch.inference_mode():
        require_faithful(lvlm, prompt.inputs_embeds)
        found = list(
            _by_batch(plan, lvlm, lambda part: _answers(lvlm, prompt, part, max_new_tokens))
        )
    logits = torch.cat([of_part for of_part, _ in found])[plan.order]
    tokens = torch.cat([of_part for _, of_part in found])[plan.order]
    best = logits.topk(2).values
    return TruncationSweep(
        cuts=torch.tensor(plan.asked),
        logits=logits,
        tokens=tokens,
        margins=best[:, 0] - best[:, 1],
    )


def truncated_log_probs(
    lvlm: LVLM,
    prompt: Prompt,
    answer: str | Tensor,
    keep: int = 0,
    cuts: Iterable[int] | None = None,
    ranking: Tensor | None = None,
) -> Tensor:
    """Compute how probable an answer is under many cuts, in one pass and without decoding.

    The answer is read in (teacher forcing), so each of its tokens is predicted from the prompt and
    the answer's own tokens before it, all under the same cut. A smooth companion to the score of a
    decoded answer, which only moves when the most probable token changes.

    Args:
        lvlm: The model.
        prompt: The picture and question.
        answer: The answer, as text or as ids of shape (T,); a token that ends it is no part of it.
        keep: As for ``truncation_sweep``; the tokens kept are the same.
        cuts: As for ``truncation_sweep``.
        ranking: As for ``truncation_sweep``.

    Returns:
        Float32 of shape (C,), in nats, in the order of the cuts: the sum over the answer's tokens
        of their log-probabilities.

    Raises:
        InfoflowError: As for ``truncation_sweep``; or the answer is empty, or holds ids outside the
            vocabulary.
    """
    ids = answer_ids(lvlm, prompt, answer)
    plan = plan_cuts(lvlm, prompt, keep, cuts, ranking)
    with torch.inference_mode():
        require_faithful(lvlm, prompt.inputs_embeds)
        said = lvlm.decoder.embed_tokens(ids[:-1])[None]
        embeds = torch.cat([prompt.inputs_embeds, said], dim=1)
        found = _by_batch(plan, lvlm, lambda part: _sums(lvlm, prompt, embeds, ids, part))
        sums = torch.cat(list(found))
    return sums[plan.order]


def _by_batch(plan: Plan, lvlm: LVLM, run: Callable[[Plan], _Result]) -> Iterator[_Result]:
    """Run all cuts at once or, where a GPU's memory is too small for it, part by part.

    Each part repeats the intact pass; floats may then differ in their last bits.
    """
    n_cuts = len(plan.distinct)
    return in_batches(
        plan.distinct, lambda cuts: run(plan.part(cuts)), n_cuts, lvlm.decoder, "cuts"
    )


def _answers(lvlm: LVLM, prompt: Prompt, plan: Plan, max_new_tokens: int) -> tuple[Tensor, Tensor]:
    """First logits (C, V), as float32, and decoded tokens (C, T) of the distinct cuts."""
    intact, branches = _run(lvlm, prompt, prompt.inputs_embeds, plan, room=max_new_tokens - 1)
    logits = lvlm.lm_head(lvlm.norm(branches.hidden[:, -1]))
    if plan.ends_intact:
        # the head over all positions, as in the ordinary pass: one row alone rounds differently
        logits = torch.cat([logits, lvlm.lm_head(intact)[:, -1]])
    tokens = _decode(lvlm, len(prompt), logits.argmax(-1), branches, max_new_tokens)
    return logits.float().cpu(), tokens.cpu()


def _sums(lvlm: LVLM, prompt: Prompt, embeds: Tensor, ids: Tensor, plan: Plan) -> Tensor:
    """Log-probability of an answer that is read in, under each of the distinct cuts: (C,)."""
    intact, branches = _run(lvlm, prompt, embeds, plan, room=0)
    states = lvlm.norm(branches.hidden[:, -len(ids) :])
    if plan.ends_intact:
        states = torch.cat([states, intact[:, -len(ids) :]])
    # one cut at a time: logits of all of them at once would be large
    log_probs = (lvlm.lm_head(rows).float().log_softmax(-1) for rows in states)
    return torch.stack([of_cut.gather(-1, ids[:, None]).sum() for of_cut in log_probs]).cpu()


def _run(
    lvlm: LVLM, prompt: Prompt, embeds: Tensor, plan: Plan, room: int
) -> tuple[Tensor, Branches]:
    """Run the prompt, an answer read in after it, and its branches beside it.

    Returns:
        The intact model's normed hidden states (1, S, D), and the branches.
    """
    # tokens before the image never see it, but an intervention may change them by it
    n_prefix = 0 if modifier_of(lvlm) else prompt.spans.image.start
    n_branches = len(plan.distinct)
    branches = Branches(
        plan.truncated, prompt.spans, embeds, plan.keep, plan.ranking, n_prefix, n_branches, room
    )
    with attached(lvlm, branches), teacher_forced(lvlm, len(prompt)):
        intact = lvlm.decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state
    return intact, branches


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
