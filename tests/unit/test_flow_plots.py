"""Attention flow over a task: heads, ways to reduce them, and verdicts on the paper's sentences."""

import numpy as np
import pandas as pd
import pytest
import torch

from infoflow import report
from infoflow.claims.paper import paper_values
from infoflow.data.load import load_task
from infoflow.evaluate.flow import flow_by_layer, head_shares, max_over_heads
from infoflow.methods.flow import attention_flow
from infoflow.models.lvlm import load_lvlm
from infoflow.report.heads import heads_for_half
from infoflow.results.store import Store
from zoo.architectures import find_architecture
from zoo.train import export

torch.set_num_threads(1)

MODEL = "some-model"


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained")
    tiny_llava = find_architecture("tiny-llava-1.5")
    export(tiny_llava, tiny_llava.new_model(0), folder, {})
    lvlm = load_lvlm("tiny-llava-1.5", checkpoint=folder, device="cpu")
    task = load_task("pope", limit=2)
    return lvlm, task, flow_by_layer(lvlm, task, Store(tmp_path_factory.mktemp("results")))


def test_one_pass_gives_mean_maximum_and_heads(measured):
    lvlm, task, rows = measured
    for sample in task:
        prompt = lvlm.prompt(sample.image, sample.question)
        part = rows[rows["item"] == sample.id]
        strongest = attention_flow(lvlm, prompt, head_reduce="max").shares
        shown = max_over_heads(part)[["system", "image", "user"]]
        np.testing.assert_allclose(shown, strongest, atol=1e-6)
        heads = attention_flow(lvlm, prompt).rows[..., prompt.spans.image].sum(-1)
        columns = [f"head_{number}" for number in range(lvlm.n_heads)]
        np.testing.assert_allclose(part[columns], heads, atol=1e-6)
    np.testing.assert_allclose(rows[columns].mean(axis=1), rows["image"], atol=1e-6)
    assert not np.allclose(rows["max_image"], rows["image"], atol=1e-4)


def test_head_shares_are_means_over_items(measured):
    lvlm, _, rows = measured
    table = head_shares(rows)
    assert table.shape == (lvlm.n_layers, lvlm.n_heads)
    expected = rows[rows["layer"] == 3]["head_1"].mean()
    assert table.loc[3, 1] == pytest.approx(expected)


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


def rows_with(image_by_layer, max_image=None, heads=None):
    """Shares by layer; the question takes a third of the rest, the system text two thirds."""
    lines = []
    for layer, image in enumerate(image_by_layer, start=1):
        strong = image if max_image is None else max_image[layer - 1]
        by_head = heads[layer - 1] if heads is not None else [image, image]
        lines.append(
            {
                **{"item": "item-0", "kind": "one", "layer": layer},
                **{"system": (1 - image) * 2 / 3, "image": image, "user": (1 - image) / 3},
                **{"max_system": (1 - strong) * 2 / 3, "max_image": strong},
                **{"max_user": (1 - strong) / 3},
                **{"uniform_system": 0.2, "uniform_image": 0.6, "uniform_user": 0.2},
                **{f"head_{number}": share for number, share in enumerate(by_head)},
            }
        )
    return pd.DataFrame(lines)


AS_PRINTED = [0.5, 0.3, 0.2, 0.01, 0.01, *[0.01] * 7]
OPPOSITE = [0.1, 0.3, 0.4, 0.5, 0.5, 0.2, 0.9, *[0.5] * 4, 0.2]
ORDER = ["falls-early", "flat-middle", "rises-last", "below-two-percent", "system-most"]


def verdicts(rows):
    claims = paper_values()["attention_claims"]
    assert [claim["id"] for claim in claims] == ORDER
    lines = report.flow_verdicts(rows, claims, MODEL).text.splitlines()
    return lines[0], dict(zip(ORDER, lines[2:], strict=True))


def test_verdicts_hold_fail_or_depend_on_the_task():
    first, good = verdicts({"pope": rows_with(AS_PRINTED)})
    assert "**Holds** (POPE 50.0 to 1.0 %)" in good["falls-early"]
    assert "**Holds** (POPE between 1.0 and 1.0 %)" in good["flat-middle"]
    assert "**Fails** (POPE image +0.0, user +0.0 points)" in good["rises-last"]
    assert "3 hold for some-model on every task measured here and 2 on none" in first
    assert "with 60 % of the tokens the image's" in good["system-most"]
    _, bad = verdicts({"pope": rows_with(OPPOSITE)})
    assert "**Fails**" in bad["falls-early"]
    assert "**Fails**" in bad["flat-middle"]
    _, mixed = verdicts({"pope": rows_with(AS_PRINTED), "chair": rows_with(OPPOSITE)})
    assert "**Holds on POPE, not on CHAIR**" in mixed["below-two-percent"]


def test_a_slow_fall_is_not_fast():
    _, slow = verdicts({"pope": rows_with(np.linspace(0.5, 0.4, 12))})
    assert "**Fails** (POPE 50.0 to 46.4 %)" in slow["falls-early"]


@pytest.mark.parametrize("n_layers", [1, 2, 3, 40])
def test_verdicts_fit_any_depth(n_layers):
    assert len(verdicts({"pope": rows_with(np.full(n_layers, 0.2))})[1]) == len(ORDER)


def test_two_reductions_can_disagree():
    claims = paper_values()["attention_claims"]
    rows = {"pope": rows_with(AS_PRINTED, max_image=np.full(12, 0.4))}
    strongest = {task: max_over_heads(frame) for task, frame in rows.items()}
    data = report.reduction_table(rows, strongest, claims).data
    assert data["heads averaged: holds on"].iloc[0] == "POPE"
    assert data["maximum over heads: holds on"].iloc[0] == "no task"
    plot = report.head_reductions(rows, MODEL)
    means = plot.table.xs("pope").mean()
    assert means["max"] == pytest.approx(40)
    assert f"POPE {means['max'] - means['mean']:+.1f}" in plot.alt


def test_head_maps_and_table_tell_one_head_from_all():
    one = rows_with(np.full(12, 0.25), heads=[[1.0, 0, 0, 0]] + [[0.0] * 4] * 11)
    alike = rows_with(np.full(12, 0.25), heads=[[0.25] * 4] * 12)
    plot = report.head_maps({"pope": one}, MODEL)
    assert "layer 1, head 0, 100.0 %" in plot.alt
    assert "Of all 48 heads, 1 hold half" in plot.caption
    assert "24 hold half" in report.head_maps({"pope": alike}, MODEL).caption
    data = report.head_table({"pope": one}).data.loc["POPE"]
    assert data["heads that hold half"] == "1 of 48"
    assert data["its heads above even"] == "1 of 4"
    assert plot.table.shape == (12, 4)
    assert plot.png == report.head_maps({"pope": one}, MODEL).png
