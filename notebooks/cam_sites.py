"""What the page on Figure 7 draws: hit rates of gradient maps by site, layer and weighting."""

from itertools import product

import pandas as pd
import seaborn as sns
from cam_choice import (
    ALL_TASKS,
    SITE_NAMES,
    choice_lines,
    choose_place,
    hit_rates,
    place_name,
    tested,
)

from infoflow import report
from infoflow.methods.cam import WEIGHTS
from infoflow.methods.gradients import LAYER_SITES, SITES
from infoflow.methods.heatmaps import PAPER, Source
from infoflow.report import TASK_TITLES


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


def choice_table(choices):
    """List the best map of every group, chosen on calibration items and scored on test items."""

    def line(groups, group):
        chosen = groups[group]
        return {
            "chosen": chosen.name,
            "calibration %": f"{100 * chosen.calibration:.1f}",
            "test %": f"{chosen.estimate:.1f}",
            "best on the test items themselves": f"{place_name(chosen.best)}: "
            f"{100 * chosen.best_score:.1f}",
        }

    every = choices[ALL_TASKS]
    words = "; ".join(f"{group} {100 * c.test:.1f} %" for group, c in every.items())
    counts = [f"{tested(groups)} of {TASK_TITLES.get(t, t)}" for t, groups in choices.items()]
    return report.table(
        choice_lines(choices, list(every), line),
        f"Peak on the answer's region, all tasks together: {words}. Each is the best map of its "
        f"group, chosen on calibration items (test items: {report.listed(counts)}; 95 % intervals)",
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
