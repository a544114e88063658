"""What an intervention is, what it does to one prompt, and ``intervene``: where it is at work."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import pad

from infoflow.errors import InfoflowError
from infoflow.hooks.attention import Attention, attention_rows
from infoflow.hooks.forward import modified, modifier_of, require_faithful
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.options import require_whole


class Effect:
    """What an intervention does while one prompt is read and answered; this base does nothing."""

    def hidden(self, layer: int) -> Tensor | None:
        """Say which tokens a layer hides from all others, generated ones too: boolean (S,)."""
        return None

    def weights(self, layer: int, call: Attention) -> Tensor | None:
        """Replace a layer's attention weights on the prompt, and there alone: shape (H, S, S)."""
        return None

    def see(self, layer: int, call: Attention) -> None:
        """See a layer's attention on the prompt, after all interventions."""


class Hiding(Effect):
    """Hides image tokens from a layer on, but for those most attended in the layer before.

    The attention is that of the last prompt token, heads averaged.
    """

    def __init__(
        self,
        prompt: Prompt,
        first_layer: int = 0,
        n_kept: int = 0,
        shift: int = 0,
        ignored: Tensor | bool = True,
    ) -> None:
        """Hide the image, or those of its tokens that are ignored, shifted by so many places."""
        image, embeds = prompt.spans.image, prompt.inputs_embeds[0]
        self._first_layer, self._n_kept = first_layer, n_kept
        self._hidden = torch.zeros(len(embeds), dtype=torch.bool, device=embeds.device)
        self._hidden[image.start + shift : image.stop + shift] = ignored

    def hidden(self, layer: int) -> Tensor | None:
        return self._hidden if layer >= self._first_layer else None

    def see(self, layer: int, call: Attention) -> None:
        if layer == self._first_layer - 1 and self._n_kept:
            places = self._hidden.nonzero()[:, 0].to(call.key.device)
            row = attention_rows(call, 1)[:, 0].mean(0)[places]
            self._hidden[places[row.topk(self._n_kept).indices].to(self._hidden.device)] = False


class Intervention(ABC):
    """An intervention's settings; see ``intervene``."""

    @property
    def sweepable(self) -> bool:
        """Whether a truncated branch of the prompt is changed by it as the prompt itself is."""
        return True

    @abstractmethod
    def require_fits(self, lvlm: LVLM) -> None:
        """Raise unless the settings suit a model."""

    @abstractmethod
    def begin(self, lvlm: LVLM, prompt: Prompt) -> Effect:
        """Prepare for one prompt, or raise if the settings do not suit it."""


@contextmanager
def intervene(lvlm: LVLM, *interventions: Intervention) -> Iterator[None]:
    """Put interventions to work on a model, for as long as the context lasts.

    Inside, ``lvlm.answer``, ``lvlm.generate`` and ``lvlm.logits``, given a prompt, are of the
    changed model, and methods measure it. Interventions compose, and so do nested contexts, in any
    order: a token is hidden if one intervention hides it; attention is replaced after hiding, and
    tokens are ranked by the attention that results. None at all is the ordinary model. However the
    context ends, the model is left as it was found.

    Args:
        lvlm: The model.
        *interventions: ``FastV``, ``Simignore``, ``EAH`` or ``Truncate``, settings included.

    Raises:
        InfoflowError: On entering: this is no model, or no intervention; the model has no such
            layer, or cannot be observed. Inside: the prompt has fewer tokens than are to be kept;
            embeddings come without their prompt; or several sequences are run at once.
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

    def __init__(self, lvlm: LVLM, interventions: tuple[Intervention, ...]) -> None:
        self.interventions = interventions
        self._lvlm = lvlm
        self._effects: list[Effect] = []
        self._n_prompt = 0

    @contextmanager
    def reading(self, prompt: Prompt) -> Iterator[None]:
        n_sequences, n_prompt, _ = prompt.inputs_embeds.shape
        if n_sequences != 1:
            raise InfoflowError(
                f"interventions take one sequence at a time, but {n_sequences} are run."
            )
        with torch.no_grad():
            self._effects = [each.begin(self._lvlm, prompt) for each in self.interventions]
        self._n_prompt = n_prompt
        try:
            yield
        finally:
            self._effects = []

    def modify(self, layer: int, call: Attention) -> Attention:
        """Hide tokens from a layer's call and, while the prompt is read, set its weights."""
        if not self._effects:
            raise InfoflowError(
                "inside intervene embeddings alone do not say where the image is; valid: a prompt, "
                "as in lvlm.logits(prompt)."
            )
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


def same_depth(layer: int, of: int, n_layers: int) -> int:
    """Find the layer at the depth of a layer, from 0, of a model of so many in another's n_layers.

    Its middle lies nearest to that layer's, as shares of the two depths; it is the deeper of two.
    """
    require_whole(layer, "layer", 0, of - 1)
    require_whole(n_layers, "n_layers", 1)
    return (2 * layer + 1) * n_layers // (2 * of)
