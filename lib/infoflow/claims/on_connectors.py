"""Whether the cliff depends on the projector, decided from the cliffs of several models."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from infoflow.claims.findings import FAILS, FEWEST, HOLDS, UNDECIDED, Evidence, Finding, by_task


class Depth(NamedTuple):
    """A model's cliff on a task, as a share of its layers.

    Attributes:
        model: Its name.
        connector: What lies between its vision tower and its decoder.
        depth: Cut / L.
        low: Lower end of the cut's interval / L.
        high: Upper end.
        n_items: On how many calibration items it was chosen.
    """

    model: str
    connector: str
    depth: float
    low: float
    high: float
    n_items: int


def cliff_depths(
    evidence: Mapping[str, Evidence], connectors: Mapping[str, str]
) -> dict[str, list[Depth]]:
    """Gather the cliffs by task, models with one kind of connector together.

    Args:
        evidence: By model.
        connectors: By model, the kind of its connector.
    """
    in_order = sorted(evidence.values(), key=lambda e: connectors[e.model])
    tasks = dict.fromkeys(task for e in in_order for task in e.cliffs)
    return {
        task: [_depth(e, task, connectors[e.model]) for e in in_order if task in e.cliffs]
        for task in tasks
    }


def _depth(evidence: Evidence, task: str, connector: str) -> Depth:
    cliff = evidence.cliffs[task]
    depth, low, high = (cut / evidence.n_layers for cut in (cliff.cut, *cliff.interval))
    return Depth(evidence.model, connector, depth, low, high, cliff.n_calibration)


def with_other_seeds(
    depths: Mapping[str, Sequence[Depth]], model: str, two_seeds: Mapping[str, Any]
) -> dict[str, list[Depth]]:
    """Set beside a model's cliffs those that its recipe gave with other seeds.

    They are the strictest control: nothing differs but chance.

    Args:
        depths: By task, of :func:`cliff_depths`.
        model: The model.
        two_seeds: What was measured of its seeds (:mod:`zoo.seeds`), its own first.
    """
    _own, *others = two_seeds["seeds"].items()
    found = {}
    for task, of_task in depths.items():
        at = next(i for i, depth in enumerate(of_task) if depth.model == model)
        seeds = [
            _of_seed(of_task[at], seed, results[task], two_seeds["items"]["calibration"])
            for seed, results in others
            if task in results
        ]
        found[task] = [*of_task[: at + 1], *seeds, *of_task[at + 1 :]]
    return found


def _of_seed(own: Depth, seed: str, result: Mapping[str, Any], n_items: int) -> Depth:
    n_layers = len(result["mean_score"]) - 1
    ends = (result["cliff"]["cut"], *result["cliff"]["interval"])
    depth, low, high = (cut / n_layers for cut in ends)
    return Depth(f"{own.model}, seed {seed}", own.connector, depth, low, high, n_items)


def depends_on_connector(depths: Mapping[str, Sequence[Depth]]) -> Finding:
    """Decide by task whether cliffs differ between kinds of connectors more than within one.

    Holds if some two models of different kinds have intervals apart, and no two of one kind have;
    fails if all cliffs are known to lie at one depth. A difference within a kind shows that other
    things move the cliff as well, and then nothing can be put down to the connector.
    """
    return by_task({task: _decide(of_task) for task, of_task in depths.items()})


def _decide(depths: Sequence[Depth]) -> tuple[str, str]:
    if len({d.connector for d in depths}) < 2:
        return "one kind of projector only", UNDECIDED
    if min(d.n_items for d in depths) < FEWEST:
        return "too few items", UNDECIDED
    if len({end for d in depths for end in (d.low, d.high)}) == 1:
        return "all at one depth", FAILS
    apart = [(a, b) for a, b in combinations(depths, 2) if a.high < b.low or b.high < a.low]
    within = sum(a.connector == b.connector for a, b in apart)
    told = f"pairs of models apart: {len(apart) - within} of different projectors, {within} of one"
    return told, HOLDS if apart and not within else UNDECIDED
