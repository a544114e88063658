"""What an intervention is, what it does to one prompt, and ``intervene``: where it is at work."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor
from torch.nn.functional import pad

from infoflow.errors import InfoflowError, require_name
from infoflow.hooks.attention import Attention, attention_rows
from infoflow.hooks.forward import modified, modifier_of, require_whole_model
from infoflow.models.lvlm import LVLM, Prompt


@dataclass
class Effect:
    """What an intervention does while one prompt is read and answered; by default nothing."""

    hidden: Tensor | None = None  # from all other tokens, generated ones too: boolean (S,)
    first_layer: int = 0  # of the hiding
    n_kept: int = 0  # of them stay: what the last prompt token looks at most in the layer before
    # a layer's attention weights on the prompt, and there alone, (H, S, S); None: as they are
    weights: Callable[[int, Attention], Tensor | None] = lambda layer, call: None

    def see(self, layer: int, call: Attention) -> None:
        """See a layer's attention on the prompt, after all interventions, and choose by it."""
        if self.hidden is not None and self.n_kept and layer == self.first_layer - 1:
            places = self.hidden.nonzero()[:, 0].to(call.key.device)
            row = attention_rows(call, 1)[:, 0].mean(0)[places]
            self.hidden[places[row.topk(self.n_kept).indices].to(self.hidden.device)] = False


def image_mask(prompt: Prompt, ignored: Tensor | bool = True, shift: int = 0) -> Tensor:
    """Mark the image tokens, or some of them, shifted by so many places: boolean (S,)."""
    image, embeds = prompt.spans.image, prompt.inputs_embeds[0]
    mask = torch.zeros(len(embeds), dtype=torch.bool, device=embeds.device)
    mask[image.start + shift : image.stop + shift] = ignored
    return mask


class Intervention(ABC):
    """An intervention's settings; see ``intervene``."""

    def __post_init__(self) -> None:
        """Check the settings that are names; numbers are checked with the model they are for."""
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal:
                require_name(getattr(self, name), name, get_args(kind))

    @abstractmethod
    def begin(self, lvlm: LVLM, prompt: Prompt) -> Effect:
        """Prepare for one prompt, or raise if the settings do not suit it or the model."""


@contextmanager
def intervene(lvlm: LVLM, *interventions: Intervention) -> Iterator[None]:
    """Put interventions to work on a model, for as long as the context lasts.

    Inside, ``lvlm.answer``, ``lvlm.generate`` and ``lvlm.logits``, given a prompt, are of the
    changed model, and methods measure it. Interventions compose, and so do nested contexts, in any
    order: a token is hidden if one intervention hides it; attention is replaced after hiding, and
    tokens are ranked by the attention that results. However it ends, the model is as it was.

    Args:
        lvlm: The model.
        *interventions: ``FastV``, ``Simignore``, ``EAH`` or ``Truncate``, settings included.

    Raises:
        InfoflowError: This is no intervention. Inside: the model cannot be observed; a setting is
            out of range; embeddings come without their prompt, or several sequences at once.
    """
    if not all(isinstance(each, Intervention) for each in interventions):
        valid = "EAH(...), FastV(...), Simignore(...), Truncate(...)"
        raise InfoflowError(f"{interventions!r}: one is no intervention; valid: {valid}.")
    if not interventions:
        yield
        return
    before = getattr(modifier_of(lvlm), "interventions", ())
    with modified(lvlm, _Interventions(lvlm, (*before, *interventions))):
        yield


@dataclass(eq=False)
class _Interventions:
    lvlm: LVLM
    interventions: tuple[Intervention, ...]
    _effects: list[Effect] = field(default_factory=list)
    _n_prompt: int = 0

    @contextmanager
    def reading(self, prompt: Prompt) -> Iterator[None]:
        n_sequences, self._n_prompt, _ = prompt.inputs_embeds.shape
        if n_sequences != 1:
            raise InfoflowError(f"interventions take one sequence at a time, not {n_sequences}.")
        require_whole_model(self.lvlm, prompt)
        with torch.no_grad():
            self._effects = [each.begin(self.lvlm, prompt) for each in self.interventions]
        try:
            yield
        finally:
            self._effects = []

    def modify(self, layer: int, call: Attention) -> Attention:
        if not self._effects:
            lacking = "inside intervene embeddings alone do not say where the image is"
            raise InfoflowError(f"{lacking}; valid: a prompt, as in lvlm.logits(prompt).")
        n_queries, n_keys = call.query.shape[2], call.key.shape[2]
        for effect in self._effects:
            if effect.hidden is not None and layer >= effect.first_layer:
                mask = pad(effect.hidden, (0, n_keys - self._n_prompt)).to(call.key.device)
                call = call._replace(hidden=mask if call.hidden is None else mask | call.hidden)
        if n_queries < n_keys:
            return call
        for effect in self._effects:
            weights = effect.weights(layer, self._on_prompt(call))
            if weights is not None:
                if n_answer := n_queries - self._n_prompt:  # read in, whose rows are left
                    rows = attention_rows(call, n_answer)
                    weights = torch.cat([pad(weights, (0, n_answer)), rows], dim=1)
                call = call._replace(weights=weights)
        for effect in self._effects:
            effect.see(layer, self._on_prompt(call))
        return call

    def _on_prompt(self, call: Attention) -> Attention:
        """The part of a call that is the prompt's, without an answer that is read in after it."""
        n = self._n_prompt
        return call._replace(
            query=call.query[:, :, :n],
            key=call.key[:, :, :n],
            value=call.value[:, :, :n],
            hidden=None if call.hidden is None else call.hidden[:n],
            weights=None if call.weights is None else call.weights[:, :n, :n],
            mask=None if call.mask is None else call.mask[:n, :n],
        )
