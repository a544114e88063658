"""What the page on trust in maps draws: gradient maps, attention, their rivals, and no map."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from cam_choice import ALL_TASKS, GROUPS, hit_rates, place_name, source_name
from cam_pages import with_interval
from which_map_measure import CURVES, TRUTH

from infoflow import report
from infoflow.errors import InfoflowError
from infoflow.methods.heatmaps import ATTENTION, CENTRE, PAPER, RIVALS, TOWER_CAMS, Place
from infoflow.report import COLOURS, NOT_RUN, TASK_TITLES, Line
from infoflow.stats.cliff import cliff_layer
from infoflow.stats.intervals import Estimate, difference_estimate

PAPER_GROUPS = ("CAM, any site", "CAM, paper's site", "attention")
MAP_GROUPS = {
    **{name: GROUPS[name] for name in PAPER_GROUPS},
    "CAM, image encoder": TOWER_CAMS,
    **{source_name(source): (source,) for source in RIVALS if source not in TOWER_CAMS},
    **{name: GROUPS[name] for name in ("centre map", "random map")},
}
"""Among which maps the best is chosen; a function in `methods/maps.py` is one more."""
KEYS = ["site", "weights", "layer"]
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
        rates, by_chance = hit_rates(rows[task]), 100 * rows[task]["hit_chance"].mean()
        table = pd.DataFrame({name: rates.loc[line[0]].drop(0) for name, line in lines.items()})
        for name, (_, line, colour) in lines.items():
            axes.plot(table.index - 1, table[name], line, color=colour, label=name)
        grey = {"random token": by_chance, "centre": rates.loc[CENTRE, 0]}
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
    highest = [peak.loc["max"] for peak in peaks.values()]
    ahead = sum(one["attention"] >= one["paper's CAM"] for one in highest)
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
        layers = f"{cut + 1} to {n_layers}" if cut < n_layers else "none"
        lines[TASK_TITLES[task]] = {
            "layers that need not see the image": layers,
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


def chosen_name(group, place):
    """Name a group and the map that was chosen of it, if it has several."""
    return group if place_name(place) == group else f"{group} ({place_name(place)})"


def tested(choices):
    """How many items the maps were tested on: a map that is undefined on one has one less."""
    counts = sorted({len(chosen.scores) for chosen in choices.values()})
    return f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])


def map_plot(choices, model):
    """Plot how often the chosen map of every group points at the answer's region."""
    best_first = sorted(choices.items(), key=lambda item: -item[1].test)
    columns = pd.MultiIndex.from_product([["test"], ["mean", "low", "high"]])
    values = [[100 * x for x in (c.test, *c.interval)] for _, c in best_first]
    table = pd.DataFrame(values, [name for name, _ in best_first], columns)
    mark, label = Line("o", COLOURS["image"]), "peak on the answer's region (% of test items)"
    figure, axes = report.interval_rows(table, {"test": mark}, label)
    axes.set_xlim(0, 100)
    words = "; ".join(f"{name} {100 * c.test:.1f} %" for name, c in best_first)
    (group, first), *_ = best_first
    best = chosen_name(group, first.place)
    return report.Plot(
        figure,
        f"Hit rate of every map, the best first: {words}."[:400],
        f"Of all maps {best} points at the answer's region most often: {model}, "
        f"{tested(choices)} test items of all tasks, 95 % intervals. Of each kind the layer and "
        "variant are chosen on other items.",
        table,
    )


@dataclass(frozen=True, eq=False)
class TimedTable:
    """A table whose last column, seconds, is in its HTML alone: no re-run has the same."""

    data: pd.DataFrame
    caption: str

    def _repr_mimebundle_(self, include=None, exclude=None):
        shown, lasting = (
            report.Table(d, self.caption) for d in (self.data, self.data.iloc[:, :-1])
        )
        return shown._repr_mimebundle_() | {"text/plain": lasting.plain}


def map_table(choices, rows, faithful, seconds, model, seed):
    """Score the chosen map of every group by all that a map can be asked."""
    every, changed = of_all_tasks(rows), of_all_tasks(faithful)
    lines = {}
    for group, chosen in choices.items():
        place = chosen.place
        own, used = (_of_place(frame, place) for frame in (every, changed))
        lines[group] = {
            "chosen map": place_name(place),
            "hit %": f"{100 * Estimate(chosen.test, *chosen.interval, len(chosen.scores)):.1f}",
            "mass inside %": with_interval(100 * own["mass"], seed, ".1f"),
            **{name: with_interval(used[name], seed, ".2f") for name in CURVES},
            "random weights: correlation": with_interval(used["correlation"], seed, "+.2f"),
            "random weights: hit %": f"{100 * used['random_hit'].mean():.1f}",
            "seconds an item": f"{seconds[place.source]:.2f}",
        }
    truth = _of_place(changed, TRUTH)
    lines["the region itself"] = dict.fromkeys(lines[group], "-") | {
        "chosen map": "no map of the model",
        **{name: with_interval(truth[name], seed, ".2f") for name in CURVES},
    }
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("map")
    areas = {name: changed.groupby(KEYS)[name].mean().drop(tuple(TRUTH)) for name in CURVES}
    low, high = areas["deletion"].idxmin(), areas["insertion"].idxmax()
    chance = every.groupby("item")[["hit_chance", "mass_chance"]].first().mean()
    return TimedTable(
        table,
        f"Every map of {model} on the same items. Peak and mass on {every['item'].nunique()} test "
        f"items (a random token hits {100 * chance['hit_chance']:.1f} %, an even map has "
        f"{100 * chance['mass_chance']:.1f} % of its mass inside); changed images and random "
        f"weights on {changed['item'].nunique()} of them. Smallest area of deletion: "
        f"{place_name(Place(*low))}; largest of insertion: {place_name(Place(*high))}. "
        "95 % intervals",
    )


def _of_place(rows, place):
    return rows[(rows[KEYS] == list(place)).all(axis=1)].set_index("item")


def rival_table(choices, paper_model, model, seed):
    """Set the paper's words on its maps beside the hit rate of every group's best map."""
    lines = []
    for task, groups in choices.items():
        for group in PAPER_GROUPS:
            chosen = groups[group]
            test = 100 * Estimate(chosen.test, *chosen.interval, len(chosen.scores))
            gain = 100 * difference_estimate(chosen.scores - groups["attention"].scores, seed)
            less = "the rival" if group == "attention" else f"{gain:+.1f}"
            line = {
                "task": TASK_TITLES.get(task, task),
                "maps": group,
                f"paper, {paper_model}": SAID.get(group, "-"),
                f"ours, {paper_model} on the benchmarks": NOT_RUN,
                f"ours, {model}: map": place_name(chosen.place),
                "test %": f"{test:.1f}",
                "less attention, points": less,
            }
            lines.append(line)
    cam, paper, attention = (choices[ALL_TASKS][name] for name in PAPER_GROUPS)
    return report.table(
        lines,
        f"On all tasks together the best CAM points at the answer's region on {100 * cam.test:.1f} "
        f"% of {len(cam.scores)} test items, the best of the paper's site on "
        f"{100 * paper.test:.1f} %, attention on {100 * attention.test:.1f} %. Maps are chosen on "
        "calibration items; 95 % intervals",
        comparison=True,
    )
