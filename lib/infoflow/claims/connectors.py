"""Whether the cliff depends on the connector, decided from the cliffs of several models."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from infoflow.claims.findings import FAILS, FEWEST, HOLDS, UNDECIDED, Evidence, Found, joined


class CliffDepth(NamedTuple):
    """A model's cliff on a task with its interval, as shares of its layers."""

    model: str
    connector: str
    depth: float
    low: float
    high: float
    n_items: int


def cliff_depths(
    evidence: Mapping[str, Evidence],
    connectors: Mapping[str, str],
    seeds: Mapping[str, Mapping[str, Any]],
) -> dict[str, list[CliffDepth]]:
    """Gather the cliffs by task, models with one kind of connector together.

    Args:
        evidence: By model.
        connectors: By model, the kind of its connector.
        seeds: By model, if its recipe was run with other seeds, what was measured then
            (:mod:`zoo.seeds`), its own first: the strictest control, for nothing differs but
            chance. They stand behind their model.
    """
    found: dict[str, list[CliffDepth]] = {}
    for model in sorted(evidence, key=lambda name: connectors[name]):
        of_model, kind = evidence[model], connectors[model]
        others = list(seeds[model]["seeds"].items())[1:] if model in seeds else []
        for task, cliff in of_model.cliffs.items():
            cuts, n_items = (cliff.cut, *cliff.interval), cliff.n_calibration
            depths = [_depth(model, kind, cuts, of_model.n_layers, n_items)]
            for seed, results in others:
                if of_seed := results.get(task):
                    n_layers, other = len(of_seed["mean_score"]) - 1, of_seed["cliff"]
                    cuts = (other["cut"], *other["interval"])
                    n_items = seeds[model]["items"]["calibration"]
                    depths.append(_depth(f"{model}, seed {seed}", kind, cuts, n_layers, n_items))
            found.setdefault(task, []).extend(depths)
    return found


def _depth(
    model: str, connector: str, cuts: Iterable[int], n_layers: int, n_items: int
) -> CliffDepth:
    depth, low, high = (cut / n_layers for cut in cuts)
    return CliffDepth(model, connector, depth, low, high, n_items)


def depends_on_connector(depths: Mapping[str, Sequence[CliffDepth]]) -> Found:
    """Decide by task whether cliffs differ between kinds of connectors more than within one.

    Holds if some two models of different kinds have intervals apart, and no two of one kind have;
    fails if all cliffs are known to lie at one depth. A difference within a kind shows that other
    things move the cliff as well, and then nothing can be put down to the connector.
    """
    return joined({task: _decide(of_task) for task, of_task in depths.items()})


def _decide(depths: Sequence[CliffDepth]) -> tuple[str, str]:
    if len({d.connector for d in depths}) < 2:
        return UNDECIDED, "one kind of connector only"
    if min(d.n_items for d in depths) < FEWEST:
        return UNDECIDED, "too few items"
    if len({end for d in depths for end in (d.low, d.high)}) == 1:
        return FAILS, "all at one depth"
    apart = [(a, b) for a, b in combinations(depths, 2) if a.high < b.low or b.high < a.low]
    within = sum(a.connector == b.connector for a, b in apart)
    words = f"pairs of models apart: {len(apart) - within} of different connectors, {within} of one"
    return HOLDS if apart and not within else UNDECIDED, words
