"""The scores that most claims go by, and their cliffs."""

from collections.abc import Sequence
from pathlib import Path

from infoflow.claims.findings import Evidence, Rows
from infoflow.data.items import Items
from infoflow.data.load import blind_guess
from infoflow.evaluate.truncation import scores_by_cut, truncation_by_cut
from infoflow.models.lvlm import LVLM
from infoflow.results.store import Store
from infoflow.stats.cliff import MARGIN, Cliff, cliff_layer


def truncation_evidence(
    lvlm: LVLM,
    tasks: Sequence[str],
    limit: int | None,
    store: Store,
    seed: int = 0,
    source: str | Path = "shapes",
    margin: float = MARGIN,
) -> Evidence:
    """Measure the scores at every cut, with the cliffs chosen on calibration items.

    Of these there are as many as of test items, or all where there are fewer. ``limit`` is the
    number of items a task and split, None for all; ``source`` that of
    :class:`infoflow.data.items.Items`.
    """
    items = Items(lvlm.name, source)
    test = {name: items.test(name, limit) for name in tasks}
    chosen_on = {name: items.calibration(name, len(task)) for name, task in test.items()}
    cuts, calibration = (
        {name: truncation_by_cut(lvlm, task, store) for name, task in part.items()}
        for part in (test, chosen_on)
    )
    cliffs = cliffs_of(calibration, cuts, seed, margin)
    guesses = {name: blind_guess(task) for name, task in test.items()}
    return Evidence(lvlm.name, lvlm.n_layers, cliffs, cuts, calibration, guesses)


def cliffs_of(calibration: Rows, cuts: Rows, seed: int, margin: float = MARGIN) -> dict[str, Cliff]:
    """The cliff of each task, chosen on the one and reported on the other rows."""
    chosen_on, scores = ({n: scores_by_cut(r) for n, r in of.items()} for of in (calibration, cuts))
    return {n: cliff_layer(chosen_on[n], s, margin=margin, seed=seed) for n, s in scores.items()}
