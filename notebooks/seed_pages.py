"""What the seed of the training alone moves: models of one recipe on the items of a page.

A page measures them as it measures its own model. The spread over seeds and the interval over items
are two things and stand beside each other.
"""

from dataclasses import replace
from itertools import cycle

import numpy as np
import pandas as pd

from infoflow import load_lvlm, report
from infoflow.claims import all_claims, findings_of
from infoflow.files import read_json
from infoflow.models.families import find_model, list_models
from infoflow.report import COLOURS, NOT_RUN, TASK_TITLES, Line


def seed_models(lvlm, source="shapes"):
    """Load the models of other seeds that lie beside a zoo model's weights, by name: `"seed 1"`.

    None lie beside other models, and none are put to other sources than Shapes.
    """
    recipes = sorted(lvlm.folder.glob("seed*/recipe.json")) if source == "shapes" else []
    return {f"seed {read_json(r)['seed']}": load_lvlm(lvlm.name, r.parent) for r in recipes}


def spread(values, form="{}"):
    """Smallest and largest of several seeds' values, and their standard deviation (SD)."""
    if len(values) < 2:
        return NOT_RUN
    ends = dict.fromkeys(form.format(end) for end in (min(values), max(values)))
    return f"{' to '.join(ends)}, SD {np.std(values, ddof=1):.1f}"


def spread_over(runs):
    """What a column or row of spreads is called."""
    return f"spread over {1 + len(runs)} seeds" if runs else "spread over seeds"


def cuts_of(task, own, runs):
    """The cuts of a task's cliff, the model's own first."""
    return [one.cliffs[task].cut for one in _with_own(own, runs).values()]


def _with_own(own, runs):
    return {"own": own, **runs}


def seed_words(own, runs):
    """Say how far the cliffs of other seeds lie from the model's own."""
    if not runs:
        return f"What another seed of the training would change: {NOT_RUN}."
    words = report.by_task(own.cliffs, lambda task: spread(cuts_of(task, own, runs)))
    return f"Over {1 + len(runs)} seeds of the training it lies at these cuts: {words}."


def cliff_table(evidence, runs):
    """Cliffs by model and task, of all of the zoo; of the first also by seed, with their spread.

    `evidence` has the page's own model first; `runs` are the other seeds of it.
    """
    own, *others = evidence.values()
    zoo = [name for name in list_models() if find_model(name).hub_id is None]
    shown = {own.model: own, **{f"{own.model}, {name}": run for name, run in runs.items()}}
    lines = {name: _cliffs(one) for name, one in shown.items()}
    over = {title: spread(cuts_of(task, own, runs)) for task, title in _titles(own)}
    lines[f"{own.model}, {spread_over(runs)}"] = {**over, "items": "-", "of layers": own.n_layers}
    lines |= {one.model: _cliffs(one) for one in others}
    nothing = dict.fromkeys(lines[own.model], NOT_RUN)
    lines |= {name: nothing for name in zoo if name not in lines}
    return report.table(
        lines,
        "Cliffs by model, chosen on as many calibration items as stand beside, with the 95 % "
        "interval over items. Spread over seeds: smallest and largest cut, and the standard "
        "deviation",
        "zoo model",
    )


def _titles(own):
    return [(task, TASK_TITLES[task]) for task in own.cliffs]


def _cliffs(one):
    cells = {title: str(one.cliffs[task]) for task, title in _titles(one)}
    n_items = dict.fromkeys(str(c.n_calibration) for c in one.cliffs.values())
    return {**cells, "items": ", ".join(n_items), "of layers": one.n_layers}


def cliffs_by_seed(runs):
    """The other seeds' cliffs, by what a page's table of numbers calls them."""
    return {f"cliff, {name}": one.cliffs for name, one in runs.items()}


def cliff_numbers(own, runs):
    """A page's table of numbers: its model's cliffs and scores, and the cliffs of other seeds."""
    cliffs = own.cliffs
    return report.numbers(
        own.model,
        {
            "cliff": cliffs,
            **cliffs_by_seed(runs),
            "score, intact": {name: c.baseline for name, c in cliffs.items()},
            "score, at the cliff": {name: c.score for name, c in cliffs.items()},
        },
    )


def change_table(own, runs):
    """What truncating at its own cliff does to each seed, and how far that spreads."""
    lines = {}
    for task, title in _titles(own):
        changes = {n: 100 * one.cliffs[task].difference for n, one in _with_own(own, runs).items()}
        line = {f"{name}: points [95 %]": f"{change:+.1f}" for name, change in changes.items()}
        line[spread_over(runs)] = spread([change.value for change in changes.values()], "{:+.1f}")
        lines[title] = line
    return report.table(
        lines, "Mean score truncated less intact, each seed of the recipe at its own cliff"
    )


def verdicts_by_seed(own, runs):
    """Decide the claims that all seeds were measured for, by sentence: the model's own first."""
    if not runs:
        return {}
    found = {name: findings_of(None, one) for name, one in _with_own(own, runs).items()}
    by_claim = {
        of_claim[0].claim.claim: {n: f.verdict for n, f in zip(found, of_claim, strict=True)}
        for of_claim in zip(*found.values(), strict=True)
    }
    return {claim: of for claim, of in by_claim.items() if NOT_RUN not in of.values()}


def with_seeds(table, verdicts, model):
    """Add to a table of findings, if there are seeds, whether they agree.

    `verdicts` are those of :func:`verdicts_by_seed`.
    """
    if not verdicts:
        return table
    data = table.data.copy()
    place = data.columns.get_loc(f"verdict, {model}") + 1
    words = [_agreement(verdicts.get(claim, {})) for claim in data.index]
    data.insert(place, f"seeds, {model}", words)
    return replace(table, data=data)


def _agreement(by_seed):
    if not by_seed:
        return NOT_RUN
    if len({*by_seed.values()}) == 1:
        return f"{len(by_seed)} of {len(by_seed)} agree"
    return "; ".join(f"{name} {verdict}" for name, verdict in by_seed.items())


def agreement_words(verdicts, runs):
    """Say of how many claims all seeds say the same, and which hang on the seed."""
    if not runs:
        return f"What another seed of the training would change in the verdicts: {NOT_RUN}."
    names = {claim.claim: claim.id for claim in all_claims()}
    differ = [names[claim] for claim, of in verdicts.items() if len({*of.values()}) > 1]
    return (
        f"{len(verdicts)} claims were put to {1 + len(runs)} seeds of one recipe: the seeds agree "
        f"on {len(verdicts) - len(differ)} and differ on {report.listed(differ) or 'none'}."
    )


def share_plot(own, runs):
    """Plot the image's share of attention by layer, a line a seed."""
    shares = {
        (name, task): 100 * frame.groupby("layer")["image"].mean()
        for name, one in _with_own(own, runs).items()
        for task, frame in one.flow.items()
    }
    table = pd.concat(shares, names=["seed", "task"]).unstack("seed").loc[[*own.flow]]
    styles = zip(runs, cycle(("--", ":", "-.")), strict=False)
    lines = {"own": Line("-", COLOURS["image"])}
    lines |= {name: Line(style, COLOURS["control"]) for name, style in styles}
    figure, _ = report.layer_curves(table, lines, "image's share of the answer's attention (%)")
    most = table.groupby("task", sort=False).max()
    where = table.groupby("task", sort=False).idxmax().map(lambda place: place[1])
    words = report.by_task(
        own.flow,
        lambda task: (
            f"layers {report.listed([*map(str, where.loc[task])])}, "
            f"{spread([*most.loc[task]], '{:.1f} %')}"
        ),
    )
    n_items = next(iter(own.flow.values()))["item"].nunique()
    return report.Plot(
        figure,
        f"The image's share by layer, a line a seed. Largest in: {words}.",
        f"The image's share of the answer's attention, mean over {n_items} test items a task: "
        f"{own.model} (own) and models of its recipe trained with other seeds. It is largest, seed "
        f"by seed, in: {words}.",
        table,
    )
