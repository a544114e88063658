"""The lens and patching over a task: which tokens are asked, and how they are scored."""

import numpy as np
import pytest
import torch
from image_tokens_pairs import GROUPS, patching_by_depth, row_groups, twins
from scipy import sparse
from scipy.stats import mannwhitneyu

from infoflow.data.load import load_task
from infoflow.evaluate.words import lens_by_depth
from infoflow.methods.knockout import token_groups
from infoflow.methods.lens import logit_lens
from infoflow.methods.localisation import coverage
from infoflow.methods.patching import activation_patching
from infoflow.models.grid import Grid
from infoflow.models.prompt import Prompt, Spans

torch.set_num_threads(1)


def test_lens_scores_are_those_of_a_rank_test(lvlm, store):
    task = load_task("chair", limit=2)
    rows = lens_by_depth(lvlm, task, store).set_index(["item", "word", "depth"])
    sample = task[0]
    assert sample.objects == ("red heart", "red triangle")
    prompt = lvlm.prompt(sample.image, sample.question)
    words = ["heart", "red", "triangle"]
    heats = logit_lens(lvlm, prompt, words).numpy()
    things = [coverage(sample.regions[name], prompt.grid).ravel() > 0 for name in sample.objects]
    regions = {"heart": things[0], "red": things[0] | things[1], "triangle": things[1]}
    assert set(rows.loc[sample.id].index.unique("word")) == set(words)
    for place, word in enumerate(words):
        for depth in (0, lvlm.n_layers):
            row = rows.loc[(sample.id, word, depth)]
            there, heat = regions[word], heats[depth, :, place]
            test = mannwhitneyu(heat[there], heat[~there])
            assert row["auc"] == pytest.approx(test.statistic / there.sum() / (~there).sum())
            if word == "red":  # no other thing is there
                assert np.isnan(row["elsewhere"])
    alone = things[1] & ~things[0]
    at_triangle = mannwhitneyu(heats[0, alone, 0], heats[0, ~alone, 0]).statistic
    n = alone.sum()
    elsewhere = rows.loc[(sample.id, "heart", 0), "elsewhere"]
    assert elsewhere == pytest.approx(at_triangle / n / (64 - n))


def test_patching_rows_are_those_of_each_pair(lvlm, store):
    task = load_task("pope", limit=2)
    rows = patching_by_depth(lvlm, task, twins(task), store)
    assert list(rows["item"].unique()) == [task[0].id]  # what is absent has no twin
    pair = task[0], twins(task)[0]
    clean, other = (lvlm.prompt(sample.image, sample.question) for sample in pair)
    groups = row_groups(clean, *pair)
    expected = activation_patching(
        lvlm, clean, other, ("yes", "no"), torch.stack([*groups.values()])
    )
    assert list(rows["group"].unique()) == list(groups)
    table = rows.pivot(index="group", columns="depth", values="recovery").loc[list(groups)]
    np.testing.assert_allclose(table, expected)
    said = [int(lvlm.logits(prompt)[0, -1].argmax()) for prompt in (clean, other)]
    right = said == [int(lvlm.encode_answer(answer)[0]) for answer in ("yes", "no")]
    assert set(rows["right"]) == {right}


def test_groups_part_the_rows_by_what_a_region_touches():
    def groups(grid):
        n = grid.n_tokens
        spans = Spans(slice(0, 2), slice(2, 2 + n), slice(2 + n, 6 + n))
        ids = torch.zeros(6 + n, dtype=torch.long)
        prompt = Prompt(ids, torch.zeros(1, 6 + n, 4), torch.zeros(1), spans, grid, None, "")
        return {
            name: rows.nonzero()[:, 0].tolist()
            for name, rows in token_groups(prompt, region).items()
            if name in GROUPS
        }

    region = np.zeros((8, 8), dtype=bool)
    region[0, 3:5] = True  # touches the upper cells of a raster of 2 x 2
    ends = {"question": [6, 7, 8], "last": [9]}
    assert groups(Grid(2, 2)) == {"object": [2, 3], "background": [4, 5], **ends}
    # tokens that spread over cells: mostly above, hardly above, half and half
    spread = np.array([[4, 1, 1], [4, 0, 0], [1, 4, 1], [0, 4, 0]])
    found = groups(Grid(2, 2, spread=sparse.csr_array(spread)))
    assert found == {"object": [2], "background": [3, 4], "question": [5, 6, 7], "last": [8]}
    below = sparse.csr_array([[0, 0], [0, 0], [1, 0], [0, 0]])
    assert groups(Grid(2, 2, spread=below))["object"] == []
