"""What measures say of models with a planted fault; a measure is one entry of `MEASURES`."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from image_tokens_pairs import twins
from PIL import Image

import infoflow
from infoflow import plant, report
from infoflow.data.controls import GREY
from infoflow.methods.faithfulness import answer_probabilities, faithfulness_curve
from infoflow.methods.heatmaps import ATTENTION, CENTRE, PAPER, Source, explained_answer, heat_maps
from infoflow.methods.knockout import token_groups
from infoflow.methods.localisation import auc, coverage, localise, target_mask
from infoflow.methods.maps import attributions
from infoflow.models.grid import Grid

FOOLED = 0.05  # of a reading, which lies between 0 and 1
BLOCKS, STEPS = 3, 8  # a side, of an image under occlusion; of the path of integrated gradients
ANOTHER = "another's image"  # the control: what moves there sees the image
PATH = Source("integrated_gradients", f"{STEPS} steps")
MAPS = {
    "attention map": ATTENTION,
    "LLaVA-CAM, second norm (mean)": PAPER,
    "LLaVA-CAM, values (element-wise)": Source("self_attn.v_proj", "element-wise"),
    "LLaVA-CAM, projector (element-wise)": Source("projector", "element-wise"),
    **{name: Source(name, "none") for name in ("rollout", "relevancy")},
    "value-weighted attention": Source("value_weighted", "none"),
    "token activation": Source("token_activation", "none"),
    "centre map": CENTRE,
    "integrated gradients": PATH,
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
        """Pairs of (model, sample): what the plant and its like are asked, for the first samples.

        Swapped words are asked about where the options hold both.
        """
        words = set(self.lvlm.fault.get("words", []))
        asked = [s for s in samples if words <= set(s.choices)][:limit]
        return [((self.lvlm, s), (self.same, self.ask(s))) for s in asked]


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
    prompt, answer = own(lvlm, sample)
    maps = heat_maps(lvlm, prompt, answer, [source for source in MAPS.values() if source != PATH])
    return {**maps, PATH: prompt.grid.cells(path_of(lvlm, sample)[0].relu().double().numpy())}


def on_target(source, lvlm, sample):
    """The share of a map, in each layer, on the region that the answer can be read from."""
    grid, maps = own(lvlm, sample)[0].grid, maps_of(lvlm, sample)[source]
    return localise(maps, grid, target_mask(sample)).mass


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
    other, instead = own(lvlm, replace(sample, image=others[others.ids.index(sample.id)].image))
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
    return replace(sample, question=change(sample.question), choices=choices, answer=letter)


@cache  # references are shared between plants
def reading(name, lvlm, sample):
    """A measure's reading; what is undefined counts as nothing."""
    return np.nan_to_num(MEASURES[name].reading(lvlm, sample))


def difference(name, case, samples, limit):
    """The largest difference of a measure's readings at any layer; NaN where none is claimed."""
    if case.only_places and not MEASURES[name].has_places:
        return np.nan
    apart = [reading(name, *a) - reading(name, *b) for a, b in case.runs(samples, limit)]
    return np.abs(np.mean(apart, axis=0)).max()


def compare(cases, lvlm, samples, limit):
    """Largest differences of readings, a row a measure, a column a plant; and of an image."""
    first, others = samples[:limit], samples[1:limit] + samples[:1]
    pairs = [(s, replace(s, image=o.image)) for s, o in zip(first, others, strict=True)]
    lines = {}
    for name in MEASURES:
        lines[name] = {title: difference(name, c, samples, limit) for title, c in cases.items()}
        apart = [reading(name, lvlm, a) - reading(name, lvlm, b) for a, b in pairs]
        lines[name][ANOTHER] = np.mean([np.abs(each).max() for each in apart])
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("measure")


def matrix_plot(found, caption):
    """Paint differences in points, and name what is fooled."""
    plants = found.drop(columns=ANOTHER)
    figure, (axes,) = report.figure(height=0.36 * len(found) + 1.6)
    axes.imshow(100 * plants, cmap="cividis", vmin=0, vmax=50, aspect="auto")
    for (row, column), value in np.ndenumerate(plants.to_numpy()):
        text = "-" if np.isnan(value) else f"{100 * value:.0f}{' fooled' if value > FOOLED else ''}"
        colour = "white" if np.isnan(value) or value < 0.25 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_yticks(range(len(plants)), plants.index)
    axes.set_xticks(range(plants.shape[1]), [name.split(" (")[0] for name in plants])
    axes.set(xlabel="plant", title="Difference of readings (points)", facecolor="0.6")
    fooled = "; ".join(f"{t}: {n} measures fooled" for t, n in (plants > FOOLED).sum().items())
    return report.Plot(figure, f"A matrix of measures by plants. {fooled}.", caption, plants)
