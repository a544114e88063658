"""Answers without the picture: against guessing, by habit, in several ways."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from blind_page import blind_habits, blind_scores, by_wording
from scipy.stats import binom

from infoflow.claims.paper import paper_values
from infoflow.data.load import blind_guess, load_task
from infoflow.evaluate.answers import text_answers, text_only
from infoflow.results.store import Store

torch.set_num_threads(1)


def answered(task, say):
    return pd.DataFrame(
        [{"item": sample.id, **task.details(sample, say(sample))} for sample in task]
    )


@pytest.fixture(scope="module")
def scienceqa():
    return load_task("scienceqa", limit=24)


@pytest.fixture(scope="module")
def pope():
    return load_task("pope", limit=24)


def test_a_constant_answer_is_no_better_than_guessing(pope):
    table = blind_scores(pope, answered(pope, lambda sample: "no"))
    assert table.index[0] == "all"
    assert set(table.index[1:]) == {"random", "popular", "adversarial"}
    assert (table["score"] <= table["guess"]).all()
    assert (table["p_value"] > 0.5).all()
    whole = table.loc["all"]
    assert whole["low"] < whole["score"] < whole["high"]
    assert whole["items"] == len(pope)


def test_the_test_is_the_binomial_tail(pope):
    wrong = {sample.id for sample in list(pope)[:3]}
    other = {"yes": "no", "no": "yes"}
    rows = answered(pope, lambda s: other[s.answer] if s.id in wrong else s.answer)
    whole = blind_scores(pope, rows).loc["all"]
    assert whole["guess"] == blind_guess(pope)
    n, hits = len(pope), len(pope) - 3
    assert whole["p_value"] == pytest.approx(binom.sf(hits - 1, n, whole["guess"]))


def test_guesses_are_those_for_the_kind(scienceqa):
    table = blind_scores(scienceqa, answered(scienceqa, lambda sample: "A"))
    for kind in set(table.index) - {"all"}:
        of_kind = replace(scienceqa, samples=[s for s in scienceqa if s.kind == kind])
        assert table.loc[kind, "guess"] == blind_guess(of_kind)


def test_soft_scores_are_not_tested():
    task = load_task("chair", limit=4)
    table = blind_scores(task, answered(task, lambda sample: sample.objects[0]))
    assert table["p_value"].isna().all()
    assert table.loc["all", "low"] <= table.loc["all", "score"] <= table.loc["all", "high"]


def test_habits_of_a_parrot_and_of_a_seer(scienceqa):
    parrot = blind_habits(answered(scienceqa, lambda sample: "B")).loc["all"]
    assert (parrot["distinct"], parrot["favourite"], parrot["favourite_share"]) == (1, "B", 1.0)
    assert parrot["right_by_habit"] == 1
    assert parrot["agreement"] == float(parrot["modal"] == "B")
    seer = blind_habits(answered(scienceqa, lambda sample: sample.answer)).loc["all"]
    assert seer["agreement"] == pytest.approx(seer["modal_share"])
    assert seer["right_by_habit"] == pytest.approx(seer["favourite_share"])
    dumb = blind_habits(answered(scienceqa, lambda sample: "what?")).loc["all"]
    assert dumb["favourite"] == "(unread)"
    assert np.isnan(dumb["right_by_habit"])


def test_capitals_do_not_hide_a_habit():
    task = load_task("textvqa", limit=4)
    word = task[0].answer
    rows = answered(task, lambda sample: word.lower()).iloc[:1]
    assert word.isupper()
    assert blind_habits(rows).loc["all", "agreement"] == 1


def test_a_prior_on_wording_shows_only_by_wording(scienceqa):
    """A model that likes one colour, wherever its option stands."""

    def says(sample):
        return next(
            (letter for letter, c in zip("ABCD", sample.choices, strict=True) if c == "red"), "none"
        )

    rows = answered(scienceqa, says)
    rows = rows[rows["prediction"].notna()]
    letters, words = blind_habits(rows), blind_habits(by_wording(scienceqa, rows))
    assert words.loc["all", "favourite"] == "red"
    assert words.loc["all", "favourite_share"] == 1
    assert letters.loc["all", "favourite_share"] < 1


def test_text_alone_is_the_prompt_without_image_tokens(lvlm, tmp_path):
    task = load_task("pope", limit=2)
    sample = task[0]
    whole = lvlm.prompt(sample.image, sample.question)
    alone = text_only(whole)
    ids = whole.input_ids[whole.input_ids != lvlm.family.image_token_id]
    assert torch.equal(alone.input_ids, ids)
    torch.testing.assert_close(alone.inputs_embeds, lvlm.decoder.embed_tokens(ids)[None])
    system, image, user = alone.spans
    assert (image.start, image.stop) == (system.stop, system.stop)
    assert (user.start, user.stop) == (system.stop, len(alone))
    rows = text_answers(lvlm, task, Store(tmp_path))
    assert list(rows["text"]) == [
        lvlm.answer(text_only(lvlm.prompt(s.image, s.question)), task.max_new_tokens) for s in task
    ]


def test_published_guesses_are_counted_from_the_questions():
    guesses = paper_values()["blind_guesses"]
    assert all(25 < entry["accuracy"] < 50 for entry in guesses)
