"""The model card: its measure, what it has of a large model, and runs with another seed."""

from arms_finding import FOLDER, Arm
from seed_pages import spread, spread_over

from infoflow import report
from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.files import read_json
from infoflow.methods.truncation import truncation_sweep
from infoflow.models.checkpoint import weights_digest
from infoflow.report import TASK_TITLES
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


def seed_table(own, runs, folder):
    """Intact score and cliff of each task, seed by seed, and how far they spread."""
    by_seed = {f"seed {read_json(folder / 'recipe.json')['seed']}": own, **runs}
    lines = []
    for task, title in ((task, TASK_TITLES[task]) for task in own.cliffs):
        cliffs = {name: one.cliffs[task] for name, one in by_seed.items()}
        cells = {n: (f"{100 * c.baseline:.1f}", str(c)) for n, c in cliffs.items()}
        intact = [100 * c.baseline.value for c in cliffs.values()]
        spreads = spread(intact, "{:.1f}"), spread([c.cut for c in cliffs.values()])
        cells[spread_over(runs)] = spreads
        names = ("intact % [95 %]", "cliff [95 %]")
        lines += [
            {"task": title, "seed": n, **dict(zip(names, cell, strict=True))}
            for n, cell in cells.items()
        ]
    n_items = next(iter(own.cliffs.values())).n_test
    return report.table(lines, f"One recipe, trained with several seeds; {n_items} items a task")


def about_seeds(models):
    """Name the folder of each other seed's model, and the digest of its weights."""
    lines = {
        name: {"folder": "/".join(one.folder.parts[-2:]), "weights digest": one.digest}
        for name, one in models.items()
    }
    return report.table(lines, "The other seeds, shipped beside it", "seed")
