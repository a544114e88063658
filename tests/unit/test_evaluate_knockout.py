"""Attention knockout over a task, against the calls it is made of."""

import numpy as np
import pytest
import torch

from infoflow.data.load import load_task
from infoflow.evaluate.knockout import EDGES, changes_by_layer, knockout_by_layer
from infoflow.methods.heatmaps import explained_answer
from infoflow.methods.knockout import attention_knockout
from infoflow.methods.localisation import target_mask, tokens_on

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def task():
    return load_task("pope", limit=3)


@pytest.fixture(scope="module")
def rows(lvlm, task, store):
    return knockout_by_layer(lvlm, task, store, window=1)


def of_edge(rows, sample, edge):
    return rows[(rows["item"] == sample.id) & (rows["edge"] == edge)].sort_values("layer")


def test_rows_are_what_one_call_an_edge_finds(lvlm, task, rows):
    sample = next(sample for sample in task if sample.targets)
    prompt = lvlm.prompt(sample.image, sample.question)
    answer = explained_answer(lvlm, prompt, sample, task.max_new_tokens)
    on = tokens_on(target_mask(sample), prompt.grid)
    image = np.arange(prompt.spans.image.start, prompt.spans.image.stop)
    sources = {"image": "image", "object": image[on], "background": image[~on]}
    for source, target in (("image", "user"), ("object", "last"), ("background", "question")):
        found = attention_knockout(lvlm, prompt, answer, sources[source], target, window=1)
        changes = found.log_probs - found.intact
        own = of_edge(rows, sample, f"{source} to {target}")
        assert own["layer"].tolist() == list(range(1, lvlm.n_layers + 1))
        np.testing.assert_allclose(own["nats"], changes.mean(-1), atol=1e-6)
        ratio = (found.log_probs[:, 0].exp() / found.intact[0].exp()).numpy()
        np.testing.assert_allclose(own["percent"], 100 * (ratio - 1), atol=1e-3)
        assert set(own["text"]) == {lvlm.decode(answer)}


def test_items_without_a_region_have_neither_object_nor_background(task, rows):
    edges = {f"{source} to {target}" for source, target in EDGES}
    general = {edge for edge in edges if edge.split()[0] in ("image", "question", "system")}
    for sample in task:
        found = set(rows.loc[rows["item"] == sample.id, "edge"])
        assert found == (edges if sample.targets else general)
    assert len({bool(sample.targets) for sample in task}) == 2
    both = rows.pivot_table(index="item", columns="edge", values="n_sources").dropna()
    assert (both["object to last"] + both["background to last"] == both["image to last"]).all()


def test_changes_are_arranged_by_item_and_layer(task, rows):
    changes = changes_by_layer(rows, "image to last", "percent")
    assert changes.shape == (len(task), rows["layer"].max())
    for sample, of_item in zip(task, changes, strict=True):
        assert of_edge(rows, sample, "image to last")["percent"].tolist() == of_item.tolist()
