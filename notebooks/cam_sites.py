"""What the page on Figure 7 draws: heat maps held against the region that holds the answer."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from cam_choice import ChosenPlace, choose_place
from cam_pages import with_interval

from infoflow import report
from infoflow.errors import InfoflowError
from infoflow.methods.gradients import LAYER_SITES, SITES
from infoflow.methods.heatmaps import ATTENTION, CENTRE, PAPER, Place, Source
from infoflow.methods.maps import WEIGHTS
from infoflow.report import COLOURS, TASK_TITLES
from infoflow.stats.cliff import cliff_layer
from infoflow.stats.intervals import difference_interval

Rows = Mapping[str, pd.DataFrame]

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


def source_name(source: Source) -> str:
    """Name a source of maps, its weights in brackets if it has a choice of them."""
    name = SITE_NAMES[source.site]
    return f"{name} ({source.weights})" if source.weights in WEIGHTS else name


def place_name(place: Place) -> str:
    """Name a map: its source, and its layer in the paper's count if it has one."""
    return source_name(place.source) + (f", layer {place.layer}" if place.layer else "")


def hit_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean hit rate in percent, a row a source and a column a layer; NaN where undefined."""
    index = ["site", "weights", "layer"]
    # a layer that is undefined for one item is for all; its mean must not be that of nothing
    means = rows.groupby(index, sort=False)["hit"].apply(lambda hits: hits.mean(skipna=False))
    return 100 * means.unstack("layer").sort_index(axis=1)


def site_grid(rows: Rows, model: str) -> report.Plot:
    """Show how often a CAM's peak hits the answer's region, by site, weighting and layer."""
    shown = [(site, weights) for weights in WEIGHTS for site in LAYER_SITES]
    of_tasks = {task: hit_rates(frame).loc[shown].drop(columns=0) for task, frame in rows.items()}
    table = pd.concat(of_tasks, names=["task"]).swaplevel("site", "weights")
    figure, panels = report.figure(len(rows), len(WEIGHTS), height=1.55 * len(rows) + 0.9)
    lines = np.reshape(panels, (len(rows), -1))
    for line, task in zip(lines, rows, strict=True):
        for axes, weights in zip(line, WEIGHTS, strict=True):
            cells = table.loc[task, weights].rename(index=SITE_NAMES)
            axes.set_facecolor("white")
            axes.patch.set(hatch="////", edgecolor="#767676")  # seen where a cell is empty
            sns.heatmap(cells, ax=axes, cmap="cividis", vmin=0, vmax=100, cbar=False)
            axes.set(xlabel="", ylabel="", title=weights if task == next(iter(rows)) else "")
            axes.tick_params(length=0, rotation=0)
        line[0].set_ylabel(TASK_TITLES[task], fontweight="bold")
    for axes in lines[-1]:
        axes.set_xlabel("paper's layer (cut + 1)")
    bar = figure.colorbar(axes.collections[0], ax=panels, location="bottom", shrink=0.6, aspect=40)
    bar.set_label("peak on the answer's region (% of items)")
    best = table.stack().groupby("task", sort=False).idxmax()
    chance = {task: 100 * frame["hit_chance"].mean() for task, frame in rows.items()}
    told = [
        f"{TASK_TITLES[task]} at most {table.loc[(task, weights, site), layer]:.1f} % "
        f"({SITE_NAMES[site]}, {weights}, layer {layer}), a random token {chance[task]:.1f} %"
        for task, weights, site, layer in best
    ]
    winners = [f"{SITE_NAMES[site]} on {TASK_TITLES[task]}" for task, _, site, _ in best]
    undefined = table.loc[next(iter(rows))].isna().to_numpy()
    return report.Plot(
        figure,
        alt="Heat maps of hit rates by site and layer, one a task and weighting: "
        f"{'; '.join(told)}.",
        caption="How often the highest token of LLaVA-CAM touches the region that holds the "
        f"answer, test items: {model}, {counted(rows)}. The best cell belongs to "
        f"{report.listed(winners)}. A row a site, a column a layer (paper's count; cut = layer - "
        "1), a panel a weighting of the gradient. "
        f"Hatched: undefined, {undefined.sum()} of {undefined.size} cells a task.",
        table=table,
    )


def counted(rows: Rows) -> str:
    return ", ".join(f"{rows[t]['item'].nunique()} items of {TASK_TITLES[t]}" for t in rows)


def rival_curves(rows: Rows, chosen: Source, model: str) -> report.Plot:
    """Plot the hit rate of attention, of the paper's CAM and of a chosen one by layer."""
    lines = {
        "attention": (ATTENTION, "-", COLOURS["image"]),
        "paper's CAM": (PAPER, "--", COLOURS["paper"]),
        "chosen CAM": (chosen, "-.", COLOURS["cliff"]),
    }
    tables = {}
    for task, frame in rows.items():
        rates = hit_rates(frame)
        tables[task] = pd.DataFrame(
            {name: rates.loc[source].drop(0) for name, (source, *_) in lines.items()}
        ).assign(
            **{"random token": 100 * frame["hit_chance"].mean(), "centre": rates.loc[CENTRE, 0]}
        )
    grey = COLOURS["baseline"]
    styles = {name: line[1:] for name, line in lines.items()}
    styles |= {"random token": (":", grey), "centre": ("--", grey)}
    figure, panels = report.panels(rows)
    for axes, table in zip(panels.values(), tables.values(), strict=True):
        for name, (line, colour) in styles.items():
            width = 1.2 if colour == grey else 1.8
            axes.plot(table.index - 1, table[name], line, color=colour, lw=width, label=name)
        axes.set_ylim(0, 103)
        report.count_layers(axes, len(table), len(table) - 1, below="layer, from 0 (= cut)")
    figure.supylabel("peak on the answer's region (%)", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncol=3)
    told = "; ".join(
        f"{TASK_TITLES[task]}: "
        + ", ".join(f"{n} {table[n].max():.1f} % (layer {table[n].idxmax()})" for n in lines)
        for task, table in tables.items()
    )
    ahead = sum(table["attention"].max() >= table["paper's CAM"].max() for table in tables.values())
    return report.Plot(
        figure,
        alt=f"Hit rate by layer. Highest points: {told}.",
        caption=f"How often a map's peak touches the answer's region, by layer: {model}, "
        f"{counted(rows)}. At its best layer the attention row does at least as well as the "
        f"paper's CAM in {ahead} of {len(rows)} tasks. Chosen CAM: {source_name(chosen)}. Grey: "
        "a token taken at random (dotted) and a map of the centre (dashed). A gap in a line: the "
        "map is undefined. Upper axis: the paper's layer.",
        table=pd.concat(tables, names=["task"]),
    )


def choice_table(choices: Mapping[str, Mapping[str, ChosenPlace]], seed: int) -> report.Table:
    """List the best map of every group, chosen on calibration items and scored on test items."""
    lines = []
    for task, groups in choices.items():
        for group, chosen in groups.items():
            low, high = (100 * end for end in chosen.interval)
            gain = pd.Series(100 * (chosen.scores - groups["attention"].scores))
            low_gain, high_gain = difference_interval(gain.to_numpy() / 100, seed)
            lines.append(
                {
                    "task": TASK_TITLES.get(task, task),
                    "maps": group,
                    "chosen": place_name(chosen.place),
                    "calibration %": f"{100 * chosen.calibration:.1f}",
                    "test %": f"{100 * chosen.test:.1f} [{low:.1f}, {high:.1f}]",
                    "less attention, points": "the rival"
                    if group == "attention"
                    else f"{gain.mean():+.1f} [{100 * low_gain:+.1f}, {100 * high_gain:+.1f}]",
                    "best on the test items themselves": f"{place_name(chosen.best)}: "
                    f"{100 * chosen.best_score:.1f}",
                }
            )
    counts = [
        f"{len(g['attention'].scores)} of {TASK_TITLES.get(t, t)}" for t, g in choices.items()
    ]
    return report.Table(
        pd.DataFrame(lines).set_index("task"),
        "Peak on the answer's region: the best map, chosen on calibration items (test items: "
        f"{report.listed(counts)}; 95 % intervals)",
    )


def compared(one: ChosenPlace, other: ChosenPlace, seed: int) -> str:
    """Say how a chosen map's score stands to another's, by the interval of their difference."""
    low, high = difference_interval(one.scores - other.scores, seed)
    return "more than" if low > 0 else "less than" if high < 0 else "not shown to differ from"


def free_layer_table(
    flow: Rows, log_probs: Mapping[str, npt.NDArray[np.float64]], hits: Rows, chosen: Source
) -> report.Table:
    """Say where attention looks in layers that need not see the image.

    `log_probs` hold, by task, the answer's log-probability per token, item by cut: (N, L + 1).
    """
    lines = {}
    for task, scores in log_probs.items():
        cut, n_layers = cliff_layer(scores, margin=FREE, n_resamples=1).cut, scores.shape[1] - 1
        share = 100 * flow[task].groupby("layer")["image"].mean()
        rates = hit_rates(hits[task])
        lines[TASK_TITLES[task]] = {
            "layers that need not see the image": "none"
            if cut == n_layers
            else f"{cut + 1} to {n_layers}",
            "loss, nats a token": f"{np.mean(scores[:, -1] - scores[:, cut]):.3f}",
            "image's share of attention there %": _range(share.loc[cut + 1 :]),
            "in the layers before %": _range(share.loc[:cut]),
            "attention on target there %": _range(rates.loc[ATTENTION].loc[cut + 1 :]),
            "chosen CAM on target there %": _range(rates.loc[chosen].loc[cut + 1 :]),
        }
    return report.Table(
        pd.DataFrame.from_dict(lines, orient="index").rename_axis("task"),
        f"Layers from which on hiding the image costs at most {FREE:g} nats a token, and where "
        "maps look there (means over test items, least to most of those layers)",
    )


def _range(values: pd.Series) -> str:
    known = values.dropna()
    return f"{known.min():.1f} to {known.max():.1f}" if len(known) else "no such map"


def of_all_tasks(rows: Rows) -> pd.DataFrame:
    """Join the tasks' rows, an item's name being its own only within its task."""
    if all(frame.empty for frame in rows.values()):
        raise InfoflowError("no item names a region that its answer could be read from.")
    return pd.concat([f.assign(item=f"{task} " + f["item"]) for task, f in rows.items()])


def faithfulness_plot(rows: Rows, model: str) -> report.Plot:
    """Plot deletion and insertion curves, averaged over items."""
    every = of_all_tasks(rows)
    places = every[["site", "weights", "layer"]].itertuples(index=False)
    every["map"] = [place_name(Place(*place)) for place in places]
    order = list(dict.fromkeys(every["map"]))
    curves = every.pivot_table(index=["curve", "fraction"], columns="map", values="probability")
    table = curves[order]
    colours = [COLOURS[name] for name in ("cliff", "paper", "image", "control", "baseline")]
    dashes = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
    figure, panels = report.figure(1, 2, height=4.2, sharey=True)
    areas = pd.DataFrame(index=order, dtype=float)
    for axes, curve in zip(panels, ("deletion", "insertion"), strict=True):
        part = table.xs(curve)
        areas[curve] = np.trapezoid(part, part.index, axis=0)
        for number, name in enumerate(order):
            colour = "black" if name == SITE_NAMES["target"] else colours[number % len(colours)]
            line = dashes[number % len(dashes)]
            axes.plot(100 * part.index, part[name], linestyle=line, color=colour, label=name)
        axes.set(xlabel="part of the picture changed (%)", ylim=(0, 1.03), xlim=(0, 100))
        axes.set_title(curve)
    panels[0].set_ylabel("probability of the answer")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncol=2)
    own = areas.drop(index=SITE_NAMES["target"], errors="ignore")
    told = "; ".join(f"{name} {d:.3f} and {i:.3f}" for name, d, i in areas.itertuples())
    return report.Plot(
        figure,
        alt=f"Deletion and insertion curves. Areas under them: {told}.",
        caption="Probability of the model's answer while the picture goes hottest pixels first "
        "(deletion: a right map falls soon) or appears so on a blurred one (insertion: a right map "
        f"rises soon): {model}, means over {every['item'].nunique()} items. Smallest area of "
        f"deletion: {own['deletion'].idxmin()}; largest of insertion: {own['insertion'].idxmax()}.",
        table=table,
    )


def sanity_table(rows: Rows, model: str, seed: int) -> report.Table:
    """Say how alike maps of the trained model and of random weights are, all layers together."""
    every = of_all_tasks(rows)
    lines = {}
    for key, part in every.groupby(["site", "weights"], sort=False):
        defined = part[part["correlation"].notna()]
        per_item = defined.groupby("item")["correlation"].mean()
        lines[source_name(Source(*key))] = {
            "rank correlation": with_interval(per_item, seed, "{:+.2f}"),
            "trained: hit %": f"{100 * defined['hit'].mean():.1f}",
            "random weights: hit %": f"{100 * defined['random_hit'].mean():.1f}",
            "random token %": f"{100 * part['hit_chance'].mean():.1f}",
        }
    return report.Table(
        pd.DataFrame.from_dict(lines, orient="index").rename_axis("maps"),
        f"Maps of {model} and of the same model with random weights, {every['item'].nunique()} "
        "items, mean over all layers where both are defined",
    )


def site_paper_table(
    calibration: Rows, test: Rows, claims: Sequence[Mapping], paper_model: str, model: str
) -> report.Table:
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
    return report.Table(
        pd.DataFrame.from_dict(lines, orient="index").rename_axis("site"),
        f"{claim['place']}: {claim['evidence']}. Ours: peak on the answer's region (% of test "
        "items), layer and weighting of each site chosen on calibration items",
        comparison=True,
    )
