"""The phenomenon in one picture: arcs from token groups to the answer, as wide as measured."""

from collections.abc import Mapping, Sequence
from textwrap import shorten

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from infoflow.evaluate.flow import SPANS
from infoflow.methods.flow import AttentionFlow, reduce_heads
from infoflow.models.lvlm import Prompt
from infoflow.report.display import Plot
from infoflow.report.style import COLOURS, HOUSE_STYLE, TASK_TITLES, WIDTH, asked, listed, percent
from infoflow.stats.layers import depths

BUNDLES = 32
"""Most arcs of one token group; adjacent tokens share an arc where there are more tokens."""

_POINTS = 22.0
"""Width of an arc that carries all of the attention, in points."""

_PROMPT_END, _ANSWER = 0.86, 0.95
_LANDINGS = {"system": 0.018, "image": 0.0, "user": -0.018}
"""Where the arcs of a group end on the answer's block: side by side, the longest arc outside."""

_ANSWER_LENGTH = 60
_BLOCK = 0.12

Depths = Mapping[str, pd.DataFrame]


def item_arcs(flow: AttentionFlow, prompt: Prompt, texts: Mapping[int, str], model: str) -> Plot:
    """Draw what one answer attends to, token by token, at three depths (the paper's Figure 1).

    Args:
        flow: The attention flow of the prompt.
        prompt: The picture and question.
        texts: By cut, the model's answer: at the first cut of each depth, and intact (cut L).
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds the shares in percent by depth, and the answer when the image is
        removed from there on.
    """
    profile = reduce_heads(flow.rows).numpy()
    thirds = depths(len(profile))
    spans = prompt.spans._asdict()
    blocks = {
        name: (span.start / len(prompt), span.stop / len(prompt)) for name, span in spans.items()
    }
    lines = {}
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 1.75 * len(thirds)))
        panels = figure.subplots(len(thirds), 1)
        for axes, depth in zip(panels, thirds, strict=True):
            row = profile[depth.first - 1 : depth.last].mean(axis=0)
            shares = {name: float(row[span].sum()) for name, span in spans.items()}
            _begin(axes, blocks, shares)
            for name, span in spans.items():
                for start, weight in _bundled(row, span):
                    _arc(axes, start / len(prompt), weight, name, alpha=0.75)
            _title(
                axes,
                f"{depth.name}: layers {depth.first} to {depth.last}",
                f"no image from cut {depth.cut} on: “{shorten(texts[depth.cut], _ANSWER_LENGTH)}”",
            )
            lines[depth.name] = {
                **{f"{name} %": 100 * share for name, share in shares.items()},
                "cut": depth.cut,
                "answer without the image from here on": texts[depth.cut],
            }
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("depth")
    intact = texts[len(profile)]
    told = ", ".join(f"{name} {value:.1f} %" for name, value in table["image %"].items())
    same = [name for name, line in lines.items() if texts[int(str(line["cut"]))] == intact]
    return Plot(
        figure,
        f"Arcs from the tokens of a prompt to its answer at three depths. Image's share: {told}.",
        f"What the answer to “{asked(prompt.question)}” reads ({model}). An arc's width "
        "is the share of the attention of the row that predicts the answer, heads averaged and "
        f"averaged over the layers of a depth; a group has at most {BUNDLES} arcs, adjacent tokens "
        f"are bundled. Intact, the model answers “{intact}”; {_kept(same)}.",
        table,
    )


def _kept(same: Sequence[str]) -> str:
    if not same:
        return "with the image removed from any of these depths on, it answers something else"
    named = listed(same).replace(" and ", " or ")
    return f"with the image removed from the {named} layers on, it answers the same"


def _bundled(row: np.ndarray, span: slice) -> list[tuple[float, float]]:
    """Centres (in tokens) and summed weights of adjacent tokens."""
    tokens = np.arange(span.start, span.stop)
    parts = np.array_split(tokens, max(1, min(len(tokens), BUNDLES)))
    return [(float(part.mean()) + 0.5, float(row[part].sum())) for part in parts if len(part)]


def mean_arcs(shares: Depths, losses: Depths, model: str, n_items: int) -> Plot:
    """Draw what the answers of whole tasks attend to at three depths, and what they lose without.

    Args:
        shares: By task, of :func:`infoflow.evaluate.depths.shares_by_depth`.
        losses: By task, of :func:`infoflow.evaluate.depths.loss_by_depth`.
        model: Name of the model, for the caption.
        n_items: Number of items a task.

    Returns:
        The plot; its table is that of both arguments, shares and scores in percent.
    """
    table = pd.concat(
        {task: _percentages(shares[task], losses[task]) for task in shares}, names=["task"]
    )
    columns = min(len(shares), 2)
    rows = -(-len(shares) // columns)
    n_depths = len(next(iter(shares.values())))
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 4.1 * rows))
        blocks = figure.subfigures(rows, columns, squeeze=False).flat
        for block, task in zip(blocks, shares, strict=False):
            block.suptitle(TASK_TITLES[task], fontsize=11, weight="bold")
            panels = block.subplots(n_depths, 1)
            for axes, name in zip(panels, shares[task].index, strict=True):
                _draw_mean(axes, name, shares[task].loc[name], losses[task].loc[name])
    return Plot(figure, _mean_alt(shares), _mean_caption(shares, losses, model, n_items), table)


def _percentages(shares: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    parts = [*SPANS, *(f"uniform_{name}" for name in SPANS)]
    scores = ["intact", "removed", "difference", "low", "high"]
    return shares.assign(**100 * shares[parts]).join(losses.assign(**100 * losses[scores]))


def _draw_mean(axes: Axes, name: str, share: pd.Series, loss: pd.Series) -> None:
    edges = np.cumsum([0.0, *(share[f"uniform_{group}"] for group in SPANS)])
    blocks = {g: (edges[i], edges[i + 1]) for i, g in enumerate(SPANS)}
    _begin(axes, blocks, {group: float(share[group]) for group in SPANS})
    for group, (start, stop) in blocks.items():
        _arc(axes, (start + stop) / 2, float(share[group]), group, alpha=0.9)
    _title(
        axes,
        f"{name}: {share['first']:.0f} to {share['last']:.0f}",
        f"cut {loss['cut']:.0f}: {percent(loss['intact'])} → {percent(loss['removed'])}",
    )


def _begin(
    axes: Axes, blocks: Mapping[str, tuple[float, float]], shares: Mapping[str, float]
) -> None:
    """Draw the prompt's blocks with their shares, and the answer."""
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.42, 1.0)
    axes.axis("off")
    for name, (start, stop) in blocks.items():
        left, right = start * _PROMPT_END, stop * _PROMPT_END
        axes.add_patch(
            Rectangle((left, 0), right - left, _BLOCK, facecolor=COLOURS[name], edgecolor="white")
        )
    axes.add_patch(Rectangle((_ANSWER - 0.035, 0), 0.07, _BLOCK, facecolor="#222222"))
    middles = [sum(block) / 2 * _PROMPT_END for block in blocks.values()]
    for x, name in zip(_apart([*middles, _ANSWER]), [*blocks, "answer"], strict=True):
        text = f"{name}\n{percent(shares[name])}" if name in shares else "answer"
        colour = COLOURS.get(name, "#222222")
        axes.text(
            x, -0.04, text, ha="center", va="top", fontsize=8.5, color=colour, linespacing=1.05
        )


def _apart(places: Sequence[float], least: float = 0.19) -> list[float]:
    """Move labels to the left where they would overlap the next one."""
    moved = list(places)
    for i in reversed(range(len(moved) - 1)):
        moved[i] = min(moved[i], moved[i + 1] - least)
    shift = max(0.0, 0.06 - moved[0])
    return [place + shift * (1 - i / len(moved)) for i, place in enumerate(moved)]


def _arc(axes: Axes, start: float, share: float, group: str, alpha: float) -> None:
    """An arc over the prompt to the answer; its width is the share."""
    left, right = start * _PROMPT_END, _ANSWER + _LANDINGS[group]
    height = _BLOCK + 1.05 * (right - left) ** 0.5
    path = Path(
        [(left, _BLOCK), (left, height), (right, height), (right, _BLOCK)],
        [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
    )
    axes.add_patch(
        PathPatch(
            path,
            facecolor="none",
            edgecolor=COLOURS[group],
            linewidth=_POINTS * share,
            alpha=alpha,
            capstyle="butt",
        )
    )


def _title(axes: Axes, left: str, right: str) -> None:
    axes.set_title(left, loc="left", fontsize=9.5, weight="bold", pad=3)
    axes.set_title(right, loc="right", fontsize=9, weight="normal", pad=3, parse_math=False)


def _mean_alt(shares: Depths) -> str:
    told = "; ".join(
        f"{TASK_TITLES[task]} {', '.join(percent(share) for share in table['image'])}"
        for task, table in shares.items()
    )
    return (
        f"Arcs from system text, image and question to the answer. Image, shallow to deep: {told}."
    )


def _mean_caption(shares: Depths, losses: Depths, model: str, n_items: int) -> str:
    free = [TASK_TITLES[task] for task, table in losses.items() if table["unharmed"].iloc[-1]]
    grown = [
        TASK_TITLES[t]
        for t, table in shares.items()
        if table["image"].iloc[-1] > table["image"].iloc[0]
    ]
    return (
        f"What feeds the answer: {model}, mean over {n_items} test items a task. Blocks are as "
        "long as their part of the tokens; an arc's width, and the number below its block, is the "
        "share of the answer's attention in these layers (paper's count). Right: the mean score "
        "intact, and with the image removed from the cut on. The image's share is larger in the "
        f"deep layers than in the shallow ones on {listed(grown) or 'no task'}; without it in the "
        f"deep layers the loss is shown to be below the margin on {listed(free) or 'no task'}."
    )
