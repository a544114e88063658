"""What an intervention is: settings, and what they come to for one prompt."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from infoflow.hooks.attention import Attention
from infoflow.models.lvlm import LVLM
from infoflow.models.prompt import Spans
from infoflow.options import require_whole


@dataclass(frozen=True, eq=False)
class Reading:
    """One prompt as the decoder is given it.

    Attributes:
        lvlm: The model.
        embeds: The prompt's embeddings, shape (S, D).
        spans: Where its system, image and user tokens lie.
    """

    lvlm: LVLM
    embeds: Tensor
    spans: Spans

    @property
    def n_image(self) -> int:
        """N, the number of image tokens."""
        return self.spans.image.stop - self.spans.image.start


class Effect:
    """What an intervention does while one prompt is read and answered; this base does nothing."""

    def hidden(self, layer: int) -> Tensor | None:
        """Say which tokens a layer hides from all others: boolean of shape (S,), or None.

        Generated tokens do not see them either.
        """
        return None

    def weights(self, layer: int, call: Attention) -> Tensor | None:
        """Replace a layer's attention weights on the prompt: shape (H, S, S), or None to keep them.

        Generated tokens attend as ever.
        """
        return None

    def see(self, layer: int, call: Attention) -> None:
        """See a layer's attention on the prompt, after all interventions."""


class Intervention(ABC):
    """An intervention's settings; see ``intervene``."""

    @abstractmethod
    def require_fits(self, lvlm: LVLM) -> None:
        """Raise unless the settings suit a model.

        Raises:
            InfoflowError: A layer does not exist there.
        """

    @property
    def sweepable(self) -> bool:
        """Whether a truncated branch of the prompt is changed by it as the prompt itself is."""
        return True

    @abstractmethod
    def begin(self, reading: Reading) -> Effect:
        """Prepare for one prompt.

        Raises:
            InfoflowError: The settings do not suit the prompt.
        """


def same_depth(layer: int, of: int, n_layers: int) -> int:
    """Find the layer at the same depth in a model of another size.

    Args:
        layer: A layer, counted from 0.
        of: How many layers its model has.
        n_layers: How many layers the other model has.

    Returns:
        The layer whose middle lies nearest to that layer's middle, as shares of the two depths;
        the deeper of two as near.

    Raises:
        InfoflowError: The model of ``of`` layers has no such layer, or the other has none.
    """
    require_whole(layer, "layer", 0, of - 1)
    require_whole(n_layers, "n_layers", 1)
    return (2 * layer + 1) * n_layers // (2 * of)
