"""The model card: its measure, what it has of a large model, and runs with another seed."""

import pandas as pd
from arms_finding import FOLDER, Arm

from infoflow import report
from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.files import read_json
from infoflow.methods.truncation import truncation_sweep
from infoflow.models.checkpoint import weights_digest
from infoflow.report import COLOURS, TASK_TITLES, Line
from infoflow.results.sources import ROOT


@measure
def blind_and_intact(lvlm: LVLM, task: Task, sample: Sample) -> list[Row]:
    """Answer without the image and with all of it: the ends of ``truncation_by_cut``."""
    prompt, ends = lvlm.prompt(sample.image, sample.question), (0, lvlm.n_layers)
    sweep = truncation_sweep(lvlm, prompt, cuts=ends, max_new_tokens=task.max_new_tokens)
    return [
        {"cut": int(cut), "margin": float(margin), **task.details(sample, lvlm.decode(tokens))}
        for cut, margin, tokens in zip(sweep.cuts, sweep.margins, sweep.tokens, strict=True)
    ]


def resembling(shown):
    """What `python -m zoo.resembles` found of the model that is shown, and of the zoo's others."""
    others = (path for path in sorted(ROOT.glob("zoo/tiny-*")) if path.name != shown.name)
    arms = []
    for folder in (shown.folder, *others):
        recipe = read_json(folder / "recipe.json")
        file = FOLDER / f"{recipe['name']}-shapes-seed{recipe['seed']}.json"
        found = read_json(file) if file.is_file() else {}
        same = found.get("weights") == weights_digest([folder])
        arms.append(Arm(recipe["name"], "shipped", "", found if same else {}))
    return arms


def seed_plot(two_seeds):
    """Plot the mean score at every cut for each training seed, with the cliffs below."""
    seeds, n_items = two_seeds["seeds"], two_seeds["items"]
    tasks = list(next(iter(seeds.values())))
    curves = {
        (f"seed {seed}", task): 100 * pd.Series(of[task]["mean_score"])
        for seed, of in seeds.items()
        for task in tasks
    }
    table = pd.concat(curves, names=["seed", "task", "cut"]).unstack("seed").loc[tasks]
    styles = (Line("-o", COLOURS["ours"]), Line("--s", COLOURS["paper"]))
    lines = {f"seed {seed}": style for seed, style in zip(seeds, styles, strict=True)}
    figure, panels = report.layer_curves(
        table,
        lines,
        "mean score (%)",
        below="cut: layers that see the image",
        ylim=(-28, 108),
        n_layers=int(table.index.get_level_values("cut").max()),
    )
    for task, axes in panels.items():
        axes.set_yticks(range(0, 101, 20))
        for of, line, foot in zip(seeds.values(), lines.values(), (-10, -20), strict=True):
            cliff = of[task]["cliff"]
            ends = cliff["interval"] or [cliff["cut"]] * 2
            axes.plot(ends, (foot, foot), "-|", color=line.colour, markersize=7)
            axes.plot(cliff["cut"], foot, line.style[-1], color=line.colour, markersize=5)

    cuts = {task: [of[task]["cliff"]["cut"] for of in seeds.values()] for task in tasks}
    moves = pd.Series({TASK_TITLES[task]: max(c) - min(c) for task, c in cuts.items()})
    finding = "The cliff lies at the same cut with each seed, in every task."
    if moves.any():
        finding = (
            f"The cliff moves with the seed in {(moves > 0).sum()} of {len(moves)} tasks, at most "
            f"by {moves.max()} {'cut' if moves.max() == 1 else 'cuts'} ({moves.idxmax()})."
        )
    words = report.by_task(tasks, lambda task: f"cuts {' and '.join(map(str, cuts[task]))}")
    return report.Plot(
        figure,
        f"Mean score by cut for seeds {' and '.join(seeds)}, with their cliffs: {words}.",
        f"Mean score on {n_items['test']} test items a task, for the same recipe with seeds "
        f"{' and '.join(seeds)}. {finding} Brackets below: each seed's cliff and its 95 % "
        f"interval, chosen on {n_items['calibration']} calibration items; without one, the cut was "
        "found on the test means of a run whose answers were not kept. Upper axis: the paper's "
        "layer, cut + 1.",
        table,
    )


def seed_table(two_seeds):
    """Intact score and cliff of each task, seed by seed."""
    lines = {}
    for seed, results in two_seeds["seeds"].items():
        for task, of in results.items():
            ends = of["cliff"]["interval"] or "interval not known"
            lines.setdefault(TASK_TITLES[task], {}).update(
                {
                    f"seed {seed}: intact %": f"{100 * of['mean_score'][-1]:.1f}",
                    f"seed {seed}: cliff": f"cut {of['cliff']['cut']} {ends}",
                }
            )
    counts = ", ".join(f"{n} {split}" for split, n in two_seeds["items"].items())
    return report.table(lines, f"Two training runs with different seeds ({counts} items a task)")
