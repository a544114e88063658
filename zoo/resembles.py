"""Measure whether a model of the zoo resembles an LVLM: ``python -m zoo.resembles X``.

What resembling means was fixed before anything was measured; :func:`verdicts` gives each property.
Answers are kept in the result store, so an interrupted run goes on.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer

from infoflow.data.load import Task, list_tasks, load_task
from infoflow.data.shapes import ITEMS_PER_SPLIT
from infoflow.errors import InfoflowError
from infoflow.evaluate.answers import answers_under
from infoflow.evaluate.flow import SPANS, flow_by_layer
from infoflow.evaluate.truncation import scores_by_cut, truncation_by_cut
from infoflow.files import atomic_write, read_json
from infoflow.interventions import FastV, Simignore
from infoflow.models.lvlm import LVLM, load_lvlm
from infoflow.results.store import Store
from infoflow.stats.cliff import MARGIN, cliff_layer
from infoflow.stats.intervals import difference_estimate, mean_estimate, ratio_estimate
from zoo.command import ending_in_one_line

HIDDEN, SEEDS = 0.25, (0, 1, 2)
"""Share of the image tokens that are hidden from all layers, and the seeds of the draws.

One seed hides the same places in every picture."""
FASTV = FastV(k=2, ratio=0.5)

LEAST_TASKS = 3
"""Of the four tasks, how many must show a property of the attention."""
EARLY_DEPTH, DEEPEST_CLIFF = 0.4, 0.85
"""Share of the layers at which the image's share must have fallen; and at most before a cliff."""
PRIOR = 0.1
"""How far blind answers must lie above the best constant guess."""
BARS = {"pope": 0.97, "scienceqa": 0.85, "textvqa": 0.8}
MOST_MADE_UP, LEAST_RECALL = 0.05, 0.9

PROPERTIES = ("R1", "R2", "R3", "R4", "R5", "R6")
STAGES = ("text", "tower", "bridge", "caption", "language")
OPTIONS = (
    *("world", "arm", "optimiser", *(f"{stage}_steps" for stage in STAGES)),
    *("deep", "past_gate", "nothing_by_hand", "float32", "watch_every"),
)
"""Of training, beside model and seed, as far as a recipe names them."""
BESIDE = ("gate", "growth")
"""What training writes beside a model: what text alone taught it, and itself on the way."""

SECONDS_AN_ITEM = 0.6
"""What an item costs on one core, all measures together; said before it is spent."""
_DECIMALS = 4


@dataclass(frozen=True)
class Rows:
    """What was measured on one task.

    Attributes:
        flow: Rows of :func:`infoflow.evaluate.flow.flow_by_layer`.
        cuts: Rows of :func:`infoflow.evaluate.truncation.truncation_by_cut`.
        hidden: For each seed, answers with some of the image tokens hidden from all layers.
        fastv: Answers under FastV.
    """

    flow: pd.DataFrame
    cuts: pd.DataFrame
    hidden: tuple[pd.DataFrame, ...]
    fastv: pd.DataFrame


def measure(lvlm: LVLM, task: Task, store: Store) -> Rows:
    """Measure one task, as far as the store does not hold it.

    Args:
        lvlm: The model.
        task: The items.
        store: Where the rows are kept.
    """
    sample = task[0]
    image = lvlm.prompt(sample.image, sample.question).spans.image
    n_image = image.stop - image.start
    kept = n_image - round(HIDDEN * n_image)
    return Rows(
        flow_by_layer(lvlm, task, store),
        truncation_by_cut(lvlm, task, store),
        tuple(
            answers_under(lvlm, task, store, Simignore(kept, order="random", seed=seed))
            for seed in SEEDS
        ),
        answers_under(lvlm, task, store, FASTV),
    )


def summarise(task: Task, rows: Rows) -> dict[str, Any]:
    """Reduce one task's rows to numbers, each with ``n`` items and a 95 % interval.

    Args:
        task: The items.
        rows: What was measured on them.

    Returns:
        ``shares``: by group of tokens ("system" includes "first", the first token), by layer.
        ``scores``: means "intact", "blind", with a quarter "hidden" (an item's score being the mean
        over the draws) and under "fastv". ``costs``: intact less each of the latter two, paired by
        item. ``best_constant``: the best guess that ignores the picture. ``cliff``: at a margin of
        5 points, on these very items. For captions also ``CHAIRi`` and ``recall``.
    """
    scores = scores_by_cut(rows.cuts)
    hidden = np.mean([_by_item(answers) for answers in rows.hidden], axis=0)
    fastv = _by_item(rows.fastv)
    cliff = cliff_layer(scores, margin=MARGIN)
    intact = rows.cuts[rows.cuts["cut"] == rows.cuts["cut"].max()]
    return {
        "shares": {name: _by_layer(rows.flow, name) for name in ("first", *SPANS)},
        "scores": {
            "intact": mean_of(scores[:, -1]),
            "blind": mean_of(scores[:, 0]),
            "hidden": mean_of(hidden),
            "fastv": mean_of(fastv),
        },
        "costs": {
            "hidden": _mean_difference(scores[:, -1] - hidden),
            "fastv": _mean_difference(scores[:, -1] - fastv),
        },
        "best_constant": rounded(task.best_constant()),
        "cliff": {"cut": cliff.cut, "interval": list(cliff.interval), "n": len(scores)},
        **(
            {
                "CHAIRi": _ratio(intact["hallucinated"], intact["mentions"]),
                "recall": _ratio(intact["found"], intact["present"]),
            }
            if task.name == "chair"
            else {}
        ),
    }


def verdicts(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Say which properties hold, each with the numbers it rests on; means decide.

    - R1, sink: first token and system text hold the largest share in at least half of the layers,
      on three tasks.
    - R2, early fall: the image's share at 40 % of the depth is at most half of its mean over layers
      1 and 2, on three tasks.
    - R3, redundancy: on POPE and ScienceQA, hiding a random quarter of the image tokens from all
      layers costs at most 5 points, and so does FastV keeping half after layer 2.
    - R4, cliff inside: at a cut of at most 0.85 L on all tasks.
    - R5, language prior: blind ScienceQA is at least 10 points above the best constant guess.
    - R6, it still sees: POPE 97, ScienceQA 85, TextVQA 80, CHAIRi at most 5, recall 90.

    Args:
        tasks: By name, what :func:`summarise` returns.
    """
    n_layers = len(tasks["pope"]["shares"]["image"]["mean"])
    sink = {name: _sink_layers(task["shares"]) for name, task in tasks.items()}
    early = round(EARLY_DEPTH * n_layers)
    fall = {
        name: _remaining(task["shares"]["image"]["mean"], early) for name, task in tasks.items()
    }
    costs = {
        f"{arm} {name}": tasks[name]["costs"][arm]["mean"]
        for arm in ("hidden", "fastv")
        for name in ("pope", "scienceqa")
    }
    cliffs = {name: task["cliff"]["cut"] for name, task in tasks.items()}
    blind = tasks["scienceqa"]["scores"]["blind"]["mean"]
    lead = rounded(blind - tasks["scienceqa"]["best_constant"])
    seen = {name: tasks[name]["scores"]["intact"]["mean"] for name in BARS}
    made_up, recall = (tasks["chair"][metric]["mean"] for metric in ("CHAIRi", "recall"))
    return {
        "R1": {
            "holds": sum(2 * n >= n_layers for n in sink.values()) >= LEAST_TASKS,
            "layers": sink,
        },
        "R2": {
            "holds": sum(share <= 0.5 for share in fall.values()) >= LEAST_TASKS,
            "layer": early,
            "remaining": fall,
        },
        "R3": {"holds": all(cost <= MARGIN for cost in costs.values()), "costs": costs},
        "R4": {
            "holds": all(cut <= DEEPEST_CLIFF * n_layers for cut in cliffs.values()),
            "cuts": cliffs,
        },
        "R5": {"holds": lead >= PRIOR, "lead": lead},
        "R6": {
            "holds": all(seen[name] >= bar for name, bar in BARS.items())
            and made_up <= MOST_MADE_UP
            and recall >= LEAST_RECALL,
            "accuracy": seen,
            "CHAIRi": made_up,
            "recall": recall,
        },
    }


def _sink_layers(shares: Mapping[str, Any]) -> int:
    """In how many layers the system text, with the first token, holds the largest share."""
    system, image, user = (np.array(shares[name]["mean"]) for name in SPANS)
    return int((system > np.maximum(image, user)).sum())


def _remaining(image: list[float], layer: int) -> float:
    """The image's share at a layer (from 1), in units of its mean over layers 1 and 2."""
    return rounded(image[layer - 1] / np.mean(image[:2]))


def _by_item(rows: pd.DataFrame) -> np.ndarray:
    """Scores in the order of :func:`scores_by_cut`."""
    return rows.set_index("item")["score"].sort_index().to_numpy(dtype=float)


def _by_layer(rows: pd.DataFrame, name: str) -> dict[str, Any]:
    layers = [mean_of(of_layer[name]) for _, of_layer in rows.groupby("layer")]
    return {
        "n": layers[0]["n"],
        **{key: [layer[key] for layer in layers] for key in ("mean", "low", "high")},
    }


def mean_of(values: pd.Series | np.ndarray) -> dict[str, Any]:
    return _estimate(np.mean(values), mean_estimate(values).interval, len(values))


def _mean_difference(values: np.ndarray) -> dict[str, Any]:
    return _estimate(np.mean(values), difference_estimate(values).interval, len(values))


def _ratio(part: pd.Series, whole: pd.Series) -> dict[str, Any]:
    share = ratio_estimate(part, whole)
    return _estimate(share.value, share.interval, share.n_items)


def _estimate(value: Any, interval: tuple[float, float], n_items: int) -> dict[str, Any]:
    low, high = map(rounded, interval)
    return {"mean": rounded(value), "low": low, "high": high, "n": n_items}


def rounded(value: Any) -> float:
    return round(float(value), _DECIMALS)


def main(
    model: Annotated[str, typer.Argument(help="A model of the zoo, or a trained one's folder.")],
    limit: Annotated[
        int, typer.Option(min=2, max=ITEMS_PER_SPLIT, help="Items a task.")
    ] = ITEMS_PER_SPLIT,
    target: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("book/arms"),
) -> None:
    """Measure a model in the world it was trained in: about twenty minutes on one core.

    What its training wrote beside the weights goes along; of a run that was stopped at its gate
    there is nothing else.
    """
    torch.set_num_threads(1)
    with ending_in_one_line():
        lvlm, recipe, beside = _load(model)
        world = recipe.get("world", "shapes")
        found = _found(lvlm, world, limit) if lvlm else {}
        target.mkdir(parents=True, exist_ok=True)
        kind = "-".join((recipe["name"], world, *(recipe[k] for k in ("arm",) if k in recipe)))
        destination = target / f"{kind}-seed{recipe.get('seed')}.json"
        result = {"recipe": recipe, **beside, **found}
        atomic_write(destination, (json.dumps(result, indent=1) + "\n").encode())
    for name in PROPERTIES if lvlm else ():
        typer.echo(f"{name} {json.dumps(found[name])}")
    typer.echo(f"{destination} written.")


def _found(lvlm: LVLM, world: str, limit: int) -> dict[str, Any]:
    """The model's digest, its verdicts, and what they rest on by task."""
    names = list_tasks()
    typer.echo(
        f"{len(names)} tasks of {world}, {limit} items of each: about "
        f"{len(names) * limit * SECONDS_AN_ITEM / 60:.0f} minutes on one core, less what the "
        "store holds."
    )
    store, tasks = Store(), {}
    for name in names:
        task = load_task(name, world, limit=limit)
        tasks[name] = summarise(task, measure(lvlm, task, store))
    return {"weights": lvlm.digest, **verdicts(tasks), "tasks": tasks}


def _load(model: str) -> tuple[LVLM | None, dict[str, Any], dict[str, Any]]:
    """Load a model by name or folder, with the recipe and all else that lies beside its weights."""
    folder = Path(model)
    if not folder.is_dir():
        lvlm = load_lvlm(model, device="cpu")
        return lvlm, _recipe(lvlm.folder), {}
    recipe = _recipe(folder)
    files = ((name, folder / f"{name}.json") for name in BESIDE)
    beside = {name: read_json(file) for name, file in files if file.is_file()}
    if not (folder / "config.json").is_file():
        return None, recipe, beside
    return load_lvlm(recipe["name"], checkpoint=folder, device="cpu"), recipe, beside


def command(recipe: Mapping[str, Any]) -> str:
    """Say how a run is repeated, from its recipe."""
    given = {name: recipe[name] for name in OPTIONS if recipe.get(name)}
    options = (
        f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
        for name, value in {"seed": recipe.get("seed"), **given}.items()
    )
    return " ".join(["python -m zoo.train", recipe["name"], *options])


def _recipe(folder: Path) -> dict[str, Any]:
    recipe = read_json(folder / "recipe.json")
    if not isinstance(recipe, dict) or not isinstance(recipe.get("name"), str):
        raise InfoflowError(
            f"{folder / 'recipe.json'} names no model; valid: what `make zoo` wrote."
        )
    return {"command": command(recipe), **recipe}


if __name__ == "__main__":
    typer.run(main)
