"""What measures say of models with a planted fault; a measure is one entry of `MEASURES`."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
from image_tokens_pairs import twins
from PIL import Image

import infoflow
from infoflow import plant, report
from infoflow.data.controls import GREY
from infoflow.evaluate import LVLM, Row, Sample, Task, measure
from infoflow.methods.faithfulness import answer_probabilities, faithfulness_curve
from infoflow.methods.heatmaps import ATTENTION, CENTRE, PAPER, Source, explained_answer, heat_maps
from infoflow.methods.knockout import token_groups
from infoflow.methods.localisation import auc, coverage, localise, target_mask
from infoflow.methods.maps import attributions
from infoflow.models.grid import Grid

FOOLED = 0.05  # of a reading, which lies between 0 and 1
BLOCKS, STEPS = 3, 8  # a side, of an image under occlusion; of the path of integrated gradients
MISSED = "part of integrated gradients that their sum misses"
ANOTHER = "another's image"  # the control: what moves there sees the image
MAPS = {
    "attention map": ATTENTION,
    "LLaVA-CAM, second norm (mean)": PAPER,
    "LLaVA-CAM, values (element-wise)": Source("self_attn.v_proj", "element-wise"),
    "LLaVA-CAM, projector (element-wise)": Source("projector", "element-wise"),
    **{name: Source(name, "none") for name in ("rollout", "relevancy")},
    "value-weighted attention": Source("value_weighted", "none"),
    "token activation": Source("token_activation", "none"),
    "centre map": CENTRE,
}


class Measure(NamedTuple):
    """A measure's reading of a model and a sample: one number a layer, or one in all."""

    reading: Callable
    has_places: bool = False  # whether it says where in the image


class Case(NamedTuple):
    """A plant, and a model of which every honest measure says the same of how it sees."""

    lvlm: object
    same: object  # computes the same, or the same with tokens or words renamed
    truth: str = "the same logits"
    ask: Callable = lambda sample: sample  # what that model is asked instead
    only_places: bool = False  # it renames places, so only what names places is tested

    def runs(self, samples, limit):
        """The plant and its like, and the first samples that each is asked.

        Swapped words are asked about where the options hold both.
        """
        words = set(self.lvlm.fault.get("words", []))
        asked = [s for s in samples if words <= set(s.choices)][:limit]
        return (self.lvlm, asked), (self.same, [*map(self.ask, asked)])


@cache
def own(lvlm, sample):
    """The prompt, and the model's own answer."""
    prompt = lvlm.prompt(sample.image, sample.question)
    return prompt, explained_answer(lvlm, prompt, sample, max_new_tokens=4)  # one letter here


@cache
def path_of(lvlm, sample):
    """Integrated gradients by few steps, and what part their sum misses."""
    return attributions(lvlm, *own(lvlm, sample), STEPS)


@cache
def maps_of(lvlm, sample):
    return heat_maps(lvlm, *own(lvlm, sample), [*MAPS.values()])


def on_target(source, lvlm, sample):
    """The share of a map, in each layer, on the region that the answer can be read from."""
    grid, maps = own(lvlm, sample)[0].grid, maps_of(lvlm, sample)[source]
    return localise(maps, grid, target_mask(sample)).mass


def path_on_target(lvlm, sample):
    grid, values = own(lvlm, sample)[0].grid, path_of(lvlm, sample)[0]
    return localise(grid.cells(values.relu().double().numpy()), grid, target_mask(sample)).mass


def deletion_of_late_attention(lvlm, sample):
    late = maps_of(lvlm, sample)[ATTENTION][-(lvlm.n_layers // 3) :].mean(0)
    curve = faithfulness_curve(lvlm, *own(lvlm, sample), late, n_steps=4)
    return np.trapezoid(curve.scores, curve.fractions)


def lens(lvlm, sample):
    """How often tokens on target say the colour that is asked for more than others do."""
    prompt, colour = own(lvlm, sample)[0], sample.targets[0].split()[0]
    said = prompt.grid.cells(infoflow.logit_lens(lvlm, prompt, [colour])[..., 0].double().numpy())
    return auc(said, coverage(target_mask(sample), prompt.grid) > 0)


def truncation(lvlm, sample, answer):
    """An answer's probability by how many layers see the image."""
    return infoflow.truncated_log_probs(lvlm, own(lvlm, sample)[0], answer).exp().numpy()


def knockout(targets, lvlm, sample):
    """The own answer's probability with an edge from the image blocked around each layer."""
    found = infoflow.attention_knockout(lvlm, *own(lvlm, sample), "image", targets)
    return found.log_probs.sum(1).exp().numpy()


def patching(lvlm, sample):
    """How much of the own answer the image's rows take along into the run of its twin, by depth."""
    clean, answer = own(lvlm, sample)
    others = twins(infoflow.load_task("scienceqa"))  # what is asked for has another colour there
    # an id names the item first, and then what was exchanged in it
    twin = others[others.ids.index(sample.id.split(",")[0])]
    other, instead = own(lvlm, replace(sample, image=twin.image))
    if answer[0] == instead[0]:
        return np.zeros(lvlm.n_layers + 1)  # nothing to take along
    answers = lvlm.decode(answer), lvlm.decode(instead)
    rows = token_groups(clean)["image"][None]
    return infoflow.activation_patching(lvlm, clean, other, answers, rows)[0].clip(0, 1).numpy()


def blind_control(lvlm, sample):
    grey = Image.new("RGB", sample.image.size, GREY)
    prompts = [lvlm.prompt(image, sample.question) for image in (sample.image, grey)]
    seen, unseen = answer_probabilities(lvlm, prompts, sample.answer).tolist()
    return seen - unseen


def occlusion(lvlm, sample):
    """The share on target of what the answer loses when blocks of the image are covered."""
    prompt, answer = own(lvlm, sample)
    pixels, prompts = np.asarray(sample.image), [prompt]
    y, x = (np.linspace(0, n, BLOCKS + 1).astype(int) for n in pixels.shape[:2])
    for row, column in np.ndindex(BLOCKS, BLOCKS):
        covered = pixels.copy()
        covered[y[row] : y[row + 1], x[column] : x[column + 1]] = pixels.mean((0, 1))
        prompts.append(lvlm.prompt(Image.fromarray(covered), sample.question))
    scores = answer_probabilities(lvlm, prompts, answer).double().numpy()
    lost = np.clip(scores[0] - scores[1:], 0, None).reshape(1, BLOCKS, BLOCKS)
    return localise(lost, Grid(BLOCKS, BLOCKS), target_mask(sample)).mass


MEASURES = {
    "attention flow, image's share": Measure(
        lambda lvlm, s: infoflow.attention_flow(lvlm, own(lvlm, s)[0]).shares[:, 1].numpy()
    ),
    "attention map, cell by cell": Measure(lambda lvlm, s: maps_of(lvlm, s)[ATTENTION]),
    "deletion area of the late attention map": Measure(deletion_of_late_attention),
    **{f"{n}, on target": Measure(partial(on_target, m), has_places=True) for n, m in MAPS.items()},
    "integrated gradients, on target": Measure(path_on_target, has_places=True),
    "logit lens, right word on target": Measure(lens, has_places=True),
    "truncation, right answer": Measure(lambda lvlm, s: truncation(lvlm, s, s.answer)),
    "truncation, own answer": Measure(lambda lvlm, s: truncation(lvlm, s, own(lvlm, s)[1])),
    "knockout of image to question, own answer": Measure(partial(knockout, "user")),
    "knockout of image to last, own answer": Measure(partial(knockout, "last")),
    "patching of the image's rows, own answer": Measure(patching),
    "blind control, right answer": Measure(blind_control),
    "occlusion of the image, own answer": Measure(occlusion, has_places=True),
}
"""To add a measure, add its entry: a function of (lvlm, sample) that gives numbers from 0 to 1."""


def make_cases(lvlm, seed):
    """Make the plants, and what each must be told apart from by no honest measure."""
    names = ("blind", "blind", "cut", "decoy", "sink", "shuffled", "swapped")
    blind, still, cut, decoy, sink, shuffled, swapped = (plant(lvlm, n, seed) for n in names)
    still.digest += "-still"
    for layer in still.decoder.layers[blind.fault["layer"] :]:
        for weights in layer.self_attn.q_proj.parameters():
            weights.detach().zero_()
    words = tuple(swapped.fault["words"])
    head = "layer {layer}, head {head}".format(**decoy.fault)
    moved = Case(shuffled, lvlm, "the same image, in other places", only_places=True)
    renamed = Case(swapped, lvlm, "the same image, in other words", partial(exchanged, words))
    return {
        f"blind (from layer {blind.fault['layer']})": Case(blind, still),
        f"decoy ({head})": Case(decoy, cut),
        f"sink ({head}, {'last' if sink.fault['token'] else 'first'} token)": Case(sink, cut),
        "shuffled (quarters {} and {})".format(*shuffled.fault["quarters"]): moved,
        "swapped ({} and {})".format(*words): renamed,
    }


@cache
def exchanged(words, sample):
    """The same sample in exchanged words; right is the option that names the image's colour."""
    other = dict(zip(words, words[::-1], strict=True))
    change = partial(re.sub, "|".join(words), lambda found: other[found[0]])
    choices = tuple(map(change, sample.choices))
    letter = "ABCD"[choices.index(sample.choices["ABCD".index(sample.answer)])]
    new = {"id": f"{sample.id}, {' for '.join(words)}", "question": change(sample.question)}
    return replace(sample, **new, choices=choices, answer=letter)


@measure
def readings_of_plants(lvlm: LVLM, task: Task, sample: Sample) -> list[Row]:
    """What each measure reads, a row a place; what is undefined counts as nothing."""
    read = {name: np.nan_to_num(each.reading(lvlm, sample)) for name, each in MEASURES.items()}
    read[MISSED] = np.array(path_of(lvlm, sample)[1])
    flat = {(name, i): value for name, of in read.items() for i, value in enumerate(of.flat)}
    return [{"measure": n, "place": i, "value": float(value)} for (n, i), value in flat.items()]


def readings(lvlm, samples, store):
    """What measures read of a model and samples, in their order."""
    task = infoflow.load_task("scienceqa")
    return readings_of_plants(lvlm, replace(task, samples=samples), store)


def compare(cases, lvlm, samples, limit, store):
    """Largest differences of readings, a row a measure, a column a plant; and of an image.

    With them comes what integrated gradients missed, a number a run.
    """
    columns, missed = {}, []
    for title, case in cases.items():
        both = [readings(*run, store) for run in case.runs(samples, limit)]
        plant, same = (one.groupby(["measure", "place"])["value"].mean() for one in both)
        columns[title] = (plant - same).abs().groupby("measure").max()
        unclaimed = [n for n, each in MEASURES.items() if case.only_places and not each.has_places]
        columns[title][unclaimed] = np.nan
        missed += [one.loc[one["measure"] == MISSED, "value"] for one in both]
    first, others = samples[:limit], samples[1:limit] + samples[:1]
    pairs = zip(first, others, strict=True)
    shown = [replace(s, id=f"{s.id}, image of {o.id}", image=o.image) for s, o in pairs]
    intact, moved = (readings(lvlm, each, store) for each in (first, shown))
    apart = (intact["value"] - moved["value"]).abs().groupby([intact["item"], intact["measure"]])
    columns[ANOTHER] = apart.max().groupby("measure").mean()
    return pd.DataFrame(columns).loc[[*MEASURES]], pd.concat(missed)


def matrix_plot(found, caption):
    """Paint differences in points, and name what is fooled; the control cannot fool."""
    points = (100 * found).round(1)
    fooled = (found > FOOLED).assign(**{ANOTHER: False})
    texts = points.map("{:.0f}".format) + fooled.map({True: " fooled", False: ""}.get)
    figure, (axes,) = report.figure(height=0.36 * len(found) + 1.6)
    scale = {"cmap": "cividis", "vmin": 0, "vmax": 50, "cbar": False, "yticklabels": True}
    sns.heatmap(points, annot=texts, fmt="", annot_kws={"size": 8}, **scale, ax=axes)
    axes.set(xlabel="plant", ylabel="", title="Difference of readings (points)", facecolor="white")
    names = [name.split(" (")[0].replace(" ", "\n") for name in points]
    axes.set_xticklabels(names, rotation=0, fontsize=8.5)
    counts = "; ".join(f"{name}: {n} measures fooled" for name, n in fooled.sum().items())
    return report.Plot(figure, f"A matrix of measures by plants. {counts}.", caption, points)
