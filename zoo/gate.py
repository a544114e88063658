"""The gate behind the text stage: is this a language model, before it is shown a picture?

The description stands where the image tokens will stand, so the measures for those do for it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from infoflow.data.load import list_tasks, load_task
from infoflow.data.sample import Sample
from infoflow.data.shapes import scene_of
from infoflow.data.shapes.world import WORLDS
from infoflow.data.task import Task
from infoflow.evaluate.flow import SPANS
from infoflow.hooks.forward import Observer, forward_pass
from infoflow.methods.flow import attention_flow
from infoflow.methods.truncation import truncation_sweep
from infoflow.models.grid import Grid
from infoflow.models.lvlm import LVLM
from infoflow.models.prompt import Prompt, Spans
from infoflow.stats.cliff import MARGIN, cliff_layer
from zoo.architectures import Architecture
from zoo.resembles import DEEPEST_CLIFF, mean_of, rounded
from zoo.text import TextBatches

SPLIT, ITEMS = "calibration", 60
LENGTH = 64
"""Tokens of a description: as many as a picture has."""
LEAST_RIGHT, LEAST_PARKED = 0.95, 1 / 3
PARKED = 0.5
"""A head is parked if the answer's row pays the first token that much, in the mean of all items."""


class _Item(NamedTuple):
    """What was measured on one item, of L layers and H heads."""

    kind: str
    scores: list[float]  # at every cut
    parked: Tensor  # (L, H): what the answer's row pays the first token
    shares: Tensor  # (L, 3): of system text, description, question
    norms: Tensor  # (L, 2): of the residual stream at the first token, and the others' mean


def measure_gate(
    architecture: Architecture, model: Any, world: str, limit: int = ITEMS
) -> dict[str, Any]:
    """Answer the tasks' calibration items from descriptions in place of pictures.

    Args:
        architecture: What the model is, words for places included.
        model: Its decoder has learned from text.
        world: The world's name.
        limit: Items a task.

    Returns:
        ``scores``: by task, and ``kinds``: by kind of question. ``cliffs``: by task, the cut from
        which on the description can be hidden at a loss of at most 5 points. ``shares``: of the
        answer's row by layer, over the first token, the system text with it, the description
        ("image") and the question ("user"). ``parked``: share of the heads that are, and their
        number by layer. ``norms``: of the residual stream behind every layer. ``passed``: which of
        the three conditions hold, and ``all`` of them.
    """
    snapshot = architecture.build().eval().requires_grad_(False)  # its layers are not compiled
    snapshot.load_state_dict(model.state_dict())
    lvlm = LVLM(architecture.name, architecture.adapter(snapshot), Path(), None)
    texts = TextBatches(architecture, 0, 1, 1, WORLDS[world])
    items = {
        name: [
            _measured(lvlm, texts, task, sample, index) for index, sample in enumerate(task.samples)
        ]
        for name in list_tasks()
        for task in (load_task(name, world, split=SPLIT, limit=limit),)
    }
    return _summary(items)


def _measured(lvlm: LVLM, texts: TextBatches, task: Task, sample: Sample, index: int) -> _Item:
    scene = scene_of(task.name, task.split, index, task.source)
    text = texts.description(scene, LENGTH, np.random.default_rng(index))
    prompt = _prompt(lvlm, texts.system, text, texts.question(sample.question))
    sweep = truncation_sweep(lvlm, prompt, max_new_tokens=task.max_new_tokens)
    answers = [task.details(sample, lvlm.decode(tokens)) for tokens in sweep.tokens]
    flow = attention_flow(lvlm, prompt)
    norms = _Norms()
    with torch.inference_mode(), forward_pass(lvlm, prompt, observer=norms):
        found = torch.stack(norms.found)
    return _Item(
        f"{task.name} {sample.kind}",
        [float(answer["score"]) for answer in answers],
        flow.rows[..., 0],
        flow.shares,
        torch.stack([found[:, 0], found[:, 1:].mean(1)], 1),
    )


class _Norms(Observer):
    """Norms of the residual stream behind every layer, (S,) each."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []

    def after_layer(
        self, layer: int, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor
    ) -> None:
        self.found.append(output[0].norm(dim=-1))


def _prompt(lvlm: LVLM, system: list[int], text: list[int], question: list[int]) -> Prompt:
    """A prompt whose image is a text."""
    ids = torch.tensor([*system, *text, *question])
    start, stop = len(system), len(system) + len(text)
    return Prompt(
        input_ids=ids,
        inputs_embeds=lvlm.decoder.embed_tokens(ids)[None],
        pixel_values=torch.zeros(0),
        spans=Spans(slice(0, start), slice(start, stop), slice(stop, len(ids))),
        grid=Grid(1, len(text)),
        image=Image.new("RGB", (1, 1)),
        question="",
    )


def _summary(items: Mapping[str, Sequence[_Item]]) -> dict[str, Any]:
    every = [item for of_task in items.values() for item in of_task]
    by_cut = {name: np.array([item.scores for item in of]) for name, of in items.items()}
    scores = {name: mean_of(of_task[:, -1]) for name, of_task in by_cut.items()}
    cliffs = {name: cliff_layer(of_task, margin=MARGIN).cut for name, of_task in by_cut.items()}
    kinds: dict[str, list[float]] = {}
    for item in every:
        kinds.setdefault(item.kind, []).append(item.scores[-1])
    parked = torch.stack([item.parked for item in every]).mean(0) >= PARKED
    first = torch.stack([item.parked.mean(1) for item in every], 0).mean(0)
    shares = torch.stack([item.shares for item in every]).mean(0)
    norms = torch.stack([item.norms for item in every]).mean(0)
    passed = {
        "right": all(score["mean"] >= LEAST_RIGHT for score in scores.values()),
        "parked": bool(parked.float().mean() >= LEAST_PARKED),
        "cliff": all(0 < cut <= DEEPEST_CLIFF * len(parked) for cut in cliffs.values()),
    }
    return {
        "passed": passed | {"all": all(passed.values())},
        "scores": scores,
        "kinds": {kind: {"mean": rounded(np.mean(of)), "n": len(of)} for kind, of in kinds.items()},
        "by_cut": {name: [rounded(m) for m in of.mean(0)] for name, of in by_cut.items()},
        "cliffs": cliffs,
        "parked": {"share": rounded(parked.float().mean()), "by_layer": parked.sum(1).tolist()},
        "shares": {
            "first": [rounded(share) for share in first],
            **{
                name: [rounded(share) for share in shares[:, place]]
                for place, name in enumerate(SPANS)
            },
        },
        "norms": {
            name: [rounded(norm) for norm in norms[:, place]]
            for place, name in enumerate(("first", "others"))
        },
    }
