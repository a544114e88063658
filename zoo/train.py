"""Train a model of the zoo from scratch: ``python -m zoo.train MODEL --seed 0``.

The vision tower learns to say what each patch shows; so do queries, where such read the patches.
Then all but the tower learns to answer. Before all that the decoder may learn from texts, and what
lies between it and the tower from captions. An interrupted run goes on where it stopped, on this
machine or another.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from transformers import GenerationConfig

from infoflow.data.shapes.world import SIZE, WORLDS
from infoflow.errors import InfoflowError, require_name
from infoflow.files import atomic_write
from infoflow.models.placement import choose_device
from zoo.architectures import ARCHITECTURES, Architecture, find_architecture
from zoo.architectures.llava import DeepLlava
from zoo.bridge import train_bridge
from zoo.command import ending_in_one_line
from zoo.fit import OPTIMISERS, Plans, Stage, Watch
from zoo.gate import measure_gate
from zoo.growth import GROWTH, watch_growth
from zoo.language import train_captions, train_language
from zoo.resembles import command
from zoo.text import train_text
from zoo.tokenizer import BOS, EOS, IMAGE, PAD
from zoo.tower import rescale_tower, start_connector, train_tower

NAME = "tiny-llava-1.5"
_WORLD, _OPTIMISER = "shapes", "muon"
RECIPE, GATE = "recipe.json", "gate.json"
TOWER_STEPS, BRIDGE_STEPS = 1600, 800
_MOST_LOADERS = 8
_HAS_COMPILER = shutil.which(os.environ.get("CXX", "g++")) is not None


@dataclass(frozen=True)
class Run:
    """What is trained, where, and in how many steps a stage; a stage of none is left out."""

    architecture: Architecture
    world: str
    seed: int
    device: torch.device
    loaders: int
    compiled: bool
    optimiser: str
    steps: Mapping[str, int]
    past_gate: bool
    nothing_by_hand: bool
    float32: bool
    watch_every: int
    shared: Path  # checkpoints of the stages that runs of one model, world and seed have in common
    own: Path


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
    _write(folder / RECIPE, recipe)


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
    arm: Annotated[
        str, typer.Option(help="What an experiment's run is called, beside those of its kind.")
    ] = "",
    optimiser: Annotated[
        str, typer.Option(help=f"Of the decoder: one of {', '.join(OPTIMISERS)}.")
    ] = _OPTIMISER,
    text_steps: Annotated[
        int, typer.Option(help="Steps in which the decoder learns from texts, before all else.")
    ] = 0,
    deep: Annotated[
        bool, typer.Option("--deep", help=f"24 narrower layers in place of 12; {NAME} alone.")
    ] = False,
    past_gate: Annotated[
        bool, typer.Option("--past-gate", help="Go on though the text stage fails its gate.")
    ] = False,
    nothing_by_hand: Annotated[
        bool, typer.Option("--nothing-by-hand", help="Draw all of the decoder at random.")
    ] = False,
    float32: Annotated[
        bool, typer.Option("--float32", help="Not bfloat16: faster on CPUs without units for it.")
    ] = False,
    tower_steps: Annotated[int, typer.Option(help="Steps of the vision tower.")] = TOWER_STEPS,
    bridge_steps: Annotated[
        int, typer.Option(help="Steps of the bridge, for models whose queries read the patches.")
    ] = BRIDGE_STEPS,
    caption_steps: Annotated[
        int, typer.Option(help="Steps in which the connector alone learns, from captions.")
    ] = 0,
    language_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of the last; by default as many as the model needs."),
    ] = None,
    watch_every: Annotated[
        int,
        typer.Option(help="Measure a few items after so many steps of the last (0: never)."),
    ] = 0,
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
            "WORK/MODEL-WORLD/seedN/model, of an arm WORK/.../seedN/ARM/model."
        ),
    ] = None,
) -> None:
    """Train a model of the zoo: an hour on one CPU core, or two where the last stage is long."""
    folder = work / (model if world == _WORLD else f"{model}-{world}") / f"seed{seed}"
    with ending_in_one_line():
        for kind, name, valid in (("world", world, WORLDS), ("optimiser", optimiser, OPTIMISERS)):
            require_name(name, kind, valid)
        if deep and model != NAME:
            raise InfoflowError(f"--deep does not go with {model!r}; valid: {NAME}.")
        architecture = DeepLlava() if deep else find_architecture(model)
        place = choose_device(device)
        if tower:
            _share(tower, folder)
        steps = {
            "text": text_steps,
            "tower": tower_steps,
            **({"bridge": bridge_steps} if architecture.n_queries else {}),
            "caption": caption_steps,
            "language": language_steps or architecture.language_steps,
        }
        run = Run(
            architecture.with_places() if text_steps else architecture,
            world,
            seed,
            place,
            _count(loaders, place),
            compiled,
            optimiser,
            steps,
            past_gate,
            nothing_by_hand,
            float32,
            watch_every,
            folder,
            folder / arm,
        )
        destination = target or run.own / "model"
        chosen = {
            "world": world if world != _WORLD else "",
            "arm": arm,
            "optimiser": optimiser if optimiser != _OPTIMISER else "",
            "deep": deep,
            **{f"{stage}_steps": n for stage, n in steps.items()},
            "watch_every": watch_every,
            "past_gate": past_gate,
            "nothing_by_hand": nothing_by_hand,
            "float32": float32,
        }
        recipe: dict[str, object] = {
            "name": model,
            "seed": seed,
            "shared_tower": str(tower) if tower else None,
            **{name: value for name, value in chosen.items() if value},
        }
        recipe["command"] = command(recipe)
        destination.mkdir(parents=True, exist_ok=True)
        _write(destination / RECIPE, recipe)
        trained, plans = _train(run, destination)
    if trained is None:
        typer.echo(f"Stopped at the gate behind the text stage: {destination / GATE} says why.")
        return
    recipe |= {
        **({"language_plans": plans} if len(plans) > 1 else {}),
        **({"shares_of_rate": dict(architecture.shares)} if architecture.shares else {}),
        "device": place.type,
        "image_tokens": architecture.prompts().input_ids("", (SIZE, SIZE)).count(IMAGE),
        "parameters": sum(p.numel() for p in trained.parameters()),
    }
    export(run.architecture, trained.cpu(), destination, recipe)
    typer.echo(f"{model} (seed {seed}) written to {destination}")


def _write(file: Path, content: object) -> None:
    atomic_write(file, (json.dumps(content, indent=2) + "\n").encode())


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


def _train(run: Run, destination: Path) -> tuple[Any | None, Plans]:
    """Run the stages, or what is left of them; the trained model, and the last one's plans.

    There is none where the text stage fails its gate.
    """
    torch.set_num_threads(1)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # batches come from forked processes
    run.own.mkdir(parents=True, exist_ok=True)
    architecture, seed, world = run.architecture, run.seed, WORLDS[run.world]
    model = architecture.new_model(seed, by_hand=not run.nothing_by_hand).to(run.device)

    def stage(name: str, folder: Path) -> Stage:
        return Stage(seed, run.steps[name], folder / f"{name}.pt", run.loaders, world)

    if run.steps["text"]:
        train_text(architecture, model, stage("text", run.own), run.optimiser)
        gate = measure_gate(architecture, model, run.world)
        _write(destination / GATE, gate)
        typer.echo(json.dumps(gate))
        if not (gate["passed"]["all"] or run.past_gate):
            return None, []
    tower = architecture.tower(model)
    train_tower(architecture, tower, stage("tower", run.shared))
    rescale_tower(architecture, tower, seed, world)
    start_connector(architecture, model, seed, world)
    if "bridge" in run.steps:
        train_bridge(architecture, model, stage("bridge", run.shared))
    if run.steps["caption"]:
        train_captions(architecture, model, stage("caption", run.own), run.float32)
    plans = train_language(
        architecture,
        model,
        stage("language", run.own),
        run.compiled,
        run.optimiser,
        _watch(run, model, destination / GROWTH),
        run.float32,
    )
    return model, plans


def _watch(run: Run, model: Any, file: Path) -> Watch | None:
    """What measures the model in training."""

    def watch(step: int) -> None:
        if step % run.watch_every:
            return
        snapshot = run.architecture.build()
        snapshot.load_state_dict(model.state_dict())
        with TemporaryDirectory() as folder:
            export(run.architecture, snapshot, Path(folder), {"name": run.architecture.name})
            watch_growth(run.architecture.name, Path(folder), run.world, step, file)

    return watch if run.watch_every else None


if __name__ == "__main__":
    typer.run(train)
