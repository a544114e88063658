"""Figures and tables of truncation that keeps K image tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from infoflow.evaluate.topk import fewest_kept
from infoflow.report.display import NOT_RUN, Plot, Table, Words
from infoflow.report.interventions import compare_arms
from infoflow.report.style import (
    COLOURS,
    HOUSE_STYLE,
    TASK_TITLES,
    count_layers,
    layer_name,
    listed,
    task_panels,
)

Grids = Mapping[str, pd.DataFrame]
"""By task, mean scores from 0 to 1: one row a K, one column a cut
(:func:`infoflow.evaluate.topk.score_grid`)."""

Rivals = Mapping[str, Mapping[str, pd.DataFrame]]
"""By task and ranking, rows of :func:`infoflow.evaluate.topk.topk_by_cut` with one K."""

RANKING_NAMES = {"attention": "by attention", "random": "at random", "cam": "by CAM"}
_COLOURS = {"attention": "ours", "random": "baseline", "cam": "control"}
_LINES = {"attention": "-o", "random": "--s", "cam": "-.^"}


def topk_heat(grids: Grids, margin: float, n_layers: int, model: str) -> Plot:
    """Plot the mean score by K and cut, one panel a task.

    Args:
        grids: By task, mean scores.
        margin: Loss of mean score, from 0 to 1, that counts as no harm.
        n_layers: L of the model.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds the mean scores in percent, by task and K.
    """
    table = pd.concat({task: 100 * grid for task, grid in grids.items()}, names=["task"])
    tallest = max(len(grid) for grid in grids.values())
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(len(grids), panel_height=1.3 + 0.26 * tallest)
        for axes, (task, grid) in zip(panels, grids.items(), strict=True):
            shown = _draw_heat(axes, grid, margin, n_layers)
            axes.set_title(TASK_TITLES[task])
            axes.set_ylabel("K: image tokens kept")
        bar = figure.colorbar(shown, ax=panels, location="bottom", shrink=0.6, aspect=30)
        bar.set_label("mean score (%)")
    return Plot(
        figure,
        f"Heat maps of the score by K and cut. {_heat_told(grids, margin)}"[:400],
        f"Mean score when only K image tokens stay from a cut on, those the last prompt token "
        f"attends to most in the layer before: {model}. Dot: no more than {100 * margin:g} points "
        f"below the intact model. Bottom row: no image token; top row: all of them. Upper axis: "
        f"the paper's layer, cut + 1. {_heat_told(grids, margin)}",
        table,
    )


def _draw_heat(axes: Axes, grid: pd.DataFrame, margin: float, n_layers: int) -> AxesImage:
    values = 100 * grid.to_numpy()
    shown = axes.imshow(values, cmap="cividis", vmin=0, vmax=100, origin="lower", aspect="auto")
    for row, column in np.argwhere(values >= values[-1] - 100 * margin - 1e-7):
        colour = "white" if values[row, column] < 55 else "black"
        axes.plot(column, row, ".", color=colour, markersize=4)
    axes.set_yticks(range(len(grid)), [str(keep) for keep in grid.index])
    axes.tick_params(labelleft=True)
    cuts = [int(cut) for cut in grid.columns]
    places = range(0, len(cuts), 1 + len(cuts) // 10)
    axes.set_xticks(places, [str(cuts[place]) for place in places])
    axes.set_xlabel("cut: layers that see the whole image")
    above = axes.secondary_xaxis("top")
    above.set_xticks(places, [layer_name(cuts[place], n_layers) for place in places])
    above.tick_params(labelcolor="#595959", color="#595959")
    above.set_xlabel("paper's layer", color="#595959")
    return shown


def _heat_told(grids: Grids, margin: float) -> str:
    told = []
    for task, grid in grids.items():
        fewest = fewest_kept(grid, margin)
        cut = int(grid.columns[0])
        told.append(f"{TASK_TITLES[task]} {fewest.iloc[0]} of {grid.index[-1]}")
    return f"Fewest tokens that are enough at cut {cut}: {', '.join(told)}."


def kept_answers_table(rows: pd.DataFrame) -> Table:
    """The answers of one item by K and cut.

    Args:
        rows: Rows of :func:`infoflow.evaluate.topk.topk_by_cut` of one item.
    """
    data = rows.pivot(index="cut", columns="keep", values="text")
    data.columns = [f"K = {keep}" for keep in data.columns]
    data.insert(0, "paper's layer", data.index + 1)
    told = f"right answer: {rows['answer'].iloc[0]}"
    return Table(data, f"Answers to {rows['item'].iloc[0]} by cut and image tokens kept ({told})")


def fewest_table(grids: Grids, margin: float) -> Table:
    """The fewest image tokens that are enough, by cut and task.

    Args:
        grids: By task, mean scores.
        margin: Loss of mean score, from 0 to 1, that counts as no harm.
    """
    data = pd.DataFrame({TASK_TITLES[t]: fewest_kept(g, margin) for t, g in grids.items()})
    totals = {TASK_TITLES[task]: grid.index[-1] for task, grid in grids.items()}
    words = pd.DataFrame({t: [_of_all(k, total) for k in data[t]] for t, total in totals.items()})
    words.index = pd.Index(data.index, name="cut")
    words.insert(0, "paper's layer", data.index + 1)
    return Table(
        words,
        f"The fewest of the K tried that lose no more than {100 * margin:g} points, at every cut",
    )


def _of_all(keep: int, total: int) -> str:
    return "all" if keep == total else f"{keep} of {total}"


def fewest_words(grids: Grids, margin: float) -> Words:
    """Answer whether shallow layers need all image tokens, for the first cut.

    Args:
        grids: By task, mean scores.
        margin: Loss of mean score, from 0 to 1, that counts as no harm.
    """
    first = {TASK_TITLES[task]: fewest_kept(grid, margin).iloc[0] for task, grid in grids.items()}
    totals = {TASK_TITLES[task]: grid.index[-1] for task, grid in grids.items()}
    cut = int(next(iter(grids.values())).columns[0])
    every = listed([title for title, keep in first.items() if keep == totals[title]])
    none = listed([title for title, keep in first.items() if keep == 0])
    some = listed([f"{t} ({k} of {totals[t]})" for t, k in first.items() if 0 < k < totals[t]])
    told = [
        f"nothing less than all image tokens is enough for {every}" if every else "",
        f"some are enough for {some}" if some else "",
        f"no image token is needed for {none}" if none else "",
    ]
    said = "; ".join(part for part in told if part)
    return Words(
        f"**Do the layers above cut {cut} need all image tokens?** Of the numbers tried, and with "
        f"a margin of {100 * margin:g} points: {said}."
    )


def topk_rivals(
    rivals: Rivals, truncated: Mapping[str, pd.DataFrame], n_layers: int, model: str
) -> Plot:
    """Plot the score at every cut for K tokens chosen in different ways, one panel a task.

    Args:
        rivals: By task and ranking, rows with one K.
        truncated: By task, rows of :func:`infoflow.evaluate.truncation.truncation_by_cut` of the
            same items: K = 0 and the intact model.
        n_layers: L of the model.
        model: Name of the model, for the caption.

    Returns:
        The plot; its table holds mean scores in percent by task and cut: one column a ranking, and
        ``none`` (K = 0) and ``intact``.
    """
    table = pd.concat({t: _rival_means(rivals[t], truncated[t]) for t in rivals}, names=["task"])
    with mpl.rc_context(HOUSE_STYLE):
        figure, panels = task_panels(len(rivals), panel_height=3.0)
        for axes, task in zip(panels, rivals, strict=True):
            _draw_rivals(axes, pd.DataFrame(table.xs(task)), n_layers)
            axes.set_title(TASK_TITLES[task])
        figure.supylabel("mean score (%)", fontsize=10)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    keep, best = _only_keep(rivals), table.groupby("task", sort=False).mean()
    told = "; ".join(
        f"{TASK_TITLES[task]} "
        + ", ".join(
            f"{RANKING_NAMES[name]} {float(best[name][task]):.1f} %" for name in rivals[task]
        )
        for task in rivals
    )
    return Plot(
        figure,
        f"Score by cut with {keep} image tokens kept. Averaged over cuts: {told}."[:400],
        f"Mean score by cut when {keep} image tokens stay, chosen by attention, at random, or by "
        f"the gradient map of the right answer, which no method can know: {model}. Dotted: no "
        f"token stays. Grey line: the intact model. Averaged over the cuts: {told}.",
        table,
    )


def _rival_means(rankings: Mapping[str, pd.DataFrame], truncated: pd.DataFrame) -> pd.DataFrame:
    by_cut = 100 * truncated.groupby("cut")["score"].mean()
    means = {name: 100 * rows.groupby("cut")["score"].mean() for name, rows in rankings.items()}
    table = pd.DataFrame(means)
    return table.assign(none=by_cut[table.index], intact=by_cut.iloc[-1])


def _draw_rivals(axes: Axes, table: pd.DataFrame, n_layers: int) -> None:
    axes.set_ylim(-4, 108)
    last = int(table.index[-1])
    intact = table["intact"].iloc[0]
    axes.axhline(intact, color=COLOURS["baseline"], linewidth=0.8, label="intact model")
    for name in table.columns.drop(["none", "intact"]):
        line, colour = _LINES[name], COLOURS[_COLOURS[name]]
        label = RANKING_NAMES[name]
        axes.plot(table.index, table[name], line, color=colour, markersize=4, label=label)
    axes.plot(table.index, table["none"], ":", color="black", linewidth=1.4, label="none kept")
    count_layers(axes, n_layers, last, below="cut: layers that see the whole image")
    axes.set_xlim(float(table.index[0]) - 0.4, last + 0.4)
    axes.tick_params(labelleft=True)


def _only_keep(rivals: Rivals) -> int:
    frames = [rows for rankings in rivals.values() for rows in rankings.values()]
    return int(pd.concat(frames)["keep"].iloc[0])


def rivals_table(rivals: Rivals, margin: float, seed: int) -> Table:
    """Scores averaged over the cuts, by ranking, and paired with random choice.

    Args:
        rivals: By task and ranking (``"random"`` among them), rows with one K.
        margin: The difference of mean scores, from 0 to 1, that is taken not to matter.
        seed: Seed of the bootstrap of the intervals.
    """
    lines, better = {}, []
    for task, rankings in rivals.items():
        means = {
            name: pd.DataFrame(rows.groupby("item")["score"].mean()).reset_index()
            for name, rows in rankings.items()
        }
        line = {f"{RANKING_NAMES[n]} %": f"{100 * x['score'].mean():.1f}" for n, x in means.items()}
        for name in [name for name in means if name != "random"]:
            compared = compare_arms(means["random"], means[name], margin, seed)
            line[f"{RANKING_NAMES[name]} - random, points"] = compared.points
            if name == "attention" and compared.equivalence.interval[0] > 0:
                better.append(TASK_TITLES[task])
        lines[TASK_TITLES[task]] = line
    data = pd.DataFrame.from_dict(lines, orient="index").rename_axis("task")
    return Table(
        data,
        f"Scores averaged over the cuts with {_only_keep(rivals)} image tokens kept, with 90 % "
        "intervals of the paired difference. Attention chooses better than chance in "
        f"{listed(better) or 'no task'} (interval above 0)",
    )


def topk_paper_table(
    keeps: Sequence[int],
    no_image: Sequence[Mapping[str, Any]],
    truncated: Mapping[str, pd.DataFrame],
    grids: Grids,
    paper_model: str,
    model: str,
) -> Table:
    """What the paper's appendix A.2 prints beside what this page measured.

    Args:
        keeps: The Ks that the paper prints.
        no_image: ``no_image`` of the paper's values.
        truncated: By task, rows of :func:`infoflow.evaluate.truncation.truncation_by_cut`.
        grids: By task, mean scores by K and cut.
        paper_model: The model the paper's values are of.
        model: Name of our model.
    """
    tried = sorted({int(keep) for grid in grids.values() for keep in grid.index})
    lines = [
        ("K: image tokens kept", listed([*map(str, keeps)]), NOT_RUN, listed([*map(str, tried)]))
    ]
    for entry in no_image:
        if entry["model"] == paper_model and entry["task"] in truncated:
            frame = truncated[entry["task"]]
            blind = 100 * frame[frame["cut"] == 0]["score"].mean()
            name = f"{TASK_TITLES[entry['task']]} without any image token (%)"
            lines.append((name, f"{entry['accuracy']:.1f}", NOT_RUN, f"{blind:.1f}"))
    lines.append(("score with K above 0", "not printed", NOT_RUN, "see the heat maps"))
    columns = [
        *("point", f"paper, {paper_model}", f"ours, {paper_model} on the benchmarks"),
        f"ours, {model} on Shapes",
    ]
    data = pd.DataFrame(lines, columns=columns).set_index("point")
    return Table(data, "The paper's appendix A.2 beside ours", comparison=True)
