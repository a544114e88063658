"""What the page on roads draws: the change of an answer's probability with an edge blocked."""

import pandas as pd

from infoflow import report
from infoflow.evaluate.knockout import changes_by_layer
from infoflow.report import COLOURS, TASK_TITLES, Line
from infoflow.stats.intervals import Estimate, difference_estimate
from infoflow.stats.layers import depths

ROADS = {
    "image to question": Line("-", COLOURS["image"]),
    "image to last": Line("--", COLOURS["cliff"]),
    "question to last": Line("-.", COLOURS["user"]),
    "system to last": Line(":", COLOURS["system"]),
}
SAID = {"image to question": "through the question", "image to last": "directly to the last token"}
PARTS = {"object": Line("-", COLOURS["image"]), "background": Line("--", COLOURS["baseline"])}
UNITS = {"nats": "log-probability (nats a token)", "percent": "first token's probability (%)"}


def changes(rows, edges, unit, seed=0):
    """Estimate the mean change of every layer, a frame by task and edge of which there are rows."""
    found = {}
    for task, frame in rows.items():
        for edge in set(edges) & set(frame["edge"]):
            by_layer = changes_by_layer(frame, edge, unit).T
            found[task, edge] = pd.DataFrame([difference_estimate(x, seed) for x in by_layer])
    order = {task: place for place, task in enumerate(rows)}
    return dict(sorted(found.items(), key=lambda e: (order[e[0][0]], [*edges].index(e[0][1]))))


def tasks_of(table):
    return list(dict.fromkeys(task for task, _ in table))


def largest(part):
    """Find the layer, in the paper's count, around which most is lost, and the change there."""
    at = int(part["value"].idxmin())
    return at + 1, Estimate(**part.loc[at].to_dict())


def largest_words(part):
    layer, change = largest(part)
    return f"{change:z.2f} (layer {layer})"


def image_road(table, task):
    """The edge by which the image reaches the answer of a task: where blocking it loses more."""
    return min(SAID, key=lambda edge: table[task, edge]["value"].min())


def finding(table):
    """Say by which road the image reaches the answer, and of each task the largest losses."""
    roads = {task: image_road(table, task) for task in tasks_of(table)}
    named = [
        f"{words} in {report.listed_tasks(roads, lambda task, edge=edge: roads[task] == edge)}"
        for edge, words in SAID.items()
        if edge in roads.values()
    ]
    losses = report.by_task(
        roads, lambda task: ", ".join(f"{e} {largest_words(table[task, e])}" for e in SAID)
    )
    return f"The image reaches the answer {report.listed(named)}", losses


def draw(axes, lines):
    """Draw means with their bands: frames with their lines, by label."""
    axes.axhline(0, color=COLOURS["baseline"], linewidth=0.8)
    for label, (part, (style, colour)) in lines.items():
        axes.plot(part["value"], style, color=colour, label=label)
        axes.fill_between(part.index, part["low"], part["high"], color=colour, alpha=0.18, lw=0)
    report.count_layers(axes, len(part), len(part) - 1, below="layer, from 0 (= cut)")
    axes.tick_params(labelleft=True)


def road_plot(table, unit, cliffs, model, rows, window):
    """Plot the change by layer and edge, with bands; where cliffs are given, with these."""
    figure, panels = report.panels(rows, sharey=unit == "percent")
    for task, axes in panels.items():
        draw(axes, {e: (table[task, e], line) for e, line in ROADS.items() if (task, e) in table})
        if task in cliffs:
            dotted = {"color": "black", "linestyle": (0, (1, 2)), "linewidth": 1.2}
            axes.axvline(cliffs[task].cut - 0.5, label="cliff", **dotted)
    figure.supylabel(f"change of the {UNITS[unit]}", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncol=3)
    words, losses = finding(table)
    cut = report.by_task(cliffs, lambda task: str(cliffs[task]))
    beside = f" Dotted: the cliff; layers right of it need no image ({cut})." if cut else ""
    return report.Plot(
        figure,
        f"Change of the {UNITS[unit]} by layer, a line an edge. Largest: {losses}.",
        f"{words}. Change of the {UNITS[unit]} of the model's answer with one edge blocked in the "
        f"{window} layers around each: {model}, {report.counted(rows)}, mean with its 95 % "
        f"interval.{beside}",
        pd.concat(table, names=["task", "edge", "layer"]),
    )


def part_plot(parts, roads, model, rows):
    """Plot what tokens of the objects and of the background lose, on each task's own road."""
    figure, panels = report.panels(roads, sharey=False)
    words, more = [], 0
    for task, axes in panels.items():
        target = roads[task].removeprefix("image to ")
        edges = {name: f"{name} to {target}" for name in PARTS}
        draw(axes, {name: (parts[task, edge], PARTS[name]) for name, edge in edges.items()})
        axes.set_title(f"{TASK_TITLES[task]}: image to {target}")
        tokens = rows[task].groupby("edge")["n_sources"].mean()
        words.append(
            f"{TASK_TITLES[task]} "
            + ", ".join(
                f"{name} ({tokens[edge]:.1f} tokens) {largest_words(parts[task, edge])}"
                for name, edge in edges.items()
            )
        )
        least = [parts[task, edge]["value"].min() for edge in edges.values()]
        more += least[0] < least[1]
    figure.supylabel(f"change of the {UNITS['nats']}", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncol=2)
    return report.Plot(
        figure,
        f"Change of the log-probability by layer, object and background. {'; '.join(words)}.",
        "On the road that the task takes, the tokens of the objects asked about carry more than "
        f"all others in {more} of {len(roads)} tasks: {model}, items whose answer can be read from "
        f"a region, mean with its 95 % interval. Largest: {'; '.join(words)}.",
        pd.concat(parts, names=["task", "edge", "layer"]),
    )


def loss_table(nats, percent, model, window):
    """The largest loss by task and edge, in both units."""
    lines = []
    for task, edge in nats:
        (layer, change), (first, share) = (largest(t[task, edge]) for t in (nats, percent))
        lines.append(
            {
                "task": TASK_TITLES[task],
                "edge blocked": edge,
                "nats a token": f"{change:+z.2f}",
                "layer": layer,
                "first token's probability, %": f"{share:+z.1f}",
                "its layer": first,
            }
        )
    caption = f"Where blocking each edge loses most: {model}, windows of {window} layers"
    return report.table(lines, f"{caption} around the one named (paper's count), 95 % intervals")


def crossmodal_table(table, findings, model):
    """Set what the source of the method found beside what ours loses by third of the layers."""
    lines = {}
    for entry in findings:
        edge, losses = entry["edge"], []
        for task in tasks_of(table):
            if (task, edge) in table:
                means = table[task, edge]["value"]
                thirds = [means[d.first - 1 : d.last].mean() for d in depths(len(means))]
                losses.append(f"{TASK_TITLES[task]} {' | '.join(f'{x:z.2f}' for x in thirds)}")
        lines[edge] = {
            "paper, LLaVA series: layers": entry["layers"],
            "paper: what it says": entry["says"],
            f"ours, {model}": "; ".join(losses) or report.NOT_RUN,
        }
    names = " | ".join(depth.name for depth in depths(len(means)))
    caption = "The source of the method beside ours: mean change in nats a token around layers that"
    return report.table(lines, f"{caption} are {names}", "edge blocked", comparison=True)


def window_table(by_window, model):
    """Say of other windows by which road the image comes, and around which layer it loses most."""
    first = next(iter(by_window.values()))
    lines, same = {}, 0
    for task in tasks_of(first):
        roads = {window: image_road(table, task) for window, table in by_window.items()}
        same += len(set(roads.values())) == 1
        lines[TASK_TITLES[task]] = {
            f"window of {w}": f"{edge} {largest_words(by_window[w][task, edge])}"
            for w, edge in roads.items()
        }
    caption = f"The image's road is the same for all windows in {same} of {len(lines)} tasks"
    n_items = int(max(part["n_items"].max() for part in first.values()))
    return report.table(lines, f"{caption}: {model}, {n_items} items a task, nats a token")
