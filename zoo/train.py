"""Train a model of the zoo from scratch: ``python -m zoo.train MODEL --seed 0``.

The vision tower learns to say what each patch shows; so do queries, where such read the patches.
Then all but the tower learns to answer. An interrupted run goes on where it stopped, on this
machine or another.
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

from infoflow.data.shapes.world import SIZE, WORLDS, World
from infoflow.errors import InfoflowError, unknown_name
from infoflow.models.placement import choose_device
from zoo.architectures import ARCHITECTURES, Architecture, find_architecture
from zoo.bridge import train_bridge
from zoo.fit import Plans
from zoo.language import train_language
from zoo.tokenizer import BOS, EOS, IMAGE, PAD
from zoo.tower import rescale_tower, start_connector, train_tower

NAME = "tiny-llava-1.5"
_WORLD = "shapes"
TOWER_STEPS, BRIDGE_STEPS = 1600, 800
_MOST_LOADERS = 8
_HAS_COMPILER = shutil.which(os.environ.get("CXX", "g++")) is not None


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
    world: Annotated[
        str, typer.Option(help=f"What the pictures show, one of {', '.join(WORLDS)}.")
    ] = _WORLD,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    loaders: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that draw batches: 1 on a CPU, up to 8 on a GPU."),
    ] = None,
    tower_steps: Annotated[int, typer.Option(help="Steps of the first stage.")] = TOWER_STEPS,
    bridge_steps: Annotated[
        int, typer.Option(help="Steps of the second, for models whose queries read the patches.")
    ] = BRIDGE_STEPS,
    language_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of the last; by default as many as the model needs."),
    ] = None,
    compiled: Annotated[
        bool,
        typer.Option("--compile/--no-compile", help="Compile the decoder's layers: faster."),
    ] = _HAS_COMPILER,
    tower: Annotated[
        Path | None,
        typer.Option(help="A trained tower (tower.pt of another seed or model) to share."),
    ] = None,
    work: Annotated[Path, typer.Option(help="Where checkpoints lie.")] = Path("zoo-training"),
    target: Annotated[
        Path | None,
        typer.Option(
            help="Where the model goes; WORK/MODEL/seedN/model by default, in another world "
            "WORK/MODEL-WORLD/seedN/model."
        ),
    ] = None,
) -> None:
    """Train a model of the zoo: an hour on one CPU core, or two where the last stage is long."""
    folder = work / (model if world == _WORLD else f"{model}-{world}") / f"seed{seed}"
    try:
        if world not in WORLDS:
            raise unknown_name("world", world, WORLDS)
        architecture, place = find_architecture(model), choose_device(device)
        if tower:
            _share(tower, folder)
        last = language_steps or architecture.language_steps
        lengths = (tower_steps, bridge_steps, last)
        trained, plans = _train(
            architecture,
            WORLDS[world],
            seed,
            place,
            _count(loaders, place),
            lengths,
            compiled,
            folder,
        )
    except InfoflowError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    recipe = {
        "name": model,
        "seed": seed,
        **({"world": world} if world != _WORLD else {}),
        "shared_tower": str(tower) if tower else None,
        "tower_steps": tower_steps,
        **({"bridge_steps": bridge_steps} if architecture.n_queries else {}),
        "language_steps": last,
        **({"language_plans": plans} if len(plans) > 1 else {}),
        **({"shares_of_rate": dict(architecture.shares)} if architecture.shares else {}),
        "device": place.type,
        "image_tokens": architecture.prompts().input_ids("", (SIZE, SIZE)).count(IMAGE),
        "parameters": sum(p.numel() for p in trained.parameters()),
    }
    destination = target or folder / "model"
    export(architecture, trained.cpu(), destination, recipe)
    typer.echo(f"{model} (seed {seed}) written to {destination}")


def _share(tower: Path, folder: Path) -> None:
    """Put another run's trained tower where this one looks for its own."""
    if not tower.is_file():
        raise InfoflowError(f"no trained tower at {tower}; valid: a tower.pt.")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(tower, folder / "tower.pt")


def _count(loaders: int | None, device: torch.device) -> int:
    """How many processes draw batches, if it is not said."""
    spare = max(1, (os.cpu_count() or 1) - 1)
    return loaders or (1 if device.type == "cpu" else min(spare, _MOST_LOADERS))


def _train(
    architecture: Architecture,
    world: World,
    seed: int,
    device: torch.device,
    loaders: int,
    steps: tuple[int, int, int],
    compiled: bool,
    folder: Path,
) -> tuple[Any, Plans]:
    """Run the stages, or what is left of them; the trained model, and the last one's plans."""
    torch.set_num_threads(1)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # batches come from forked processes
    folder.mkdir(parents=True, exist_ok=True)
    model = architecture.new_model(seed).to(device)
    tower = architecture.tower(model)
    train_tower(architecture, tower, seed, steps[0], folder / "tower.pt", loaders, world)
    rescale_tower(architecture, tower, seed, world)
    start_connector(architecture, model, seed, world)
    if architecture.n_queries:
        train_bridge(architecture, model, seed, steps[1], folder / "bridge.pt", loaders, world)
    checkpoint = folder / "language.pt"
    plans = train_language(
        architecture, model, seed, steps[2], checkpoint, loaders, compiled, world
    )
    return model, plans


if __name__ == "__main__":
    typer.run(train)
