"""Figures of attention flow: shares by layer, the same under control, and maps over a picture."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from infoflow.data.sample import Sample
from infoflow.methods.flow import AttentionFlow, reduce_heads
from infoflow.methods.localisation import target_mask
from infoflow.models.lvlm import Prompt
from infoflow.report.display import Plot
from infoflow.report.pictures import outline_targets, picture_panels
from infoflow.report.style import (
    COLOURS,
    HOUSE_STYLE,
    LINES,
    TASK_TITLES,
    asked,
    count_layers,
    label_ends,
    task_panels,
)

GROUPS = ("system", "image", "user")
_AXIS = "layer, from 0 (= cut)"


def flow_shares(rows: Mapping[str, pd.DataFrame], model: str) -> Plot:
    """Plot how the answer's attention divides, by layer, one panel a task (the paper's Figure 2 A).

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.flow.flow_by_layer`.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds mean, 10 % and 90 % quantile of each share by task and layer.
    """
    table = _spread(rows)
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(len(rows))
        for axes, task in zip(panels, rows, strict=True):
            _draw_shares(axes, pd.DataFrame(table.xs(task)), TASK_TITLES[task])
        figure.supylabel("share of the answer's attention (%)", fontsize=10)
    return Plot(figure, _shares_alt(table), _shares_caption(rows, model), table)


def _spread(rows: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean and quantiles over items, in percent: rows task, layer; columns group, statistic."""
    by_task = {}
    for task, frame in rows.items():
        shares = (100 * frame.set_index("layer")[list(GROUPS)]).groupby("layer")
        parts = {"mean": shares.mean(), "low": shares.quantile(0.1), "high": shares.quantile(0.9)}
        by_task[task] = pd.concat(parts, axis=1).swaplevel(axis=1)
    return pd.concat(by_task, names=["task"])


def _draw_shares(axes: Axes, table: pd.DataFrame, title: str) -> None:
    cuts = table.index.to_numpy() - 1
    axes.set_ylim(0, 100)
    labels = []
    for group in GROUPS:
        part, colour = table[group], COLOURS[group]
        axes.plot(cuts, part["mean"], LINES[group], color=colour)
        axes.fill_between(cuts, part["low"], part["high"], color=colour, alpha=0.18, linewidth=0)
        labels.append((float(part["mean"].iloc[-1]), group, colour))
    count_layers(axes, len(cuts), int(cuts[-1]), below=_AXIS)
    label_ends(axes, labels, float(cuts[-1]))
    axes.set_title(title)


def _shares_alt(table: pd.DataFrame) -> str:
    told = []
    for task in table.index.unique("task"):
        share = table["image"]["mean"][task]
        told.append(
            f"{TASK_TITLES[task]} {share.iloc[0]:.1f} % in layer 1, {share.max():.1f} % at most "
            f"(layer {share.idxmax()}), {share.iloc[-1]:.1f} % in the last"
        )
    return f"Lines of the system, image and user shares by layer. Image share: {'; '.join(told)}."


def _shares_caption(rows: Mapping[str, pd.DataFrame], model: str) -> str:
    return (
        f"Share of the attention of the row that predicts the first answer token, heads averaged, "
        f"by layer: {model}, {_counts(rows)}. Lines are means over items, bands hold the middle "
        "80 % of the items. A cut hides the image from the layer of its number on; the upper axis "
        "counts as the paper does."
    )


def _counts(rows: Mapping[str, pd.DataFrame]) -> str:
    counts = {TASK_TITLES[task]: frame["item"].nunique() for task, frame in rows.items()}
    if len(set(counts.values())) == 1:
        return f"{next(iter(counts.values()))} test items a task"
    return ", ".join(f"{count} test items of {title}" for title, count in counts.items())


def image_share_control(
    rows: Mapping[str, pd.DataFrame], blank: Mapping[str, pd.DataFrame], model: str
) -> Plot:
    """Plot the image's share beside what it would be without anything to see.

    Args:
        rows: By task, rows of :func:`infoflow.evaluate.flow.flow_by_layer`, on its own pictures.
        blank: The same on grey pictures (:func:`infoflow.data.controls.blank_pictures`).
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds the mean image share in percent by task and layer: ``own``,
        ``grey`` and ``even`` (attention spread evenly over all tokens).
    """
    table = pd.concat({t: _control_means(rows[t], blank[t]) for t in rows}, names=["task"])
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(len(rows))
        for axes, task in zip(panels, rows, strict=True):
            _draw_control(axes, pd.DataFrame(table.xs(task)), TASK_TITLES[task])
        figure.supylabel("image's share of the answer's attention (%)", fontsize=10)
    means = table.groupby("task", sort=False).mean()
    told = "; ".join(
        f"{TASK_TITLES[task]} {means['own'][task]:.1f} % own, {means['grey'][task]:.1f} % grey, "
        f"{means['even'][task]:.1f} % even"
        for task in rows
    )
    return Plot(
        figure,
        f"Image share by layer for own and grey pictures. Averaged over layers: {told}.",
        f"Mean image share by layer: {model}, {_counts(rows)}. Solid: the items' own pictures; "
        "dashed: plain grey pictures of the same size; dotted: attention spread evenly over all "
        "tokens.",
        table,
    )


def _control_means(own: pd.DataFrame, blank: pd.DataFrame) -> pd.DataFrame:
    by_layer = own.groupby("layer")
    return 100 * pd.DataFrame(
        {
            "own": by_layer["image"].mean(),
            "grey": blank.groupby("layer")["image"].mean(),
            "even": by_layer["uniform_image"].mean(),
        }
    )


def _draw_control(axes: Axes, table: pd.DataFrame, title: str) -> None:
    cuts = table.index.to_numpy() - 1
    axes.set_ylim(0, 100)
    styles = {
        "own": ("-", COLOURS["image"]),
        "grey": ("--", COLOURS["control"]),
        "even": (":", COLOURS["baseline"]),
    }
    for name, (line, colour) in styles.items():
        axes.plot(cuts, table[name], line, color=colour)
    count_layers(axes, len(cuts), int(cuts[-1]), below=_AXIS)
    ends = [(float(table[n].iloc[-1]), n, colour) for n, (_, colour) in styles.items()]
    label_ends(axes, ends, float(cuts[-1]))
    axes.set_title(title)


def attention_maps(
    flow: AttentionFlow, prompt: Prompt, sample: Sample, layers: Sequence[int], model: str
) -> Plot:
    """Show where on the picture the answer's attention lies (the paper's Figure 2 B).

    All layers share one colour scale, so a layer that hardly looks at the image looks dark.

    Args:
        flow: The attention flow of the prompt.
        prompt: The picture and question.
        sample: The item; the regions its answer can be read from are outlined.
        layers: Layers to show, in the paper's count, 1 to L.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table is that of :func:`map_table` for these layers.
    """
    table = map_table(flow, prompt, sample).loc[list(layers)]
    profile = reduce_heads(flow.rows).numpy()[:, prompt.spans.image]
    size = prompt.image.size
    maps = [100 * prompt.grid.to_picture(profile[layer - 1], size) for layer in layers]
    image = table["image %"]
    norm = PowerNorm(0.5, vmin=0, vmax=float(max(m.max() for m in maps)))
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = picture_panels(len(layers) + 1, room=0.6)
        panels[0].imshow(prompt.image)
        panels[0].set_title("picture", fontsize=10, weight="normal")
        for axes, layer, values in zip(panels[1:], layers, maps, strict=True):
            grey = prompt.image.convert("L")
            axes.imshow(grey, cmap="gray", vmin=0, vmax=255)
            shown = axes.imshow(values, cmap="inferno", norm=norm, alpha=0.8)
            axes.set_title(f"layer {layer}: {image[layer]:.1f} %", fontsize=10, weight="normal")
        for axes in panels:
            outline_targets(axes, sample)
        bar = figure.colorbar(shown, ax=panels, location="bottom", shrink=0.6, aspect=30, pad=0.02)
        bar.set_label("attention per image token (%)")
    return Plot(
        figure,
        f"The picture, and its attention map in {len(layers)} layers. The image's share is largest "
        f"in layer {image.idxmax()} of those shown: {image.max():.1f} %.",
        f"Attention of the row that predicts the answer to “{asked(sample.question)}” "
        f"({sample.id}, {model}). Above each map: layer in the paper's count and the image's "
        "share of all attention. One colour scale (square root) for all layers. White outline: the "
        "region that holds the answer, where there is one.",
        table,
    )


def map_table(flow: AttentionFlow, prompt: Prompt, sample: Sample) -> pd.DataFrame:
    """Shares of one prompt by layer, and how much of the image's share falls on the answer.

    Args:
        flow: The attention flow of the prompt.
        prompt: The picture and question.
        sample: The item, with its regions.

    Returns:
        One row a layer (paper's count), in percent: ``system %``, ``image %``, ``user %`` and, if
        the item has target regions, ``on target %`` (of the image's attention, the part inside
        them) and ``target area %`` (what even attention would give).
    """
    shares = pd.DataFrame(100 * flow.shares.numpy(), columns=[f"{group} %" for group in GROUPS])
    shares.index = pd.RangeIndex(1, len(shares) + 1, name="layer")
    if sample.targets:
        inside = target_mask(sample)
        profile = reduce_heads(flow.rows).numpy()[:, prompt.spans.image]
        maps = [prompt.grid.to_picture(row, prompt.image.size) for row in profile]
        shares["on target %"] = [100 * float(m[inside].sum() / m.sum()) for m in maps]
        shares["target area %"] = 100 * float(inside.mean())
    return shares


def chosen_layers(n_layers: int, n_shown: int = 7) -> list[int]:
    """Layers spread evenly from the first to the last, in the paper's count."""
    return sorted({round(layer) for layer in np.linspace(1, n_layers, n_shown)})
