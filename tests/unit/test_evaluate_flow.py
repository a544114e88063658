"""Attention flow over a task: heads and ways to reduce them."""

import numpy as np
import pytest
import torch
from flow_pages import head_shares, max_over_heads

from infoflow.data.load import load_task
from infoflow.evaluate.flow import flow_by_layer
from infoflow.methods.flow import attention_flow
from infoflow.models.lvlm import load_lvlm
from infoflow.results.store import Store
from zoo.architectures import find_architecture
from zoo.train import export

torch.set_num_threads(1)


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
