"""Which cuts a truncation answers under, checked, and which image tokens each of them keeps."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from infoflow.errors import InfoflowError
from infoflow.hooks.probe import modifier_of
from infoflow.models.lvlm import LVLM, Prompt
from infoflow.options import require_whole


class Plan(NamedTuple):
    """What to run: the cuts as asked for, and what the branches keep.

    Attributes:
        asked: The cuts in the order asked for.
        distinct: The same, ascending, each once.
        n_layers: L.
        keep: K.
        ranking: Scores of the image tokens, a row a truncated cut of ``distinct``, or None.
    """

    asked: list[int]
    distinct: list[int]
    n_layers: int
    keep: int
    ranking: Tensor | None

    @property
    def truncated(self) -> list[int]:
        """The cuts that truncate anything."""
        return [cut for cut in self.distinct if cut < self.n_layers]

    @property
    def ends_intact(self) -> bool:
        """Whether the intact model, the last of ``distinct``, was asked for."""
        return self.distinct[-1] == self.n_layers

    @property
    def order(self) -> list[int]:
        """Where in ``distinct`` each cut asked for is."""
        return [self.distinct.index(cut) for cut in self.asked]

    def part(self, cuts: list[int]) -> "Plan":
        """Take some neighbouring cuts of ``distinct``."""
        first = self.distinct.index(cuts[0])
        ranking = None if self.ranking is None else self.ranking[first : first + len(cuts)]
        return self._replace(asked=cuts, distinct=cuts, ranking=ranking)


def plan_cuts(
    lvlm: LVLM, prompt: Prompt, keep: int, cuts: Iterable[int] | None, ranking: Tensor | None
) -> Plan:
    """Check what was asked for.

    Raises:
        InfoflowError: See ``truncation_sweep``.
    """
    lvlm.require_prompt(prompt)
    n_image = prompt.spans.image.stop - prompt.spans.image.start
    keep = require_whole(keep, "keep", 0, n_image)
    if modifier := modifier_of(lvlm):
        modifier.require_sweepable(keep if ranking is None else 0)
    if not (ranking is None or isinstance(ranking, Tensor)):
        raise InfoflowError(f"a ranking must be a tensor, not {type(ranking).__name__}.")
    fixed = ranking is not None and ranking.shape == (n_image,)
    asked = _require_cuts(cuts, first=0 if fixed else min(keep, 1), last=lvlm.n_layers)
    plan = Plan(asked, sorted(set(asked)), lvlm.n_layers, keep, None)
    if ranking is None:
        return plan
    return plan._replace(ranking=_rank_by_cut(ranking.detach(), lvlm, n_image, plan))


def _rank_by_cut(ranking: Tensor, lvlm: LVLM, n_image: int, plan: Plan) -> Tensor:
    """Take each truncated cut's scores: shape (b, N)."""
    if ranking.shape == (n_image,):
        ranking = ranking.expand(lvlm.n_layers, -1)
    if ranking.shape != (lvlm.n_layers, n_image):
        raise InfoflowError(
            f"a ranking of shape {tuple(ranking.shape)} does not fit {n_image} image tokens; "
            f"valid: ({n_image},) or ({lvlm.n_layers}, {n_image})."
        )
    # row -1, of cut 0, is any row: there the ranking is the same in all, or nothing is kept
    rows = ranking[[cut - 1 for cut in plan.truncated]]
    if plan.keep and (unknown := rows.isnan().any(-1)).any():
        cut = plan.truncated[int(unknown.nonzero()[0])]
        raise InfoflowError(f"the ranking for cut {cut} holds NaN; every score must be a number.")
    return rows.to(lvlm.device)


def _require_cuts(cuts: Iterable[int] | None, first: int, last: int) -> list[int]:
    """Return the cuts asked for, all of them by default.

    Raises:
        InfoflowError: There are none, or one is no whole number of first..last.
    """
    if cuts is None:
        return list(range(first, last + 1))
    try:
        asked = list(cuts)
    except TypeError as error:
        raise InfoflowError(f"cuts must be whole numbers, not {cuts!r}.") from error
    if not asked:
        raise InfoflowError(f"no cut was asked for; valid: {first} to {last}, or None for all.")
    return [require_whole(cut, "cut", first, last) for cut in asked]
