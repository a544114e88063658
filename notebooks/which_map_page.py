"""What the page on trust in maps draws: gradient maps, attention, maps that know nothing."""

import numpy as np
import pandas as pd
from cam_choice import ALL_TASKS, SITE_NAMES, hit_rates, place_name, source_name
from cam_pages import with_interval

from infoflow import report
from infoflow.errors import InfoflowError
from infoflow.methods.heatmaps import ATTENTION, CENTRE, PAPER, Place, Source
from infoflow.report import COLOURS, NOT_RUN, TASK_TITLES
from infoflow.stats.cliff import cliff_layer
from infoflow.stats.intervals import Estimate, difference_estimate

FREE = 0.05
"""Loss of the answer's log-probability, in nats a token, that counts as no loss."""
SAID = {"attention": "highlights relevant regions", "CAM, paper's site": "reveals key features"}
"""The paper's words for what a map shows."""


def of_all_tasks(rows):
    """Join the tasks' rows, an item's name being its own only within its task."""
    if all(frame.empty for frame in rows.values()):
        raise InfoflowError("no item names a region that its answer could be read from.")
    return pd.concat([f.assign(item=f"{task} " + f["item"]) for task, f in rows.items()])


def rival_curves(rows, chosen, model):
    """Plot the hit rate of attention, of the paper's CAM and of a chosen one by layer."""
    lines = {
        "attention": (ATTENTION, "-", COLOURS["image"]),
        "paper's CAM": (PAPER, "--", COLOURS["paper"]),
        "chosen CAM": (chosen, "-.", COLOURS["cliff"]),
    }
    figure, panels = report.panels(rows)
    tables = {}
    for task, axes in panels.items():
        rates = hit_rates(rows[task])
        table = pd.DataFrame({name: rates.loc[line[0]].drop(0) for name, line in lines.items()})
        for name, (_, line, colour) in lines.items():
            axes.plot(table.index - 1, table[name], line, color=colour, label=name)
        grey = {
            "random token": 100 * rows[task]["hit_chance"].mean(),
            "centre": rates.loc[CENTRE, 0],
        }
        for (name, level), line in zip(grey.items(), (":", "--"), strict=True):
            axes.axhline(level, linestyle=line, color=COLOURS["baseline"], lw=1.2, label=name)
        tables[task] = table.assign(**grey)
        axes.set_ylim(0, 103)
        report.count_layers(axes, len(table), len(table) - 1, below="layer, from 0 (= cut)")
    figure.supylabel("peak on the answer's region (%)", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncol=3)
    peaks = {task: table[list(lines)].agg(["max", "idxmax"]) for task, table in tables.items()}
    words = report.by_task(
        rows,
        lambda t: ", ".join(f"{n} {x:.1f} % (layer {at:.0f})" for n, (x, at) in peaks[t].items()),
    )
    ahead = sum(
        peak.loc["max", "attention"] >= peak.loc["max", "paper's CAM"] for peak in peaks.values()
    )
    return report.Plot(
        figure,
        f"Hit rate by layer. Highest points: {words}.",
        f"How often a map's peak touches the answer's region, by layer: {model}, "
        f"{report.counted(rows)}. At its best layer the attention row does at least as well as the "
        f"paper's CAM in {ahead} of {len(rows)} tasks. Chosen CAM: {source_name(chosen)}. Grey: "
        "a token taken at random (dotted) and a map of the centre (dashed). A gap in a line: the "
        "map is undefined.",
        pd.concat(tables, names=["task"]),
    )


def free_layer_table(flow, log_probs, hits, chosen):
    """Say where attention looks in layers that need not see the image.

    `log_probs` hold, by task, the answer's log-probability per token, item by cut: (N, L + 1).
    """
    lines = {}
    for task, scores in log_probs.items():
        cut, n_layers = cliff_layer(scores, margin=FREE, n_resamples=1).cut, scores.shape[1] - 1
        share = 100 * flow[task].groupby("layer")["image"].mean()
        rates = hit_rates(hits[task])
        lines[TASK_TITLES[task]] = {
            "layers that need not see the image": f"{cut + 1} to {n_layers}"
            if cut < n_layers
            else "none",
            "loss, nats a token": f"{np.mean(scores[:, -1] - scores[:, cut]):.3f}",
            "image's share of attention there %": least_to_most(share.loc[cut + 1 :]),
            "in the layers before %": least_to_most(share.loc[:cut]),
            "attention on target there %": least_to_most(rates.loc[ATTENTION].loc[cut + 1 :]),
            "chosen CAM on target there %": least_to_most(rates.loc[chosen].loc[cut + 1 :]),
        }
    return report.table(
        lines,
        f"Layers from which on hiding the image costs at most {FREE:g} nats a token, and where "
        "maps look there (means over test items, least to most of those layers)",
    )


def least_to_most(values):
    known = values.dropna()
    return f"{known.min():.1f} to {known.max():.1f}" if len(known) else "no such map"


def faithfulness_plot(rows, model):
    """Plot deletion and insertion curves, averaged over items."""
    every = of_all_tasks(rows)
    places = every[["site", "weights", "layer"]].itertuples(index=False)
    every["map"] = [place_name(Place(*place)) for place in places]
    curves = every.pivot_table(index=["curve", "fraction"], columns="map", values="probability")
    table = curves[every["map"].unique()]
    colours = [*(COLOURS[name] for name in ("cliff", "paper", "image", "control", "baseline")), "k"]
    dashes = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
    figure, panels = report.figure(1, 2, height=4.2, sharey=True)
    areas = {}
    for axes, curve in zip(panels, ("deletion", "insertion"), strict=True):
        part = table.xs(curve)
        areas[curve] = pd.Series(np.trapezoid(part, part.index, axis=0), part.columns)
        for name, colour, dash in zip(part, colours, dashes, strict=False):
            axes.plot(100 * part.index, part[name], linestyle=dash, color=colour, label=name)
        axes.set(xlabel="part of the image changed (%)", ylim=(0, 1.03), xlim=(0, 100))
        axes.set_title(curve)
    panels[0].set_ylabel("probability of the answer")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncol=2)
    areas = pd.DataFrame(areas)
    words = "; ".join(f"{name} {d:.3f} and {i:.3f}" for name, d, i in areas.itertuples())
    own = areas.drop(index=SITE_NAMES["target"], errors="ignore")
    return report.Plot(
        figure,
        f"Deletion and insertion curves. Areas under them: {words}.",
        "Probability of the model's answer while the image goes hottest pixels first "
        "(deletion: a right map falls soon) or appears so on a blurred one (insertion: a right map "
        f"rises soon): {model}, means over {every['item'].nunique()} items. Smallest area of "
        f"deletion: {own['deletion'].idxmin()}; largest of insertion: {own['insertion'].idxmax()}.",
        table,
    )


def sanity_table(rows, model, seed):
    """Say how alike maps of the trained model and of random weights are, all layers together."""
    every = of_all_tasks(rows)
    lines = {}
    for key, part in every.groupby(["site", "weights"], sort=False):
        defined = part[part["correlation"].notna()]
        per_item = defined.groupby("item")["correlation"].mean()
        lines[source_name(Source(*key))] = {
            "rank correlation": with_interval(per_item, seed, "+.2f"),
            "trained: hit %": f"{100 * defined['hit'].mean():.1f}",
            "random weights: hit %": f"{100 * defined['random_hit'].mean():.1f}",
            "random token %": f"{100 * part['hit_chance'].mean():.1f}",
        }
    return report.table(
        lines,
        f"Maps of {model} and of the same model with random weights, {every['item'].nunique()} "
        "items, mean over all layers where both are defined",
        index="maps",
    )


def rival_table(choices, paper_model, model, seed):
    """Set the paper's words on its maps beside the hit rate of every group's best map."""
    lines = []
    for task, groups in choices.items():
        for group, chosen in groups.items():
            test = 100 * Estimate(chosen.test, *chosen.interval, len(chosen.scores))
            gain = 100 * difference_estimate(chosen.scores - groups["attention"].scores, seed)
            line = {
                "task": TASK_TITLES.get(task, task),
                "maps": group,
                f"paper, {paper_model}": SAID.get(group, "-"),
                f"ours, {paper_model} on the benchmarks": NOT_RUN,
                f"ours, {model}: map": place_name(chosen.place),
                "test %": f"{test:.1f}",
                "less attention, points": "the rival" if group == "attention" else f"{gain:+.1f}",
            }
            lines.append(line)
    cam, paper, attention = list(choices[ALL_TASKS].values())[:3]
    return report.table(
        lines,
        f"On all tasks together the best CAM points at the answer's region on {100 * cam.test:.1f} "
        f"% of {len(cam.scores)} test items, the best of the paper's site on "
        f"{100 * paper.test:.1f} %, attention on {100 * attention.test:.1f} %. Maps are chosen on "
        "calibration items; 95 % intervals",
        comparison=True,
    )
