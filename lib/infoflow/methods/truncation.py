"""Truncation: what the model answers if the image is removed from a layer on (paper, Eq. 10-13)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from infoflow.errors import InfoflowError, one_line
from infoflow.hooks.forward import answer_ids, attached, forward_pass, modifier_of
from infoflow.methods.branches import Branch, CachedBranches, Truncations
from infoflow.methods.out_of_memory import in_batches
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.models.threads import on_own_threads
from infoflow.options import require_whole


@dataclass(frozen=True, eq=False)
class TruncationSweep:
    """The answers of one prompt under C cuts.

    A cut is how many leading decoder layers still see the image: 0 is none, L the intact model. The
    paper's layer l is cut l - 1.

    Attributes:
        cuts: Shape (C,), in the order given.
        logits: Float32 of shape (C, V): of the first answer token.
        tokens: Shape (C, T): the greedy answer, filled up with the end token once it has ended.
        margins: Float32 of shape (C,): the first token's largest logit less its second largest.
    """

    cuts: Tensor
    logits: Tensor
    tokens: Tensor
    margins: Tensor


@on_own_threads
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
        prompt: The image and question.
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
        InfoflowError: A number is out of range, or the prompt with its answer longer than the
            context; the ranking does not fit; the model cannot be observed, or an intervention at
            work not be swept.
    """
    lvlm.require_prompt(prompt)
    max_new_tokens = require_whole(max_new_tokens, "max_new_tokens", 1, lvlm.context_length)
    lvlm.require_context(len(prompt) + max_new_tokens - 1, "the prompt with its answer")
    branches = _branches(lvlm, prompt, keep, cuts, ranking)
    answers = partial(_answers, lvlm, prompt, n_tokens=max_new_tokens)
    logits, tokens = _by_part(lvlm, branches, answers)
    best = logits.topk(2).values
    given = torch.tensor([branch.cut for branch in branches])
    return TruncationSweep(given, logits, tokens, best[:, 0] - best[:, 1])


@on_own_threads
def truncated_log_probs(
    lvlm: LVLM,
    prompt: Prompt,
    answer: str | Tensor,
    keep: int = 0,
    cuts: Iterable[int] | None = None,
    ranking: Tensor | None = None,
) -> Tensor:
    """Compute how probable an answer is under many cuts, in one pass and without decoding.

    The answer is read in (teacher forcing): each of its tokens is predicted from the prompt and its
    own tokens before it. A smooth companion to the score of a decoded answer.

    Args:
        lvlm: The model.
        prompt: The image and question.
        answer: The answer, as text or as ids of shape (T,); a token that ends it is no part of it.
        keep: As for ``truncation_sweep``, with its errors; the tokens kept are the same.
        cuts: As there.
        ranking: As there.

    Returns:
        Float32 of shape (C,), in nats: the sum over the answer's tokens of their log-probabilities.

    Raises:
        InfoflowError: The answer is empty, or holds ids outside the vocabulary.
    """
    by_token = truncated_token_log_probs(lvlm, prompt, answer, keep, cuts, ranking)
    return torch.stack([of_cut.sum() for of_cut in by_token])


@on_own_threads
def truncated_token_log_probs(
    lvlm: LVLM,
    prompt: Prompt,
    answer: str | Tensor,
    keep: int = 0,
    cuts: Iterable[int] | None = None,
    ranking: Tensor | None = None,
) -> Tensor:
    """Compute the terms of ``truncated_log_probs``, token by token; its arguments and errors.

    Returns:
        Float32 of shape (C, T), in nats, in the order of the cuts and of the answer's tokens.
    """
    ids = answer_ids(lvlm, prompt, answer)
    branches = _branches(lvlm, prompt, keep, cuts, ranking)
    return _by_part(lvlm, branches, partial(_log_probs, lvlm, prompt, ids=ids))[0]


def _branches(
    lvlm: LVLM, prompt: Prompt, keep: int, cuts: Iterable[int] | None, ranking: Tensor | None
) -> list[Branch]:
    n_layers, n_image = lvlm.n_layers, prompt.grid.n_tokens
    keep = require_whole(keep, "keep", 0, n_image)
    if keep and prompt.deepstack:
        raise _not_swept(keep, f"in {lvlm.name}, which adds to image tokens inside (DeepStack)")
    shape = tuple(getattr(ranking, "shape", ()))
    first = 1 if keep and shape != (n_image,) else 0
    with one_line(f"cuts = {cuts!r} are no whole numbers", TypeError):
        given = list(range(first, n_layers + 1) if cuts is None else cuts)
    if not given:
        raise InfoflowError(f"no cut is given; valid: {first} to {n_layers}, or None for all.")
    given = [require_whole(cut, "cut", first, n_layers) for cut in given]
    if ranking is None:
        if keep and modifier_of(lvlm):
            raise _not_swept(keep, "under an intervention, which may choose other tokens by branch")
        return [Branch(cut, keep) for cut in given]
    if shape not in ((n_image,), (n_layers, n_image)):
        what = f"a ranking of shape {shape} does not fit {n_image} image tokens"
        raise InfoflowError(f"{what}; valid: shape ({n_image},) or ({n_layers}, {n_image}).")
    # row -1, of cut 0, is any row: there the ranking is the same in all, or nothing is kept
    by_layer = torch.as_tensor(ranking).detach().expand(n_layers, -1)
    for cut in given:
        if keep and cut < n_layers and by_layer[cut - 1].isnan().any():
            raise InfoflowError(f"the ranking for cut {cut} holds NaN; valid: numbers alone.")
    return [Branch(cut, keep, by_layer[cut - 1]) for cut in given]


def _not_swept(keep: int, where: str) -> InfoflowError:
    valid = "keep=0, or the intervention Truncate(cut, keep)"
    return InfoflowError(f"keep = {keep} cannot be swept {where}; valid: {valid}.")


def _by_part(
    lvlm: LVLM, branches: list[Branch], run: Callable[[list[Branch]], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Run all cuts at once, ascending, or part by part if a GPU's memory is too small for it."""
    by_cut = {branch.cut: branch for branch in sorted(branches, key=lambda branch: branch.cut)}
    with torch.inference_mode():
        parts = list(in_batches(by_cut.values(), run, len(by_cut), lvlm.decoder, "cuts"))
    order = [list(by_cut).index(branch.cut) for branch in branches]
    return tuple(torch.cat(of_parts)[order] for of_parts in zip(*parts, strict=True))


def _answers(
    lvlm: LVLM, prompt: Prompt, branches: list[Branch], n_tokens: int
) -> tuple[Tensor, Tensor]:
    intact, run = _run(lvlm, prompt, branches, None, room=n_tokens - 1)
    logits = lvlm.lm_head(lvlm.norm(run.hidden[:, -1]))
    if branches[-1].cut == lvlm.n_layers:
        # the head over all positions, as in the ordinary pass: one row alone rounds differently
        logits = torch.cat([logits, lvlm.lm_head(intact)[:, -1]])
    tokens = _decode(lvlm, prompt, logits.argmax(-1), run, n_tokens)
    return logits.float().cpu(), tokens.cpu()


def _log_probs(lvlm: LVLM, prompt: Prompt, branches: list[Branch], ids: Tensor) -> tuple[Tensor]:
    intact, run = _run(lvlm, prompt, branches, ids, room=0)
    states = lvlm.norm(run.hidden[:, -len(ids) :])
    if branches[-1].cut == lvlm.n_layers:
        states = torch.cat([states, intact[:, -len(ids) :]])
    # one cut at a time: logits of all of them at once would be large
    log_probs = (lvlm.lm_head(rows).float().log_softmax(-1) for rows in states)
    return (torch.stack([of_cut.gather(-1, ids[:, None])[:, 0] for of_cut in log_probs]).cpu(),)


def _run(
    lvlm: LVLM, prompt: Prompt, branches: list[Branch], ids: Tensor | None, room: int
) -> tuple[Tensor, Truncations]:
    # tokens before the image never see it, but an intervention may change them by it
    n_prefix = 0 if modifier_of(lvlm) else prompt.n_before
    n_answer = 0 if ids is None else len(ids) - 1
    observer = Truncations(branches, prompt, n_answer, n_prefix, room)
    with forward_pass(lvlm, prompt, ids, observer) as intact:
        return intact, observer


def _decode(
    lvlm: LVLM, prompt: Prompt, first: Tensor, branches: Truncations, n_tokens: int
) -> Tensor:
    """Go on greedily from each branch's first token, (C,), to answers (C, T)."""
    ends = torch.tensor(lvlm.eos_token_ids, device=first.device)
    tokens = torch.full((len(first), n_tokens), lvlm.eos_token_ids[0], device=first.device)
    tokens[:, 0] = first
    running, newest = torch.arange(len(first), device=first.device), first
    with attached(lvlm, CachedBranches(branches.caches)):
        for step in range(1, n_tokens):
            going = ~torch.isin(newest, ends)
            if not going.all():  # those that have ended leave the batch
                running, newest = running[going], newest[going]
                for cache in branches.caches:
                    cache.keep(going)
            if not len(running):
                break
            hidden = lvlm.decoder(
                inputs_embeds=lvlm.decoder.embed_tokens(newest)[:, None],
                position_ids=prompt.positions(len(prompt) + step - 1, len(prompt) + step),
                use_cache=False,
            ).last_hidden_state
            newest = lvlm.lm_head(hidden[:, 0]).argmax(-1)
            tokens[running, step] = newest
    return tokens
