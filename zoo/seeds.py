"""Measure how far scores and cliffs move with the seed: ``python -m zoo.seeds FOLDER``.

The shipped model and one trained by the same recipe with another seed answer the same items under
every truncation. What comes of it, ``second_seed.json``, is shipped beside the weights; the second
weights are not. Answers are kept in the result store, so an interrupted run goes on.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import infoflow
from infoflow.data.load import load_task
from infoflow.data.shapes import ITEMS_PER_SPLIT
from infoflow.errors import InfoflowError
from infoflow.evaluate.truncation import scores_by_cut, truncation_by_cut
from infoflow.files import atomic_write
from infoflow.models.lvlm import LVLM, load_lvlm
from infoflow.results.store import Store
from infoflow.stats.cliff import cliff_layer
from zoo.command import ending_in_one_line
from zoo.train import NAME

TASKS = ("scienceqa", "pope", "textvqa", "chair")
SPLITS = ("calibration", "test")
SECONDS_AN_ITEM = 0.08
"""What an item costs on one core at most, all cuts together; said before it is spent."""

_DECIMALS = 6  # of a mean score: fewer than differ between machines
_ZOO = Path(infoflow.__file__).parent / "zoo" / NAME


def compare_seeds(folders: Sequence[Path], store: Store, limit: int) -> dict[str, Any]:
    """Measure models of one recipe and different seeds on the same items.

    Args:
        folders: The checkpoints; the seed of each stands in its ``recipe.json``.
        store: Where the answers are kept.
        limit: Items a task and split.

    Returns:
        What the model card shows: under ``items`` their number by split; under
        ``seeds``, by seed and task, ``mean_score`` at every cut on the test items, and ``cliff``,
        chosen on the calibration items: its ``cut`` and the ``interval`` of it.

    Raises:
        InfoflowError: A folder is no checkpoint of the recipe, or two have one seed.
    """
    by_seed: dict[str, LVLM] = {}
    for folder in folders:
        seed = _seed(folder)
        if seed in by_seed:
            raise InfoflowError(
                f"{by_seed[seed].folder} and {folder} were both trained with seed {seed}; give "
                "models of two seeds."
            )
        by_seed[seed] = load_lvlm(NAME, checkpoint=folder, device="cpu")
    return {
        "items": dict.fromkeys(SPLITS, limit),
        "seeds": {
            seed: {task: _scores_and_cliff(lvlm, task, store, limit) for task in TASKS}
            for seed, lvlm in by_seed.items()
        },
    }


def _seed(folder: Path) -> str:
    try:
        return str(json.loads((folder / "recipe.json").read_text(encoding="utf-8"))["seed"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InfoflowError(
            f"{folder} has no recipe.json with a seed; give the folder that `make zoo` wrote."
        ) from error


def _scores_and_cliff(lvlm: LVLM, task: str, store: Store, limit: int) -> dict[str, Any]:
    calibration, test = (
        scores_by_cut(truncation_by_cut(lvlm, load_task(task, split=split, limit=limit), store))
        for split in SPLITS
    )
    cliff = cliff_layer(calibration, test)
    return {
        "mean_score": [round(float(score), _DECIMALS) for score in test.mean(axis=0)],
        "cliff": {"cut": cliff.cut, "interval": list(cliff.interval)},
    }


def main(
    second: Annotated[Path, typer.Argument(help="Folder of the model with the second seed.")],
    first: Annotated[Path, typer.Option(help="Folder of the other; the zoo's.")] = _ZOO,
    target: Annotated[
        Path | None, typer.Option(help="What to write; FIRST/second_seed.json by default.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=2, max=ITEMS_PER_SPLIT, help="Items a task and split.")
    ] = ITEMS_PER_SPLIT,
) -> None:
    """Measure tiny-llava-1.5 of two seeds on the same items: about ten minutes on one core."""
    torch.set_num_threads(1)
    n_items = 2 * len(TASKS) * len(SPLITS) * limit
    typer.echo(
        f"Two models, {len(TASKS)} tasks, {limit} items of each of {len(SPLITS)} splits: at most "
        f"{n_items * SECONDS_AN_ITEM / 60:.0f} minutes on one core, less what the store holds."
    )
    destination = target or first / "second_seed.json"
    with ending_in_one_line():
        result = compare_seeds((first, second), Store(), limit)
    atomic_write(destination, (json.dumps(result, indent=2) + "\n").encode())
    typer.echo(f"{destination} written.")


if __name__ == "__main__":
    typer.run(main)
