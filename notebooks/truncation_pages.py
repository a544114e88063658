"""What the pages on truncation draw: curves with their cliffs, controls, metrics by cut."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns

from infoflow import report
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.report import COLOURS, SCORE_NAMES, TASK_TITLES, Line, percent
from infoflow.stats.cliff import Cliff, cliff_layer
from infoflow.stats.intervals import mean_estimate


def metrics_by_cut(task, rows):
    """The benchmark's own metrics (:meth:`infoflow.data.task.Task.summary`), a row a cut."""
    summaries = {cut: task.summary(of_cut) for cut, of_cut in rows.groupby("cut")}
    return pd.DataFrame.from_dict(summaries, orient="index").rename_axis("cut")


def cliff_curves(means, cliffs, ylabel, ylim, foot):
    """Plot means by task over cuts, with bands and, at a height of their own, the cliffs."""
    table = pd.concat({"mean": pd.concat(means, names=["task", "cut"])}, axis=1)
    last = int(table.index.get_level_values("cut").max())
    figure, panels = report.layer_curves(
        table,
        {"mean": Line("-o", COLOURS["ours"])},
        ylabel,
        below="cut: layers that see the image",
        ylim=ylim,
        n_layers=last,
    )
    red = COLOURS["cliff"]
    for task, axes in panels.items():
        cliff, to_left = cliffs[task], cliffs[task].cut >= last / 2
        axes.axhline(means[task]["mean"].iloc[-1], color=COLOURS["baseline"], linewidth=0.8)
        axes.axvline(cliff.cut, color=red, linewidth=1.4)
        axes.plot(cliff.interval, (foot, foot), "-|", color=red, markersize=9)
        place = (cliff.interval[0] - 0.3, "right") if to_left else (cliff.interval[1] + 0.3, "left")
        label = {"ha": place[1], "va": "center", "color": red, "fontsize": 9}
        axes.text(place[0], foot, f"{cliff}", **label)
    return figure, panels, table["mean"]


_DASHES = {"--": "dashed", "-.": "dash-dotted"}


def score_plot(scores, cliffs, guesses, model, runs):
    """Plot the mean score at every cut (the paper's Figure 5); scores of shape (M, L + 1).

    `runs` has the evidence of the recipe's other seeds, by name.
    """
    means = {task: pd.DataFrame({"mean": 100 * x.mean(axis=0)}) for task, x in scores.items()}
    figure, panels, table = cliff_curves(
        means, cliffs, "mean score (%)", (-22 - 6 * len(runs), 108), -12
    )
    grey = COLOURS["baseline"]
    for task, axes in panels.items():
        cliff, guess, last = cliffs[task], 100 * guesses[task], means[task].index[-1]
        ends = (100 * (cliff.baseline.value + sign * cliff.margin) for sign in (-1, 1))
        axes.axhspan(*ends, color=grey, alpha=0.25, linewidth=0)
        axes.axhline(guess, linestyle=":", color=grey, linewidth=1.4)
        axes.text(last, guess + 2, "blind guess", ha="right", color="#595959", fontsize=9)
        hollow = {"color": COLOURS["paper"], "ms": 8, "mfc": "none", "mew": 1.8}
        axes.plot(cliff.best, 100 * cliff.best_score, "D", **hollow)
        for foot, (one, style) in enumerate(zip(runs.values(), cycle(_DASHES)), start=1):
            thin = {"color": COLOURS["control"], "linewidth": 0.9}
            axes.plot(100 * scores_by_cut(one.cuts[task]).mean(axis=0), style, **thin)
            axes.plot(one.cliffs[task].interval, [-14 - 6 * foot] * 2, "-|", **thin)
        axes.set_title(f"{TASK_TITLES[task]}: {SCORE_NAMES[task]}")
        axes.set_yticks(range(0, 101, 20))
    one = next(iter(cliffs.values()))
    words = report.by_task(
        cliffs,
        lambda task: (
            f"{cliffs[task]}, {percent(cliffs[task].score.value)} against "
            f"{percent(cliffs[task].baseline.value)} intact"
        ),
    )
    cuts = report.by_task(cliffs, lambda task: str(cliffs[task]))
    thin = [f"{name} ({dash})" for name, dash in zip(runs, cycle(_DASHES.values()))]
    others = (
        f" Thin: the same recipe with {report.listed(thin)}; brackets below, in this order: the "
        "intervals of their cliffs."
    )
    return report.Plot(
        figure,
        f"Mean score by cut, with the cliff of each task: {words}.",
        f"The image is needed up to the cliff (vertical line; bracket: its 95 % interval): {cuts}. "
        f"Mean score of {model} when only the first layers see the image, as many as the cut says; "
        f"{one.n_test} test items a task, cliffs chosen on {one.n_calibration} others. Grey band: "
        "within the margin of the intact score. Diamond: the paper's reading, the best cut on the "
        f"test items themselves. Dotted: the best guess without the image.{others if runs else ''}",
        table,
    )


def margin_plot(scores, margin, model):
    """Plot the cliff over the margin: what another threshold would have found."""
    margins = np.linspace(0, 0.2, 201)
    means = {task: np.mean(of_task, axis=0, keepdims=True) for task, of_task in scores.items()}
    cuts = {
        task: [cliff_layer(mean, margin=m, n_resamples=1).cut for m in margins]
        for task, mean in means.items()
    }
    figure, panels = report.panels(cuts, height=2.1)
    for task, axes in panels.items():
        axes.step(100 * margins, cuts[task], where="post", color=COLOURS["cliff"])
        axes.axvline(100 * margin, color=COLOURS["baseline"], linestyle=":", linewidth=1.4)
        axes.set_ylim(-0.5, scores[task].shape[1] - 0.5)
        axes.set_ylabel("cliff (cut)")
    figure.supxlabel("margin (points)", fontsize=10)
    shown = pd.DataFrame(cuts, index=pd.Index((100 * margins).round(1), name="margin"))
    words = report.by_task(
        cuts, lambda task: ", ".join(f"{shown[task][m]} with {m:g}" for m in (1.0, 5.0, 10.0))
    )
    n_items = len(next(iter(scores.values())))
    return report.Plot(
        figure,
        f"The cliff by margin in points. {words}.",
        f"The cliff as a function of the margin, on {n_items} calibration items a task: {model}. "
        f"Dotted: the margin of this page, {100 * margin:g} points. Cuts by margin: {words}.",
        shown.iloc[::5],
    )


def order_words(cliffs, by_score):
    """Where the cliff of the log-probability lies against the score's, task by task."""
    orders = {task: np.sign(cliff.cut - by_score[task].cut) for task, cliff in cliffs.items()}
    names = {"deeper": 1, "shallower": -1, "the same": 0}
    parts = [
        f"{name} in {report.listed_tasks(orders, lambda task, sign=sign: orders[task] == sign)}"
        for name, sign in names.items()
        if sign in orders.values()
    ]
    return f"Against the score's, the cliff of the log-probability is {'; '.join(parts)}."


def log_prob_plot(log_probs, cliffs, by_score, model):
    """Plot how probable the reference is at every cut; nats per token, shape (M, L + 1)."""
    means = {
        task: pd.DataFrame([mean_estimate(x) for x in of_task.T]).rename(columns={"value": "mean"})
        for task, of_task in log_probs.items()
    }
    lowest = min(part["low"].min() for part in means.values())
    ylabel = "log-probability of the reference (nats per token)"
    ylim, foot = (1.25 * lowest, -0.06 * lowest), 1.15 * lowest
    figure, panels, table = cliff_curves(means, cliffs, ylabel, ylim, foot)
    for task, axes in panels.items():
        axes.axvline(by_score[task].cut, color=COLOURS["baseline"], linestyle=":", linewidth=1.4)
    ends = {task: part["mean"].iloc[[0, -1]] for task, part in means.items()}
    words = report.by_task(
        means,
        lambda task: (
            "{:.2f} without the image, {:.2f} intact, ".format(*ends[task]) + str(cliffs[task])
        ),
    )
    return report.Plot(
        figure,
        f"Mean log-probability per token by cut: {words}.",
        "Mean log-probability of the reference answer at every cut, read in, not decoded: "
        f"{model}, {next(iter(cliffs.values())).n_test} test items a task. Band: 95 % interval of "
        "the mean. Red line: cliff of the log-probability; dotted: cliff of the score. "
        f"{order_words(cliffs, by_score)}",
        table,
    )


def curves_by_model(evidence):
    """Plot every model's mean score over the share of its layers that see the image."""
    tasks = list(next(iter(evidence.values())).cliffs)
    figure, panels = report.panels(tasks, height=3.0)
    colours, table = sns.color_palette("colorblind", len(evidence)).as_hex(), {}
    for (model, e), colour, marker in zip(evidence.items(), colours, cycle("osD^vPX*")):
        line = {"color": colour, "marker": marker}
        for task, axes in panels.items():
            means = 100 * scores_by_cut(e.cuts[task]).mean(axis=0)
            cut = e.cliffs[task].cut
            axes.plot(np.linspace(0, 1, len(means)), means, ms=3.5, lw=1.2, label=model, **line)
            axes.plot(cut / e.n_layers, means[cut], ms=10, mew=1.6, mfc="none", **line)
            axes.set(xlabel="share of the layers that see the image", ylim=(-4, 108))
            axes.set_ylabel(f"{SCORE_NAMES[task]} (%)")
            axes.tick_params(labelleft=True)
            table[task, model] = pd.Series(means)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    words = report.by_task(
        tasks,
        lambda task: report.listed(
            [f"{model} {e.cliffs[task].cut} of {e.n_layers}" for model, e in evidence.items()]
        ),
    )
    ends = report.by_task(tasks, lambda task: _first_and_last(evidence, task))
    first = next(iter(evidence.values())).cliffs[tasks[0]]
    return report.Plot(
        figure,
        f"Mean score by depth, a line a model. Cliffs, as cuts: {words}.",
        f"Mean score of {report.listed(list(evidence))} on {first.n_test} test items a task, "
        "against the share of their layers that see the image. Hollow mark: the cliff, chosen on "
        f"{first.n_calibration} calibration items. The first and the last: {ends}.",
        pd.concat(table, names=["task", "model", "cut"]).to_frame("score"),
    )


def _first_and_last(evidence, task):
    depths = pd.Series({model: e.cliffs[task].cut / e.n_layers for model, e in evidence.items()})
    if depths.nunique() == 1:
        return f"{depths.iloc[0]:.2f} (all)"
    ends = (f"{depths[model]:.2f} ({model})" for model in (depths.idxmin(), depths.idxmax()))
    return " to ".join(ends)


def control_table(rows, swapped, ordinary, guesses):
    """Scores with another image and without, and how often cut L differs from no truncation."""
    lines = {}
    for task, frame in rows.items():
        by_cut = frame.groupby("cut")["score"].mean()
        intact = frame[frame["cut"] == by_cut.index[-1]].set_index("item")["text"]
        plain = ordinary[task].set_index("item")["text"]
        differ = (intact[plain.index] != plain).sum()
        lines[TASK_TITLES[task]] = {
            "own image %": f"{100 * by_cut.iloc[-1]:.1f}",
            "another's image %": f"{100 * swapped[task]['score'].mean():.1f}",
            "no image (cut 0) %": f"{100 * by_cut.iloc[0]:.1f}",
            "best blind guess %": f"{100 * guesses[task]:.1f}",
            "cut L unlike untouched model": f"{differ} of {len(plain)}",
        }
    return report.table(lines, "Controls: what the score is without the right image")


def metrics_table(metrics, columns, title):
    """Chosen metrics of one task by cut, in percent."""
    shown = (100 * metrics[columns]).map("{:.1f}".format)
    shown.insert(0, "paper's layer", [*map(str, metrics.index[:-1] + 1), "intact"])
    return report.Table(shown, title)


def cliff_paper_table(
    cliffs: Mapping[str, Cliff],
    n_layers: int,
    published: Sequence[Mapping[str, Any]],
    paper_model: str,
    model: str,
) -> report.Table:
    """The paper's cliff layers beside ours, in both counts."""
    lines = []
    for entry in published:
        if entry["model"] != paper_model or entry["task"] not in cliffs:
            continue
        ours = cliffs[entry["task"]]
        about = "about " if entry.get("approximate") else ""
        lines.append(
            {
                "task": report.TASK_TITLES[entry["task"]],
                f"paper, {paper_model}: layer": f"{about}{entry['layer']}",
                "paper: as cut": f"{about}{entry['layer'] - 1}",
                "paper: place": entry["place"],
                f"ours, {paper_model} on the benchmark": report.NOT_RUN,
                f"ours, {model} on Shapes": str(ours),
                "ours: as paper's layer": report.layer_name(ours.cut, n_layers),
            }
        )
    data = pd.DataFrame(lines).set_index("task")
    return report.Table(data, "Cliffs: the paper's beside ours", comparison=True)
