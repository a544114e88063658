"""What the page on image tokens draws and says: who carries an answer, and the logit lens."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import pandas as pd
import torch
from image_tokens_pairs import row_groups

from infoflow import activation_patching, logit_lens, report
from infoflow.data.shapes.world import COLOURS as COLOUR_WORDS
from infoflow.report import COLOURS, TASK_TITLES, percent
from infoflow.stats.intervals import mean_estimate

STEPS = {"scienceqa": 3, "pope": 2}
"""Of how many items one has a twin; of the other tasks all have."""
LINES = {
    "object": ("the object's image tokens", COLOURS["image"], "-o"),
    "background": ("other image tokens", COLOURS["control"], "-.^"),
    "question": ("the question's tokens", COLOURS["user"], "--s"),
    "last": ("the last token", "#222222", ":D"),
}
NO_PAIR = report.Words("No pair of images was answered right twice: there is nothing to carry.")


def recoveries(rows, seed):
    """Mean recovery by task, group and depth, with intervals, of the pairs answered right twice."""
    found = {}
    for task, frame in rows.items():
        if frame.empty or not frame["right"].any():
            continue
        right = frame[frame["right"]]
        for group in right["group"].unique():
            of_group = right[right["group"] == group]
            values = of_group.pivot(index="item", columns="depth", values="recovery").to_numpy()
            by_depth = pd.DataFrame([mean_estimate(of_depth, seed) for of_depth in values.T])
            found[task, group] = by_depth.rename(columns={"value": "mean", "n_items": "pairs"})
    return pd.concat(found, names=["task", "group", "depth"]) if found else pd.DataFrame()


def carrier_words(table, task):
    """Say which group recovers most at which depths: "the last token (4 to 12 layers)"."""
    most = table.loc[task]["mean"].unstack("group").idxmax(axis=1)
    parts = []
    for group, run in groupby(most.items(), key=lambda entry: entry[1]):
        depths = [str(depth) for depth, _ in run]
        parts.append(f"{LINES[group][0]} ({' to '.join(depths[:: len(depths) - 1 or 1])} layers)")
    return ", then ".join(parts)


def lens_scores(rows, seed):
    """Mean AUC by trait and depth, here and elsewhere, with intervals over images."""
    traits = np.where(rows["word"].isin(COLOUR_WORDS), "colour", "shape")
    lines = {}
    for (trait, depth), part in rows.groupby([traits, "depth"]):
        by_item = part.groupby("item")[["auc", "elsewhere"]].mean()
        for score in by_item:
            estimate = mean_estimate(by_item[score].dropna(), seed)
            lines[trait, depth, score] = estimate
    return pd.Series(lines).rename_axis(["trait", "depth", "score"])


def finding(table, cliffs, scores, model):
    """Say first what was found, in words and numbers."""
    if table.empty:
        carried = NO_PAIR.text
    else:
        lines = [
            f"- **{TASK_TITLES[task]}**: {carrier_words(table, task)}. Truncation's cliff is "
            f"{cliff}; there the object's tokens still bring {at_cut(table, task, cliff.cut)}."
            for task, cliff in cliffs.items()
            if task in table.index
        ]
        carried = (
            f"Two images differ in one object, and {model} answers both rightly. What brings the "
            "answer along from one to the other, by layers passed:\n\n" + "\n".join(lines)
        )
    said = "; ".join(lens_words(scores, trait) for trait in ("colour", "shape"))
    return report.Words(
        f"**Found.** *Who needs them.* {carried}\n\n*What they say.* How often a patch of an "
        f"object says its word more than another patch does, where half is chance: {said}."
    )


def at_cut(table, task, cut):
    """What an object's image tokens still bring along at a cut, in percent."""
    if (task, "object", cut) not in table.index:
        return "nothing that could be measured, for it has no tokens of its own"
    return percent(table.loc[(task, "object", cut), "mean"])


def lens_words(scores, trait):
    """Say how the lens does before the first layer and behind the last, and against its control."""
    of = scores[trait].unstack("score")
    first, last = (percent(of["auc"].iloc[depth].value) for depth in (0, -1))
    more = sum(own.low > other.high for own, other in zip(of["auc"], of["elsewhere"], strict=True))
    return (
        f"its {trait} in {first} of cases before the first layer and {last} behind the last, and "
        f"at {more} of {len(of)} depths clearly more than patches of other objects say it"
    )


def recovery_plot(table, cliffs, model):
    """Plot the recovery of each group of rows over the layers passed, beside the cliff."""
    if table.empty:
        return NO_PAIR
    figure, panels = report.panels(table.index.unique("task"))
    for task, axes in panels.items():
        axes.axvline(cliffs[task].cut, color=COLOURS["cliff"], linewidth=1.4, label="cliff")
        for group, (name, colour, style) in LINES.items():
            if group in table.loc[task].index:
                part = 100 * table.loc[task].loc[group]
                axes.plot(part.index, part["mean"], style, color=colour, ms=4, label=name)
                band = {"color": colour, "alpha": 0.18, "linewidth": 0}
                axes.fill_between(part.index, part["low"], part["high"], **band)
        axes.set_xlabel("layers passed (= cut)")
    figure.supylabel("recovery (%)", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    counts = report.by_task(panels, lambda task: str(table.loc[task]["pairs"].max()))
    words = report.by_task(panels, lambda task: carrier_words(table, task))
    others = percent(table["mean"].xs("background", level="group").max())
    return report.Plot(
        figure,
        f"Recovery by layers passed. Most of it is brought by: {words}."[:400],
        f"How much of the answer a group of rows brings along when its states are put into the "
        f"twin's run ({model}; pairs answered right twice: {counts}; bands: 95 % intervals over "
        "pairs). States that have passed d layers enter the paper's layer d + 1. Vertical line: "
        f"truncation's cliff. Other image tokens than the object's bring {others} at most.",
        (100 * table["mean"]).unstack("depth"),
    )


def exactness_table(lvlm, pairs):
    """Put to the test, on one pair a task, what must hold by definition."""
    lines = {}
    for task, (own, twin) in pairs.items():
        clean, other = (lvlm.prompt(sample.image, sample.question) for sample in (own, twin))
        parts = row_groups(clean, own, twin)
        image, n = clean.spans.image, len(clean)
        changed = torch.arange(n) >= image.start
        answers = own.answer, twin.answer
        everything, nothing = activation_patching(
            lvlm, clean, other, answers, torch.stack([changed, ~changed])
        )
        apart = (clean.inputs_embeds - other.inputs_embeds)[0].norm(dim=-1)
        none = "the object has no token"
        line = {
            "rows that change": f"{int(changed.sum())} of {n}",
            "all of them patched, less 1": f"{(everything - 1).abs().max():.1g}",
            "all others patched": f"{nothing.abs().max():.1g}",
            "background made equal, patched": none,
            "difference that lies in the background": none,
        }
        if "object" in parts:
            same = torch.where(
                parts["background"][:, None], clean.inputs_embeds, other.inputs_embeds
            )
            merged = replace(other, inputs_embeds=same)
            (left,) = activation_patching(lvlm, clean, merged, answers, parts["background"][None])
            line["background made equal, patched"] = f"{abs(left[0]):.1g}"
            squares = {name: apart[rows].square().sum() for name, rows in parts.items()}
            share = squares["background"] / (squares["background"] + squares["object"])
            line["difference that lies in the background"] = percent(float(share))
        lines[TASK_TITLES[task]] = line
    return report.table(lines, "What must hold by definition, one pair a task")


def lens_sheet(lvlm, sample, name, depths):
    """Map how probable an object's two words are at each image token, at some depths."""
    prompt = lvlm.prompt(sample.image, sample.question)
    words = name.split()
    found = logit_lens(lvlm, prompt, words).numpy()[list(depths)]
    maps = {
        f"“{word}”\n{depth} layers": found[row, :, column]
        for column, word in enumerate(words)
        for row, depth in enumerate(depths)
    }
    outlined = replace(sample, targets=(name,))
    ends = {"vmin": float(found.min()), "vmax": float(found.max())}
    figure = report.map_sheet(maps, prompt, outlined, "log-probability (nats)", **ends)
    numbers = pd.DataFrame({title.replace("\n", ", "): values for title, values in maps.items()})
    means = "; ".join(f"{title} {values.mean():.1f}" for title, values in numbers.items())
    return report.Plot(
        figure,
        f"The words of the {name} read off every image token. Mean log-probability: {means}."[:400],
        f"How probable the words “{words[0]}” and “{words[-1]}” are at each image token of "
        f"{sample.id}, after some numbers of layers; the {name} is outlined. Means: {means} nats.",
        numbers,
    )


def lens_plot(scores, n_pictures, model):
    """Plot the lens's AUC over the layers passed, for colours and shapes, and its control."""
    figure, panels = report.panels(["colour", "shape"], sharex=True)
    lines = {
        "auc": ("patches of the object", COLOURS["ours"], "-o"),
        "elsewhere": ("patches of other objects", COLOURS["control"], "--s"),
    }
    for trait, axes in panels.items():
        axes.axhline(50, color=COLOURS["baseline"], linestyle=":", linewidth=1.4)
        for score, (name, colour, style) in lines.items():
            of = scores.xs((trait, score), level=("trait", "score"))
            middle, low, high = (
                [100 * getattr(estimate, end) for estimate in of]
                for end in ("value", "low", "high")
            )
            axes.plot(of.index, middle, style, color=colour, ms=4, label=name)
            axes.fill_between(of.index, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.set(xlabel="layers passed", ylim=(0, 100))
    panels["colour"].set_ylabel("AUC (%)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    depths = [0, scores.index.get_level_values("depth").max()]
    words = "; ".join(
        f"{trait} {100 * scores[trait, depths[0], 'auc']:.0f} before the first layer, "
        f"{100 * scores[trait, depths[1], 'auc']:.0f} behind the last"
        for trait in panels
    )
    table = 100 * scores.map(lambda estimate: estimate.value).unstack("score")
    return report.Plot(
        figure,
        f"AUC of the logit lens by layers passed, in percent: {words}.",
        f"How often a patch that touches an object says its colour (left) or its shape (right) "
        f"more than a patch that does not: {model}, {n_pictures} images; bands: 95 % intervals "
        f"over images; dotted: chance. In percent: {words}. Green: words at other objects.",
        table,
    )
