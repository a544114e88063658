"""Figures of vision sinks: where they are in the model and on a picture."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from infoflow.data.sample import Sample
from infoflow.models.lvlm import Prompt
from infoflow.report.display import Plot
from infoflow.report.pictures import outline_targets, picture_panels
from infoflow.report.style import (
    COLOURS,
    HOUSE_STYLE,
    TASK_TITLES,
    WIDTH,
    count_layers,
    percent,
)
from infoflow.stats.layers import depths

_THIRDS = {"first": COLOURS["ours"], "middle": COLOURS["control"], "last": COLOURS["cliff"]}
_LINES = {"first": "-", "middle": "-.", "last": "--"}


def sink_heatmap(rows: pd.DataFrame, beta: float, model: str, task: str) -> Plot:
    """Plot the mean sink density of every head of every layer at one threshold.

    Args:
        rows: Rows of :func:`infoflow.evaluate.sinks.sink_density_by_head`.
        beta: The threshold, one of those measured.
        model: Name of the model, for the caption.
        task: The task.

    Returns:
        The plot; its table holds the mean density in percent, one row a layer (paper's count), one
        column a head.
    """
    chosen = rows[np.isclose(rows["beta"], beta, rtol=1e-9)]
    table = 100 * chosen.pivot_table(index="layer", columns="head", values="density")
    even = float(chosen["even"].mean())
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, max(3.0, 0.9 + 0.28 * len(table.columns))))
        axes = figure.subplots()
        shown = axes.imshow(table.T, cmap="viridis", aspect="auto", vmin=0, origin="lower")
        count_layers(axes, len(table), len(table) - 1, below="layer, from 0")
        axes.set_xlim(-0.5, len(table) - 0.5)
        axes.set_ylabel("head, from 0")
        axes.set_yticks(sorted({0, len(table.columns) // 2, len(table.columns) - 1}))
        figure.colorbar(shown, ax=axes, pad=0.02).set_label("sinks (% of image tokens)")
    told = _heatmap_told(table)
    return Plot(
        figure,
        f"Heat map of sink density by layer and head. {told}",
        f"Share of image tokens that are vision sinks at beta = {beta:.4g}, mean of "
        f"{chosen['item'].nunique()} items of {TASK_TITLES[task]}: {model}. {told} Attention "
        f"spread evenly would make sinks of {percent(even)}.",
        table,
    )


def _heatmap_told(table: pd.DataFrame) -> str:
    row, column = np.unravel_index(int(table.to_numpy().argmax()), table.shape)
    layer, head = table.index[int(row)], table.columns[int(column)]
    means = {third: part.to_numpy().mean() for third, part in _thirds(table).items()}
    holds = "denser" if means["first"] > means["last"] else "not denser"
    return (
        f"Densest: head {head} of layer {layer} ({table.to_numpy().max():.1f} %). Shallow layers "
        f"are {holds} than deep ones: {means['first']:.1f} % in the first third of the layers, "
        f"{means['middle']:.1f} % in the middle, {means['last']:.1f} % in the last."
    )


def _thirds(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split rows, one a layer, into three; a model of one or two layers repeats some."""
    parts = depths(len(table))
    chosen = (parts[0], parts[len(parts) // 2], parts[-1])
    return {
        name: table.iloc[part.first - 1 : part.last]
        for name, part in zip(_THIRDS, chosen, strict=True)
    }


def sink_thresholds(rows: pd.DataFrame, marks: Mapping[str, float], model: str, task: str) -> Plot:
    """Plot sink density against the threshold, beside what even attention would have.

    Args:
        rows: Rows of :func:`infoflow.evaluate.sinks.sink_density_by_head`.
        marks: Thresholds to mark, by name.
        model: Name of the model, for the caption.
        task: The task.

    Returns:
        The plot; its table holds the mean density in percent, one row a threshold: ``first``,
        ``middle`` and ``last`` third of the layers, and ``even``.
    """
    by_layer = 100 * rows.pivot_table(index="layer", columns="beta", values="density")
    table = pd.DataFrame({name: part.mean() for name, part in _thirds(by_layer).items()})
    table["even"] = 100 * rows.groupby("beta")["even"].mean()
    with mpl.rc_context(HOUSE_STYLE):
        figure = Figure(figsize=(WIDTH, 3.2))
        axes = figure.subplots()
        for name, colour in _THIRDS.items():
            axes.plot(table.index, table[name], _LINES[name], color=colour, label=f"{name} third")
        axes.plot(
            table.index, table["even"], ":", color=COLOURS["baseline"], label="even attention"
        )
        axes.set_xscale("log")
        axes.set_ylim(-2, 112)
        _mark(axes, marks)
        axes.legend(loc="upper right", fontsize=9)  # lines only fall, so this corner is free
        axes.set_xlabel("threshold beta: mean attention from later tokens")
        axes.set_ylabel("image tokens that are sinks (%)")
    told = _thresholds_told(table, marks)
    return Plot(
        figure,
        f"Lines of sink density by threshold. At beta = {table.index[0]:.4g}: "
        f"{_at(table.iloc[0])}; at {table.index[-1]:.4g}: {_at(table.iloc[-1])}.",
        f"Mean share of image tokens that are sinks, heads and layers averaged, against the "
        f"threshold: {model}, {rows['item'].nunique()} items of {TASK_TITLES[task]}. Dotted: "
        f"attention spread evenly. {told}",
        table,
    )


def _at(densities: pd.Series) -> str:
    return ", ".join(f"{name} {density:.0f} %" for name, density in densities.items())


def _mark(axes: Axes, marks: Mapping[str, float]) -> None:
    for name, beta in marks.items():
        axes.axvline(beta, color=COLOURS["paper"], linewidth=1)
        axes.annotate(
            name,
            (beta, 110),
            xytext=(2, 0),
            textcoords="offset points",
            va="top",
            rotation=90,
            color=COLOURS["paper"],
            fontsize=8,
        )


def _thresholds_told(table: pd.DataFrame, marks: Mapping[str, float]) -> str:
    told = []
    for name, beta in marks.items():
        nearest = table.iloc[int(np.abs(np.log(table.index.to_numpy() / beta)).argmin())]
        told.append(
            f"{name} ({beta:.4g}): {nearest['first']:.0f} % in the first third, "
            f"{nearest['last']:.0f} % in the last, {nearest['even']:.0f} % if even"
        )
    return f"Sinks at {'; '.join(told)}."


def sink_maps(
    strengths: Tensor, layers: Sequence[int], beta: float, prompt: Prompt, sample: Sample
) -> Plot:
    """Show what the head with the most sinks sees of a picture, layer by layer.

    Args:
        strengths: Of :func:`infoflow.interventions.sink_strengths`, shape (L, H, N).
        layers: Layers to show, in the paper's count.
        beta: The threshold.
        prompt: The picture and question.
        sample: The item; the regions its answer can be read from are outlined.

    Returns:
        The plot; its table holds, by layer, the winning ``head``, its ``sinks %`` and the
        ``mean %`` over heads.
    """
    density = 100 * (strengths > beta).double().mean(-1)
    winners = density.argmax(-1)
    table = pd.DataFrame(
        {
            "head": [int(winners[layer - 1]) for layer in layers],
            "sinks %": [float(density[layer - 1].max()) for layer in layers],
            "mean %": [float(density[layer - 1].mean()) for layer in layers],
        },
        index=pd.Index(list(layers), name="layer"),
    )
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = picture_panels(len(layers) + 1, room=0.5)
        panels[0].imshow(prompt.image)
        panels[0].set_title("picture\n", fontsize=10, weight="normal")
        for axes, layer, head in zip(panels[1:], layers, table["head"], strict=True):
            values = strengths[layer - 1, head].numpy() / beta
            drawn = prompt.grid.to_picture(values, prompt.image.size)
            axes.imshow(prompt.image.convert("L"), cmap="gray", vmin=0, vmax=255)
            shown = axes.imshow(drawn, cmap="inferno", vmin=0, vmax=3, alpha=0.8)
            told = f"layer {layer}, head {head}\n{table['sinks %'][layer]:.0f} % sinks"
            axes.set_title(told, fontsize=10, weight="normal")
        for axes in panels:
            outline_targets(axes, sample)
        bar = figure.colorbar(shown, ax=panels, location="bottom", shrink=0.6, aspect=30, pad=0.02)
        bar.set_label("mean attention from later tokens / beta")
    densest = layers[int(table["sinks %"].to_numpy().argmax())]
    return Plot(
        figure,
        f"The picture, and in {len(layers)} layers what the head with the most sinks attends to. "
        f"Most sinks: {table['sinks %'].max():.1f} % in layer {densest}.",
        f"Attention that later tokens of the prompt pay each image token in the head with the most "
        f"sinks at beta = {beta:.4g}, as a multiple of beta ({sample.id}). Above one, a token is a "
        f"sink. Layers in the paper's count; of those shown, layer {densest} has the densest head "
        f"({table['sinks %'].max():.1f} %, heads on average {table['mean %'][densest]:.1f} %).",
        table,
    )
