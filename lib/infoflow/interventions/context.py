"""The context in which interventions are at work on a model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from infoflow.errors import InfoflowError
from infoflow.hooks.attention import Attention, attention_rows
from infoflow.hooks.probe import modified, modifier_of, require_faithful
from infoflow.interventions.base import Effect, Intervention, Reading
from infoflow.models.lvlm import LVLM
from infoflow.models.prompt import Spans, find_spans

_HASHED = 64
_HASH_BASE = 6364136223846793005
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@contextmanager
def intervene(lvlm: LVLM, *interventions: Intervention) -> Iterator[None]:
    """Put interventions to work on a model, for as long as the context lasts.

    Inside, ``lvlm.answer``, ``lvlm.generate`` and ``lvlm.logits`` are of the changed model, and
    measures measure it. Interventions compose, and so do nested contexts, in any order: a token is
    hidden if one intervention hides it; attention is replaced after hiding, and tokens are ranked
    by the attention that results. None at all is the ordinary model. However the context ends, the
    model is left as it was found.

    Args:
        lvlm: The model.
        *interventions: ``FastV``, ``Simignore``, ``EAH`` or ``Truncate``, settings included.

    Raises:
        InfoflowError: On entering: this is no model, or no intervention; the model has no such
            layer, or cannot be probed. Inside: the prompt has no image, or fewer tokens than are to
            be kept; or several sequences are run at once.
    """
    if not isinstance(lvlm, LVLM):
        raise InfoflowError(
            f"intervene takes a model that load_lvlm returned, not {type(lvlm).__name__}."
        )
    for intervention in interventions:
        if not isinstance(intervention, Intervention):
            raise InfoflowError(
                f"{intervention!r} is no intervention; "
                "valid: EAH(...), FastV(...), Simignore(...), Truncate(...)."
            )
        intervention.require_fits(lvlm)
    if not interventions:
        yield
        return
    with torch.no_grad():
        some = torch.arange(min(32, lvlm.decoder.embed_tokens.num_embeddings), device=lvlm.device)
        require_faithful(lvlm, lvlm.decoder.embed_tokens(some)[None])
    outer = modifier_of(lvlm)
    before = outer.interventions if isinstance(outer, _Interventions) else ()
    with modified(lvlm, _Interventions(lvlm, (*before, *interventions))):
        yield


class _Interventions:
    """The interventions at work on a model, and their effects on the prompt that is being read."""

    def __init__(self, lvlm: LVLM, interventions: Sequence[Intervention]) -> None:
        self.interventions = tuple(interventions)
        self._lvlm = lvlm
        self._embeds: Tensor
        self._n_prompt: int
        self._effects: list[Effect] | None

    def begin(self, embeds: Tensor, n_prompt: int) -> None:
        """Hear of a new sequence (B, S, D)."""
        # what it is, is asked only when a layer is to be changed: a sweep also decodes branches
        self._embeds, self._n_prompt, self._effects = embeds, n_prompt, None

    def modify(self, layer: int, call: Attention) -> Attention:
        """Hide tokens from a layer's call and, while the prompt is read, set its weights."""
        if self._effects is None:
            with torch.no_grad():
                reading = self._read()
                self._effects = [intervention.begin(reading) for intervention in self.interventions]
        n_queries, n_keys = call.query.shape[2], call.key.shape[2]
        for mask in (effect.hidden(layer) for effect in self._effects):
            if mask is not None:
                mask = pad(mask, (0, n_keys - self._n_prompt)).to(call.key.device)
                call = call._replace(hidden=mask if call.hidden is None else mask | call.hidden)
        if n_queries < n_keys:
            return call
        for effect in self._effects:
            weights = effect.weights(layer, self._on_prompt(call))
            if weights is not None:
                call = call._replace(weights=self._with_answer(call, weights))
        for effect in self._effects:
            effect.see(layer, self._on_prompt(call))
        return call

    def require_sweepable(self, keep: int) -> None:
        """Raise if truncated branches would not be changed as prompts of their own would be."""
        if keep:
            raise InfoflowError(
                f"keep = {keep} cannot be swept under an intervention, which might choose other "
                "tokens in every branch; valid: keep=0, or Truncate(cut, keep) beside it."
            )
        for intervention in self.interventions:
            if not intervention.sweepable:
                raise InfoflowError(
                    f"{intervention!r} cannot be swept: in a truncated branch it might hide other "
                    "tokens; valid: a Truncate(cut) beside it, cut by cut."
                )

    def _read(self) -> Reading:
        """Find out what prompt is being read."""
        if len(self._embeds) != 1:
            raise InfoflowError(
                f"interventions take one sequence at a time, but {len(self._embeds)} are run; "
                "run batches of one."
            )
        embeds = self._embeds[0, : self._n_prompt]
        return Reading(self._lvlm, embeds, self._spans(embeds))

    def _spans(self, embeds: Tensor) -> Spans:
        """Find the token groups of a prompt (S, D).

        The decoder is given no ids, but the image's are the positions that hold no token's
        embedding.
        """
        is_image = ~torch.isin(_fingerprints(embeds), self._tokens)
        if not is_image.any():
            raise InfoflowError("the prompt has no image, so there is nothing to intervene in.")
        return find_spans(is_image.long(), image_token_id=1)

    @cached_property
    def _tokens(self) -> Tensor:
        """Fingerprints of all tokens' embeddings, shape (V,)."""
        embed_tokens = self._lvlm.decoder.embed_tokens
        ids = torch.arange(embed_tokens.num_embeddings, device=self._lvlm.device)
        # a part at a time, or the whole table would be there twice: 260 MB more at 7B
        return torch.cat([_fingerprints(embed_tokens(part)) for part in torch.split(ids, 1024)])

    def _on_prompt(self, call: Attention) -> Attention:
        """The part of a call that is the prompt's, without an answer that is read in after it."""
        n = self._n_prompt
        return call._replace(
            query=call.query[:, :, :n],
            key=call.key[:, :, :n],
            value=call.value[:, :, :n],
            hidden=None if call.hidden is None else call.hidden[:n],
            weights=None if call.weights is None else call.weights[:, :n, :n],
        )

    def _with_answer(self, call: Attention, weights: Tensor) -> Tensor:
        """The prompt's weights (H, S, S) with the unchanged rows of an answer that is read in."""
        n_answer = call.query.shape[2] - self._n_prompt
        if not n_answer:
            return weights
        return torch.cat([pad(weights, (0, n_answer)), attention_rows(call, n_answer)], dim=1)


def _fingerprints(rows: Tensor) -> Tensor:
    """Hash rows (N, D) bit by bit: int64 of shape (N,), equal for equal rows."""
    bits = rows[:, :_HASHED].contiguous().view(_INTEGERS[rows.itemsize]).long()
    factors = torch.full(bits.shape[1:], _HASH_BASE, device=rows.device).cumprod(0)
    return (bits * factors).sum(-1)  # wraps around, which is what a hash wants
