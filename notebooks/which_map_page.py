"""What the page on trust in maps draws: gradient maps, attention, their rivals, and no map."""

import cam_choice
import pandas as pd
from cam_pages import with_interval
from which_map_measure import CURVES, TRUTH

from infoflow import report
from infoflow.methods.heatmaps import ATTENTION, CENTRE, PAPER, RIVALS, TOWER_CAMS, Place
from infoflow.report import COLOURS, NOT_RUN, TASK_TITLES, Line
from infoflow.stats.cliff import cliff_layer
from infoflow.stats.intervals import difference_estimate

PAPER_GROUPS = ("CAM, any site", "CAM, paper's site", "attention")
MAP_GROUPS = {
    **{name: cam_choice.GROUPS[name] for name in PAPER_GROUPS},
    "CAM, image encoder": TOWER_CAMS,
    **{cam_choice.source_name(source): (source,) for source in RIVALS if source not in TOWER_CAMS},
    **{name: cam_choice.GROUPS[name] for name in ("centre map", "random map")},
}
"""Among which maps the best is chosen; a function in `methods/maps.py` is one more."""
LINES = {
    "attention": Line("-", COLOURS["image"]),
    "paper's CAM": Line("--", COLOURS["paper"]),
    "chosen CAM": Line("-.", COLOURS["cliff"]),
}
CHANCE = {"random token": ":", "centre": "--"}
FREE = 0.05
"""Loss of the answer's log-probability, in nats a token, that counts as no loss."""
SAID = {"attention": "highlights relevant regions", "CAM, paper's site": "reveals key features"}
"""The paper's words for what a map shows."""


def rival_curves(rows, chosen, model):
    """Plot the hit rate of attention, of the paper's CAM and of a chosen one by layer."""
    curves = {}
    for task, frame in rows.items():
        rates = cam_choice.hit_rates(frame)
        chance = 100 * frame["hit_chance"].mean(), rates.loc[CENTRE, 0]
        lines = *(rates.loc[source].drop(0) for source in (ATTENTION, PAPER, chosen)), *chance
        curves[task] = pd.DataFrame(dict(zip((*LINES, *CHANCE), lines, strict=True)))
    table = pd.concat(curves, names=["task", "layer"])
    label = "peak on the answer's region (%)"
    figure, panels = report.layer_curves(table, LINES, label, ylim=(0, 103))
    for task, axes in panels.items():
        for name, style in CHANCE.items():
            axes.axhline(curves[task][name].iloc[0], ls=style, color=COLOURS["baseline"], lw=1.2)
    peaks = {task: of[list(LINES)].agg(["max", "idxmax"]) for task, of in curves.items()}
    words = report.by_task(
        rows,
        lambda t: ", ".join(f"{n} {x:.1f} % (layer {at:.0f})" for n, (x, at) in peaks[t].items()),
    )
    ahead = sum(of.loc["max", "attention"] >= of.loc["max", "paper's CAM"] for of in peaks.values())
    return report.Plot(
        figure,
        f"Hit rate by layer. Highest points: {words}.",
        f"How often a map's peak touches the answer's region, by layer: {model}, "
        f"{report.counted(rows)}. At its best layer the attention row does at least as well as the "
        f"paper's CAM in {ahead} of {len(rows)} tasks. Chosen CAM: "
        f"{cam_choice.source_name(chosen)}. Grey: a token taken at random (dotted) and a map of "
        "the centre (dashed). A gap in a line: the map is undefined.",
        table,
    )


def free_layer_table(flow, log_probs, hits, chosen):
    """Say where attention looks in layers that need not see the image.

    `log_probs` hold, by task, the answer's log-probability per token, item by cut: (N, L + 1).
    """
    lines = {}
    for task, scores in log_probs.items():
        cut = cliff_layer(scores, margin=FREE, n_resamples=1).cut
        rates = cam_choice.hit_rates(hits[task])
        share = 100 * flow[task].groupby("layer")["image"].mean()
        layers = f"{cut + 1} to {len(share)}" if cut < len(share) else "none"
        lines[TASK_TITLES[task]] = {
            "layers that need not see the image": layers,
            "loss, nats a token": f"{(scores[:, -1] - scores[:, cut]).mean():.3f}",
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


def map_plot(choices, model):
    """Plot how often the chosen map of every group points at the answer's region."""
    best_first = sorted(choices.items(), key=lambda item: -item[1].test)
    values = {group: (one.test, *one.interval) for group, one in best_first}
    columns = pd.MultiIndex.from_product([["test"], ["mean", "low", "high"]])
    table = 100 * pd.DataFrame(values, columns).T
    mark, label = Line("o", COLOURS["image"]), "peak on the answer's region (% of test items)"
    figure, axes = report.interval_rows(table, {"test": mark}, label)
    axes.set_xlim(0, 100)
    words = "; ".join(f"{group} {value:.1f} %" for group, value in table["test", "mean"].items())
    return report.Plot(
        figure,
        f"Hit rate of every map, the best first: {words}."[:400],
        f"Of all maps {cam_choice.chosen_name(*best_first[0])} points at the answer's region most "
        f"often: {model}, {cam_choice.tested(choices)} test items of all tasks, 95 % intervals. Of "
        "each kind the layer and variant are chosen on other items.",
        table,
    )


class Table(report.Table):
    """A table whose last column, seconds, is in its HTML alone: no re-run has the same."""

    @property
    def plain(self):
        return report.Table(self.data.iloc[:, :-1], self.caption).plain


def map_table(choices, rows, faithful, seconds, model, seed):
    """Score the chosen map of every group by all that a map can be asked."""
    every, changed = map(cam_choice.of_all_tasks, (rows, faithful))
    of = pd.concat([every, changed]).groupby(["site", "weights", "layer"])
    lines = {}
    for group, chosen in choices.items():
        own = of.get_group(chosen.place)
        lines[group] = {
            "chosen map": chosen.name,
            "hit %": f"{chosen.estimate:.1f}",
            "mass inside %": with_interval(100 * own["mass"], seed, ".1f"),
            **{name: with_interval(own[name], seed, ".2f") for name in CURVES},
            "random weights: correlation": with_interval(own["correlation"], seed, "+.2f"),
            "random weights: hit %": f"{100 * own['random_hit'].mean():.1f}",
            "seconds an item": f"{seconds[chosen.place.source]:.2f}",
        }
    lines["the region itself"] = dict.fromkeys(lines[group], "-") | {
        "chosen map": "no map of the model",
        **{name: with_interval(of.get_group(TRUTH)[name], seed, ".2f") for name in CURVES},
    }
    areas = of[list(CURVES)].mean().drop(TRUTH)
    ends = areas["deletion"].idxmin(), areas["insertion"].idxmax()
    small, large = (cam_choice.place_name(Place(*end)) for end in ends)
    chance = 100 * every.groupby("item")[["hit_chance", "mass_chance"]].first().mean()
    return Table(
        report.table(lines, "", "map").data,
        f"Every map of {model} on the same items. Peak and mass on {every['item'].nunique()} test "
        f"items (a random token hits {chance['hit_chance']:.1f} %, an even map has "
        f"{chance['mass_chance']:.1f} % of its mass inside); changed images and random weights on "
        f"{changed['item'].nunique()} of them. Smallest area of deletion: {small}; largest of "
        f"insertion: {large}. 95 % intervals",
    )


def rival_table(choices, paper_model, model, seed):
    """Set the paper's words on its maps beside the hit rate of every group's best map."""

    def line(groups, group):
        gain = 100 * difference_estimate(groups[group].scores - groups["attention"].scores, seed)
        return {
            f"paper, {paper_model}": SAID.get(group, "-"),
            f"ours, {paper_model} on the benchmarks": NOT_RUN,
            f"ours, {model}: map": groups[group].name,
            "test %": f"{groups[group].estimate:.1f}",
            "less attention, points": "the rival" if group == "attention" else f"{gain:+.1f}",
        }

    cam, paper, attention = (choices[cam_choice.ALL_TASKS][name].estimate for name in PAPER_GROUPS)
    return report.table(
        cam_choice.choice_lines(choices, PAPER_GROUPS, line),
        f"On all tasks together the best CAM points at the answer's region on {cam.value:.1f} % of "
        f"{cam.n_items} test items, the best of the paper's site on {paper.value:.1f} %, attention "
        f"on {attention.value:.1f} %. Maps are chosen on calibration items; 95 % intervals",
        comparison=True,
    )
