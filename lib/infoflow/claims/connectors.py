"""Whether the cliff depends on the connector, decided from the cliffs of several models."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from infoflow.claims.findings import FAILS, FEWEST, HOLDS, UNDECIDED, Evidence, Found, joined

CONNECTOR_RULE = (
    "Per task: holds if some two models of different connectors have intervals apart and no two "
    "of one connector have; fails if all cliffs are known to lie at one depth. A difference within "
    "a kind shows that other things move the cliff as well."
)


class CliffDepth(NamedTuple):
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
    evidence: Mapping[str, Evidence],
    connectors: Mapping[str, str],
    other_seeds: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, list[CliffDepth]]:
    """Gather the cliffs by task, models with one kind of connector together.

    Args:
        evidence: By model.
        connectors: By model, the kind of its connector.
        other_seeds: By model, what was measured of its recipe with other seeds
            (:mod:`zoo.seeds`), its own first: the strictest control, for nothing differs but
            chance. They stand behind their model.
    """
    found: dict[str, list[CliffDepth]] = {}
    for model in sorted(evidence, key=lambda name: connectors[name]):
        measured, connector = evidence[model], connectors[model]
        for task, cliff in measured.cliffs.items():
            ends = (cliff.cut, *cliff.interval)
            one = _depth(model, connector, ends, measured.n_layers, cliff.n_calibration)
            seeds = _of_seeds(one, task, (other_seeds or {}).get(model, {}))
            found.setdefault(task, []).extend([one, *seeds])
    return found


def _depth(
    model: str, connector: str, ends: Sequence[int], n_layers: int, n_items: int
) -> CliffDepth:
    depth, low, high = (cut / n_layers for cut in ends)
    return CliffDepth(model, connector, depth, low, high, n_items)


def _of_seeds(own: CliffDepth, task: str, seeds: Mapping[str, Any]) -> list[CliffDepth]:
    return [
        _depth(
            f"{own.model}, seed {seed}",
            own.connector,
            (results[task]["cliff"]["cut"], *results[task]["cliff"]["interval"]),
            len(results[task]["mean_score"]) - 1,
            seeds["items"]["calibration"],
        )
        for seed, results in list(seeds.get("seeds", {}).items())[1:]
        if task in results
    ]


def depends_on_connector(depths: Mapping[str, Sequence[CliffDepth]]) -> Found:
    """Decide ``CONNECTOR_RULE`` on the cliffs of :func:`cliff_depths`."""
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
