"""What the page on words draws: a caption's words by cut, true and false ones, and sinks."""

import math

import numpy as np
import pandas as pd

from infoflow import report
from infoflow.data.shapes.world import COLOURS as COLOUR_WORDS
from infoflow.report import COLOURS
from infoflow.stats.cliff import MARGIN, cliff_layer
from infoflow.stats.intervals import difference_estimate, mean_estimate

KINDS = {
    "object": ("-o", COLOURS["image"]),
    "colour": ("--s", COLOURS["user"]),
    "others": (":^", COLOURS["baseline"]),
}
"""Which words there are: the last word of an object's name, a colour before it, all others."""
TRUTHS = {True: ("-o", COLOURS["image"], "true"), False: ("--s", COLOURS["cliff"], "false")}


def kind_of(rows):
    """Say of every token which of the kinds it is."""
    names = pd.Series("others", rows.index)
    names[rows["text"].isin(COLOUR_WORDS)] = "colour"
    return names.where(rows["object"] == "", "object")


def mentions(rows):
    """Take the objects that captions name, each with its log-probability, colour included."""
    ordered = rows.sort_values(["item", "cut", "token"])
    before = ordered.groupby(["item", "cut"])
    named = before["text"].shift().isin(COLOUR_WORDS)
    colour = before["log_prob"].shift().where(named, 0.0)
    return ordered.assign(log_prob=ordered["log_prob"] + colour).query("object != ''")


def by_cut(rows, column="log_prob"):
    """Average a column over a caption's tokens: one row an item, one column a cut, (N, C)."""
    return rows.pivot_table(column, "item", "cut")


def draw(axes, table, style, colour, label):
    """Draw the mean over items of a table (N, C), with its 95 % interval; return the means."""
    found = pd.DataFrame({n: vars(mean_estimate(values.dropna())) for n, values in table.items()}).T
    axes.plot(found.index, found["value"], style, color=colour, label=label, markersize=4)
    axes.fill_between(found.index, found["low"], found["high"], color=colour, alpha=0.18, lw=0)
    return found["value"]


def caption_plot(captions, item, model):
    """Paint the probability of the words of one item's captions by cut; false ones are marked."""
    sheets, said = {}, {}
    for name, rows in captions.items():
        own = rows[rows["item"] == item].sort_values("token")
        false = ((own["object"] != "") & ~own["true"]).map({True: " (false)", False: ""})
        table = own.assign(word=own["text"] + false, p=100 * own["log_prob"].map(math.exp))
        sheet = table.pivot_table("p", ["token", "word"], "cut").droplevel("token")
        if len(sheet):
            sheets[name], said[name] = sheet, " ".join(sheet.index)
    if not sheets:
        return report.Words(f"Both captions of {item} are empty.")
    figure, panels = report.figure(1, len(sheets), height=3.6)
    for axes, (name, sheet) in zip(panels, sheets.items(), strict=True):
        heat = axes.imshow(sheet, cmap="cividis", vmin=0, vmax=100, aspect="auto")
        axes.set_yticks(range(len(sheet)), sheet.index, parse_math=False)
        report.count_layers(axes, sheet.shape[1] - 1, sheet.shape[1] - 1, below="cut")
        axes.set(title=name, xlim=(-0.5, sheet.shape[1] - 0.5))
    label = "probability of the word (%)"
    figure.colorbar(heat, ax=panels, location="bottom", shrink=0.6, aspect=30, label=label)
    words = "; ".join(map(": ".join, said.items()))
    return report.Plot(
        figure,
        f"Heat map of words by cut. {words}.",
        f"Probability of every word of two captions of {item} by cut: {model}. {words}.",
        pd.concat(sheets),
    )


def word_table(rows, n_layers):
    """Say for each kind of word what the image is worth, and from which cut on nothing more."""
    lines = {}
    for kind, own in rows.groupby(kind_of(rows)):
        scores = by_cut(own)
        gain = difference_estimate(scores[n_layers] - scores[0])
        cut = cliff_layer(scores.to_numpy(), margin=MARGIN, n_resamples=1).cut
        lines[kind] = {
            "words": len(own) // (n_layers + 1),
            "intact, nats": f"{scores[n_layers].mean():.2f}",
            "no image, nats": f"{scores[0].mean():.2f}",
            "the image is worth, nats": f"{gain:+.2f}",
            "cut from which no image is needed": cut,
            "as paper's layer": report.layer_name(cut, n_layers),
        }
    return lines


def word_plot(own, early, said_at, model):
    """Plot the log-probability of captions' words by cut: by kind, and true against false."""
    figure, (left, right) = report.figure(1, 2, height=3.7, sharey=True)
    n_layers = int(own["cut"].max())
    kinds = {
        kind: draw(left, by_cut(part), *KINDS[kind], kind)
        for kind, part in own.groupby(kind_of(own))
    }
    objects = mentions(early)
    truths = {
        truth: draw(right, by_cut(part), *TRUTHS[truth]) for truth, part in objects.groupby("true")
    }
    titles = ("captions of the intact model", f"captions said at cut {said_at}: objects")
    for axes, title in zip((left, right), titles, strict=True):
        report.count_layers(axes, n_layers, n_layers, below="cut")
        axes.set_title(title, fontsize=10)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=9, loc="lower left")
    right.axvline(said_at, color=COLOURS["baseline"], lw=1)
    left.set_ylabel("log-probability (nats)")
    fell = "; ".join(
        f"{TRUTHS[truth][2]} objects {line[said_at]:.2f} nats at cut {said_at}, "
        f"{line[n_layers]:.2f} intact"
        for truth, line in truths.items()
    )
    worth = ", ".join(f"{kind} {line[n_layers] - line[0]:+.2f}" for kind, line in kinds.items())
    return report.Plot(
        figure,
        f"Lines of log-probability by cut. Intact less no image: {worth}. {fell or 'no objects'}.",
        f"Left: what the image is worth to the words of the intact model's captions, in nats a "
        f"word: {worth}. Right: {fell or 'no caption names an object'}. {model}, "
        f"{own['item'].nunique()} test items; bands: 95 % intervals over captions. The vertical "
        "line is the cut under which the captions were said.",
        pd.DataFrame(kinds | {TRUTHS[truth][2]: line for truth, line in truths.items()}),
    )


def sink_plot(early, said_at, model):
    """Plot by layer how dense sinks are, and what share of a word's look goes to them."""
    rows = early.dropna(subset=["sunk"])
    figure, (left, right) = report.figure(1, 2, height=3.5)
    n_layers = int(rows["cut"].max()) + 1
    dense = draw(left, 100 * by_cut(rows, "dense"), "-o", COLOURS["ours"], "")
    objects = rows[rows["object"] != ""]
    sunk = {
        truth: draw(right, 100 * by_cut(part, "sunk"), *TRUTHS[truth])
        for truth, part in objects.groupby("true")
    }
    labels = ("image tokens that are sinks (%)", "look that goes to sinks (%)")
    for axes, label in zip((left, right), labels, strict=True):
        report.count_layers(axes, n_layers, n_layers - 1, below="layer, from 0 (= cut)")
        axes.set(ylabel=label, ylim=(0, 103))
    right.axvspan(said_at - 0.5, n_layers - 0.6, color="#e8e8e8", lw=0)
    if sunk:
        right.legend(fontsize=9, loc="lower left")
    means = ", ".join(
        f"{TRUTHS[truth][2]} {line[line.index < said_at].mean():.1f} %"
        for truth, line in sunk.items()
    )
    densest = f"Sinks are densest in the paper's layer {dense.idxmax() + 1} ({dense.max():.1f} %)"
    return report.Plot(
        figure,
        f"Sinks by layer. {densest}. Look that goes to sinks before objects' words: {means}.",
        f"{densest}. Before an object's word, in the layers that saw the image when it was said "
        f"(white), this part of the look at the image goes to sinks: {means or 'none named'}. "
        f"{model}, {early['item'].nunique()} captions said at cut {said_at}; bands: 95 % intervals",
        pd.DataFrame({"dense": dense} | {TRUTHS[t][2]: line for t, line in sunk.items()}),
    )


def shuffled_gap(early, said_at, seed):
    """Take the gap between false and true objects with the labels shuffled within captions."""
    objects = early[(early["object"] != "") & (early["cut"] < said_at)]
    by_word = objects.groupby(["item", "token"]).agg({"sunk": "mean", "true": "first"})
    rng = np.random.default_rng(seed)
    shuffled = by_word.groupby("item")["true"].transform(lambda truth: rng.permutation(truth))
    sunk = by_word.assign(true=shuffled).pivot_table("sunk", "item", "true").dropna()
    both = sunk.shape[1] == 2 and len(sunk)
    return difference_estimate(100 * (sunk[False] - sunk[True]), seed) if both else None


def false_counts(rows):
    """Count mentions, and those that are false, in captions said under every cut."""
    counts = rows.groupby("cut")[["mentions", "hallucinated"]].sum()
    share = 100 * counts["hallucinated"] / counts["mentions"].clip(lower=1)
    named = {"mentions": "objects named", "hallucinated": "of them false"}
    return counts.rename(columns=named).assign(**{"false %": share.map("{:.1f}".format)})


def word_lead(own, early, said_at):
    """Say in a sentence or two what the image is worth to words, and to true and false objects."""
    n_layers = int(own["cut"].max())
    named = by_cut(own[kind_of(own) != "others"])
    sentences = []
    if len(named):
        worth = (named[n_layers] - named[0]).mean()
        sentences.append(f"The image is worth {worth:.1f} nats to a word of an object's name.")
    gone = {truth: by_cut(part).mean() for truth, part in mentions(early).groupby("true")}
    if set(gone) == {True, False}:
        change = {truth: line[n_layers] - line[said_at] for truth, line in gone.items()}
        sentences.append(
            f"Of objects said while only the first {said_at} layers saw the image, the layers "
            f"behind change the log-probability of false ones by {change[False]:+.1f} nats, of "
            f"true ones by {change[True]:+.1f}."
        )
    return " ".join(sentences)
