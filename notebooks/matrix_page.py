"""Drawings of the page on Figure 6: an attention matrix before and after truncation."""

import numpy as np
import pandas as pd
import torch
from matplotlib.colors import LogNorm

from infoflow import Truncate, intervene, report
from infoflow.methods.flow import attention_matrix
from infoflow.report import COLOURS, Line

FAINTEST = 1e-4  # smaller weights are drawn as dark as this one


def renormalised(matrix, hidden):
    """Take hidden tokens, boolean (S,), out of attention weights and scale each row to one.

    In the first truncated layer this is all that truncation does: a softmax over fewer scores is
    the same weights, scaled. Heads are scaled apart, so the mean over heads is not. Hidden tokens
    still attend to themselves, as in `infoflow.interventions`.
    """
    own = torch.eye(len(hidden), dtype=torch.bool, device=matrix.device)
    left = matrix.masked_fill(hidden & ~own, 0)
    return left / left.sum(-1, keepdim=True)


def drift_by_layer(lvlm, prompt, cut):
    """Measure how far truncation is from mere renormalisation, in each truncated layer: (L - cut,).

    It is the total variation distance (0: the same, 1: disjoint) between the truncated model's
    attention and the intact model's, renormalised; mean over heads and the user's rows.
    """
    hidden = torch.zeros(len(prompt), dtype=torch.bool)
    hidden[prompt.spans.image] = True
    distances = []
    for layer in range(cut, lvlm.n_layers):
        by_hand = renormalised(attention_matrix(lvlm, prompt, layer), hidden)
        with intervene(lvlm, Truncate(cut)):
            truncated = attention_matrix(lvlm, prompt, layer)
        distances.append(((truncated - by_hand)[:, prompt.spans.user].abs().sum(-1) / 2).mean())
    return torch.tensor(distances)


def group_blocks(matrix, spans):
    """Average, over the tokens of each group, the shares they give to each: (S, S) to (3, 3).

    NaN for a group without tokens: some families begin with the image.
    """
    return torch.stack(
        [torch.stack([matrix[rows, columns].sum(-1).mean() for columns in spans]) for rows in spans]
    )


def group_shares(before, after, spans):
    """Percent of attention to each group of tokens, as "intact to truncated"."""
    both = []
    for weights in (before, after):
        answer = torch.stack([weights[-1, span].sum() for span in spans])
        both.append(100 * torch.vstack([answer, group_blocks(weights, spans)]))
    return pd.DataFrame(
        np.vectorize("{:.1f} to {:.1f}".format)(*both),
        index=pd.Index(["answer's row", *(f"{n} rows" for n in spans._fields)], name="who attends"),
        columns=[f"to {name}" for name in spans._fields],
    )


def matrix_pair(before, after, prompt, layer, model):
    """Show weights of shape (S, S), heads averaged, of the intact and of the truncated model."""
    image = prompt.spans.image
    gone = np.zeros(len(prompt), dtype=bool)  # image tokens that no later token attends to
    gone[image] = (after.tril(-1).sum(0) == 0)[image].numpy()
    out = gone[:, None] | gone
    later = ~np.tri(len(gone), dtype=bool)
    figure, (left, right) = report.figure(1, 2, height=4.2)
    for axes, title, weights, hidden in (
        (left, "intact model", before, np.zeros_like(out)),
        (right, "truncated", after, out),
    ):
        axes.imshow(np.where(hidden, 1.0, np.nan), cmap="gray", vmin=0, vmax=1.25)
        drawn = np.ma.masked_where(hidden | later, weights.clip(FAINTEST))
        shown = axes.imshow(drawn, cmap="magma", norm=LogNorm(FAINTEST, 1))
        centres = [(span.start + span.stop - 1) / 2 for span in prompt.spans]
        for span in prompt.spans[1:]:
            axes.axhline(span.start - 0.5, color=COLOURS["baseline"], linewidth=0.7)
            axes.axvline(span.start - 0.5, color=COLOURS["baseline"], linewidth=0.7)
        axes.set_xticks(centres, prompt.spans._fields)
        axes.set_yticks(centres, prompt.spans._fields, rotation=90, va="center")
        axes.set(title=title, xlabel="attended token", ylabel="attending token")
    bar = figure.colorbar(shown, ax=[left, right], location="bottom", shrink=0.6, aspect=30)
    bar.set_label("attention weight, mean over heads (log scale)")
    share, left_over = (100 * float(weights[-1, image].sum()) for weights in (before, after))
    question = next(iter(prompt.question.splitlines()), "")
    finding = (
        f"{gone.sum()} of {len(gone)} rows and columns vanish. The image's share of the last row, "
        f"which predicts the answer, goes from {share:.1f} % to {left_over:.1f} %"
    )
    return report.Plot(
        figure,
        f"Attention matrix of layer {layer}, before and after truncation. {finding}.",
        f"What every prompt token attends to in layer {layer} (the paper's count; cut {layer - 1} "
        f"is where it first sees no image): {model}, “{question}”. Lines bound the system, image "
        f"and user tokens; grey has been taken out. {finding}; what is left of every head's row is "
        "scaled to one. Weights above the diagonal are zero: no token attends to later ones.",
        group_shares(before, after, prompt.spans),
    )


def vanishing_plot(flow, rows, model):
    """Plot what truncation takes from the answer's attention beside what it costs, by cut."""
    parts = {}
    for task, frame in rows.items():
        share = 100 * flow[task].groupby("layer")["image"].mean()
        score = 100 * frame.groupby("cut")["score"].mean()
        lost = (score.iloc[-1] - score).iloc[:-1]
        parts[task] = pd.DataFrame({"attention": share.to_numpy(), "score": lost})
    table = pd.concat(parts, names=["task"])
    figure, _ = report.layer_curves(
        table,
        {"attention": Line("-o", COLOURS["image"]), "score": Line("--s", COLOURS["cliff"])},
        "% of attention, points of score",
        below="cut: layers that see the image",
        ylim=(min(-6, table.min().min() - 4), 104),
    )
    most = {task: part.loc[part["attention"].idxmax()] for task, part in parts.items()}
    finding = report.by_task(
        rows,
        lambda task: (
            f"{most[task]['attention']:.1f} % vanish at cut {most[task].name}, "
            f"which costs {most[task]['score']:.1f} points"
        ),
    )
    return report.Plot(
        figure,
        f"Attention that vanishes and score that is lost, by cut. {finding}.",
        "Taken from the row that predicts the answer in the first layer without the image (blue), "
        f"and from the mean score (red), by cut: {model}. The cut at which most attention "
        f"vanishes, and what it costs: {finding}.",
        table,
    )
