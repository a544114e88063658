"""Table 1's scores against the tasks' own, and the bias of choosing the best against simulation."""

import numpy as np
import pandas as pd
import pytest
from table1_page import METRICS, paired_scores, resampled, table1_row

from infoflow.claims.paper import paper_values
from infoflow.data.load import load_task
from infoflow.errors import InfoflowError, UnknownNameError
from infoflow.stats.selection import selection_bias

ANSWERS = {
    "pope": ["Yes", "No", "perhaps", ""],
    "scienceqa": ["A", "B", "none"],
    "textvqa": ["stop", "go"],
    "chair": ["a red circle and a blue square", "a green star", "nothing", "a red circle"],
}


def answered(name, seed, n_items=24):
    """Rows of a task with made-up answers, some of them right."""
    task, rng = load_task(name, limit=n_items), np.random.default_rng(seed)
    rows = []
    for sample in task:
        text = rng.choice([*ANSWERS[name], sample.answer])
        rows.append({"item": sample.id, **task.details(sample, str(text))})
    return task, pd.DataFrame(rows)


@pytest.mark.parametrize("name", list(METRICS))
def test_scores_are_the_tasks_own(name):
    task, rows = answered(name, 0)
    summary = task.summary(rows)
    for metric in METRICS[name]:
        value = resampled(metric, rows, np.ones(len(rows)))
        assert value == pytest.approx(summary[metric])


@pytest.mark.parametrize("name", ["pope", "chair"])
def test_scores_of_a_resample_are_the_tasks_own_on_repeated_rows(name):
    task, rows = answered(name, 1)
    counts = np.random.default_rng(0).integers(1, 4, len(rows))
    repeated = rows.loc[rows.index.repeat(counts)]
    summary = task.summary(repeated)
    for metric in METRICS[name]:
        if (name, metric) == ("pope", "accuracy"):
            expected = repeated["score"].mean()  # every item once, not every split
        else:
            expected = summary[metric]
        assert resampled(metric, rows, counts.astype(float)) == pytest.approx(expected)


def two_cuts(name):
    task, before = answered(name, 2)
    _, after = answered(name, 3)
    return task, before, pd.concat([before.assign(cut=12), after.assign(cut=5)])


@pytest.mark.parametrize("name", list(METRICS))
def test_paired_scores_go_from_intact_to_truncated(name):
    _, before, rows = two_cuts(name)
    scores = paired_scores(name, rows, cut=5, margin=0.05)
    assert [score.metric for score in scores] == list(METRICS[name])
    for score in scores:
        assert score.change.value == pytest.approx(score.truncated - score.intact.value)
        assert score.intact.low <= score.intact.value <= score.intact.high
        low, high = score.change.interval
        assert low <= score.change.value <= high
        if score.test:
            net = score.test.gained - score.test.lost
            assert score.change.value == pytest.approx(net / len(before))


def test_fewer_hallucinations_are_a_gain():
    rows = pd.DataFrame(
        {
            "item": [f"i{n}" for n in range(40)] * 2,
            "cut": [3] * 40 + [1] * 40,
            "hallucinated": [1] * 40 + [0] * 40,
            "mentions": 2,
            "found": 1,
            "present": 2,
        }
    )
    by_metric = {s.metric: s for s in paired_scores("chair", rows, cut=1, margin=0.05)}
    assert by_metric["CHAIRs"].change.value == -1
    assert by_metric["CHAIRs"].gain.value == 1
    assert by_metric["CHAIRs"].gain.interval[0] > 0
    assert by_metric["CHAIRi"].gain.value == pytest.approx(0.5)
    assert by_metric["recall"].gain.value == 0


def test_no_such_cut():
    with pytest.raises(InfoflowError, match="no rows of cut 4"):
        paired_scores("chair", two_cuts("chair")[2], cut=4, margin=0.05)


def noisy(n_items, n_cuts, flips, seed):
    """Scores of a model that truncation changes at random, for better as often as for worse."""
    rng = np.random.default_rng(seed)
    intact = rng.random((n_items, 1)) < 0.5
    return np.hstack([intact ^ (rng.random((n_items, n_cuts)) < flips), intact]).astype(float)


def test_chance_is_what_chance_gives():
    drawn = [noisy(80, 10, 0.15, seed) for seed in range(60)]
    gains = [np.max(t[:, :-1].mean(0) - t[:, -1].mean()) for t in drawn]
    told = [selection_bias(t, 0, seed=1) for t in drawn]
    assert np.mean([b.chance for b in told]) == pytest.approx(np.mean(gains), abs=0.01)
    beyond = np.mean([b.gain > b.chance_high for b in told])
    assert beyond < 0.2  # 5 % expected of 60
    # what was gained by the choice is not there on other items
    assert np.mean([b.half_gain - b.other_half_gain for b in told]) > 0.03
    assert abs(np.mean([b.other_half_gain for b in told])) < 0.02


def test_a_true_gain_is_more_than_chance():
    scores = np.zeros((60, 6))
    scores[:30] = 1.0
    scores[:45, 3] = 1.0  # fifteen items gained at one cut, none lost
    bias = selection_bias(scores, 1)
    assert (bias.best_cut, bias.gain, bias.n_cuts) == (3, pytest.approx(0.25), 4)
    assert bias.gain > bias.chance_high
    assert bias.other_half_gain == pytest.approx(0.25, abs=0.02)


def test_nothing_changed_nothing_gained():
    bias = selection_bias(np.ones((10, 4)), 0)
    assert (bias.gain, bias.chance, bias.chance_high) == (0, 0, 0)


def test_the_order_of_items_does_not_matter():
    scores = noisy(30, 5, 0.2, 0)
    assert selection_bias(scores, 0) == selection_bias(scores[::-1], 0)


@pytest.mark.parametrize(("scores", "first"), [(np.ones((1, 4)), 0), (np.ones((5, 4)), 3)])
def test_nothing_to_choose_is_refused(scores, first):
    with pytest.raises(InfoflowError):
        selection_bias(scores, first)


@pytest.mark.parametrize(
    ("name", "model", "row"),
    [
        (None, "tiny-shikra", "shikra-7b"),
        (None, "llava-1.6-7b", "llava-1.6-7b"),
        (None, "qwen-vl-chat-7b", "llava-1.5-7b"),  # it has no row: the first
        ("internvl-7b", "tiny-shikra", "internvl-7b"),
    ],
)
def test_a_model_is_looked_at_beside_its_own_row(name, model, row):
    assert table1_row(paper_values(), name, model)["model"] == row


def test_a_row_that_is_not_there_is_named():
    with pytest.raises(UnknownNameError, match=r"unknown model of Table 1 'lava'.*llava-1.5-7b"):
        table1_row(paper_values(), "lava", "tiny-shikra")
