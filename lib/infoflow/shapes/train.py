"""Train a zoo model from scratch: ``python -m infoflow.shapes.train --seed 0``.

The vision tower learns to say what each patch shows. Then projector and decoder learn to answer on
the frozen tower, in three runs, each from a learning rate raised once more: all that is asked;
choosing between options; counting. An interrupted run goes on where it stopped.
"""

import json
import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer
from transformers import GenerationConfig, LlavaForConditionalGeneration, LlavaImageProcessorPil

from infoflow.shapes.language import train_language
from infoflow.shapes.model import (
    CONTEXT_LENGTH,
    IMAGE_TOKENS,
    PIXEL_MEAN,
    PIXEL_STD,
    new_llava,
)
from infoflow.shapes.tokenizer import BOS, EOS, PAD, build_tokenizer
from infoflow.shapes.tower import rescale_tower, train_tower
from infoflow.shapes.world import SIZE

NAME = "tiny-llava-1.5"
TOWER_STEPS, LANGUAGE_STEPS, CHOOSING_STEPS, COUNTING_STEPS = 1600, 2700, 600, 900


def export(model: LlavaForConditionalGeneration, folder: Path, recipe: dict[str, object]) -> None:
    """Write a checkpoint folder that ``load_lvlm`` and transformers read.

    Args:
        model: The trained model; it is turned to float16.
        folder: Where to write weights, configuration, tokenizer and image processor.
        recipe: What the model card says of the training, written to ``recipe.json``.
    """
    model.half().save_pretrained(folder)
    build_tokenizer(CONTEXT_LENGTH).save_pretrained(folder)
    LlavaImageProcessorPil(
        do_pad=True,
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=[PIXEL_MEAN] * 3,
        image_std=[PIXEL_STD] * 3,
    ).save_pretrained(folder)
    GenerationConfig(
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, do_sample=False
    ).save_pretrained(folder)
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")


def train(
    seed: Annotated[int, typer.Option(help="Seed of the initial weights and of the data.")] = 0,
    tower_steps: Annotated[int, typer.Option(help="Steps of the first stage.")] = TOWER_STEPS,
    language_steps: Annotated[int, typer.Option(help="Steps of the second.")] = LANGUAGE_STEPS,
    choosing_steps: Annotated[int, typer.Option(help="Steps of the third.")] = CHOOSING_STEPS,
    counting_steps: Annotated[int, typer.Option(help="Steps of the fourth.")] = COUNTING_STEPS,
    tower: Annotated[
        Path | None, typer.Option(help="A trained tower (tower.pt of another seed) to share.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Where checkpoints lie.")] = Path("zoo-training"),
    target: Annotated[
        Path | None, typer.Option(help="Where the model goes; WORK/seedN/model by default.")
    ] = None,
) -> None:
    """Train tiny-llava-1.5: about two hours on one CPU core."""
    torch.set_num_threads(1)
    folder = work / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    if tower is not None:
        shutil.copy(tower, folder / "tower.pt")
    model = new_llava(seed)
    train_tower(model.model.vision_tower, seed, tower_steps, folder / "tower.pt")
    rescale_tower(model.model.vision_tower, seed)
    steps = {"language": language_steps, "choosing": choosing_steps, "counting": counting_steps}
    train_language(model, seed, steps, folder)
    recipe = {
        "name": NAME,
        "seed": seed,
        "shared_tower": str(tower) if tower else None,
        "tower_steps": tower_steps,
        "language_steps": language_steps,
        "choosing_steps": choosing_steps,
        "counting_steps": counting_steps,
        "image_tokens": IMAGE_TOKENS,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    destination = target or folder / "model"
    export(model, destination, recipe)
    typer.echo(f"{NAME} (seed {seed}) written to {destination}")


if __name__ == "__main__":
    typer.run(train)
