"""Shallow, middle and deep layers: shares, losses, arcs, and the paper's words on them."""

import re
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from infoflow import report
from infoflow.claims.paper import paper_values
from infoflow.evaluate.depths import loss_by_depth, shares_by_depth
from infoflow.methods.flow import AttentionFlow
from infoflow.models.grid import Grid
from infoflow.models.lvlm import Prompt, Spans
from infoflow.report import overview
from infoflow.report.style import asked, listed
from infoflow.stats.layers import depths

MODEL = "some-model"


def flow_rows(image, user=0.3, n_items=4):
    return pd.DataFrame(
        [
            {
                **{"item": f"item-{item}", "kind": "one", "layer": layer},
                **{"system": 1 - share - user, "image": share, "user": user},
                **{"uniform_system": 0.2, "uniform_image": 0.6, "uniform_user": 0.2},
            }
            for item in range(n_items)
            for layer, share in enumerate(image, start=1)
        ]
    )


def cut_rows(means, n_items=100):
    """Items that are right or wrong, in each cut as many right as its mean says, nested."""
    return pd.DataFrame(
        [
            {"item": f"item-{item:03}", "cut": cut, "score": float(item < mean * n_items)}
            for item in range(n_items)
            for cut, mean in enumerate(means)
        ]
    )


@pytest.mark.parametrize(
    ("n_layers", "expected"),
    [
        (12, [("shallow", 1, 4), ("middle", 5, 8), ("deep", 9, 12)]),
        (32, [("shallow", 1, 11), ("middle", 12, 22), ("deep", 23, 32)]),
        (3, [("shallow", 1, 1), ("middle", 2, 2), ("deep", 3, 3)]),
        (2, [("shallow", 1, 1), ("deep", 2, 2)]),
        (1, [("shallow", 1, 1)]),
    ],
)
def test_depths_divide_the_layers(n_layers, expected):
    assert depths(n_layers) == expected
    assert [depth.cut for depth in depths(n_layers)] == [first - 1 for _, first, _ in expected]


def test_shares_are_means_over_the_layers_of_a_depth():
    table = shares_by_depth(flow_rows([0.6, 0.5, 0.4, 0.3, 0.2, 0.0]))
    assert list(table["image"]) == pytest.approx([0.55, 0.35, 0.1])
    assert list(table["first"]) == [1, 3, 5]
    np.testing.assert_allclose(table[["system", "image", "user"]].sum(axis=1), 1)
    assert set(table["uniform_image"]) == {0.6}


def test_losses_are_paired_and_from_the_first_layer_of_a_depth_on():
    table = loss_by_depth(cut_rows([0.3, 0.5, 0.6, 0.7, 0.9, 0.9, 0.9]), margin=0.05)
    assert list(table["cut"]) == [0, 2, 4]
    assert list(table["removed"]) == pytest.approx([0.3, 0.6, 0.9])
    assert list(table["difference"]) == pytest.approx([-0.6, -0.3, 0.0])
    assert list(table["unharmed"]) == [False, False, True]
    assert (table["low"] < table["difference"]).all()


def test_few_items_show_no_absence_of_harm():
    assert not loss_by_depth(cut_rows([1, 1, 1, 1], n_items=4), margin=0.05)["unharmed"].any()


def tables(image, means):
    shares = {"pope": shares_by_depth(flow_rows(image))}
    losses = {"pope": loss_by_depth(cut_rows(means), margin=0.05)}
    return shares, losses


AS_DRAWN = ([0.4, 0.2, 0.001], [0.4, 0.8, 0.9, 0.9])
OPPOSITE = ([0.001, 0.2, 0.4], [0.9, 0.8, 0.3, 0.9])
IDLE = ([0.4, 0.4, 0.4], [0.4, 0.8, 0.9, 0.9])


def ours(shares, losses):
    claims = paper_values()["depth_claims"]
    data = report.depth_paper_table(shares, losses, claims, "llava-1.5-7b", MODEL).data
    return [told.split(":")[0] for told in data[f"ours, {MODEL}: POPE"]]


def test_the_papers_drawing_is_held_against_both_kinds_of_evidence():
    assert ours(*tables(*AS_DRAWN)) == ["yes", "yes", "yes", "yes"]
    assert ours(*tables(*OPPOSITE)) == ["no", "no", "no", "no"]
    assert ours(*tables(*IDLE)) == ["yes", "yes", "no", "yes"]


def test_too_few_items_leave_truncation_undecided():
    shares = {"pope": shares_by_depth(flow_rows([0.4, 0.2, 0.001]))}
    losses = {"pope": loss_by_depth(cut_rows([1, 1, 1, 1], n_items=4), margin=0.05)}
    assert ours(shares, losses) == ["yes", "undecided", "yes", "undecided"]


def test_words_say_what_is_read_but_not_needed():
    claims = paper_values()["depth_claims"]
    assert report.depth_words(*tables(*IDLE), claims).text.endswith("on POPE.")
    assert report.depth_words(*tables(*AS_DRAWN), claims).text.endswith("on no task.")


def test_tables_hold_shares_losses_and_their_control():
    shares, losses = tables(*AS_DRAWN)
    data = report.depth_table(shares, losses, 0.05).data
    assert list(data["image %"]) == ["40.0", "20.0", "0.1"]
    assert list(data["removal harms"]) == ["yes", "yes", "no"]
    assert data["difference"].iloc[0].startswith("-50.0 [")
    grey = {"pope": shares_by_depth(flow_rows([0.1, 0.1, 0.1]))}
    control = report.depth_control_table(shares, grey).data
    assert control.iloc[0].tolist() == ["shallow", "40.0", "10.0", "60.0"]


def item(n_image=64):
    spans = Spans(slice(0, 10), slice(10, 10 + n_image), slice(10 + n_image, 26 + n_image))
    size = 26 + n_image
    prompt = Prompt(
        *(torch.zeros(size, dtype=torch.long), torch.zeros(1, size, 4)),
        *(torch.zeros(1, 3, 8, 8), spans, Grid(8, n_image // 8)),
        *(Image.new("RGB", (8, 8)), "Context: none\nQuestion: What is it?\nAnswer."),
    )
    rows = torch.rand(6, 2, size, generator=torch.Generator().manual_seed(0))
    rows /= rows.sum(-1, keepdim=True)
    shares = torch.stack([rows.mean(1)[:, span].sum(-1) for span in spans], -1)
    return AttentionFlow(rows, shares), prompt


TEXTS = {0: "no", 2: "yes", 4: "yes", 6: "yes"}


def arcs(axes):
    return [
        patch
        for patch in axes.patches
        if hasattr(patch, "get_path") and not hasattr(patch, "get_xy")
    ]


@pytest.mark.parametrize("n_image", [16, 64, 576])
def test_arcs_are_as_wide_as_the_shares(n_image):
    flow, prompt = item(n_image)
    plot = report.item_arcs(flow, prompt, TEXTS, MODEL)
    for axes, third in zip(plot.figure.axes, depths(6), strict=True):
        widths = [arc.get_linewidth() for arc in arcs(axes)]
        assert sum(widths) == pytest.approx(overview._POINTS, rel=1e-4)  # all of the attention
        by_group = flow.shares[third.first - 1 : third.last].mean(0).numpy()
        counts = [10, min(n_image, overview.BUNDLES), 16]
        parts = np.split(np.array(widths), np.cumsum(counts)[:-1])
        drawn = np.array([part.sum() for part in parts]) / overview._POINTS
        np.testing.assert_allclose(drawn, by_group, rtol=1e-4)
        np.testing.assert_allclose(
            [100 * share for share in by_group],
            plot.table.loc[third.name, ["system %", "image %", "user %"]].astype(float),
            rtol=1e-4,
        )


def test_item_caption_tells_where_the_answer_stays():
    flow, prompt = item()
    plot = report.item_arcs(flow, prompt, TEXTS, MODEL)
    assert "from the middle or deep layers on, it answers the same" in plot.caption
    changed = report.item_arcs(flow, prompt, {**TEXTS, 6: "else"}, MODEL)
    assert "it answers something else" in changed.caption
    assert "“What is it?”" in plot.caption


def test_mean_arcs_show_every_task_and_depth():
    shares, losses = tables(*AS_DRAWN)
    shares, losses = (
        dict.fromkeys(("pope", "chair", "textvqa"), table["pope"]) for table in (shares, losses)
    )
    plot = report.mean_arcs(shares, losses, MODEL, 100)
    assert len(plot.figure.axes) == 9
    for axes, share in zip(plot.figure.axes[:3], (0.4, 0.2, 0.001), strict=True):
        assert arcs(axes)[1].get_linewidth() == pytest.approx(overview._POINTS * share)
    assert "deep layers than in the shallow ones on no task" in plot.caption
    assert plot.caption.endswith("below the margin on POPE, CHAIR and TextVQA.")
    assert "POPE 40.0 %, 20.0 %, 0.1 %" in plot.alt
    assert plot.table.loc[("chair", "deep"), "removed"] == pytest.approx(90)


def test_pictures_have_words_and_the_same_bytes_again():
    def made():
        return [
            report.item_arcs(*item(), TEXTS, MODEL),
            report.mean_arcs(*tables(*AS_DRAWN), MODEL, 100),
        ]

    for plot, again in zip(made(), made(), strict=True):
        assert plot.png == again.png
        assert Image.open(BytesIO(plot.png)).width <= 1500
        assert 20 <= len(plot.alt) <= 400
        assert re.search(r"<figcaption>", plot._repr_mimebundle_()["text/html"])


def test_lists_and_questions_are_worded():
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        *("", "a", "a and b", "a, b and c"),
    ]
    assert asked("Context: x\nQuestion: What?\nOptions: (A) b") == "What?"
    assert asked("Describe it.") == "Describe it."
