"""Whether the cliff depends on how an image becomes image tokens: cliffs by kind of connector."""

from itertools import combinations

import numpy as np
import pandas as pd

from infoflow import report
from infoflow.claims.findings import FAILS, FEWEST, HOLDS, UNDECIDED, joined
from infoflow.models.families import find_model


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
    found = depends_on_connector(depths)
    caption = (
        f"Does the cliff depend on the connector? {report.finding_words(found)}. Verdict: "
        f"{found.verdict}. Dots: the cliff, with its interval over n calibration items, a row a "
        "model."
    )
    titles = depths["task"].map(report.TASK_TITLES)
    ends = depths[["depth", "low", "high"]].set_axis(["mean", "low", "high"], axis=1)
    table = pd.concat({"cliff": ends}, axis=1)
    about = depths["connector"] + ", n = " + depths["n_items"].astype(str)
    table.index = titles + ": " + depths["model"] + "\n" + about
    line = {"cliff": report.Line("o", report.COLOURS["cliff"])}
    figure, axes = report.interval_rows(table, line, "cliff (cut / number of layers)")
    axes.set_xlim(-0.03, 1.03)
    axes.tick_params(axis="y", labelsize=8)
    of_task = (depths["model"] + depths["depth"].map(" {:.2f}".format)).groupby(titles, sort=False)
    shown = "; ".join(f"{title}: {', '.join(cliffs)}" for title, cliffs in of_task)
    alt = f"Dots with bars, a row a model. {shown}. {caption}"
    return report.Plot(figure, alt, caption, table)
