"""The paper's Figure 6 from measured attention: a matrix before and after truncation."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from infoflow.evaluate.flow import SPANS
from infoflow.methods.matrix import group_blocks
from infoflow.models.lvlm import Prompt, Spans
from infoflow.report.display import Plot, Table
from infoflow.report.interventions import compare_arms
from infoflow.report.style import (
    COLOURS,
    HOUSE_STYLE,
    TASK_TITLES,
    WIDTH,
    count_layers,
    label_ends,
    task_panels,
)
from infoflow.stats.intervals import mean_interval

_FAINTEST = 1e-4
"""Weights below are drawn as dark as this one."""

_SAME = 1e-3
"""Logits of two ways to truncate that are no further apart are called equal."""

Rows = Mapping[str, pd.DataFrame]


def matrix_pair(before: Tensor, after: Tensor, prompt: Prompt, layer: int, model: str) -> Plot:
    """Show a layer's attention matrix of the intact and of the truncated model.

    Args:
        before: Attention weights of the intact model, heads averaged, shape (S, S).
        after: Those of the truncated model. An image token that no later one attends to is gone:
            its row and column are left blank.
        prompt: The picture and question.
        layer: The layer in the paper's count.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table is that of :func:`block_table`.
    """
    gone = np.zeros(len(prompt), dtype=bool)
    gone[prompt.spans.image] = (after.tril(-1).sum(0) == 0)[prompt.spans.image].numpy()
    table = block_table(before, after, prompt.spans).data
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 0.66 * WIDTH))
        left, right = figure.subplots(1, 2)
        shown = _draw_matrix(left, before.numpy(), np.zeros_like(gone), prompt.spans)
        left.set_title("intact model")
        left.set_ylabel("attending token")
        _draw_matrix(right, after.numpy(), gone, prompt.spans)
        right.set_title("truncated")
        bar = figure.colorbar(shown, ax=[left, right], location="bottom", shrink=0.6, aspect=30)
        bar.set_label("attention weight, mean over heads (log scale)")
    share = float(before[-1][prompt.spans.image].sum())
    left_over = float(after[-1][prompt.spans.image].sum())
    told = (
        f"{int(gone.sum())} of {len(gone)} rows and columns vanish. The image's share of the last "
        f"row, which predicts the answer, goes from {100 * share:.1f} % to {100 * left_over:.1f} %"
    )
    return Plot(
        figure,
        f"Attention matrix of layer {layer}, before and after truncation. {told}.",
        f"What every prompt token attends to in layer {layer} (the paper's count; cut "
        f"{layer - 1} is where it first sees no image): {model}, “{_asked(prompt)}”. Lines bound "
        f"the system, image and user tokens; grey has been taken out. {told}; what is left of "
        "every head's row is scaled to one. Weights above the diagonal are zero: no token attends "
        "to later ones.",
        table,
    )


def _asked(prompt: Prompt) -> str:
    return prompt.question.splitlines()[0] if prompt.question else ""


def _draw_matrix(
    axes: Axes, weights: npt.NDArray[np.float32], gone: npt.NDArray[np.bool_], spans: Spans
) -> AxesImage:
    blank = gone[:, None] | gone[None, :]
    later = np.triu(np.ones_like(weights, dtype=bool), 1)
    axes.imshow(np.where(blank, 1.0, np.nan), cmap="gray", vmin=0, vmax=1.25)
    drawn = np.where(blank | later, np.nan, np.maximum(weights, _FAINTEST))
    shown = axes.imshow(drawn, cmap="magma", norm=LogNorm(_FAINTEST, 1), interpolation="nearest")
    for span in spans[1:]:
        axes.axhline(span.start - 0.5, color=COLOURS["baseline"], linewidth=0.7)
        axes.axvline(span.start - 0.5, color=COLOURS["baseline"], linewidth=0.7)
    centres = [(span.start + span.stop - 1) / 2 for span in spans]
    axes.set_xticks(centres, SPANS)
    axes.set_yticks(centres, SPANS, rotation=90, va="center")
    axes.tick_params(length=0)
    axes.set_xlabel("attended token")
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    return shown


def block_table(before: Tensor, after: Tensor, spans: Spans) -> Table:
    """Mean shares that each group of tokens gives to each group, before and after truncation.

    Args:
        before: Attention weights of the intact model, heads averaged, shape (S, S).
        after: Those of the truncated model.
        spans: The token groups.
    """
    blocks = [100 * group_blocks(matrix, spans) for matrix in (before, after)]
    lines = {"answer's row": _line(before[-1], after[-1], spans)}
    for group, one, two in zip(SPANS, *blocks, strict=True):
        lines[f"{group} rows"] = dict(zip(SPANS, map(_to, one, two), strict=True))
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("who attends")
    caption = (
        "Share of attention to each group, intact to truncated (%). Rows of the image are masked "
        "here, where a sweep drops them: they attend on, but no other token attends to them"
    )
    return Table(data.rename(columns={name: f"to {name}" for name in SPANS}), caption)


def _line(before: Tensor, after: Tensor, spans: Spans) -> dict[str, str]:
    return {
        group: _to(100 * before[span].sum(), 100 * after[span].sum())
        for group, span in zip(SPANS, spans, strict=True)
    }


def _to(before: Tensor, after: Tensor) -> str:
    return f"{float(before):.1f} to {float(after):.1f}"


def drift_table(drift: Tensor, cut: int) -> Table:
    """How far the truncated layers are from renormalised intact ones.

    Args:
        drift: Of :func:`infoflow.methods.matrix.drift_by_layer`.
        cut: The cut.
    """
    layers = range(cut + 1, cut + 1 + len(drift))
    distances = pd.Series([f"{float(x):.3f}" for x in drift], index=layers)
    data = pd.DataFrame({"cut that first hides it": distances.index - 1, "distance": distances})
    first = float(drift[0]) if len(drift) else 0.0
    most = f"; at most {float(drift.max()):.3f}" if len(drift) else ""
    return Table(
        data.rename_axis("paper's layer"),
        "Total variation distance between the truncated model's attention and the intact model's, "
        f"renormalised (0: the same, 1: disjoint), user rows: {first:.3f} in the first truncated "
        f"layer{most}",
    )


def vanishing_shares(flow: Rows, cuts: Rows, model: str) -> Plot:
    """Plot what truncation takes from the answer's row beside what it takes from the score.

    Args:
        flow: By task, rows of :func:`infoflow.evaluate.flow.flow_by_layer`.
        cuts: By task, rows of :func:`infoflow.evaluate.truncation.truncation_by_cut` of the same
            items.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds, by task and cut below L, ``vanishing`` (percent of the answer's
        attention in the first truncated layer) and ``lost`` (points of the score).
    """
    table = pd.concat({t: _vanishing(flow[t], cuts[t]) for t in flow}, names=["task"])
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(len(flow))
        for axes, task in zip(panels, flow, strict=True):
            part = pd.DataFrame(table.xs(task))
            axes.set_ylim(min(-6.0, float(part.to_numpy().min()) - 4), 104)
            _draw_vanishing(axes, part)
            axes.set_title(TASK_TITLES[task])
        figure.supylabel("% of attention, points of score", fontsize=10)
    told = "; ".join(_vanishing_told(task, pd.DataFrame(table.xs(task))) for task in flow)
    return Plot(
        figure,
        f"Attention that vanishes and score that is lost, by cut. {told}."[:400],
        f"Taken from the row that predicts the answer in the first layer without the image (blue), "
        f"and from the mean score (red), by cut: {model}. "
        f"The cut at which most attention vanishes, and what it costs: {told}.",
        table,
    )


def _vanishing(flow: pd.DataFrame, cuts: pd.DataFrame) -> pd.DataFrame:
    shares = 100 * flow.groupby("layer")["image"].mean()
    scores = 100 * cuts.groupby("cut")["score"].mean()
    lost = scores.iloc[-1] - scores.iloc[:-1]
    return pd.DataFrame({"vanishing": shares.to_numpy(), "lost": lost}).rename_axis("cut")


def _draw_vanishing(axes: Axes, table: pd.DataFrame) -> None:
    last = int(table.index[-1])
    axes.axhline(0, color=COLOURS["baseline"], linewidth=0.8)
    axes.plot(table.index, table["vanishing"], "-o", color=COLOURS["ours"], markersize=4)
    axes.plot(table.index, table["lost"], "--s", color=COLOURS["cliff"], markersize=4)
    count_layers(axes, last + 1, last, below="cut: layers that see the image")
    axes.tick_params(labelleft=True)
    ends = (("vanishing", "attention", "ours"), ("lost", "score", "cliff"))
    labels = [(float(table[c].iloc[-1]), text, COLOURS[name]) for c, text, name in ends]
    label_ends(axes, labels, float(last))


def _vanishing_told(task: str, table: pd.DataFrame) -> str:
    most = int(table["vanishing"].to_numpy().argmax())
    share, lost = table[["vanishing", "lost"]].to_numpy()[most]
    return f"{TASK_TITLES[task]} {share:.1f} % vanish at cut {most}, which costs {lost:.1f} points"


def vanishing_table(flow: Rows, cuts: Rows, cut: int, margin: float, seed: int) -> Table:
    """What truncation at one cut takes from the answer's row and from the score.

    Args:
        flow: By task, rows of :func:`infoflow.evaluate.flow.flow_by_layer`.
        cuts: By task, rows of :func:`infoflow.evaluate.truncation.truncation_by_cut` of the same
            items.
        cut: The cut, below L.
        margin: The loss of mean score, from 0 to 1, that is taken not to matter.
        seed: Seed of the bootstrap of the intervals.
    """
    lines = {}
    for task, frame in cuts.items():
        in_layer = flow[task].loc[flow[task]["layer"] == cut + 1, "image"]
        low, high = mean_interval(in_layer.to_numpy(), seed)
        intact, at_cut = (frame[frame["cut"] == one] for one in (frame["cut"].max(), cut))
        compared = compare_arms(intact, at_cut, margin, seed)
        lines[TASK_TITLES[task]] = {
            "attention that vanishes, %": f"{100 * in_layer.mean():.1f} "
            f"[{100 * low:.1f}, {100 * high:.1f}]",
            "change of score, points": compared.points,
            f"loses less than {100 * margin:g}": (
                "yes" if compared.equivalence.unharmed else "not shown"
            ),
        }
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
    return Table(
        data,
        f"Truncation at cut {cut}: the image's share of the answer's row in layer {cut + 1}, and "
        "the paired change of score, with 95 % and 90 % intervals over items",
    )


def matrix_paper_table(
    diagram: Mapping[str, object], prompt: Prompt, apart: float, paper_model: str, model: str
) -> Table:
    """What the paper draws and says of its Figure 6 beside what this page did.

    Args:
        diagram: ``truncation_diagram`` of the paper's values.
        prompt: The prompt of our matrix.
        apart: The largest difference of logits between hiding the image and dropping it.
        paper_model: The model the paper's values are of.
        model: Name of our model.
    """
    n_image = prompt.spans.image.stop - prompt.spans.image.start
    same = "equal" if apart < _SAME else "not equal"
    lines = [
        (
            "image tokens taken out",
            f"all {diagram['image_tokens']}, K = {diagram['keep']}",
            f"all {n_image}, K = 0",
        ),
        ("tokens are ranked by", str(diagram["ranked_by"]), "the last prompt token's row"),
        (
            "how they are taken out",
            str(diagram["taken_out"]),
            f"hidden for this figure, dropped in sweeps; logits {same} within {_SAME:g}",
        ),
        ("what is drawn", str(diagram["drawn"]), "measured weights of one layer"),
    ]
    data = pd.DataFrame(
        lines, columns=["point", f"paper, {paper_model}", f"ours, {model}"]
    ).set_index("point")
    return Table(data, "The paper's Figure 6 beside ours", comparison=True)
