"""What the pages on attention flow share: arcs from the prompt to the answer, and head counts."""

from collections.abc import Sequence
from textwrap import shorten

import numpy as np
import pandas as pd
from matplotlib.colors import PowerNorm
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from infoflow import report
from infoflow.data.sample import Sample
from infoflow.evaluate.flow import SPANS
from infoflow.evaluate.truncation import scores_by_cut
from infoflow.methods.flow import AttentionFlow, reduce_heads
from infoflow.methods.localisation import target_mask
from infoflow.models.prompt import Prompt
from infoflow.stats.layers import depths
from infoflow.stats.paired import equivalence

BUNDLES = 32
"""Most arcs of one token group; adjacent tokens share an arc where there are more tokens."""
POINTS = 22.0
"""Width of an arc that carries all of the attention, in points."""

_END, _ANSWER, _BLOCK = 0.86, 0.95, 0.12
_LANDINGS = {"system": 0.018, "image": 0.0, "user": -0.018}
"""Where a group's arcs end on the answer's block: side by side, the longest arc outside."""


def heads_for_half(shares):
    """The smallest number of heads that together hold half of the image's attention."""
    held = np.sort(shares, axis=None)[::-1].cumsum()
    # rounding must not make one head more of two equal halves
    return int(np.argmax(held >= held[-1] / 2 * (1 - 1e-9))) + 1


def arc_panel(axes, blocks, arcs, left, right="", apart=0.19):
    """Draw a prompt's token groups and arcs from them to the answer, as wide as their weight.

    `blocks` says by group where it begins and ends, `arcs` where each arc begins and its share of
    the attention; places go from 0 to 1. Labels below keep `apart`, a share of the panel's width.
    """
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.42, 1.0))
    axes.axis("off")
    axes.set_title(left, loc="left", fontsize=9.5, weight="bold", pad=3)
    axes.set_title(right, loc="right", fontsize=9, weight="normal", pad=3, parse_math=False)
    black = "#222222"
    axes.add_patch(Rectangle((_ANSWER - 0.035, 0), 0.07, _BLOCK, facecolor=black))
    labels = [(_ANSWER, "answer", black)]
    for group, (start, stop) in reversed(blocks.items()):
        colour, width = report.COLOURS[group], (stop - start) * _END
        axes.add_patch(Rectangle((start * _END, 0), width, _BLOCK, fc=colour, ec="white"))
        share = report.percent(sum(weight for _, weight in arcs[group]))
        # labels move to the left where they would overlap the next one
        place = min((start + stop) / 2 * _END, labels[-1][0] - apart)
        labels.append((place, f"{group}\n{share}", colour))
        for begin, weight in arcs[group]:
            _arc(axes, begin * _END, _ANSWER + _LANDINGS[group], POINTS * weight, colour)
    shift = max(0.0, 0.06 - labels[-1][0])
    for i, (place, text, colour) in enumerate(labels):
        x = place + shift * (i + 1) / len(labels)
        style = {"fontsize": 8.5, "color": colour, "linespacing": 1.05}
        axes.text(x, -0.04, text, ha="center", va="top", **style)


def _arc(axes, left, right, width, colour):
    height = _BLOCK + 1.05 * (right - left) ** 0.5
    corners = [(left, _BLOCK), (left, height), (right, height), (right, _BLOCK)]
    curve = Path(corners, [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    style = {"linewidth": width, "alpha": 0.8, "capstyle": "butt"}
    axes.add_patch(PathPatch(curve, facecolor="none", edgecolor=colour, **style))


def item_arcs(flow, prompt, texts, model):
    """Draw what one answer attends to, token by token, at three depths (the paper's Figure 1).

    `texts` holds the model's answer by cut: at the first cut of each depth, and intact (cut L).
    """
    profile, size = reduce_heads(flow.rows).numpy(), len(prompt)
    spans, thirds = prompt.spans._asdict(), depths(len(profile))
    blocks = {name: (span.start / size, span.stop / size) for name, span in spans.items()}
    figure, grid = report.figure(len(thirds), 1, height=1.75 * len(thirds))
    lines = {}
    for axes, depth in zip(grid, thirds, strict=True):
        row, said = profile[depth.first - 1 : depth.last].mean(axis=0), texts[depth.cut]
        arcs = {name: _bundled(row, span) for name, span in spans.items()}
        title = f"{depth.name}: layers {depth.first} to {depth.last}"
        arc_panel(
            axes, blocks, arcs, title, f"no image from cut {depth.cut} on: “{shorten(said, 60)}”"
        )
        shares = {f"{name} %": 100 * float(row[span].sum()) for name, span in spans.items()}
        lines[depth.name] = shares | {"cut": depth.cut, "answer without the image from here": said}
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("depth")
    intact = texts[len(profile)]
    same = report.listed([d.name for d in thirds if texts[d.cut] == intact]).replace(" and", " or")
    kept = f"with the image removed from the {same} layers on, it answers the same"
    lost = "with the image removed from any of these depths on, it answers something else"
    shown = ", ".join(f"{name} {value:.1f} %" for name, value in table["image %"].items())
    return report.Plot(
        figure,
        f"Arcs from the tokens of a prompt to its answer at three depths. Image's share: {shown}.",
        f"What the answer to “{report.asked(prompt.question)}” reads ({model}). An arc's width "
        "is the share of the attention of the row that predicts the answer, heads averaged and "
        f"averaged over the layers of a depth; a group has at most {BUNDLES} arcs, adjacent tokens "
        f"are bundled. Intact, the model answers “{intact}”; {kept if same else lost}.",
        table,
    )


def _bundled(row, span):
    """Centres, as shares of the prompt, and summed weights of adjacent tokens."""
    tokens = np.arange(span.start, span.stop)
    parts = np.array_split(tokens, max(1, min(len(tokens), BUNDLES)))
    return [((part.mean() + 0.5) / len(row), float(row[part].sum())) for part in parts if len(part)]


def map_table(flow: AttentionFlow, prompt: Prompt, sample: Sample) -> pd.DataFrame:
    """Shares of one prompt by layer (paper's count), in percent.

    With target regions also `on target %`: of the image's attention, the part inside them; and
    `target area %`: what even attention would give.
    """
    names = ["system %", "image %", "user %"]
    table = pd.DataFrame(100 * flow.shares.numpy(), columns=names)
    table.index = pd.RangeIndex(1, len(table) + 1, name="layer")
    if sample.targets:
        inside = target_mask(sample)
        maps = [prompt.grid.to_picture(m, prompt.image.size) for m in _on_image(flow, prompt)]
        table["on target %"] = [100 * float(m[inside].sum() / m.sum()) for m in maps]
        table["target area %"] = 100 * float(inside.mean())
    return table


def attention_maps(
    flow: AttentionFlow, prompt: Prompt, sample: Sample, layers: Sequence[int], model: str
) -> report.Plot:
    """Show where on the image the answer's attention lies (the paper's Figure 2 B).

    All layers share one colour scale, so a layer that hardly attends to the image is dark.
    """
    table = map_table(flow, prompt, sample).loc[[*dict.fromkeys(layers)]]
    image, profile = table["image %"], 100 * _on_image(flow, prompt)
    maps = {f"layer {layer}: {image[layer]:.1f} %": profile[layer - 1] for layer in layers}
    laid = [prompt.grid.to_picture(values, prompt.image.size) for values in maps.values()]
    norm = PowerNorm(0.5, vmin=0, vmax=float(np.max(laid)))
    return report.Plot(
        report.map_sheet(maps, prompt, sample, "attention per image token (%)", norm=norm),
        f"The image, and its attention map in {len(maps)} layers. The image's share is largest "
        f"in layer {image.idxmax()} of those shown: {image.max():.1f} %.",
        f"Attention of the row that predicts the answer to “{report.asked(sample.question)}” "
        f"({sample.id}, {model}). Above each map: layer in the paper's count and the image's "
        "share of all attention. One colour scale (square root) for all layers. White outline: the "
        "region that holds the answer, where there is one.",
        table,
    )


def _on_image(flow: AttentionFlow, prompt: Prompt) -> np.ndarray:
    """The answer's row on the image tokens, heads averaged (Eq. 9): shape (L, N)."""
    return reduce_heads(flow.rows).numpy()[:, prompt.spans.image]


def shares_by_depth(flow: pd.DataFrame) -> pd.DataFrame:
    """Average rows of :func:`infoflow.evaluate.flow.flow_by_layer` over samples and each depth.

    Returns:
        One row a depth (its name); columns ``first`` and ``last`` (layers, paper's count), the mean
        shares ``system``, ``image`` and ``user``, from 0 to 1, and ``uniform_system``,
        ``uniform_image`` and ``uniform_user``: what even attention would give.
    """
    columns = [*SPANS, *(f"uniform_{name}" for name in SPANS)]
    by_layer = flow.groupby("layer")[columns].mean()
    lines = {
        d.name: {"first": d.first, "last": d.last, **by_layer.loc[d.first : d.last].mean()}
        for d in depths(len(by_layer))
    }
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("depth")
    return table.astype({"first": int, "last": int})


def loss_by_depth(cuts: pd.DataFrame, margin: float, seed: int = 0) -> pd.DataFrame:
    """What is lost when the image is removed from each depth on, by rows of ``truncation_by_cut``.

    Returns:
        One row a depth (its name): ``cut``, the mean scores ``intact`` and ``removed``, their
        paired ``difference`` (removed less intact) with its 95 % interval ``low`` to ``high``, and
        ``unharmed``: whether a loss of the margin or more is ruled out
        (:attr:`infoflow.stats.paired.Equivalence.unharmed`).
    """
    scores = scores_by_cut(cuts)
    lines = {}
    for depth in depths(scores.shape[1] - 1):
        intact, removed = scores[:, -1], scores[:, depth.cut]
        found = equivalence(intact, removed, margin, seed)
        lines[depth.name] = {
            **{"cut": depth.cut, "intact": float(intact.mean()), "removed": float(removed.mean())},
            **{"difference": found.value, "low": found.interval[0]},
            **{"high": found.interval[1], "unharmed": found.unharmed},
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("depth")


def max_over_heads(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of :func:`flow_by_layer` with the strongest heads' shares in place of the means."""
    return rows.assign(**{name: rows[f"max_{name}"] for name in SPANS})


def head_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """The image's mean share, by layer (rows; the paper's count) and head (columns, from 0)."""
    heads = [name for name in rows.columns if name.startswith("head_")]
    means = rows.groupby("layer")[heads].mean()
    return means.set_axis(pd.RangeIndex(len(heads), name="head"), axis=1)
