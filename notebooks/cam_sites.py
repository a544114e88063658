"""What the page on Figure 7 draws: heat maps held against the region that holds the answer."""

from itertools import product

import numpy as np
import pandas as pd
import seaborn as sns
from cam_choice import choose_place
from cam_pages import with_interval

from infoflow import report
from infoflow.errors import InfoflowError
from infoflow.methods.cam import WEIGHTS
from infoflow.methods.gradients import LAYER_SITES, SITES
from infoflow.methods.heatmaps import ATTENTION, CENTRE, PAPER, Place, Source
from infoflow.report import COLOURS, TASK_TITLES
from infoflow.stats.cliff import cliff_layer
from infoflow.stats.intervals import Estimate, difference_estimate

SITE_NAMES = {
    "input_layernorm": "first norm",
    "self_attn.v_proj": "values",
    "post_attention_layernorm": "second norm",
    "output": "output",
    "projector": "projector",
    "attention": "attention",
    "random": "random map",
    "centre": "centre map",
    "target": "the region itself",
}
"""What the page calls the places that maps are read at; the second norm is the paper's site."""
ALL_TASKS = "all tasks"
FREE = 0.05
"""Loss of the answer's log-probability, in nats a token, that counts as no loss."""


def source_name(source):
    name = SITE_NAMES[source.site]
    return f"{name} ({source.weights})" if source.weights in WEIGHTS else name


def place_name(place):
    return source_name(place.source) + (f", layer {place.layer}" if place.layer else "")


def hit_rates(rows):
    """Mean hit rate in percent, a row a source and a column a layer; NaN where undefined."""
    index = ["site", "weights", "layer"]
    # a layer that is undefined for one item is for all; its mean must not be that of nothing
    means = rows.groupby(index, sort=False)["hit"].apply(lambda hits: hits.mean(skipna=False))
    return 100 * means.unstack("layer").sort_index(axis=1)


def of_all_tasks(rows):
    """Join the tasks' rows, an item's name being its own only within its task."""
    if all(frame.empty for frame in rows.values()):
        raise InfoflowError("no item names a region that its answer could be read from.")
    return pd.concat([f.assign(item=f"{task} " + f["item"]) for task, f in rows.items()])


def site_grid(rows, model):
    """Show how often a CAM's peak hits the answer's region, by site, weighting and layer."""
    shown = list(product(LAYER_SITES, WEIGHTS))
    rates = {task: hit_rates(frame).loc[shown].drop(columns=0) for task, frame in rows.items()}
    table = pd.concat(rates, names=["task"]).swaplevel("site", "weights")
    figure, panels = report.figure(len(rows), len(WEIGHTS), height=1.7 * len(rows) + 0.9)
    for axes, (task, weights) in zip(panels, product(rows, WEIGHTS), strict=True):
        axes.set_facecolor("white")
        axes.patch.set(hatch="////", edgecolor="#767676")  # seen where a cell is empty
        cells = rates[task].xs(weights, level="weights").rename(index=SITE_NAMES)
        sns.heatmap(cells, ax=axes, cmap="cividis", vmin=0, vmax=100, cbar=False)
        axes.set(xlabel="paper's layer (cut + 1)", ylabel="")
        axes.set_title(f"{TASK_TITLES[task]}, {weights}", fontsize=9)
        axes.tick_params(length=0, rotation=0)
        axes.label_outer()
    bar = figure.colorbar(axes.collections[0], ax=panels, location="bottom", shrink=0.6, aspect=40)
    bar.set_label("peak on the answer's region (% of items)")
    best = table.stack().groupby("task", sort=False).idxmax()
    chance = {task: 100 * frame["hit_chance"].mean() for task, frame in rows.items()}
    words = "; ".join(
        f"{TASK_TITLES[task]} at most {rates[task].loc[(site, weights), layer]:.1f} % "
        f"({SITE_NAMES[site]}, {weights}, layer {layer}), a random token {chance[task]:.1f} %"
        for task, weights, site, layer in best
    )
    undefined = next(iter(rates.values())).isna().to_numpy()
    return report.Plot(
        figure,
        f"Heat maps of hit rates by site and layer, one a task and weighting: {words}.",
        "How often the highest token of LLaVA-CAM touches the region that holds the answer: "
        f"{model}, {report.counted(rows)}. {words}. A row a site, a column a layer, a panel a task "
        "and a weighting of the gradient. "
        f"Hatched: undefined, {undefined.sum()} of {undefined.size} cells a task.",
        table,
    )


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


def choice_table(choices, seed):
    """List the best map of every group, chosen on calibration items and scored on test items."""
    lines = []
    for task, groups in choices.items():
        for group, chosen in groups.items():
            test = 100 * Estimate(chosen.test, *chosen.interval, len(chosen.scores))
            gain = 100 * difference_estimate(chosen.scores - groups["attention"].scores, seed)
            line = {
                "task": TASK_TITLES.get(task, task),
                "maps": group,
                "chosen": place_name(chosen.place),
                "calibration %": f"{100 * chosen.calibration:.1f}",
                "test %": f"{test:.1f}",
                "less attention, points": "the rival" if group == "attention" else f"{gain:+.1f}",
                "best on the test items themselves": f"{place_name(chosen.best)}: "
                f"{100 * chosen.best_score:.1f}",
            }
            lines.append(line)
    counts = [
        f"{len(g['attention'].scores)} of {TASK_TITLES.get(t, t)}" for t, g in choices.items()
    ]
    return report.table(
        lines,
        "Peak on the answer's region: the best map, chosen on calibration items (test items: "
        f"{report.listed(counts)}; 95 % intervals)",
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


def site_paper_table(calibration, test, claims, paper_model, model):
    """Set the paper's word on the clearest site beside the hit rate of every site."""
    claim = next(entry for entry in claims if entry["id"] == "cam-site")
    lines = {}
    for site in SITES:
        sources = [Source(site, weights) for weights in WEIGHTS]
        best = {t: choose_place([calibration[t]], [test[t]], sources).test for t in test}
        lines[SITE_NAMES[site]] = {
            f"paper, {paper_model}": "clearest" if site == PAPER.site else "less clear",
            f"ours, {paper_model} on the benchmarks": report.NOT_RUN,
            **{f"ours, {model}: {TASK_TITLES[t]}": f"{100 * x:.1f}" for t, x in best.items()},
        }
    return report.table(
        lines,
        f"{claim['place']}: {claim['evidence']}. Ours: peak on the answer's region (% of test "
        "items), layer and weighting of each site chosen on calibration items",
        index="site",
        comparison=True,
    )
