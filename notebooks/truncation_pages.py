"""What the pages on truncation draw: curves with their cliffs, controls, metrics by cut."""

from itertools import cycle

import numpy as np
import pandas as pd
import seaborn as sns

from infoflow import report
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.report import COLOURS, SCORE_NAMES, TASK_TITLES, Line, percent
from infoflow.stats.intervals import mean_estimate


def cliff_words(cliff):
    return f"{cliff.cut} [{cliff.interval[0]}, {cliff.interval[1]}]"


def cliff_curves(means, cliffs, ylabel, ylim, foot):
    """Plot means by task over cuts, their bands and, at a height where no curve runs, the cliffs."""
    table = pd.concat(means, names=["task", "cut"])
    last = int(table.index.get_level_values("cut").max())
    lines = {"mean": Line("-o", COLOURS["ours"])}
    columns = pd.concat({"mean": table}, axis=1)
    below = "cut: layers that see the image"
    figure, panels = report.layer_curves(
        columns, lines, ylabel, below=below, ylim=ylim, n_layers=last
    )
    for task, axes in panels.items():
        cliff, left = cliffs[task], cliffs[task].cut >= last / 2
        axes.axhline(table["mean"][task, last], color=COLOURS["baseline"], linewidth=0.8)
        axes.axvline(cliff.cut, color=COLOURS["cliff"], linewidth=1.4)
        axes.plot(cliff.interval, (foot, foot), "-|", color=COLOURS["cliff"], markersize=9)
        axes.annotate(
            f"cliff {cliff_words(cliff)}",
            (cliff.interval[0 if left else 1], foot),
            xytext=(-6 if left else 6, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            color=COLOURS["cliff"],
            fontsize=9,
        )
    return figure, panels, table


def score_plot(scores, cliffs, guesses, model):
    """Plot the mean score at every cut (the paper's Figure 5); scores of shape (M, L + 1)."""
    means = {task: pd.DataFrame({"mean": 100 * x.mean(axis=0)}) for task, x in scores.items()}
    figure, panels, table = cliff_curves(means, cliffs, "mean score (%)", (-22, 108), -12)
    for task, axes in panels.items():
        cliff, last = cliffs[task], scores[task].shape[1] - 1
        intact, margin, guess = (100 * x for x in (cliff.baseline, cliff.margin, guesses[task]))
        band = {"color": COLOURS["baseline"], "alpha": 0.25, "linewidth": 0}
        axes.axhspan(intact - margin, intact + margin, **band)
        axes.axhline(guess, linestyle=":", color=COLOURS["baseline"], linewidth=1.4)
        axes.text(last, guess + 2, "blind guess", ha="right", color="#595959", fontsize=9)
        hollow = {"markersize": 8, "markerfacecolor": "none", "markeredgewidth": 1.8}
        axes.plot(cliff.best, 100 * cliff.best_score, "D", color=COLOURS["paper"], **hollow)
        axes.set_title(f"{TASK_TITLES[task]}: {SCORE_NAMES[task]}")
        axes.set_yticks(range(0, 101, 20))
    one = next(iter(cliffs.values()))
    words = report.by_task(
        cliffs,
        lambda task: f"cut {cliff_words(cliffs[task])}, {percent(cliffs[task].score)} against "
        f"{percent(cliffs[task].baseline)} intact",
    )
    return report.Plot(
        figure,
        f"Mean score by cut, with the cliff of each task: {words}.",
        f"Mean score on the test split ({one.n_test} items a task) when the image is removed from "
        f"every layer above the cut: {model}. Grey band: the intact score give or take the margin. "
        "Red line and bracket: the cliff and its 95 % interval, chosen on "
        f"{one.n_calibration} calibration items. Orange diamond: the paper's reading, the best cut "
        "on the test items themselves. Dotted: the best guess without the picture. Upper axis: the "
        "paper's layer, cut + 1.",
        table,
    )


def order_words(cliffs, by_score):
    """Where the cliff of the log-probability lies against the score's, task by task."""
    orders = {task: np.sign(cliff.cut - by_score[task].cut) for task, cliff in cliffs.items()}
    parts = [
        f"{name} in {report.listed_tasks(orders, lambda task, sign=sign: orders[task] == sign)}"
        for name, sign in (("deeper", 1), ("shallower", -1), ("the same", 0))
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
    ylabel, ylim = "log-probability of the reference (nats per token)", (1.25 * lowest, -0.06 * lowest)
    figure, panels, table = cliff_curves(means, cliffs, ylabel, ylim, 1.15 * lowest)
    for task, axes in panels.items():
        axes.axvline(by_score[task].cut, color=COLOURS["baseline"], linestyle=":", linewidth=1.4)
    words = report.by_task(
        means,
        lambda task: f"{means[task]['mean'].iloc[0]:.2f} without the image, "
        f"{means[task]['mean'].iloc[-1]:.2f} intact, cliff {cliffs[task].cut}",
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
    table = pd.concat(
        {
            (task, name): pd.DataFrame(
                {
                    "depth": np.arange(e.n_layers + 1) / e.n_layers,
                    "score": 100 * scores_by_cut(rows).mean(axis=0),
                }
            )
            for name, e in evidence.items()
            for task, rows in e.cuts.items()
        },
        names=["task", "model", "cut"],
    )
    figure, panels = report.panels(table.index.unique("task"), height=3.0)
    colours = sns.color_palette("colorblind", len(evidence)).as_hex()
    for task, axes in panels.items():
        for (name, e), colour, marker in zip(evidence.items(), colours, cycle("osD^vPX*")):
            curve = table.loc[task, name]
            cliff = curve.loc[e.cliffs[task].cut]
            line = {"color": colour, "marker": marker}
            axes.plot(curve["depth"], curve["score"], ms=3.5, lw=1.2, label=name, **line)
            axes.plot(*cliff[["depth", "score"]], ms=10, mew=1.6, mfc="none", **line)
        axes.set(xlabel="share of the layers that see the image", ylim=(-4, 108))
        axes.set_ylabel(f"{SCORE_NAMES[task]} (%)")
        axes.tick_params(labelleft=True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    depths = {t: [e.cliffs[t].cut / e.n_layers for e in evidence.values()] for t in panels}
    spans = [f"{TASK_TITLES[t]} {min(d):.2f} to {max(d):.2f}" for t, d in depths.items()]
    cuts = {
        t: ", ".join(f"{name} {e.cliffs[t].cut} of {e.n_layers}" for name, e in evidence.items())
        for t in panels
    }
    first = next(iter(next(iter(evidence.values())).cliffs.values()))
    return report.Plot(
        figure,
        "Mean score by depth, a line a model. Cliffs, as cuts: "
        f"{'; '.join(f'{TASK_TITLES[t]}: {words}' for t, words in cuts.items())}.",
        f"Mean score of {report.listed(list(evidence))} on {first.n_test} test items a task, "
        "against the share of their layers that see the image. Hollow mark: the cliff, chosen on "
        f"{first.n_calibration} calibration items. The cliffs lie at these depths: "
        f"{report.listed(spans)}.",
        table,
    )


def control_table(rows, swapped, ordinary, guesses):
    """Scores with another picture, with none, and answers that differ from the untouched model's."""
    lines = {}
    for task, frame in rows.items():
        by_cut = frame.groupby("cut")["score"].mean()
        intact = frame[frame["cut"] == by_cut.index[-1]].set_index("item")["text"]
        plain = ordinary[task].set_index("item")["text"]
        differ = (intact[plain.index] != plain).sum()
        lines[TASK_TITLES[task]] = {
            "own picture %": f"{100 * by_cut.iloc[-1]:.1f}",
            "another's picture %": f"{100 * swapped[task]['score'].mean():.1f}",
            "no picture (cut 0) %": f"{100 * by_cut.iloc[0]:.1f}",
            "best blind guess %": f"{100 * guesses[task]:.1f}",
            "cut L unlike untouched model": f"{differ} of {len(plain)}",
        }
    return report.table(lines, "Controls: what the score is without the right picture")


def metrics_table(metrics, columns, title):
    """Chosen metrics of one task by cut, in percent."""
    shown = (100 * metrics[columns]).map("{:.1f}".format)
    shown.insert(0, "paper's layer", [*map(str, metrics.index[:-1] + 1), "intact"])
    return report.Table(shown, title)
