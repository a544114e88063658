"""What the pages on attention draw and say: right numbers, words and edge cases."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from cells import assert_whole, run_cell
from flow_pages import (
    BUNDLES,
    POINTS,
    heads_for_half,
    item_arcs,
    loss_by_depth,
    shares_by_depth,
)
from PIL import Image

from infoflow.methods.flow import AttentionFlow
from infoflow.models.grid import Grid
from infoflow.models.prompt import Prompt, Spans
from infoflow.stats.layers import depths

MODEL, L = "some-model", 12


def flow_rows(image, strongest=None, heads=None, n_items=5, spread=0.0):
    """Shares by layer; the question takes a third of the rest, the system text two thirds."""
    rng = np.random.default_rng(0)
    lines = []
    for item in range(n_items):
        for layer, mean in enumerate(image, start=1):
            share = float(np.clip(mean + rng.normal(0, spread), 0, 0.99)) if spread else mean
            strong = share if strongest is None else strongest[layer - 1]
            by_head = heads[layer - 1] if heads is not None else [share, share]
            lines.append(
                {
                    **{"item": f"item-{item}", "kind": "one", "layer": layer},
                    **{"system": (1 - share) * 2 / 3, "image": share, "user": (1 - share) / 3},
                    **{"max_system": (1 - strong) * 2 / 3, "max_image": strong},
                    **{"max_user": (1 - strong) / 3},
                    **{"uniform_system": 0.2, "uniform_image": 0.6, "uniform_user": 0.2},
                    **{f"head_{number}": share for number, share in enumerate(by_head)},
                }
            )
    return pd.DataFrame(lines)


def cut_rows(means, n_items=100):
    """Items that are right or wrong, in each cut as many right as its mean says, nested."""
    return pd.DataFrame(
        [
            {"item": f"item-{item:03}", "cut": cut, "score": float(item < mean * n_items)}
            for item in range(n_items)
            for cut, mean in enumerate(means)
        ]
    )


# Figure 2


def on_fig2(cell, rows, **scope):
    """Run a cell of fig. 2 on rows by task, with what the cells before it make of them."""
    every = pd.concat(rows, names=["task"])
    shares = 100 * every.groupby(["task", "layer"], sort=False)["image"].mean()
    lvlm = SimpleNamespace(n_layers=rows["pope"]["layer"].max(), n_heads=2, folder=Path("none"))
    known = {
        "rows": rows,
        "every": every,
        "image_share": shares,
        "counted": "5 items",
        "lvlm": lvlm,
    }
    known |= {"tasks": list(rows), "model": MODEL, "store": None}
    known |= {"data": SimpleNamespace(test=lambda name, limit: name)}
    return run_cell("fig2_attention_flow", cell, **known, **scope)


def measuring(rows):
    return {"flow_by_layer": lambda lvlm, task, store: rows[task]}


def test_shares_are_means_and_quantiles_in_percent():
    rows = {task: flow_rows(np.linspace(0.5, 0.1, L), spread=0.02) for task in ("pope", "chair")}
    plot = on_fig2("found+figure", rows, **measuring(rows))
    assert_whole(plot)
    third = 100 * rows["pope"][rows["pope"]["layer"] == 3]["image"].to_numpy()
    line = plot.table.loc[("pope", 3), "image"]
    assert line["mean"] == pytest.approx(third.mean())
    assert line["low"] == pytest.approx(np.quantile(third, 0.1))
    assert line["high"] == pytest.approx(np.quantile(third, 0.9))
    for axes in plot.figure.axes:
        cuts = [int(label.get_text()) for label in axes.get_xticklabels()]
        layers = [int(x.get_text()) for x in axes.child_axes[0].get_xticklabels()]
        assert layers == [cut + 1 for cut in cuts]
        assert "paper" in axes.child_axes[0].get_xlabel()


@pytest.mark.parametrize("n_layers", [2, 3, 40])
def test_alt_text_tells_the_data_of_any_depth(n_layers):
    rows = {"pope": flow_rows(np.full(n_layers, 0.7))}
    assert "POPE 70.0 % in layer 1" in on_fig2("found+figure", rows, **measuring(rows)).alt


@pytest.mark.parametrize(
    ("shares", "needed"),
    [
        (np.full((12, 4), 0.1), 24),
        (np.full((2, 1), 0.3), 1),
        (np.array([[0.9, 0.0], [0.0, 0.1]]), 1),
        (np.array([0.3, 0.3, 0.2, 0.2]), 2),
    ],
)
def test_how_many_heads_hold_half(shares, needed):
    assert heads_for_half(shares) == needed


def test_head_maps_and_table_tell_one_head_from_all():
    one = {"pope": flow_rows(np.full(L, 0.25), heads=[[1.0, 0, 0, 0]] + [[0.0] * 4] * 11)}
    alike = {"pope": flow_rows(np.full(L, 0.25), heads=[[0.25] * 4] * L)}
    plot = on_fig2("d835ad56", one)
    assert_whole(plot)
    assert "POPE layer 1, head 0, 100.0 %" in plot.alt
    assert "1 hold half" in plot.caption
    assert "24 hold half" in on_fig2("d835ad56", alike).caption
    maps = {"pope": plot.table.loc["pope"]}
    data = on_fig2("c80cc081", one, maps=maps, half={"pope": 1}).data.loc["POPE"]
    assert data["heads that hold half"] == "1 of 48"
    assert data["its heads above even"] == "1 of 4"
    assert data["layer with the largest share"] == 1


def test_two_ways_to_reduce_heads_can_disagree():
    rows = {"pope": flow_rows(np.linspace(0.5, 0.1, L), strongest=np.full(L, 0.4))}
    plot = on_fig2("12b91661", rows)
    assert plot.table["max"].mean() == pytest.approx(40)
    assert "POPE +10.0" in plot.alt
    assert plot.caption.endswith("10.0 points more.")


def test_the_control_is_paired():
    rows, grey = ({"pope": flow_rows(np.full(L, share))} for share in (0.5, 0.3))
    row = on_fig2("fig2-13", rows, blank=grey).data.loc["POPE"]
    assert row["own - grey, points"] == "+20.0 [+20.0, +20.0]"
    assert row["even attention %"] == "60.0"
    test = {"pope": "pope"}
    plot = on_fig2("fig2-12", rows, blank_pictures=lambda task: task, test=test, **measuring(grey))
    assert "POPE 50.0 % own, 30.0 % grey, 60.0 % even" in plot.alt


# Figure 1


AS_DRAWN = ([0.4, 0.2, 0.001], [0.4, 0.8, 0.9, 0.9])
IDLE = ([0.4, 0.4, 0.4], [0.4, 0.8, 0.9, 0.9])


def on_fig1(cell, image, means, tasks=("pope",), **scope):
    shares = {task: shares_by_depth(flow_rows(image)) for task in tasks}
    losses = {task: loss_by_depth(cut_rows(means), margin=0.05) for task in tasks}
    measured = pd.concat({t: shares[t].join(losses[t]) for t in tasks}, names=["task"])
    known = {"losses": losses, "measured": measured, "image": measured["image"], "model": MODEL}
    known |= {"flow_by_layer": lambda *given: flow_rows(image), "thirds": depths(len(image))}
    known |= {"truncation_by_cut": lambda *given: cut_rows(means), "lvlm": None, "store": None}
    known |= {"data": SimpleNamespace(test=lambda name, limit: name), "tasks": list(tasks)}
    return run_cell(
        "fig1_flow_overview", cell, **known, groups=["system", "image", "user"], **scope
    )


def arcs(axes):
    return [p for p in axes.patches if not hasattr(p, "get_xy")]


def test_mean_arcs_show_every_task_and_depth():
    plot = on_fig1("found+figure", *AS_DRAWN, tasks=("pope", "chair", "textvqa"))
    assert_whole(plot)
    assert len(plot.figure.axes) == 9
    for axes, share in zip(plot.figure.axes[:3], (0.4, 0.2, 0.001), strict=True):
        assert any(arc.get_linewidth() == pytest.approx(POINTS * share) for arc in arcs(axes))
    assert "deep layers than in the shallow ones on no task" in plot.caption
    assert "below the margin on POPE, CHAIR and TextVQA." in plot.caption
    assert "POPE 40.0 %, 20.0 %, 0.1 %" in plot.alt
    assert plot.table.loc[("chair", "deep"), "removed"] == pytest.approx(0.9)


def test_tables_hold_shares_losses_and_their_control():
    data = on_fig1("14e50c62", *AS_DRAWN).data
    assert list(data["image %"]) == ["40.0", "20.0", "0.1"]
    assert list(data["removal harms"]) == ["yes", "yes", "no"]
    assert data["difference"].iloc[0].startswith("-50.0 [")
    grey = flow_rows([0.1, 0.1, 0.1])
    control = on_fig1(
        "324efc76",
        *AS_DRAWN,
        test={"pope": "pope"},
        blank_pictures=lambda task: task,
        shares_by_depth=lambda frame: shares_by_depth(grey),
    )
    assert control.data.iloc[0].tolist() == ["shallow", "40.0", "10.0", "60.0"]


def test_words_say_what_is_read_but_not_needed():
    assert on_fig1("found", *IDLE).text.endswith("needed: POPE.")
    assert on_fig1("found", *AS_DRAWN).text.endswith("needed: no task.")


def item(n_image=64, question="Context: none\nQuestion: What is it?\nAnswer."):
    spans = Spans(slice(0, 10), slice(10, 10 + n_image), slice(10 + n_image, 26 + n_image))
    size = 26 + n_image
    prompt = Prompt(
        *(torch.zeros(size, dtype=torch.long), torch.zeros(1, size, 4)),
        *(torch.zeros(1, 3, 8, 8), spans, Grid(8, n_image // 8)),
        *(Image.new("RGB", (8, 8)), question),
    )
    rows = torch.rand(6, 2, size, generator=torch.Generator().manual_seed(0))
    rows /= rows.sum(-1, keepdim=True)
    shares = torch.stack([rows.mean(1)[:, span].sum(-1) for span in spans], -1)
    return AttentionFlow(rows, shares), prompt


TEXTS = {0: "no", 2: "yes", 4: "yes", 6: "yes"}


@pytest.mark.parametrize("n_image", [16, 64, 576])
def test_arcs_are_as_wide_as_the_shares(n_image):
    flow, prompt = item(n_image)
    plot = item_arcs(flow, prompt, TEXTS, MODEL)
    for axes, third in zip(plot.figure.axes, depths(6), strict=True):
        widths = [arc.get_linewidth() for arc in arcs(axes)]
        assert sum(widths) == pytest.approx(POINTS, rel=1e-4)  # all of the attention
        by_group = flow.shares[third.first - 1 : third.last].mean(0).numpy()
        counts = [16, min(n_image, BUNDLES), 10]  # drawn from the answer's end on
        parts = np.split(np.array(widths), np.cumsum(counts)[:-1])
        drawn = np.array([part.sum() for part in parts])[::-1] / POINTS
        np.testing.assert_allclose(drawn, by_group, rtol=1e-4)
        told = plot.table.loc[third.name, ["system %", "image %", "user %"]].astype(float)
        np.testing.assert_allclose(100 * by_group, told, rtol=1e-4)


def test_the_caption_tells_where_the_answer_stays():
    flow, prompt = item()
    plot = item_arcs(flow, prompt, TEXTS, MODEL)
    assert_whole(plot)
    assert plot.png == item_arcs(flow, prompt, TEXTS, MODEL).png
    assert "from the middle or deep layers on, it answers the same" in plot.caption
    assert "it answers something else" in item_arcs(flow, prompt, {**TEXTS, 6: "x"}, MODEL).caption
    assert "“What is it?”" in plot.caption
