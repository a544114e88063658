"""What the page on frozen image tokens draws: maps, similarity by layer, frozen against hidden."""

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr
from words_page import draw

from infoflow import attention_flow, report, truncated_log_probs
from infoflow.evaluate.truncation import log_probs_per_token
from infoflow.interventions.hiding import similarity
from infoflow.report import COLOURS, TASK_TITLES
from infoflow.stats.intervals import difference_estimate
from infoflow.stats.layers import depths


def ranked_maps(lvlm, prompt, sample, layers):
    """Map one image's tokens by similarity to the question, and by attention in some layers."""
    embeds, spans = prompt.inputs_embeds[0].detach().cpu(), prompt.spans
    similar = similarity(embeds[spans.image], embeds[spans.user], "cosine").amax(1)
    attention = attention_flow(lvlm, prompt).rows.mean(1)[:, spans.image]
    maps = {"similarity": similar} | {f"attention, layer {n}": attention[n - 1] for n in layers}
    ranks = {name: rankdata(of) / len(similar) for name, of in maps.items()}
    alike = {n: spearmanr(of, similar).statistic for n, of in maps.items() if n != "similarity"}
    words = ", ".join(f"{name} {value:+.2f}" for name, value in alike.items())
    return report.Plot(
        report.map_sheet(
            ranks, prompt, sample, "rank among the image tokens (1: first)", vmin=0, vmax=1
        ),
        f"The image, and its tokens ranked. Correlation with similarity: {words}.",
        f"Image tokens of {sample.id} ranked by similarity to the question and by the attention of "
        f"the answer (paper's count of layers): {lvlm.name}. Rank correlation with similarity: "
        f"{words}.",
        pd.DataFrame(ranks).rename_axis("token"),
    )


def similarity_plot(rows, model):
    """Plot by layer the rank correlation of similarity with attention and with the gradient."""
    figure, panels = report.panels(rows)
    means = {}
    for task, axes in panels.items():
        for name, colour, style in (("attention", "image", "-o"), ("gradient", "user", "--s")):
            table = rows[task].pivot(index="item", columns="layer", values=name)
            table.columns -= 1
            means[task, name] = draw(
                axes, table.dropna(axis=1, how="all"), style, COLOURS[colour], name
            )
        axes.axhline(0, color=COLOURS["baseline"], lw=1)
        axes.set_ylim(-0.75, 0.75)
        n_layers = int(rows[task]["layer"].max())
        report.count_layers(axes, n_layers, n_layers - 1, below="layer, from 0 (= cut)")
    figure.supylabel("rank correlation with similarity to the text", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncol=2)
    words = report.by_task(
        rows,
        lambda task: ", ".join(f"{n} {m.mean():+.2f}" for (t, n), m in means.items() if t == task),
    )
    return report.Plot(
        figure,
        f"Rank correlations by layer. Means over layers: {words}.",
        "Are image tokens that are similar to the question read more? Mean over layers of the rank "
        f"correlation with similarity: {words}. {model}, {report.counted(rows)}; bands: 95 % "
        "intervals over items.",
        pd.DataFrame(means),
    )


def frozen_plot(frozen, hidden, model, n_layers):
    """Plot the reference answer's log-probability: image tokens frozen, against hidden."""
    lowest = 0.0
    figure, panels = report.panels(frozen)
    ways = (("frozen", frozen, "-o", "image"), ("hidden", hidden, "--s", "cliff"))
    means = {}
    for task, axes in panels.items():
        for name, rows, style, colour in ways:
            scores = pd.DataFrame(log_probs_per_token(rows[task]))
            means[task, name] = draw(axes, scores, style, COLOURS[colour], name)
            lowest = min(lowest, means[task, name].min())
        report.count_layers(axes, n_layers, n_layers, below="cut")
        axes.set_ylim(1.1 * lowest, 0.3)
    figure.supylabel("log-probability of the reference, nats a token", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncol=2)

    def lost(task):
        of = {name: means[task, name] for name, *_ in ways}
        return ", ".join(f"{name} {line[n_layers] - line[0]:.2f}" for name, line in of.items())

    words = report.by_task(frozen, lost)
    return report.Plot(
        figure,
        f"Log-probability by cut, frozen and hidden. Lost at cut 0: {words} nats a token.",
        "What the answer loses, in nats a token, if no layer ever changes the image tokens "
        f"(frozen at cut 0), against no layer seeing them (hidden at cut 0): {words}. {model}, "
        f"{report.counted(frozen)}; bands: 95 % intervals over items.",
        pd.DataFrame(means).rename_axis("cut"),
    )


def largest_gap(frozen, hidden):
    """How far log-probabilities with nothing frozen are from the intact ones, at most."""
    ends = ([log_probs_per_token(of[task])[:, -1] for of in (frozen, hidden)] for task in frozen)
    return max(abs(one - other).max() for one, other in ends)


def swapped_loss(lvlm, task, n_items):
    """What reference answers lose, in nats, to the image tokens of the next item's image."""
    lost = []
    for place in range(n_items):
        own, other = task[place], task[(place + 1) % len(task)]
        prompts = [lvlm.prompt(image, own.question) for image in (own.image, other.image)]
        cuts = [lvlm.n_layers]
        intact, swapped = (truncated_log_probs(lvlm, p, own.answer, cuts=cuts) for p in prompts)
        lost.append(float(intact - swapped))
    return np.mean(lost)


def cost_table(frozen, hidden, model, n_layers):
    """Say what freezing and hiding cost from the start and behind the first third of the layers."""
    third = depths(n_layers)[0].last
    lines = {}
    for task, rows in frozen.items():
        line = {}
        for name, of in (("frozen", rows), ("hidden", hidden[task])):
            scores = log_probs_per_token(of)
            for cut in (0, third):
                lost = difference_estimate(scores[:, -1] - scores[:, cut])
                line[f"{name} at cut {cut}"] = f"{lost:.3f}"
        lines[TASK_TITLES[task]] = line
    return report.table(
        lines,
        f"What the reference answer loses to frozen and to hidden image tokens, in nats a token: "
        f"{model}, {report.counted(frozen)}, 95 % intervals",
    )


def frozen_lead(frozen, hidden, n_layers):
    """Say in a sentence what freezing from the start costs, against hiding."""
    words = []
    for rows in (frozen, hidden):
        scores = [log_probs_per_token(of_task) for of_task in rows.values()]
        lost = [(of_task[:, -1] - of_task[:, 0]).mean() for of_task in scores]
        words.append(f"{min(lost):.2f} to {max(lost):.2f}")
    kept, gone = words
    return (
        f"Image tokens that no layer of {n_layers} ever changes cost the answer {kept} nats a "
        f"token, by task; image tokens that no layer sees cost {gone}."
    )
