"""What measures say of models with a planted fault; a measure is one entry of `MEASURES`."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image

from infoflow import attention_flow, attention_knockout, plant, report, truncated_log_probs
from infoflow.methods.faithfulness import answer_probabilities, faithfulness_curve
from infoflow.methods.heatmaps import ATTENTION, CENTRE, PAPER, Source, heat_maps
from infoflow.methods.localisation import localise, target_mask
from infoflow.models.grid import Grid

MOST_TOKENS = 4  # of an answer: one letter here
BLOCKS = 3  # a side, of the image that occlusion covers block by block
VALUES = Source("self_attn.v_proj", "element-wise")
PROJECTED = Source("projector", "element-wise")
RIVALS = ("rollout", "relevancy", "value_weighted", "token_activation")
MAPS = (ATTENTION, PAPER, VALUES, PROJECTED, CENTRE, *(Source(name, "none") for name in RIVALS))
FOOLED = 0.05  # of a reading, which lies between 0 and 1


class Measure(NamedTuple):
    """A measure's reading of a model and a sample: one number a layer, or one in all."""

    reading: Callable
    has_places: bool = False  # whether it says where in the image
    is_causal: bool = False  # whether it changes what the model sees, and looks at the answer


class Case(NamedTuple):
    """A plant, and a model of which every honest measure says the same of how it sees."""

    lvlm: object
    same: object  # computes the same, or the same with tokens or words renamed
    ask: Callable  # what that model is asked instead of a sample
    truth: str
    only_places: bool = False  # it renames places, so only what names places is tested


@cache
def own(lvlm, sample):
    """The prompt, and the model's own answer."""
    prompt = lvlm.prompt(sample.image, sample.question)
    return prompt, lvlm.generate(prompt, MOST_TOKENS)


def attention_share(lvlm, sample):
    return attention_flow(lvlm, own(lvlm, sample)[0]).shares[:, 1].numpy()


@cache
def maps_of(lvlm, sample):
    return heat_maps(lvlm, *own(lvlm, sample), MAPS)


def mass_on_target(source, lvlm, sample):
    grid = own(lvlm, sample)[0].grid
    return localise(maps_of(lvlm, sample)[source], grid, target_mask(sample)).mass


def attention_cells(lvlm, sample):
    return maps_of(lvlm, sample)[ATTENTION]


def deletion_of_late_attention(lvlm, sample):
    prompt, answer = own(lvlm, sample)
    late = attention_cells(lvlm, sample)[-(lvlm.n_layers // 3) :]
    curve = faithfulness_curve(lvlm, prompt, answer, late.mean(0), n_steps=4)
    return np.array([np.trapezoid(curve.scores, curve.fractions)])


def truncation(of_right, lvlm, sample):
    prompt, answer = own(lvlm, sample)
    return truncated_log_probs(lvlm, prompt, sample.answer if of_right else answer).exp().numpy()


def knockout(targets, lvlm, sample):
    """The own answer's probability with an edge from the image blocked around each layer."""
    found = attention_knockout(lvlm, *own(lvlm, sample), "image", targets)
    return found.log_probs.sum(1).exp().numpy()


def blind_control(lvlm, sample):
    grey = Image.new("RGB", sample.image.size, (128, 128, 128))
    prompts = [lvlm.prompt(image, sample.question) for image in (sample.image, grey)]
    seen, unseen = answer_probabilities(lvlm, prompts, sample.answer).tolist()
    return np.array([seen - unseen])


def occlusion(lvlm, sample):
    """The share on target of what the answer loses when blocks of the image are covered."""
    prompt, answer = own(lvlm, sample)
    pixels, prompts = np.asarray(sample.image), [prompt]
    rows, columns = (np.linspace(0, n, BLOCKS + 1).astype(int) for n in pixels.shape[:2])
    for cell in range(BLOCKS**2):
        covered, (row, column) = pixels.copy(), divmod(cell, BLOCKS)
        part = slice(*rows[row : row + 2]), slice(*columns[column : column + 2])
        covered[part] = pixels.mean((0, 1))
        prompts.append(lvlm.prompt(Image.fromarray(covered), sample.question))
    scores = answer_probabilities(lvlm, prompts, answer).double().numpy()
    lost = np.clip(scores[0] - scores[1:], 0, None).reshape(1, BLOCKS, BLOCKS)
    return localise(lost, Grid(BLOCKS, BLOCKS), target_mask(sample)).mass


def on_target(source):
    return Measure(partial(mass_on_target, source), has_places=True)


MEASURES = {
    "attention flow, image's share": Measure(attention_share),
    "attention map, cell by cell": Measure(attention_cells),
    "attention map, on target": on_target(ATTENTION),
    "deletion area of the late attention map": Measure(deletion_of_late_attention),
    "LLaVA-CAM, second norm (mean)": on_target(PAPER),
    "LLaVA-CAM, values (element-wise)": on_target(VALUES),
    "LLaVA-CAM, projector (element-wise)": on_target(PROJECTED),
    **{name.replace("_", " "): on_target(Source(name, "none")) for name in RIVALS},
    "centre map": on_target(CENTRE),
    "truncation, right answer": Measure(partial(truncation, True), is_causal=True),
    "truncation, own answer": Measure(partial(truncation, False), is_causal=True),
    "knockout of image to question, own answer": Measure(partial(knockout, "user"), is_causal=True),
    "knockout of image to last, own answer": Measure(partial(knockout, "last"), is_causal=True),
    "blind control, right answer": Measure(blind_control, is_causal=True),
    "occlusion of the image, own answer": Measure(occlusion, True, True),
}
"""To add a measure, add its entry: a function of (lvlm, sample) that gives numbers from 0 to 1."""


def make_cases(lvlm, seed):
    """Make the plants, and what each must be told apart from by no honest measure."""
    made = {name: plant(lvlm, name, seed) for name in ("decoy", "sink", "shuffled", "swapped")}
    cut, blind, still = (plant(lvlm, name, seed) for name in ("cut", "blind", "blind"))
    with torch.no_grad():
        for layer in still.decoder.layers[blind.fault["layer"] :]:
            for weights in layer.self_attn.q_proj.parameters():
                weights.zero_()
    words = tuple(made["swapped"].fault["words"])
    same = {"truth": "the same logits", "ask": lambda sample: sample}
    head = "layer {layer}, head {head}".format(**made["decoy"].fault)
    where = {0: "first", -1: "last"}[made["sink"].fault["token"]]
    return {
        f"blind (from layer {blind.fault['layer']})": Case(blind, still, **same),
        f"decoy ({head})": Case(made["decoy"], cut, **same),
        f"sink ({head}, {where} token)": Case(made["sink"], cut, **same),
        "shuffled (quarters {} and {})".format(*made["shuffled"].fault["quarters"]): Case(
            made["shuffled"], lvlm, lambda sample: sample, "the same image, in other places", True
        ),
        "swapped ({} and {})".format(*words): Case(
            made["swapped"], lvlm, partial(exchanged, words), "the same image, in other words"
        ),
    }


@cache
def exchanged(words, sample):
    """The same sample in exchanged words; right is the option that names the image's colour."""

    def change(text):
        other = dict(zip(words, words[::-1], strict=True))
        return re.sub("|".join(words), lambda found: other[found[0]], text)

    choices = tuple(map(change, sample.choices))
    right = sample.choices["ABCD".index(sample.answer)]
    letter = "ABCD"[choices.index(right)]
    return replace(sample, question=change(sample.question), choices=choices, answer=letter)


def asked_of(case, samples, limit):
    """The first samples that a plant is asked: of swapped words those whose options hold both."""
    words = case.lvlm.fault.get("words", [])
    return [s for s in samples if set(words) <= set(s.choices)][:limit]


@cache  # references are shared between plants
def reading(name, lvlm, sample):
    """A measure's reading; what is undefined counts as nothing."""
    return np.nan_to_num(MEASURES[name].reading(lvlm, sample))


def difference(name, case, samples):
    """The largest difference of a measure's readings at any layer; NaN where none is claimed."""
    if case.only_places and not MEASURES[name].has_places:
        return np.nan
    pairs = [(reading(name, case.lvlm, s), reading(name, case.same, case.ask(s))) for s in samples]
    return np.abs(np.mean([told - true for told, true in pairs], axis=0)).max()


def compare(cases, lvlm, samples, limit):
    """Largest differences of readings, a row a measure, a column a plant; and of an image."""
    lines = {}
    first = tuple(samples[:limit])
    moved = tuple(
        replace(s, image=other.image) for s, other in zip(first, first[1:] + first[:1], strict=True)
    )
    for name in MEASURES:
        lines[name] = {
            title: difference(name, case, asked_of(case, samples, limit))
            for title, case in cases.items()
        }
        lines[name]["another's image"] = np.mean(
            [
                np.abs(reading(name, lvlm, shown) - reading(name, lvlm, other)).max()
                for shown, other in zip(first, moved, strict=True)
            ]
        )
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("measure")


def verdicts(found):
    """Put differences into words: fooled by a plant or not, and whether it sees the image."""

    def said(difference):
        if np.isnan(difference):
            return "no claim"
        return f"{'fooled' if difference > FOOLED else 'not fooled'}: {100 * difference:.1f}"

    text = found.map(said)
    sees = found["another's image"] > FOOLED
    text["another's image"] = [
        f"{'notices' if notices else 'does not notice'}: {100 * value:.1f}"
        for notices, value in zip(sees, found["another's image"], strict=True)
    ]
    return text


def matrix_plot(found, caption):
    """Paint differences in points; a cross marks a measure that a plant fools."""
    figure, (axes,) = report.figure(height=0.36 * len(found) + 1.6)
    plants = found.drop(columns="another's image")
    axes.imshow(100 * plants, cmap="cividis", vmin=0, vmax=50, aspect="auto")
    for (row, column), value in np.ndenumerate(plants.to_numpy()):
        text = "-" if np.isnan(value) else f"{100 * value:.0f}{' fooled' if value > FOOLED else ''}"
        colour = "white" if np.isnan(value) or value < 0.25 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_facecolor("0.6")
    axes.set_yticks(range(len(plants)), plants.index)
    axes.set_xticks(range(plants.shape[1]), [name.split(" (")[0] for name in plants])
    axes.set_xlabel("plant")
    axes.set_title("Difference of readings (points)", fontsize=10)
    fooled = {plant: list(plants.index[plants[plant] > FOOLED]) for plant in plants}
    alt = "; ".join(f"{name}: {len(which)} measures fooled" for name, which in fooled.items())
    return report.Plot(figure, f"A matrix of measures by plants. {alt}.", caption, plants)
