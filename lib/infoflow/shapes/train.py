"""Train a model of the zoo from scratch: ``python -m infoflow.shapes.train MODEL --seed 0``.

The vision tower learns to say what each patch shows. Then all else learns to answer on the frozen
tower, in three runs, each from a learning rate raised once more: all that is asked; choosing
between options; counting. An interrupted run goes on where it stopped, on this machine or another.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers import GenerationConfig

from infoflow.errors import InfoflowError
from infoflow.loading import choose_device
from infoflow.shapes.architectures import ARCHITECTURES, Architecture, find_architecture
from infoflow.shapes.language import train_language
from infoflow.shapes.tokenizer import BOS, EOS, IMAGE, PAD
from infoflow.shapes.tower import rescale_tower, train_tower
from infoflow.shapes.world import SIZE

NAME = "tiny-llava-1.5"
TOWER_STEPS, LANGUAGE_STEPS, CHOOSING_STEPS, COUNTING_STEPS = 1600, 2700, 600, 900
_MOST_LOADERS = 8


def export(architecture: Architecture, model: Any, folder: Path, recipe: dict[str, object]) -> None:
    """Write a checkpoint folder that ``load_lvlm`` reads.

    Args:
        architecture: What the model is.
        model: The trained model; it is turned to float16.
        folder: Where to write weights, configuration, tokenizers and image processor.
        recipe: What the model card says of the training, written to ``recipe.json``.
    """
    model.half().save_pretrained(folder)
    architecture.save_companions(folder)
    GenerationConfig(
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, do_sample=False
    ).save_pretrained(folder)
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")


def train(
    model: Annotated[str, typer.Argument(help=f"One of {', '.join(ARCHITECTURES)}.")] = NAME,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights and of the data.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    loaders: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that draw batches: 1 on a CPU, up to 8 on a GPU."),
    ] = None,
    tower_steps: Annotated[int, typer.Option(help="Steps of the first stage.")] = TOWER_STEPS,
    language_steps: Annotated[int, typer.Option(help="Steps of the second.")] = LANGUAGE_STEPS,
    choosing_steps: Annotated[int, typer.Option(help="Steps of the third.")] = CHOOSING_STEPS,
    counting_steps: Annotated[int, typer.Option(help="Steps of the fourth.")] = COUNTING_STEPS,
    tower: Annotated[
        Path | None,
        typer.Option(help="A trained tower (tower.pt of another seed or model) to share."),
    ] = None,
    work: Annotated[Path, typer.Option(help="Where checkpoints lie.")] = Path("zoo-training"),
    target: Annotated[
        Path | None, typer.Option(help="Where the model goes; WORK/MODEL/seedN/model by default.")
    ] = None,
) -> None:
    """Train a model of the zoo: about two hours on one CPU core."""
    steps = {"language": language_steps, "choosing": choosing_steps, "counting": counting_steps}
    folder = work / model / f"seed{seed}"
    try:
        architecture, place = find_architecture(model), choose_device(device)
        trained = _train(architecture, seed, place, loaders, tower, tower_steps, steps, folder)
    except InfoflowError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    recipe = {
        "name": model,
        "seed": seed,
        "shared_tower": str(tower) if tower else None,
        "tower_steps": tower_steps,
        **{f"{name}_steps": length for name, length in steps.items()},
        "device": place.type,
        "image_tokens": architecture.prompts().input_ids("", (SIZE, SIZE)).count(IMAGE),
        "parameters": sum(p.numel() for p in trained.parameters()),
    }
    destination = target or folder / "model"
    export(architecture, trained.cpu(), destination, recipe)
    typer.echo(f"{model} (seed {seed}) written to {destination}")


def _train(
    architecture: Architecture,
    seed: int,
    device: torch.device,
    loaders: int | None,
    shared: Path | None,
    tower_steps: int,
    steps: dict[str, int],
    folder: Path,
) -> Any:
    """Run both stages, or what is left of them; the trained model."""
    torch.set_num_threads(1)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # batches come from forked processes
    if loaders is None:
        spare = max(1, (os.cpu_count() or 1) - 1)
        loaders = 1 if device.type == "cpu" else min(spare, _MOST_LOADERS)
    folder.mkdir(parents=True, exist_ok=True)
    if shared is not None:
        if not shared.is_file():
            raise InfoflowError(f"no trained tower at {shared}; valid: a tower.pt.")
        shutil.copy(shared, folder / "tower.pt")
    model = architecture.new_model(seed).to(device)
    tower = architecture.tower(model)
    train_tower(architecture, tower, seed, tower_steps, folder / "tower.pt", loaders)
    rescale_tower(architecture, tower, seed)
    train_language(architecture, model, seed, steps, folder, loaders)
    return model


if __name__ == "__main__":
    typer.run(train)
