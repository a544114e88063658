"""Whether the cliff depends on how an image becomes image tokens: cliffs by kind of connector."""

from itertools import combinations

import numpy as np
import pandas as pd

from infoflow import report
from infoflow.claims.findings import FAILS, FEWEST, HOLDS, UNDECIDED, joined
from infoflow.models.families import find_model
from infoflow.report import COLOURS


def cliff_depths(evidence, connectors, runs):
    """Gather cliffs as shares of their models' layers, models with one kind of connector together.

    `runs` are the other seeds of a model's recipe, by model and seed: the strictest control, for
    nothing differs but chance.
    """
    lines = []
    for model in sorted(evidence, key=connectors.get):
        own = evidence[model]
        seeds = {f"{model}, {seed}": one for seed, one in runs.get(model, {}).items()}
        for task in own.cliffs:
            for name, one in {model: own, **seeds}.items():
                c = one.cliffs[task]
                depths = np.array((c.cut, *c.interval)) / own.n_layers
                lines.append((task, name, connectors[model], *depths, c.n_calibration))
    names = ["task", "model", "connector", "depth", "low", "high", "n_items"]
    by_task = pd.DataFrame(lines, columns=names).groupby("task", sort=False)
    return pd.concat(of_task for _, of_task in by_task)


def depends_on_connector(depths):
    """Decide by task whether cliffs differ between kinds of connectors more than within one.

    Holds if some two models of different kinds have intervals apart, and no two of one kind have;
    fails if all cliffs are known to lie at one depth. A difference within a kind shows that other
    things move the cliff as well, and then nothing can be put down to the connector.
    """
    by_task = depths.groupby("task", sort=False)
    return joined({task: _decide(of_task) for task, of_task in by_task})


def _decide(depths):
    if depths["connector"].nunique() < 2:
        return UNDECIDED, "one kind of connector only"
    if depths["n_items"].min() < FEWEST:
        return UNDECIDED, "too few items"
    if len({*depths["low"], *depths["high"]}) == 1:
        return FAILS, "all at one depth"
    pairs = combinations(depths.itertuples(), 2)
    apart = [(a, b) for a, b in pairs if a.high < b.low or b.high < a.low]
    within = sum(a.connector == b.connector for a, b in apart)
    words = f"pairs of models apart: {len(apart) - within} of different connectors, {within} of one"
    return HOLDS if apart and not within else UNDECIDED, words


def connector_plot(evidence, runs):
    """Draw the cliffs of models by connector, with the verdict; arguments of `cliff_depths`."""
    connectors = {name: find_model(name).family.connector for name in evidence}
    depths = cliff_depths(evidence, connectors, runs)
    by_task = dict(iter(depths.groupby("task", sort=False)))
    n_rows = len(by_task[next(iter(by_task))])
    figure, panels = report.panels(by_task, height=0.36 * n_rows + 0.6, columns=len(by_task))
    for task, axes in panels.items():
        rows = by_task[task]
        arms = rows["depth"] - rows["low"], rows["high"] - rows["depth"]
        axes.errorbar(rows["depth"], range(n_rows), xerr=arms, fmt="o", color=COLOURS["cliff"])
        axes.set_yticks(range(n_rows), rows["model"] + "\n" + rows["connector"], fontsize=8)
        axes.set(xlim=(-0.05, 1.05), xticks=(0, 0.5, 1))
        axes.grid(axis="x")
    axes.invert_yaxis()
    figure.supxlabel("cliff (cut / number of layers)", fontsize=10)
    found = depends_on_connector(depths)
    caption = (
        f"Does the cliff depend on the connector? {report.finding_words(found)}. Verdict: "
        f"{found.verdict}. Dots: the cliff, with its interval over calibration items, a row a "
        "model, one kind of connector together."
    )
    table = depths.set_index(["task", "model"])
    shown = report.by_task(
        panels, lambda task: ", ".join(f"{m} {d:.2f}" for m, d in table["depth"][task].items())
    )
    alt = f"Dots with bars, a panel a task. {shown}. {caption}"
    return report.Plot(figure, alt, caption, table)
