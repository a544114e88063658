import numpy as np
import pandas as pd
import pytest
import torch
from arm_pages import fewest_kept, score_grid
from card_page import blind_and_intact
from truncation_pages import metrics_by_cut

from infoflow.data.controls import blank_pictures, swap_pictures
from infoflow.data.load import load_task
from infoflow.errors import InfoflowError, UnknownNameError
from infoflow.evaluate import topk
from infoflow.evaluate import truncation as over_task
from infoflow.evaluate.answers import answers
from infoflow.evaluate.flow import flow_by_layer
from infoflow.evaluate.topk import topk_by_cut
from infoflow.evaluate.truncation import (
    log_probs_by_cut,
    log_probs_per_token,
    scores_by_cut,
    truncation_by_cut,
)
from infoflow.methods.cam import llava_cam
from infoflow.methods.flow import attention_flow
from infoflow.results.store import Store
from infoflow.stats.intervals import difference_estimate, mean_estimate

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def task():
    return load_task("textvqa", limit=3)


@pytest.fixture(scope="module")
def cut_rows(lvlm, task, store):
    return truncation_by_cut(lvlm, task, store)


def test_flow_rows_are_the_shares_of_each_item(lvlm, task, store):
    rows = flow_by_layer(lvlm, task, store)
    assert list(rows["item"].unique()) == [sample.id for sample in task]
    for sample in task:
        prompt = lvlm.prompt(sample.image, sample.question)
        expected = attention_flow(lvlm, prompt).shares.numpy()
        part = rows[rows["item"] == sample.id]
        assert list(part["layer"]) == list(range(1, lvlm.n_layers + 1))
        np.testing.assert_allclose(part[["system", "image", "user"]], expected, atol=1e-7)
        first = attention_flow(lvlm, prompt).rows[..., 0].mean(1).numpy()
        np.testing.assert_allclose(part["first"], first, atol=1e-7)
        image = prompt.spans.image
        assert set(part["uniform_image"]) == {(image.stop - image.start) / len(prompt)}
    even = rows[["uniform_system", "uniform_image", "uniform_user"]].sum(axis=1)
    np.testing.assert_allclose(even, 1)


def test_last_cut_is_the_untouched_model(lvlm, task, store, cut_rows):
    untouched = answers(lvlm, task, store)
    intact = cut_rows[cut_rows["cut"] == lvlm.n_layers]
    assert list(intact["text"]) == list(untouched["text"])
    assert list(intact["score"]) == list(untouched["score"])


def test_blind_and_intact_are_the_ends_of_the_cuts(lvlm, task, store, cut_rows):
    ends = blind_and_intact(lvlm, task, store)
    expected = cut_rows[cut_rows["cut"].isin([0, lvlm.n_layers])].reset_index(drop=True)
    pd.testing.assert_frame_equal(ends, expected, check_exact=False, atol=1e-5, rtol=0)


def test_first_cut_does_not_see_the_picture(lvlm, task, store, cut_rows):
    blank = truncation_by_cut(lvlm, blank_pictures(task), store)
    first, first_blank = (frame[frame["cut"] == 0] for frame in (cut_rows, blank))
    assert list(first["text"]) == list(first_blank["text"])
    np.testing.assert_allclose(first["margin"], first_blank["margin"], atol=1e-5)
    assert not np.allclose(
        *(frame[frame["cut"] == lvlm.n_layers]["margin"] for frame in (cut_rows, blank))
    )


def test_scores_are_those_of_the_task(task, cut_rows):
    by_id = {sample.id: sample for sample in task}
    for row in cut_rows.itertuples():
        assert row.score == task.score(by_id[row.item], row.text)
        assert row.kind == by_id[row.item].kind


def test_log_probs_are_of_the_reference_and_need_no_decoding(lvlm, task, store):
    rows = log_probs_by_cut(lvlm, task, store)
    assert list(rows.columns) == ["item", "kind", "cut", "log_prob", "n_tokens"]
    for sample in task:
        prompt, ids = lvlm.prompt(sample.image, sample.question), lvlm.encode_answer(sample.answer)
        part = rows[rows["item"] == sample.id]
        assert list(part["cut"]) == list(range(lvlm.n_layers + 1))
        assert set(part["n_tokens"]) == {len(ids)}
        embeds = torch.cat([prompt.inputs_embeds, lvlm.decoder.embed_tokens(ids[:-1])[None]], dim=1)
        logits = lvlm.logits(embeds)[0, -len(ids) :].log_softmax(-1)
        intact = logits[range(len(ids)), ids].sum()
        assert part["log_prob"].iloc[-1] == pytest.approx(float(intact), abs=5e-5)
    blank = log_probs_by_cut(lvlm, blank_pictures(task), store)
    first, first_blank = (frame[frame["cut"] == 0]["log_prob"] for frame in (rows, blank))
    np.testing.assert_allclose(first, first_blank, atol=1e-5)


def test_log_probs_per_token_are_items_by_cuts():
    rows = pd.DataFrame(
        [
            {"item": item, "cut": cut, "log_prob": -float(cut + n), "n_tokens": n}
            for item, n in (("b", 2), ("a", 4))
            for cut in (1, 0)
        ]
    )
    assert log_probs_per_token(rows).tolist() == [[-1.0, -1.25], [-1.0, -1.5]]
    with pytest.raises(InfoflowError, match="every cut of every item"):
        log_probs_per_token(rows.iloc[1:])


@pytest.fixture(scope="module")
def kept_rows(lvlm, task, store):
    return topk_by_cut(lvlm, task, store, [2, 64], [1, 5])


def test_top_k_rows_are_sweeps_that_keep_k(lvlm, task, kept_rows):
    sample = task[1]
    prompt = lvlm.prompt(sample.image, sample.question)
    sweep = over_task.truncation_sweep(lvlm, prompt, 2, [1, 5], task.max_new_tokens)
    part = kept_rows[(kept_rows["item"] == sample.id) & (kept_rows["keep"] == 2)]
    assert list(part["cut"]) == [1, 5]
    assert list(part["text"]) == [lvlm.decode(tokens) for tokens in sweep.tokens]
    assert set(part["n_image"]) == {64}


def test_keeping_all_is_the_untouched_model(lvlm, task, store, kept_rows):
    untouched = answers(lvlm, task, store).set_index("item")["text"]
    every = kept_rows[kept_rows["keep"] == 64]
    assert list(every["text"]) == list(untouched[every["item"]])


def rankings_asked(monkeypatch, lvlm, task, folder, by, seed=0):
    """The rankings that a measure over the task hands to the sweep."""
    asked = []
    real = topk.truncation_sweep
    found = real(lvlm, lvlm.prompt(task[0].image, task[0].question), 1, [1], 1)

    def noted(lvlm, prompt, keep, cuts, max_new_tokens, ranking):
        asked.append(ranking)
        return found  # which nobody looks at

    monkeypatch.setattr(topk, "truncation_sweep", noted)
    topk_by_cut(lvlm, task, Store(folder), [2, 5], [1], by, seed)
    monkeypatch.setattr(topk, "truncation_sweep", real)
    return asked


def test_random_tokens_are_each_items_own_and_nested(lvlm, task, tmp_path, monkeypatch):
    first = rankings_asked(monkeypatch, lvlm, task, tmp_path / "a", "random")
    again = rankings_asked(monkeypatch, lvlm, task, tmp_path / "b", "random")
    other = rankings_asked(monkeypatch, lvlm, task, tmp_path / "c", "random", seed=1)
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(first, other, strict=True))
    by_item = [first[i : i + 2] for i in range(0, len(first), 2)]
    assert all(torch.equal(fewer, more) for fewer, more in by_item)
    assert not torch.equal(by_item[0][0], by_item[1][0])


def test_cam_ranks_by_the_map_of_the_reference(lvlm, task, tmp_path, monkeypatch):
    asked = rankings_asked(monkeypatch, lvlm, task, tmp_path, "cam")
    for sample, ranking in zip(task, asked[::2], strict=True):
        prompt = lvlm.prompt(sample.image, sample.question)
        cam = llava_cam(lvlm, prompt, sample.answer, n_samples=1, sigma=0.0)
        torch.testing.assert_close(ranking, cam.by_token, equal_nan=True)


def test_unknown_rankings_are_refused(lvlm, task, store):
    with pytest.raises(UnknownNameError, match="attention, cam, random"):
        topk_by_cut(lvlm, task, store, [1], [1], by="luck")


def test_score_grid_goes_from_no_token_to_all(task, cut_rows, kept_rows):
    few = kept_rows[kept_rows["keep"] == 2].assign(n_image=64)
    grid = score_grid(few, cut_rows)
    assert list(grid.index) == [0, 2, 64]
    assert list(grid.columns) == [1, 5]
    by_cut = cut_rows.groupby("cut")["score"].mean()
    assert grid.loc[0, 5] == by_cut[5]
    assert list(grid.loc[64]) == [by_cut.iloc[-1]] * 2
    assert grid.loc[2, 1] == few[few["cut"] == 1]["score"].mean()
    with pytest.raises(InfoflowError, match="same items"):
        score_grid(few[few["item"] != task[0].id], cut_rows)


def test_fewest_kept_is_where_harm_ends_for_good():
    grid = pd.DataFrame(
        {1: [0.2, 0.85, 0.6, 0.9], 2: [0.2, 0.6, 0.85, 0.9], 3: [0.9, 0.9, 0.8, 0.9]},
        index=pd.Index([0, 1, 4, 64], name="keep"),
    )
    assert fewest_kept(grid, 0.05).to_dict() == {1: 64, 2: 4, 3: 64}
    assert fewest_kept(grid, 0.1).to_dict() == {1: 64, 2: 4, 3: 0}
    assert fewest_kept(grid, 0.7).to_dict() == {1: 0, 2: 0, 3: 0}


def test_measured_items_are_not_measured_again(lvlm, store, cut_rows, monkeypatch):
    asked = []
    real = over_task.truncation_sweep

    def counted(lvlm, prompt, **options):
        asked.append(prompt.question)
        return real(lvlm, prompt, **options)

    monkeypatch.setattr(over_task, "truncation_sweep", counted)
    more = truncation_by_cut(lvlm, load_task("textvqa", limit=4), store)
    assert len(asked) == 1
    pd.testing.assert_frame_equal(more.iloc[: len(cut_rows)], cut_rows)


def test_controls_and_splits_have_results_of_their_own(lvlm, task, store, cut_rows):
    other = load_task("textvqa", split="calibration", limit=3)
    frames = [
        cut_rows,
        truncation_by_cut(lvlm, other, store),
        truncation_by_cut(lvlm, swap_pictures(task, other), store),
    ]
    keys = [frame.attrs["record"]["key"] for frame in frames]
    assert len({str(key) for key in keys}) == len(keys)


def test_scores_by_cut_are_items_by_cuts(lvlm, cut_rows):
    scores = scores_by_cut(cut_rows.sample(frac=1, random_state=0))
    assert scores.shape == (3, lvlm.n_layers + 1)
    items = sorted(cut_rows["item"].unique())
    for (item, cut), score in cut_rows.set_index(["item", "cut"])["score"].items():
        assert scores[items.index(item), cut] == score


def test_an_item_without_all_cuts_is_refused(cut_rows):
    with pytest.raises(InfoflowError, match="every cut of every item"):
        scores_by_cut(cut_rows.iloc[1:])


def test_metrics_by_cut_are_the_summaries_of_each_cut():
    task = load_task("pope", limit=6)
    rows = pd.DataFrame(
        [
            {"cut": cut, "item": sample.id, **task.details(sample, text)}
            for sample in task
            for cut, text in ((0, "no"), (1, sample.answer))
        ]
    )
    metrics = metrics_by_cut(task, rows)
    assert list(metrics.index) == [0, 1]
    assert list(metrics["accuracy"]) == [0.5, 1.0]
    assert list(metrics["yes_ratio"]) == [0.0, 0.5]


def test_swapped_items_keep_question_and_reference(task):
    donor = load_task("textvqa", split="calibration", limit=5)
    swapped = swap_pictures(task, donor)
    assert len(swapped) == len(task)
    for index, sample in enumerate(swapped):
        own = task[index]
        assert (sample.id, sample.question, sample.answer) == (own.id, own.question, own.answer)
        assert sample.image.tobytes() == donor[index].image.tobytes()
        assert not sample.regions
        assert not sample.targets
    assert swapped[-1].image.tobytes() == donor[len(task) - 1].image.tobytes()
    assert [sample.id for sample in swapped.samples[:2]] == [task[0].id, task[1].id]


def test_swapping_needs_enough_other_pictures(task):
    with pytest.raises(InfoflowError, match="3 items cannot get the images of 2"):
        swap_pictures(task, load_task("textvqa", split="calibration", limit=2))
    with pytest.raises(InfoflowError, match="another split"):
        swap_pictures(task, task)


def test_blank_pictures_are_plain_and_of_the_same_size(task):
    for own, blank in zip(task, blank_pictures(task), strict=True):
        assert blank.image.size == own.image.size
        assert len(blank.image.getcolors()) == 1
        assert blank.question == own.question


def test_interval_of_right_and_wrong_is_wilsons():
    low, high = mean_estimate([1.0] * 50).interval
    z = 1.959964
    assert high == 1
    assert low == pytest.approx(50 / (50 + z**2), abs=1e-6)


def test_interval_of_other_scores_is_a_seeded_bootstrap():
    scores = np.random.default_rng(0).uniform(size=200)
    low, high = mean_estimate(scores, seed=1).interval
    half = 1.96 * scores.std() / np.sqrt(200)
    assert low == pytest.approx(scores.mean() - half, abs=0.01)
    assert high == pytest.approx(scores.mean() + half, abs=0.01)
    assert mean_estimate(scores, seed=1).interval == (low, high)
    assert mean_estimate([0.5, 0.5]).interval == (0.5, 0.5)


def test_unchanged_answers_leave_room_for_a_difference_either_way():
    low, high = difference_estimate([0] * 20).interval
    assert low == -high < 0
    half = 1.959963984540054 * (2 / 22 / 22) ** 0.5  # Bonett and Price: one lost, one gained
    assert high == pytest.approx(half)


def test_graded_differences_are_resampled_in_any_order():
    differences = np.random.default_rng(0).normal(0.1, 0.2, 40)
    low, high = difference_estimate(differences, seed=3).interval
    assert low < differences.mean() < high
    assert difference_estimate(differences[::-1], seed=3).interval == (low, high)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], r"at least 1 item\(s\)"),
        ([np.nan], "score of item 0 is nan"),
        ([[1.0]], r"at least 1 item\(s\)"),
    ],
)
def test_no_interval_without_scores(scores, message):
    with pytest.raises(InfoflowError, match=message):
        mean_estimate(scores)
